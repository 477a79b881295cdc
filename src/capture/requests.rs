//! What this host asks for by UDP: a second, small ring with what leaves. A capture of what arrives cannot tell an answer from
//! a probe without it.

use super::fanout;
use super::{FrameSink, pcap_words, timestamp};
use crate::packet::Timestamp;
use crate::packet::bpf::{Assembler, IF_EQUAL, Instruction, LOAD_BYTE, LOAD_WORD, Label, RETURN};
use crate::packet::link::{IPV4, IPV6, TAGS};
use crate::system::clock;
use pcap::{Active, Capture, Precision};

/// Enough for tags, IP and UDP.
const SNAPLEN: u32 = 128;

/// Some 8,000 requests between two looks at them. The kernel drops what does not fit, and an answer to that counts as a probe.
pub(crate) const RING_BYTES: u32 = 2 << 20;

/// PACKET_OUTGOING of packet(7).
const OUTGOING: u32 = 4;

/// IP's numbers of UDP, and of what may lead to it.
const UDP: u32 = 17;
const EXTENSIONS: [u32; 4] = [0, 43, 44, 60];

/// The ring of what leaves.
pub(super) struct Requests {
    capture: Capture<Active>,
    /// What was sent until then has been handed over.
    until: Timestamp,
}

impl Requests {
    /// Opens it, or says why it cannot be had.
    pub(super) fn open(interface: &str) -> Result<Self, String> {
        let capture = Capture::from_device(interface).map_err(|error| pcap_words(&error))?;
        let capture = capture
            .snaplen(SNAPLEN.cast_signed())
            .buffer_size(RING_BYTES.cast_signed())
            // Each request must be there when its answer is looked at. Nobody waits on this ring, so it wakes nobody.
            .immediate_mode(true)
            .precision(Precision::Nano)
            .open()
            .map_err(|error| pcap_words(&error))?;
        // Not by libpcap, which knows nothing of what leaves and would run it over its first ring.
        fanout::attach(&capture, &program()).map_err(|error| error.to_string())?;
        capture.direction(pcap::Direction::Out).map_err(|error| pcap_words(&error))?;
        let capture = capture.setnonblock().map_err(|error| pcap_words(&error))?;
        Ok(Self { capture, until: Timestamp::default() })
    }

    /// Hands over what was sent, unless that was done after this moment. A ring that has died stays silent: the interface's own ring
    /// dies with it, and both are opened anew.
    #[inline]
    pub(super) fn hand_over(&mut self, before: Timestamp, sink: &mut impl FrameSink) {
        if before >= self.until {
            self.hand_over_now(sink);
        }
    }

    #[cold]
    pub(super) fn hand_over_now(&mut self, sink: &mut impl FrameSink) {
        let now = clock::wall();
        // As many as the ring holds, however fast they come.
        let most = RING_BYTES as usize / SNAPLEN as usize;
        let _ = self.capture.dispatch(Some(most), |packet| sink.sent(timestamp(packet.header), packet.data));
        self.until = now;
    }
}

/// What leaves and is UDP, or may be, as the kernel knows it.
fn program() -> Vec<Instruction> {
    let known = |what: i32| (libc::SKF_AD_OFF + what).cast_unsigned();
    let of_network = |at: i32| (libc::SKF_NET_OFF + at).cast_unsigned();
    let mut code = Assembler::default();
    let [out, v4, v6, take]: [Label; 4] = std::array::from_fn(|_| code.label());
    code.put(LOAD_WORD, known(libc::SKF_AD_PKTTYPE));
    code.unless(IF_EQUAL, OUTGOING, out);
    code.put(LOAD_WORD, known(libc::SKF_AD_PROTOCOL));
    code.when(IF_EQUAL, IPV4.into(), v4);
    code.when(IF_EQUAL, IPV6.into(), v6);
    for tag in TAGS {
        code.when(IF_EQUAL, tag.into(), take);
    }
    code.go(out);
    code.place(v4);
    code.put(LOAD_BYTE, of_network(9));
    code.when(IF_EQUAL, UDP, take);
    code.go(out);
    code.place(v6);
    code.put(LOAD_BYTE, of_network(6));
    for next in EXTENSIONS.into_iter().chain([UDP]) {
        code.when(IF_EQUAL, next, take);
    }
    code.place(out);
    code.put(RETURN, 0);
    code.place(take);
    code.put(RETURN, SNAPLEN);
    code.finish()
}
