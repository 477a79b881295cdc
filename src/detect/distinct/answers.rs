//! Which ports answered: two bits for each place of a short list or a block. They take memory only where replies are looked for, and
//! are touched only for rows that have some.

use crate::detect::memory::{Aligned, OutOfMemory};

/// What became of the question for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing came back so far.
    Silent,
    /// A SYN-ACK came back.
    Answered,
    /// A RST came back.
    Refused,
}

/// Places whose bits are in one word.
const PLACES: usize = 32;

/// The answers of so many places in each of several lists.
#[derive(Debug)]
pub(super) struct Answers {
    words_each: usize,
    words: Aligned<u64>,
}

impl Answers {
    /// For lists of so many places; for none, if they are not kept.
    pub(super) fn new(lists: usize, places: usize, are_kept: bool) -> Result<Self, OutOfMemory> {
        let words_each = if are_kept { places.div_ceil(PLACES) } else { 0 };
        Ok(Self { words_each, words: Aligned::new(lists.saturating_mul(words_each))? })
    }

    /// Bytes of a list of so many places.
    pub(super) const fn bytes(places: usize) -> usize {
        places.div_ceil(PLACES) * size_of::<u64>()
    }

    fn place(&self, list: usize, at: usize) -> (usize, usize) {
        (list * self.words_each + at / PLACES, at % PLACES * 2)
    }

    /// The answer of a place.
    #[inline]
    pub(super) fn get(&self, list: usize, at: usize) -> Answer {
        let (word, shift) = self.place(list, at);
        match self.words.as_slice()[word] >> shift & 3 {
            0 => Answer::Silent,
            1 => Answer::Answered,
            _ => Answer::Refused,
        }
    }

    /// Writes the answer of a place.
    #[inline]
    pub(super) fn set(&mut self, list: usize, at: usize, answer: Answer) {
        let (word, shift) = self.place(list, at);
        let word = &mut self.words.as_mut_slice()[word];
        *word = *word & !(3 << shift) | (answer as u64) << shift;
    }

    /// The port of a place was answered so. An open port may refuse later, when it is busy or a connection is over: it stays one that
    /// answered.
    pub(super) fn note(&mut self, list: usize, at: usize, answer: Answer) {
        if self.get(list, at) != Answer::Answered {
            self.set(list, at, answer);
        }
    }

    /// Two places change what they hold.
    pub(super) fn swap(&mut self, list: usize, one: usize, other: usize) {
        let (first, second) = (self.get(list, one), self.get(list, other));
        self.set(list, one, second);
        self.set(list, other, first);
    }

    /// No place of a list has an answer any more.
    pub(super) fn clear(&mut self, list: usize) {
        self.words.as_mut_slice()[list * self.words_each..][..self.words_each].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_an_answer_of_its_own() {
        let mut answers = Answers::new(3, 40, true).expect("room");
        answers.set(1, 31, Answer::Refused);
        answers.set(1, 32, Answer::Answered);
        answers.note(1, 32, Answer::Refused);
        answers.note(1, 31, Answer::Answered);
        answers.set(2, 0, Answer::Refused);
        let of = |answers: &Answers, list| [0, 31, 32].map(|at| answers.get(list, at));
        assert_eq!(of(&answers, 1), [Answer::Silent, Answer::Answered, Answer::Answered]);
        answers.swap(1, 0, 32);
        answers.clear(2);
        assert_eq!(of(&answers, 1), [Answer::Answered, Answer::Answered, Answer::Silent]);
        assert_eq!([0, 2].map(|list| of(&answers, list)), [[Answer::Silent; 3]; 2]);
    }
}
