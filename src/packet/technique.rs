//! The techniques: in which ways a packet may ask "is something there?". One table; decoding, counting and the kernel
//! filter follow it.

use crate::packet::TcpFlags;
use std::fmt;
use std::str::FromStr;

/// Which techniques count together: what a source asks for in one class says nothing of another, so a count of SYN ports
/// means the same whatever else is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// TCP connections that begin.
    Syn,
    /// TCP segments that belong to no connection.
    Odd,
    /// UDP.
    Udp,
    /// SCTP associations that begin.
    Sctp,
    /// ICMP requests, which ask a host and no port.
    Icmp,
    /// Other protocols than these.
    Protocol,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 6] =
        [Class::Syn, Class::Odd, Class::Udp, Class::Sctp, Class::Icmp, Class::Protocol];
}

/// TCP flags that must be set, among those that are looked at; the others may be as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FlagTest {
    judged: u8,
    set: u8,
}

impl FlagTest {
    const fn holds(self, flags: u8) -> bool {
        flags & self.judged == self.set
    }
}

/// A row is a technique, its class, its label, and its TCP flags: those that are set, of those that are looked at. Where there
/// are several of these, one must hold; where there are none its flags do not tell (`pipeline::connections`), or it is not TCP
/// (`packet::datagram`).
macro_rules! techniques {
    ($($(#[$doc:meta])* $name:ident, $class:ident, $label:literal $(, $set:expr, of $judged:expr)*;)+) => {
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

            /// With which others it counts.
            #[inline]
            pub const fn class(self) -> Class {
                match self {
                    $(Technique::$name => Class::$class,)+
                }
            }

            /// By which TCP flags it is known.
            const fn flags(self) -> &'static [FlagTest] {
                match self {
                    $(Technique::$name => &[$(FlagTest { judged: $judged, set: $set }),*],)+
                }
            }
        }
    };
}

const FIN: u8 = TcpFlags::FIN;
const SYN: u8 = TcpFlags::SYN;
const RST: u8 = TcpFlags::RST;
const PSH: u8 = TcpFlags::PSH;
const ACK: u8 = TcpFlags::ACK;
const URG: u8 = 0x20;
/// All but ECE and CWR, which belong to no technique: a router may set them (RFC 3168).
const FLAGS: u8 = FIN | SYN | RST | PSH | ACK | URG;

// Adding one: a row here, in the order of the labels; a capture with its golden (tests/captures); its label in the README.
techniques! {
    /// An acknowledgement of nothing: ACK or FIN with ACK, in no connection (`nmap -sA`, `-sW`, `-sM`). The packets of every connection have
    /// these flags; what tells is the host's answer.
    Ack, Odd, "ack";
    /// FIN alone (`nmap -sF`). A stack that closes a connection sets ACK, too.
    Fin, Odd, "fin", FIN, of FLAGS;
    /// A request of ICMP for an echo, the time or the netmask (`nmap -PE`, `ping`): it asks whether a host is there.
    Icmp, Icmp, "icmp";
    /// No flag at all (`nmap -sN`).
    Null, Odd, "null", 0, of FLAGS;
    /// What else no stack sends: SYN with FIN or RST, FIN with RST, and data or urgent data that acknowledges nothing
    /// (`nmap --scanflags`). A RST without SYN or FIN asks nothing, whatever else is set: nobody answers it.
    Odd, Odd, "odd",
        SYN | FIN, of SYN | FIN,
        SYN | RST, of SYN | RST,
        FIN | RST, of FIN | RST | SYN | ACK,
        PSH, of FIN | SYN | RST | PSH | ACK,
        URG, of FLAGS,
        FIN | PSH, of FLAGS,
        FIN | URG, of FLAGS;
    /// Any other protocol of IP (`nmap -sO`); what is asked for is its number.
    Protocol, Protocol, "protocol";
    /// An SCTP association that begins: INIT (`nmap -sY`).
    Sctp, Sctp, "sctp";
    /// A SYN without ACK, RST or FIN (`nmap -sS`, and every ordinary connect). ECE and CWR may be set (RFC 3168); a SYN-ACK is
    /// backscatter.
    Syn, Syn, "syn", SYN, of SYN | ACK | RST | FIN;
    /// A UDP datagram that answers none (`nmap -sU`).
    Udp, Udp, "udp";
    /// FIN, PSH and URG without ACK (`nmap -sX`).
    Xmas, Odd, "xmas", FIN | PSH | URG, of FLAGS;
}

impl Technique {
    /// The technique of a segment with these flags, or `None`: established traffic and backscatter ask nothing.
    #[inline]
    pub const fn of(flags: TcpFlags) -> Option<Self> {
        BY_FLAGS[(flags.0 & FLAGS) as usize]
    }
}

/// The technique of each combination of flags.
const BY_FLAGS: [Option<Technique>; FLAGS as usize + 1] = {
    let mut by_flags = [None; FLAGS as usize + 1];
    let mut flags = 0;
    while flags <= FLAGS {
        let mut row = 0;
        while row < Technique::ALL.len() {
            let tests = Technique::ALL[row].flags();
            let mut test = 0;
            while test < tests.len() && !tests[test].holds(flags) {
                test += 1;
            }
            if test < tests.len() {
                assert!(by_flags[flags as usize].is_none(), "two techniques have the same flags");
                by_flags[flags as usize] = Some(Technique::ALL[row]);
            }
            row += 1;
        }
        flags += 1;
    }
    by_flags
};

/// Some of the techniques.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Techniques(u16);

impl Techniques {
    /// All that there are.
    pub const ALL: Self = Self::of(&Technique::ALL);

    /// Those that are looked for unless the operator says otherwise. They cost nothing, and what they take for a probe is one: an
    /// honest host asks so to begin a connection, or never.
    pub const DEFAULT: Self = Self::of(&[
        Technique::Fin,
        Technique::Null,
        Technique::Odd,
        Technique::Sctp,
        Technique::Syn,
        Technique::Xmas,
    ]);

    /// Those that are neither TCP nor SCTP: ordinary traffic must be looked at for them.
    const ORDINARY: Self = Self::of(&[Technique::Icmp, Technique::Protocol, Technique::Udp]);

    /// These.
    pub const fn of(techniques: &[Technique]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < techniques.len() {
            bits |= 1 << techniques[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without that.
    #[must_use]
    pub(crate) const fn without(self, technique: Technique) -> Self {
        Self(self.0 & !(1 << technique as u16))
    }

    /// Whether it is one of them.
    #[inline]
    pub const fn contains(self, technique: Technique) -> bool {
        self.0 >> technique as u16 & 1 == 1
    }

    /// Whether one is looked for in plain UDP, ICMP and whatever is not TCP.
    #[inline]
    pub(crate) const fn has_ordinary(self) -> bool {
        self.0 & Self::ORDINARY.0 != 0
    }

    /// Each of them, in label order.
    pub fn iter(self) -> impl Iterator<Item = Technique> {
        Technique::ALL.into_iter().filter(move |technique| self.contains(*technique))
    }

    /// The combinations of TCP flags by which one of them is known: a bit for each, by the value of the flags.
    pub(crate) fn flags(self) -> u64 {
        let asks = |flags: &u8| Technique::of(TcpFlags(*flags)).is_some_and(|known| self.contains(known));
        (0..=FLAGS).filter(asks).fold(0, |bits, flags| bits | 1 << flags)
    }
}

/// What there is to choose from, for messages.
fn known() -> String {
    Technique::ALL.map(Technique::label).join(", ")
}

/// `all`, or labels with commas between.
impl FromStr for Techniques {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::ALL);
        }
        let mut chosen = Self(0);
        for word in text.split(',').map(str::trim) {
            let technique = Technique::ALL.into_iter().find(|technique| technique.label() == word);
            let technique = technique
                .ok_or_else(|| format!("unknown technique {word:?} (known: all, or some of {})", known()))?;
            chosen.0 |= Self::of(&[technique]).0;
        }
        Ok(chosen)
    }
}

/// As it is written.
impl fmt::Display for Techniques {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Technique::label).collect::<Vec<_>>().join(","))
    }
}

impl Default for Techniques {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::frames::{self, LINKS};
    use crate::packet::tunnel::Tunnels;
    use crate::packet::{Timestamp, decode, filter};

    /// All 64 combinations of FIN, SYN, RST (across), PSH, ACK and URG (down), as nmap numbers the bits.
    #[rustfmt::skip]
    const ASKED: [[Option<Technique>; 8]; 8] = {
        const N: Option<Technique> = None;
        const S: Option<Technique> = Some(Technique::Syn);
        const F: Option<Technique> = Some(Technique::Fin);
        const X: Option<Technique> = Some(Technique::Xmas);
        const O: Option<Technique> = Some(Technique::Odd);
        const Z: Option<Technique> = Some(Technique::Null);
        [
            //0  F  S SF  R RF RS RSF
            [Z, F, S, O, N, O, O, O], // none
            [O, O, S, O, N, O, O, O], // PSH
            [N, N, N, O, N, N, O, O], // ACK
            [N, N, N, O, N, N, O, O], // ACK PSH
            [O, O, S, O, N, O, O, O], // URG
            [O, X, S, O, N, O, O, O], // URG PSH
            [N, N, N, O, N, N, O, O], // URG ACK
            [N, N, N, O, N, N, O, O], // URG ACK PSH
        ]
    };

    #[test]
    fn every_combination_of_flags_is_read_alike_by_the_table_the_decoder_and_the_kernel_filter() {
        let sets = [Techniques::DEFAULT, Techniques::ALL].into_iter();
        let sets: Vec<_> = sets.chain(Technique::ALL.map(|one| Techniques::of(&[one]))).collect();
        for (link, _) in LINKS {
            let programs: Vec<_> =
                sets.iter().map(|set| (set, filter::program(link, *set, Tunnels::Count))).collect();
            for flags in 0..=u8::MAX {
                let asked = ASKED[usize::from(flags >> 3 & 7)][usize::from(flags & 7)];
                assert_eq!(Technique::of(TcpFlags(flags)), asked, "{flags:08b}");
                for packet in [
                    frames::ipv4(frames::TCP, &frames::tcp(flags)),
                    frames::ipv6(frames::TCP, &frames::tcp(flags)),
                ] {
                    let frame = frames::link(link, &packet);
                    let decoded = decode(link, Timestamp::default(), &frame).map(|packet| packet.flags);
                    assert_eq!(decoded, Ok(TcpFlags(flags)), "a packet is what it is, whatever it asks");
                    for (set, program) in &programs {
                        let wanted = asked.is_some_and(|technique| set.contains(technique));
                        let taken = filter::simulate(program, &frame).0 > 0;
                        assert_eq!(taken, wanted, "{link:?}: {flags:08b} of {set:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn labels_are_in_order_and_none_comes_twice() {
        assert!(Technique::ALL.is_sorted_by(|a, b| a.label() < b.label()));
    }

    #[test]
    fn a_set_is_read_as_it_is_written() {
        assert_eq!("all".parse(), Ok(Techniques::ALL));
        assert_eq!("syn, udp".parse(), Ok(Techniques::of(&[Technique::Udp, Technique::Syn])));
        for set in [Techniques::ALL, Techniques::DEFAULT, Techniques::of(&[Technique::Udp])] {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert_eq!(Techniques::DEFAULT.to_string(), "fin,null,odd,sctp,syn,xmas");
        for text in ["", "syn,", "SYN", "synack", "all,syn"] {
            let error = text.parse::<Techniques>().expect_err("no techniques");
            assert!(error.ends_with(
                "(known: all, or some of ack, fin, icmp, null, odd, protocol, sctp, syn, udp, xmas)"
            ));
        }
    }

    #[test]
    fn a_set_holds_what_it_was_given() {
        assert_eq!(Techniques::ALL.iter().collect::<Vec<_>>(), Technique::ALL);
        let two = Techniques::of(&[Technique::Xmas, Technique::Fin]);
        assert_eq!(two.iter().map(Technique::label).collect::<Vec<_>>(), ["fin", "xmas"]);
        assert_eq!(two.flags(), 1 << 0x01 | 1 << 0x29);
    }
}
