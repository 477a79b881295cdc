//! The techniques: in which ways a packet may ask "is something there?". One table; decoding, counting and the kernel
//! filter follow it.

use crate::packet::TcpFlags;

/// Flags that must be set, among those that are looked at; the others may be as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlagTest {
    /// The flags that are looked at.
    pub(crate) judged: u8,
    /// Those of them that are set.
    pub(crate) set: u8,
}

impl FlagTest {
    #[inline]
    const fn holds(self, flags: TcpFlags) -> bool {
        flags.0 & self.judged == self.set
    }
}

/// A row is a technique, its label, the flags that are set, and those that are looked at.
macro_rules! techniques {
    ($($(#[$doc:meta])* $name:ident, $label:literal, $set:expr, of $judged:expr;)+) => {
        /// How a probe asks, in nmap's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Technique {
            $($(#[$doc])* $name,)+
        }

        impl Technique {
            /// Every technique, in label order.
            pub const ALL: [Technique; [$($label),+].len()] = [$(Technique::$name),+];

            /// The label in metrics, records and reports.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Technique::$name => $label,)+
                }
            }

            /// By which TCP flags it is known.
            pub(crate) const fn flags(self) -> FlagTest {
                match self {
                    $(Technique::$name => FlagTest { judged: $judged, set: $set },)+
                }
            }
        }
    };
}

const FIN: u8 = TcpFlags::FIN;
const SYN: u8 = TcpFlags::SYN;
const RST: u8 = TcpFlags::RST;
const ACK: u8 = TcpFlags::ACK;

// Adding one: a row here, in the order of the labels; a capture with its golden (tests/captures); its label in the README.
techniques! {
    /// A SYN without ACK, RST or FIN (`nmap -sS`, and every ordinary connect). ECE and CWR may be set (RFC 3168); a SYN-ACK is
    /// backscatter.
    Syn, "syn", SYN, of SYN | ACK | RST | FIN;
}

impl Technique {
    /// The technique of a segment with these flags, or `None`: established traffic and backscatter ask nothing.
    #[inline]
    pub const fn of(flags: TcpFlags) -> Option<Self> {
        let mut row = 0;
        while row < Self::ALL.len() {
            if Self::ALL[row].flags().holds(flags) {
                return Some(Self::ALL[row]);
            }
            row += 1;
        }
        None
    }
}

/// No two rows hold for the same flags: a probe has one technique, whatever the order of the rows.
const _: () = {
    let mut flags = 0_u8;
    loop {
        let (mut row, mut hold) = (0, 0);
        while row < Technique::ALL.len() {
            hold += Technique::ALL[row].flags().holds(TcpFlags(flags)) as u8;
            row += 1;
        }
        assert!(hold <= 1, "two techniques have the same flags");
        if flags == u8::MAX {
            break;
        }
        flags += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::frames::{self, LINKS};
    use crate::packet::{Timestamp, decode, filter};

    /// All 64 combinations of FIN, SYN, RST (across), PSH, ACK and URG (down), as nmap numbers the bits.
    #[rustfmt::skip]
    const ASKED: [[Option<Technique>; 8]; 8] = {
        const N: Option<Technique> = None;
        const S: Option<Technique> = Some(Technique::Syn);
        [
            //0  F  S SF  R RF RS RSF
            [N, N, S, N, N, N, N, N], // none
            [N, N, S, N, N, N, N, N], // PSH
            [N, N, N, N, N, N, N, N], // ACK
            [N, N, N, N, N, N, N, N], // ACK PSH
            [N, N, S, N, N, N, N, N], // URG
            [N, N, S, N, N, N, N, N], // URG PSH
            [N, N, N, N, N, N, N, N], // URG ACK
            [N, N, N, N, N, N, N, N], // URG ACK PSH
        ]
    };

    #[test]
    fn every_combination_of_flags_is_read_alike_by_the_table_the_decoder_and_the_kernel_filter() {
        for flags in 0..=u8::MAX {
            let asked = ASKED[usize::from(flags >> 3 & 7)][usize::from(flags & 7)];
            assert_eq!(Technique::of(TcpFlags(flags)), asked, "{flags:08b}");
            for packet in [
                frames::ipv4(frames::TCP, &frames::tcp(flags)),
                frames::ipv6(frames::TCP, &frames::tcp(flags)),
            ] {
                for (link, _) in LINKS {
                    let frame = frames::link(link, &packet);
                    let decoded = decode(link, Timestamp::default(), &frame).map(|packet| packet.flags);
                    assert_eq!(decoded, Ok(TcpFlags(flags)), "a packet is what it is, whatever it asks");
                    let taken = filter::simulate(&filter::program(link), &frame).0;
                    assert_eq!(taken > 0, asked.is_some(), "{link:?}: {flags:08b}");
                }
            }
        }
    }

    #[test]
    fn labels_are_in_order_and_none_comes_twice() {
        assert!(Technique::ALL.is_sorted_by(|a, b| a.label() < b.label()));
    }
}
