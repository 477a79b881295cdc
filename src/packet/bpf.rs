//! The kernel's filter machine (classic BPF, the kernel's Documentation/networking/filter.rst): its instructions, an
//! assembler with labels, and a machine.

/// One instruction: `struct sock_filter` of linux/filter.h, `struct bpf_insn` of libpcap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to leave out if a comparison holds.
    pub jt: u8,
    /// How many if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// `BPF_*` of linux/bpf_common.h, put together: class, size, mode, operation, operand.
pub(crate) const LOAD_WORD: u16 = 0x20;
pub(crate) const LOAD_HALF: u16 = 0x28;
pub(crate) const LOAD_BYTE: u16 = 0x30;
pub(crate) const LOAD_WORD_AT_X: u16 = 0x40;
pub(crate) const LOAD_HALF_AT_X: u16 = 0x48;
pub(crate) const LOAD_BYTE_AT_X: u16 = 0x50;
pub(crate) const LOAD_MEMORY: u16 = 0x60;
pub(crate) const A_IS: u16 = 0x00;
pub(crate) const X_IS: u16 = 0x01;
pub(crate) const X_IS_MEMORY: u16 = 0x61;
pub(crate) const STORE: u16 = 0x02;
pub(crate) const ADD: u16 = 0x04;
pub(crate) const ADD_X: u16 = 0x0c;
pub(crate) const MULTIPLY: u16 = 0x24;
pub(crate) const AND: u16 = 0x54;
pub(crate) const SHIFT_LEFT: u16 = 0x64;
pub(crate) const SHIFT_RIGHT: u16 = 0x74;
pub(crate) const SHIFT_RIGHT_BY_X: u16 = 0x7c;
pub(crate) const XOR: u16 = 0xa4;
pub(crate) const XOR_X: u16 = 0xac;
const JUMP: u16 = 0x05;
pub(crate) const IF_EQUAL: u16 = 0x15;
pub(crate) const IF_ABOVE: u16 = 0x25;
pub(crate) const IF_AT_LEAST: u16 = 0x35;
pub(crate) const IF_ANY_BIT: u16 = 0x45;
pub(crate) const RETURN: u16 = 0x06;
pub(crate) const RETURN_A: u16 = 0x16;
pub(crate) const A_TO_X: u16 = 0x07;
pub(crate) const X_TO_A: u16 = 0x87;

/// A place in the program that is jumped to before it is written: the machine only jumps forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// A jump that is taken if its comparison holds, or if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Always,
    IfHolds,
    IfFails,
}

/// Writes a program, and finds out how far its jumps go.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    program: Vec<Instruction>,
    /// Where each label turned out to be.
    places: Vec<Option<usize>>,
    jumps: Vec<(usize, Taken, Label)>,
}

impl Assembler {
    /// A label that is not placed yet.
    pub(crate) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label is here.
    pub(crate) fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.program.len());
    }

    /// An instruction that is no jump.
    pub(crate) fn put(&mut self, code: u16, k: u32) {
        self.program.push(Instruction { code, jt: 0, jf: 0, k });
    }

    /// Jumps if the comparison holds, else goes on.
    pub(crate) fn when(&mut self, code: u16, k: u32, then: Label) {
        self.jump(code, k, Taken::IfHolds, then);
    }

    /// Goes on if the comparison holds, else jumps.
    pub(crate) fn unless(&mut self, code: u16, k: u32, otherwise: Label) {
        self.jump(code, k, Taken::IfFails, otherwise);
    }

    /// Jumps.
    pub(crate) fn go(&mut self, to: Label) {
        self.jump(JUMP, 0, Taken::Always, to);
    }

    fn jump(&mut self, code: u16, k: u32, taken: Taken, to: Label) {
        self.jumps.push((self.program.len(), taken, to));
        self.put(code, k);
    }

    /// The program, its jumps counted.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        for (at, taken, label) in self.jumps {
            let to = self.places[label.0].expect("every label is placed");
            let distance = to.checked_sub(at + 1).expect("every jump goes forward");
            let short = || u8::try_from(distance).expect("a comparison is near its target");
            let jump = &mut self.program[at];
            match taken {
                Taken::Always => jump.k = u32::try_from(distance).expect("a program is short"),
                Taken::IfHolds => jump.jt = short(),
                Taken::IfFails => jump.jf = short(),
            }
        }
        self.program
    }
}

/// What the kernel makes of a program: what it returns, and after how many steps. `load` reads so many bytes at an offset; where there are none, the program ends with 0.
///
/// # Panics
/// If the program has an instruction that no program here has.
pub(crate) fn run(program: &[Instruction], load: impl Fn(u32, u32) -> Option<u32>) -> (u32, usize) {
    let (mut a, mut x, mut memory, mut pc) = (0_u32, 0_u32, [0_u32; 16], 0);
    for steps in 1..=program.len() {
        let Instruction { code, jt, jf, k } = program[pc];
        pc += 1;
        let from = match code {
            LOAD_WORD => Some((k, 4)),
            LOAD_HALF => Some((k, 2)),
            LOAD_BYTE => Some((k, 1)),
            LOAD_WORD_AT_X => Some((x.wrapping_add(k), 4)),
            LOAD_HALF_AT_X => Some((x.wrapping_add(k), 2)),
            LOAD_BYTE_AT_X => Some((x.wrapping_add(k), 1)),
            _ => None,
        };
        if let Some((at, length)) = from {
            match load(at, length) {
                Some(loaded) => a = loaded,
                None => return (0, steps),
            }
            continue;
        }
        match code {
            LOAD_MEMORY => a = memory[k as usize],
            A_IS => a = k,
            X_IS => x = k,
            X_IS_MEMORY => x = memory[k as usize],
            STORE => memory[k as usize] = a,
            ADD => a = a.wrapping_add(k),
            ADD_X => a = a.wrapping_add(x),
            MULTIPLY => a = a.wrapping_mul(k),
            AND => a &= k,
            SHIFT_LEFT => a <<= k,
            SHIFT_RIGHT => a >>= k,
            SHIFT_RIGHT_BY_X => a >>= x,
            XOR => a ^= k,
            XOR_X => a ^= x,
            JUMP => pc += k as usize,
            IF_EQUAL => pc += usize::from(if a == k { jt } else { jf }),
            IF_ABOVE => pc += usize::from(if a > k { jt } else { jf }),
            IF_AT_LEAST => pc += usize::from(if a >= k { jt } else { jf }),
            IF_ANY_BIT => pc += usize::from(if a & k != 0 { jt } else { jf }),
            RETURN => return (k, steps),
            RETURN_A => return (a, steps),
            A_TO_X => x = a,
            X_TO_A => a = x,
            _ => panic!("instruction {code:#x} has no meaning here"),
        }
    }
    panic!("the program does not end");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the byte at 0 is 1, 2 or something else.
    fn sample() -> Vec<Instruction> {
        let mut write = Assembler::default();
        let (one, end) = (write.label(), write.label());
        write.put(X_IS, 0);
        write.put(LOAD_BYTE_AT_X, 0);
        write.when(IF_EQUAL, 1, one);
        write.unless(IF_EQUAL, 2, end);
        write.put(RETURN, 20);
        write.place(one);
        write.put(RETURN, 10);
        write.place(end);
        write.put(RETURN, 0);
        write.finish()
    }

    #[test]
    fn jumps_lead_to_their_labels() {
        let program = sample();
        let returned = |byte| run(&program, |_, _| Some(byte)).0;
        assert_eq!([1, 2, 3].map(returned), [10, 20, 0]);
        assert_eq!((program[2].jt, program[2].jf, program[3].jt, program[3].jf), (2, 0, 0, 2));
    }

    #[test]
    fn reading_behind_the_end_drops_the_frame() {
        assert_eq!(run(&sample(), |_, _| None), (0, 2));
    }
}
