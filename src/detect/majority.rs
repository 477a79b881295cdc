//! Which of a few things most were, in the order in which they came (Boyer and Moore 1981): exact where one was more than half
//! of all.

use crate::detect::probe::Technique;

/// Where there is only one technique, nothing need be counted.
const VOTES: usize = if Technique::ALL.len() > 1 { 1 } else { 0 };

/// The technique of most probes of a run. With one technique it takes no room in a row, and no time.
pub(super) type MainTechnique = Majority<Technique, VOTES>;

/// What most were. `N` is 0 if there is no choice, and else 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Majority<T, const N: usize> {
    winner: T,
    /// By how many it leads. Saturated it says "by far": another then has to catch up with that many only.
    lead: [u16; N],
}

impl<T: Copy + PartialEq, const N: usize> Majority<T, N> {
    /// The first.
    #[inline]
    pub(super) fn new(first: T) -> Self {
        Self { winner: first, lead: [1; N] }
    }

    /// One more.
    #[inline]
    pub(super) fn vote(&mut self, another: T) {
        let Some(lead) = self.lead.first_mut() else { return };
        if self.winner == another {
            *lead = lead.saturating_add(1);
        } else if *lead > 0 {
            *lead -= 1;
        } else {
            *self = Self::new(another);
        }
    }

    /// What most were.
    pub(super) fn winner(&self) -> T {
        self.winner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(of: &str) -> char {
        let mut each = of.chars();
        let mut majority = Majority::<char, 1>::new(each.next().expect("one at least"));
        each.for_each(|another| majority.vote(another));
        majority.winner()
    }

    #[test]
    fn what_is_more_than_half_wins_in_whichever_order() {
        for of in ["s", "ssf", "sfs", "fss", "fffssss", "ssssfff", "fxfsssss", "sfsfsxs"] {
            assert_eq!(most(of), 's', "{of}");
        }
    }

    #[test]
    fn without_a_choice_it_takes_no_room() {
        assert_eq!(size_of::<Majority<(), 0>>(), 0);
        let mut only = Majority::<(), 0>::new(());
        only.vote(());
        only.winner();
    }
}
