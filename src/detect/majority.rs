//! Which of a few things most were, in the order in which they came (Boyer and Moore 1981): exact where one was more than half
//! of all.

use crate::detect::probe::{Technique, Tool};

/// Where there is only one technique, nothing need be counted.
const VOTES: usize = if Technique::ALL.len() > 1 { 1 } else { 0 };

/// The technique of most probes of a run. With one technique it takes no room in a row, and no time.
pub(super) type MainTechnique = Majority<Technique, VOTES>;

/// What most were. `N` is 0 if there is no choice, and else 1.
///
/// Packed, so that a row has room beside it for the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed)]
pub(super) struct Majority<T: Copy, const N: usize> {
    winner: T,
    /// By how many it leads. Saturated it says "by far": another then has to catch up with that many only.
    lead: [u16; N],
}

impl<T: Copy + PartialEq, const N: usize> Majority<T, N> {
    /// The first.
    #[inline]
    pub(super) const fn new(first: T) -> Self {
        Self { winner: first, lead: [1; N] }
    }

    /// One more.
    #[inline]
    pub(super) fn vote(&mut self, another: T) {
        let mut leads = self.lead;
        let Some(lead) = leads.first_mut() else { return };
        if { self.winner } == another {
            *lead = lead.saturating_add(1);
        } else if *lead > 0 {
            *lead -= 1;
        } else {
            *self = Self::new(another);
            return;
        }
        self.lead = leads;
    }

    /// Whether one more of these would change nothing.
    #[inline(always)]
    pub(super) fn is_settled_on(&self, another: T) -> bool {
        let (winner, lead) = (self.winner, self.lead);
        winner == another && lead.first().is_none_or(|&lead| lead == u16::MAX)
    }

    /// Takes in what most were of others, which were counted by themselves.
    pub(super) fn merge(&mut self, others: Self) {
        let (mine, theirs) = (self.lead, others.lead);
        let (Some(&lead), Some(&other)) = (mine.first(), theirs.first()) else { return };
        let is_same = { self.winner } == { others.winner };
        self.lead = mine.map(|_| if is_same { lead.saturating_add(other) } else { lead.abs_diff(other) });
        if !is_same && other > lead {
            self.winner = others.winner;
        }
    }

    /// What most were.
    pub(super) fn winner(&self) -> T {
        self.winner
    }
}

/// How sure it is which tool it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// Some more probes have its mark than have not.
    Medium,
    /// Many more, or one whose mark is 32 bits long.
    High,
}

impl Confidence {
    /// The word in records.
    pub const fn label(self) -> &'static str {
        match self {
            Confidence::Medium => "medium",
            Confidence::High => "high",
        }
    }
}

/// The tool of most probes of a run, in the same way, and in a byte: which, and above it by how many it leads, up to 31. A mark of 16
/// bits is there by chance in one packet of 65,536; the adversary forges any of them, and then looks like the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MainTool(u8);

const _: () = assert!(Tool::ALL.len() <= 8, "three bits name it");

impl MainTool {
    /// By how many it leads at most.
    const MOST: u8 = 31;

    /// By how many it must lead for each confidence.
    const LEADS: [(u8, Confidence); 2] = [(8, Confidence::High), (3, Confidence::Medium)];

    /// The first.
    #[inline]
    pub(super) const fn new(first: Tool) -> Self {
        Self(1 << 3 | first as u8)
    }

    /// One more.
    #[inline]
    pub(super) fn vote(&mut self, another: Tool) {
        let (winner, lead) = (self.0 & 7, self.0 >> 3);
        if winner == another as u8 {
            self.0 = (lead + 1).min(Self::MOST) << 3 | winner;
        } else if lead > 0 {
            self.0 = (lead - 1) << 3 | winner;
        } else {
            *self = Self::new(another);
        }
    }

    /// Whether one more of these would change nothing.
    #[inline(always)]
    pub(super) fn is_settled_on(&self, another: Tool) -> bool {
        self.0 == Self::MOST << 3 | another as u8
    }

    /// Takes in what most were of others, which were counted by themselves.
    pub(super) fn merge(&mut self, others: Self) {
        let [(winner, lead), (other, theirs)] = [self.0, others.0].map(|packed| (packed & 7, packed >> 3));
        self.0 = match winner == other {
            true => (lead + theirs).min(Self::MOST) << 3 | winner,
            false if theirs > lead => (theirs - lead) << 3 | other,
            false => (lead - theirs) << 3 | winner,
        };
    }

    /// Which it was, and how sure that is; unknown where it is not.
    pub(super) fn told(self) -> (Tool, Option<Confidence>) {
        let (winner, lead) = (Tool::ALL[usize::from(self.0 & 7)], self.0 >> 3);
        let known = Self::LEADS.into_iter().find(|(least, _)| lead >= *least);
        match (winner, known) {
            (Tool::Unknown, _) => (Tool::Unknown, None),
            (Tool::Mirai, _) if lead > 0 => (Tool::Mirai, Some(Confidence::High)),
            (tool, Some((_, confidence))) => (tool, Some(confidence)),
            (_, None) => (Tool::Unknown, None),
        }
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
    fn what_is_settled_is_not_changed_by_one_more() {
        let (mut technique, mut tool) = (MainTechnique::new(Technique::Syn), MainTool::new(Tool::Nmap));
        let mut settled = (false, false);
        for _ in 0..=u16::MAX {
            settled = (technique.is_settled_on(Technique::Syn), tool.is_settled_on(Tool::Nmap));
            let before = (technique, tool);
            technique.vote(Technique::Syn);
            tool.vote(Tool::Nmap);
            assert_eq!((settled.0, settled.1), (technique == before.0, tool == before.1));
        }
        assert_eq!(settled, (true, true), "and at last it is");
        assert!(!technique.is_settled_on(Technique::Fin) && !tool.is_settled_on(Tool::Unknown));
    }

    #[test]
    fn without_a_choice_it_takes_no_room() {
        assert_eq!(size_of::<Majority<(), 0>>(), 0);
        let mut only = Majority::<(), 0>::new(());
        only.vote(());
        only.winner();
    }

    #[test]
    fn a_tool_is_believed_after_several_marks_and_one_of_32_bits_at_once() {
        let told = |first: Tool, more: &[(Tool, usize)]| {
            let mut main = MainTool::new(first);
            more.iter().for_each(|&(tool, times)| (0..times).for_each(|_| main.vote(tool)));
            main.told()
        };
        assert!(Tool::ALL.iter().enumerate().all(|(at, tool)| *tool as usize == at));
        let unknown = (Tool::Unknown, None);
        assert_eq!(told(Tool::Masscan, &[(Tool::Masscan, 1)]), unknown);
        assert_eq!(told(Tool::Nmap, &[(Tool::Nmap, 2)]), (Tool::Nmap, Some(Confidence::Medium)));
        assert_eq!(told(Tool::Nmap, &[(Tool::Nmap, 7)]), (Tool::Nmap, Some(Confidence::High)));
        assert_eq!(told(Tool::Mirai, &[]), (Tool::Mirai, Some(Confidence::High)));
        assert_eq!(told(Tool::Nmap, &[(Tool::Nmap, 7), (Tool::Unknown, 9)]), unknown);
        assert_eq!(told(Tool::Unknown, &[(Tool::Unknown, 500), (Tool::Nmap, 30)]), unknown);
        assert_eq!(
            told(Tool::Unknown, &[(Tool::Unknown, 500), (Tool::Nmap, 40)]).0,
            Tool::Nmap,
            "by far is 31"
        );
    }
}
