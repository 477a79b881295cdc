//! Which segments belong to no connection. A scan by ACK, FIN with ACK or Window looks like the packets of a connection; the host
//! knows better, and refuses what belongs to none by a RST without ACK (RFC 9293, section 3.10.7.1).

use crate::detect::{Probe, Technique};
use crate::packet::{Packet, TcpFlags};
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
}

/// The flags that are looked at: all but those that a router may set (RFC 3168).
const LOOKED_AT: u8 = 0x3f;

impl Connections {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { began: Known::new(PATIENCE_SECONDS) }
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
            TcpFlags::RST if !self.began.go_on(time, sender) => Some(Probe {
                time,
                source: destination,
                host: source,
                port: source_port,
                technique: Technique::Ack,
                tool: Default::default(),
                signature: Default::default(),
                reply: None,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Timestamp;

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
        let mut connections = Connections::new();
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
        let mut connections = Connections::new();
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
}
