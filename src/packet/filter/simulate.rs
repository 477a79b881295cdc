//! The kernel's machine, for tests and the fuzz target, and to know what the kernel did not draw by chance.

use super::datagrams::RANDOM;
use super::replies::DIRECTION;
use crate::packet::bpf::{self, Instruction};

/// What the kernel makes of a program: how many bytes it takes of the frame, and after how many steps. For tests and the fuzz
/// target, which have no kernel to ask.
///
/// # Panics
/// If the program has an instruction that `program` never writes.
pub fn simulate(program: &[Instruction], frame: &[u8]) -> (u32, usize) {
    simulate_by(program, frame, 0)
}

/// Whether a program took this frame by chance alone.
///
/// # Panics
/// If the program has an instruction that `program` never writes.
pub(crate) fn is_sampled(program: &[Instruction], frame: &[u8]) -> bool {
    run(program, frame, 0, 1).0 == 0
}

/// The same as `simulate` of a frame that came to the socket this way, as the kernel numbers them.
pub(super) fn simulate_by(program: &[Instruction], frame: &[u8], direction: u32) -> (u32, usize) {
    // As for the one of so many that is taken.
    run(program, frame, direction, 0)
}

/// What the kernel's socket makes of a packet without a link header.
#[cfg(test)]
pub(super) fn run_socket(program: &[Instruction], packet: &[u8], ether_type: u16, direction: u32) -> u32 {
    let known = bpf::run(program, |at, length| match at {
        super::cooked::PROTOCOL => Some(ether_type.into()),
        RANDOM => Some(0),
        DIRECTION => Some(direction),
        _ => {
            let bytes = packet.get(at as usize..at as usize + length as usize)?;
            Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
    });
    known.0
}

fn run(program: &[Instruction], frame: &[u8], direction: u32, random: u32) -> (u32, usize) {
    bpf::run(program, |at, length| {
        if at == RANDOM {
            return Some(random);
        }
        if at == DIRECTION {
            return Some(direction);
        }
        let bytes = frame.get(at as usize..at as usize + length as usize)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    })
}
