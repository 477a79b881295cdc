//! Whether a source is where it says. Who sends a probe can write any address into it; who reads the answer is at that address, or on
//! the way to it. An answer begins with a number that nobody else knows (RFC 6528), and the end of a connection acknowledges it. What
//! a stack sends by itself to an answer that it did not expect proves nothing: a RST bears the number of the probe, plus one.
//!
//! The adversary forges probes and hopes to be taken for whose address they bear, so that an innocent one is blamed with certainty. He knows
//! both ports, and has to guess the number: one in 2^32. `READ` numbers are right and `GUESSES` wrong ones are looked at, so he succeeds
//! with each address and row once in 2^18, and each guess counts against one answer, however many he asks for. He can also use up the
//! guesses of somebody, who then stays what everybody is without a proof. Who sees the answers needs no guess: that is who is on the
//! way, and on a mirror port who can forge the answers, too.

use crate::detect::scan::Grade;
use crate::detect::tuning::{GUESSES, READ};

/// What is known of one row's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    /// With which number the latest answer to it began, and between which ports, the host's first; none if there was no answer in this
    /// run of probes.
    answer: Option<(u32, (u16, u16))>,
    /// Wrong acknowledgements of it.
    wrong: u8,
    /// Whether it proved itself in this run of probes.
    in_run: bool,
    /// Whether it did in any that shows.
    is_shown: bool,
}

impl Proof {
    /// Nothing yet.
    pub(super) const NONE: Proof = Proof { answer: None, wrong: 0, in_run: false, is_shown: false };

    /// A run of probes begins.
    pub(super) fn begin(&mut self) {
        (self.answer, self.in_run) = (None, false);
    }

    /// A host answers it with this number, between these ports. Until it has proved itself the latest answer is what it has to know.
    #[inline]
    pub(super) fn answered(&mut self, sequence: u32, ports: (u16, u16)) {
        if !self.in_run {
            self.answer = Some((sequence, ports));
        }
    }

    /// It says that it has read as far as this number, between these ports.
    #[inline]
    pub(super) fn acknowledged(&mut self, number: u32, ports: (u16, u16)) {
        let Some((sequence, _)) = self.answer.filter(|(_, answered)| *answered == ports) else { return };
        if self.in_run || self.wrong >= GUESSES {
            return;
        }
        // The SYN takes up a number.
        if number.wrapping_sub(sequence).wrapping_sub(1) < READ {
            (self.in_run, self.is_shown) = (true, true);
        } else {
            self.wrong += 1;
        }
    }

    /// The grade of the scan that is going on.
    pub(super) fn of_run(&self) -> Grade {
        if self.in_run { Grade::Handshake } else { Grade::Spoofable }
    }

    /// The grade of all that shows.
    pub(super) fn shown(&self) -> Grade {
        if self.is_shown { Grade::Handshake } else { Grade::Spoofable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: (u16, u16) = (22, 40_000);

    /// Answered with this number, and then acknowledging these.
    fn after(sequence: u32, numbers: impl IntoIterator<Item = u32>) -> Proof {
        let mut proof = Proof::NONE;
        proof.answered(sequence, PORTS);
        numbers.into_iter().for_each(|number| proof.acknowledged(number, PORTS));
        proof
    }

    #[test]
    fn who_knows_the_number_of_the_answer_is_there() {
        for sequence in [0, 1, 0x7fff_ffff, u32::MAX - 500, u32::MAX] {
            for read in [0, 1, 23, READ - 1] {
                let proof = after(sequence, [sequence.wrapping_add(1).wrapping_add(read)]);
                assert_eq!(proof.of_run(), Grade::Handshake, "{sequence} and {read}");
            }
            for wrong in [0, u32::MAX, READ + 1, 0x8000_0000] {
                assert_eq!(after(sequence, [sequence.wrapping_add(wrong)]).of_run(), Grade::Spoofable);
            }
        }
    }

    #[test]
    fn without_an_answer_and_between_other_ports_nothing_is_proved() {
        let mut proof = Proof::NONE;
        proof.acknowledged(1, PORTS);
        proof.answered(7, PORTS);
        proof.acknowledged(8, (23, 40_000));
        proof.acknowledged(8, (22, 40_001));
        assert_eq!((proof.shown(), proof.wrong), (Grade::Spoofable, 0));
        proof.answered(70, (23, 40_000));
        proof.acknowledged(8, PORTS);
        assert_eq!(proof.shown(), Grade::Spoofable, "another answer came since");
    }

    /// Who guesses has so many guesses, however he asks; a victim whose guesses were used up stays what it was.
    #[test]
    fn guesses_are_counted_over_all_answers() {
        let wrong = |n: u8| 1_000_000 + u32::from(n) * READ;
        let proof = after(7, (0..GUESSES - 1).map(wrong).chain([8]));
        assert_eq!(proof.of_run(), Grade::Handshake);
        let mut proof = Proof::NONE;
        for n in 0..GUESSES {
            proof.begin();
            proof.answered(7, (u16::from(n), 1));
            proof.acknowledged(wrong(n), (u16::from(n), 1));
        }
        proof.answered(7, PORTS);
        proof.acknowledged(8, PORTS);
        assert_eq!(proof.of_run(), Grade::Spoofable);
        assert!(u64::from(GUESSES) * u64::from(READ) <= 1 << (32 - 18));
    }

    #[test]
    fn what_was_proved_is_of_its_run_and_shows_for_longer() {
        let mut proof = after(7, [8]);
        proof.begin();
        assert_eq!((proof.of_run(), proof.shown()), (Grade::Spoofable, Grade::Handshake));
        proof.acknowledged(8, PORTS);
        assert_eq!(proof.of_run(), Grade::Spoofable, "of another run");
    }
}
