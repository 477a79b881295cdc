//! What the filter lets through besides probes: what was answered to them, and the ends of connections. Those prove that a source read the
//! answer; of all acknowledgements, which would prove it as well, there are as many as packets.

use super::{SNAPLEN, Writer};
use crate::packet::bpf::{A_TO_X, ADD_X, AND, IF_ANY_BIT, IF_EQUAL, LOAD_HALF, LOAD_WORD, SHIFT_LEFT, X_IS};
use crate::packet::ip::TCP;
use crate::packet::link::{IPV4, IPV6, TAGS};
use crate::packet::{TcpFlags, Technique, Techniques};

/// Which of what comes of probes is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// None.
    None,
    /// Answers and ends of connections, whichever way they go.
    All,
    /// Answers that leave, and of what leaves nothing else; ends that arrive. Only the kernel knows what leaves, and only of real
    /// interfaces.
    Leaving,
}

/// How a packet came to the socket: `SKF_AD_OFF + SKF_AD_PKTTYPE` of linux/filter.h.
pub(super) const DIRECTION: u32 = 0xffff_f000 + 4;

/// PACKET_OUTGOING of linux/if_packet.h.
const OUTGOING: u32 = 4;

/// The combinations of TCP flags that answer a SYN: a bit for each, by the value of the flags.
const ANSWERS: u64 = 1 << (TcpFlags::SYN | TcpFlags::ACK) | 1 << (TcpFlags::RST | TcpFlags::ACK);

/// Those that end a connection.
const ENDS: u64 = 1 << (TcpFlags::FIN | TcpFlags::ACK) | 1 << (TcpFlags::RST | TcpFlags::ACK);

/// A host's word that a segment was of no connection (RFC 9293, section 3.10.7.1).
const REFUSALS: u64 = 1 << TcpFlags::RST;

/// What begins a connection of either side: refusals of what follows say nothing.
const BEGINNINGS: u64 = 1 << (TcpFlags::SYN | TcpFlags::ACK);

impl Replies {
    /// The combinations of flags that are taken of what arrives, as far as that is told apart.
    pub(super) const fn flags(self, techniques: Techniques) -> u64 {
        let has_ack = techniques.contains(Technique::Ack);
        match self {
            Replies::None => 0,
            Replies::All => ANSWERS | ENDS | if has_ack { REFUSALS } else { 0 },
            Replies::Leaving => ENDS | if has_ack { BEGINNINGS } else { 0 },
        }
    }
}

/// Those of what leaves.
const fn leaving(techniques: Techniques) -> u64 {
    ANSWERS | if techniques.contains(Technique::Ack) { REFUSALS } else { 0 }
}

impl Writer {
    /// What leaves is taken if it answers a SYN, or a segment of no connection where such are looked for. A host writes its answers plainly, with at most one tag in the frame. What arrives goes
    /// on behind this.
    pub(super) fn replies_that_leave(&mut self, ether_type: Option<u32>) {
        let (leaves, arrives) = (self.label(), self.label());
        self.code.put(LOAD_WORD, DIRECTION);
        self.when(IF_EQUAL, OUTGOING, leaves);
        self.code.go(arrives);
        self.place(leaves);
        let techniques = std::mem::replace(&mut self.techniques, Techniques::of(&[]));
        let replies = std::mem::replace(&mut self.replies, leaving(techniques));
        self.code.put(X_IS, 0);
        let (ipv4, ipv6) = (self.label(), self.label());
        match ether_type {
            Some(at) => {
                let tag = self.label();
                self.code.put(LOAD_HALF, at);
                self.when(IF_EQUAL, IPV4, ipv4);
                self.when(IF_EQUAL, IPV6, ipv6);
                for tag_type in TAGS {
                    self.when(IF_EQUAL, tag_type, tag);
                }
                self.drop();
                self.place(tag);
                self.half(2);
                self.step_with(4);
                self.when(IF_EQUAL, IPV4, ipv4);
                self.when(IF_EQUAL, IPV6, ipv6);
                self.drop();
            }
            None => {
                self.by_version(ipv4, ipv6);
                self.drop();
            }
        }
        let (tcp4, tcp6, other) = (self.label(), self.label(), self.label());
        self.place(ipv4);
        self.byte(9);
        self.when(IF_EQUAL, TCP, tcp4);
        self.drop();
        self.place(tcp4);
        self.half(6);
        self.when(IF_ANY_BIT, 0x3fff_u32, other);
        self.byte(0);
        self.code.put(AND, 0x0f);
        self.code.put(SHIFT_LEFT, 2);
        self.code.put(ADD_X, 0);
        self.code.put(A_TO_X, 0);
        self.flags(0, SNAPLEN);
        self.place(ipv6);
        self.byte(6);
        self.when(IF_EQUAL, TCP, tcp6);
        self.place(other);
        self.drop();
        self.place(tcp6);
        self.flags(40, SNAPLEN);
        (self.techniques, self.replies) = (techniques, replies);
        self.place(arrives);
    }
}
