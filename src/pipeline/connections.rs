//! Which segments belong to no connection. A scan by ACK, FIN with ACK or Window looks like the packets of a connection; the host
//! knows better, and refuses what belongs to none by a RST without ACK (RFC 9293, section 3.10.7.1).
//!
//! Live only this host's refusals leave it. In a file anybody's may be, and one made up would accuse whom it is sent to: there the
//! segment that is refused must have been seen, too.

use crate::detect::{Probe, Technique};
use crate::packet::{Packet, TcpFlags, Timestamp};
use crate::pipeline::known::{Known, Speakers};

/// For how long a host may refuse what still comes of a connection after its beginning: a client that closes early does so, once for each
/// of its ports. Of connections that last longer the port is taken for asked: twenty of one peer that end at once are a scan then.
const PATIENCE_SECONDS: u32 = 3_600;

/// Connections that began lately. What begins one is a SYN-ACK, and whoever sends many pushes others out: then a host's refusals to
/// its peers look like a scan by them, as a forger can have it anyway. A SYN-ACK before each ACK hides a scan from it; it tells
/// the scanner nothing that SYN-ACKs alone, which look like backscatter, do not.
#[derive(Debug)]
pub(super) struct Connections {
    began: Known,
    /// Where all is seen: what was sent that may be refused.
    sent: Option<Known>,
}

/// How long after a segment its refusal may come: a round trip, and a host that was busy.
const REFUSAL_SECONDS: u32 = 10;

/// The flags that are looked at: all but those that a router may set (RFC 3168).
const LOOKED_AT: u8 = 0x3f;

impl Connections {
    /// None yet, where all is seen, or only what tells of connections.
    pub(super) fn new(is_all_seen: bool) -> Self {
        let sent = is_all_seen.then(|| Known::new(REFUSAL_SECONDS));
        Self { began: Known::new(PATIENCE_SECONDS), sent }
    }

    /// The probe that a host refused by this packet, if it is a refusal and no connection of that port and peer began lately.
    pub(super) fn refused(&mut self, packet: &Packet) -> Option<Probe> {
        const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
        let &Packet { time, source, destination, source_port, destination_port, .. } = packet;
        let sender = Speakers { peer: destination, host: source, port: source_port };
        match packet.flags.0 & LOOKED_AT {
            SYN_ACK => {
                // Either side may refuse what comes later.
                self.began.note(time, sender);
                self.began.note(time, Speakers { peer: source, host: destination, port: destination_port });
                None
            }
            TcpFlags::RST if !self.began.go_on(time, sender) && self.was_sent(time, sender) => Some(Probe {
                time,
                source: destination,
                host: source,
                port: source_port,
                technique: Technique::Ack,
                tool: Default::default(),
                signature: Default::default(),
                reply: None,
            }),
            flags if flags & TcpFlags::ACK != 0 && flags & TcpFlags::RST == 0 => {
                if let Some(sent) = &mut self.sent {
                    sent.note(time, Speakers { peer: source, host: destination, port: destination_port });
                }
                None
            }
            _ => None,
        }
    }

    /// Whether there was something to refuse, as far as that is seen.
    fn was_sent(&mut self, time: Timestamp, refuses: Speakers) -> bool {
        self.sent.as_mut().is_none_or(|sent| sent.go_on(time, refuses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "192.0.2.10";
    const PEER: &str = "198.51.100.7";
    const SYN_ACK: u8 = 0x12;
    const RST: u8 = 0x04;

    fn packet(flags: u8, from: (&str, u16), to: (&str, u16), seconds: u64) -> Packet {
        Packet {
            time: Timestamp::new(1_700_000_000 + seconds, 0),
            source: from.0.parse().unwrap(),
            destination: to.0.parse().unwrap(),
            source_port: from.1,
            destination_port: to.1,
            sequence: 1,
            acknowledgement: 0,
            flags: TcpFlags(flags),
        }
    }

    #[test]
    fn what_a_host_refuses_was_asked_by_whom_it_tells() {
        let mut connections = Connections::new(false);
        for flags in [RST, RST | 0x40, RST | 0x80] {
            let asked = connections.refused(&packet(flags, (HOST, 22), (PEER, 40_000), 0)).unwrap();
            assert_eq!(
                (asked.source.to_string(), asked.host.to_string(), asked.port),
                (PEER.into(), HOST.into(), 22)
            );
            assert_eq!((asked.technique, asked.reply), (Technique::Ack, None));
        }
        // A RST with ACK refuses a SYN; nothing else refuses anything.
        for flags in (0..=0x3f).filter(|flags| *flags != RST) {
            assert_eq!(
                connections.refused(&packet(flags, (HOST, 22), (PEER, 40_000), 0)),
                None,
                "{flags:02x}"
            );
        }
    }

    #[test]
    fn of_a_connection_that_began_either_side_may_refuse_what_comes_later() {
        let mut connections = Connections::new(false);
        assert_eq!(connections.refused(&packet(SYN_ACK, (PEER, 443), (HOST, 40_000), 0)), None);
        let refused = [((HOST, 40_000), (PEER, 443)), ((PEER, 443), (HOST, 40_000))];
        for (from, to) in refused {
            assert_eq!(connections.refused(&packet(RST, from, to, 3_600)), None, "{from:?}");
        }
        // Another port of the same peers, another peer of the same port, and long after.
        for (from, to, seconds) in [
            ((HOST, 40_001), (PEER, 443), 1),
            ((HOST, 40_000), ("198.51.100.8", 443), 1),
            ((HOST, 40_000), (PEER, 443), 7_202),
        ] {
            assert!(
                connections.refused(&packet(RST, from, to, seconds)).is_some(),
                "{from:?} {to:?} {seconds}"
            );
        }
    }

    /// In a file: who was sent refusals and sent nothing is accused by whoever made them up.
    #[test]
    fn where_all_is_seen_only_what_was_sent_can_be_refused() {
        let mut connections = Connections::new(true);
        let refusal = |port, seconds| packet(RST, (HOST, port), (PEER, 40_000), seconds);
        assert_eq!(connections.refused(&refusal(22, 0)), None);
        for (port, flags) in [(22, 0x10), (23, 0x11), (24, 0x18), (25, 0x50)] {
            assert_eq!(connections.refused(&packet(flags, (PEER, 40_000), (HOST, port), 1)), None);
            assert!(connections.refused(&refusal(port, 2)).is_some(), "{flags:02x}");
        }
        // Another port, another peer, long after.
        assert_eq!(connections.refused(&refusal(26, 2)), None);
        assert_eq!(connections.refused(&packet(RST, (HOST, 22), ("198.51.100.8", 40_000), 2)), None);
        connections.refused(&packet(0x10, (PEER, 40_000), (HOST, 30), 3));
        assert_eq!(connections.refused(&refusal(30, 14)), None);
        // A RST, and what has no ACK, is refused otherwise or not at all.
        for flags in [RST, RST | 0x10, 0, 1, 2, 0x29] {
            connections.refused(&packet(flags, (PEER, 40_000), (HOST, 31), 20));
            assert_eq!(connections.refused(&refusal(31, 20)), None, "{flags:02x}");
        }
    }
}
