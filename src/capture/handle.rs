//! An open libpcap handle on an interface: what it takes, what it counts, and whether it is still good for anything.

use super::fanout;
use super::group::LOOPBACK;
use super::install;
use super::interfaces::{is_running, names};
use super::requests::Requests;
use super::{
    CaptureError, CaptureStatus, Direction, FrameSink, LiveOptions, Wake, pcap_words, supported_link,
    timestamp,
};
use crate::packet::filter;
use crate::packet::tunnel::Tunnels;
use crate::packet::{LinkType, Technique, Techniques, Timestamp};
use crate::system::privilege;
use crate::text::printable;
use pcap::{Active, Capture, Precision};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Frames handed over between two looks at the clock and the wake: a tick is never later than this under load.
pub(super) const BATCH: usize = 8192;

/// After how many milliseconds the kernel hands over a block that is not full.
const BLOCK_TIMEOUT_MS: i32 = 100;

/// The pseudo-interface that is all of them; it has no index, no flags and never goes away.
pub(super) const ANY: &str = "any";

/// What a sink was handed at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dispatched {
    pub(super) frames: usize,
    /// When the last of them was captured.
    pub(super) latest: Timestamp,
}

/// An open capture handle and what identifies it to the kernel.
pub(super) struct Handle {
    capture: Capture<Active>,
    pub(super) link: LinkType,
    /// The interface's index; a new interface of the same name has another one. `None` for `any`.
    index: Option<u32>,
    /// What its filter lets through.
    techniques: Techniques,
    tunnels: Tunnels,
    direction: Direction,
    /// Which answers it takes.
    replies: filter::Replies,
    /// What this host asks for, where that is of use.
    requests: Option<Requests>,
    /// libpcap's counters at the last look: 32 bits, wrapping, from zero when reopened.
    seen: pcap::Stat,
}

impl Handle {
    /// Without a filter yet.
    pub(super) fn open(interface: &str, options: &LiveOptions) -> Result<Self, CaptureError> {
        let refused = |reason: String| CaptureError::Interface { interface: interface.to_owned(), reason };
        // libpcap calls a missing interface a matter of permission when there is no privilege: look first.
        let index = if interface == ANY { None } else { Some(index_of(interface)?) };
        if !privilege::may_capture() {
            return Err(CaptureError::NoPrivilege { interface: interface.to_owned() });
        }
        let capture = Self::activate(interface, options)?;
        let link = supported_link(capture.get_datalink())
            .map_err(|link| CaptureError::UnsupportedLink { interface: interface.to_owned(), link })?;
        let replies = replies(interface, options);
        let direction = match options.direction {
            Direction::In if replies == filter::Replies::Leaving => pcap::Direction::InOut,
            Direction::In => pcap::Direction::In,
            Direction::Out => pcap::Direction::Out,
            Direction::InOut => pcap::Direction::InOut,
        };
        capture.direction(direction).map_err(|error| {
            refused(format!(
                "the direction cannot be set ({}); try --capture.direction=inout",
                pcap_words(&error)
            ))
        })?;
        let capture = capture.setnonblock().map_err(|error| refused(pcap_words(&error)))?;
        let seen = pcap::Stat { received: 0, dropped: 0, if_dropped: 0 };
        let &LiveOptions { techniques, tunnels, direction, .. } = options;
        Ok(Self { capture, link, index, techniques, tunnels, direction, replies, requests: None, seen })
    }

    fn activate(interface: &str, options: &LiveOptions) -> Result<Capture<Active>, CaptureError> {
        let buffer = i32::try_from(options.buffer_bytes / options.threads).unwrap_or(i32::MAX);
        let capture = Capture::from_device(interface).map_err(|error| CaptureError::Interface {
            interface: interface.to_owned(),
            reason: pcap_words(&error),
        })?;
        capture
            // libpcap refuses promiscuous mode on `any`, although nothing is lost without it.
            .promisc(options.promiscuous && interface != ANY)
            // The filter says how much of each packet.
            .snaplen(filter::SNAPLEN_MAX.cast_signed())
            .timeout(BLOCK_TIMEOUT_MS)
            .buffer_size(buffer)
            .precision(Precision::Nano)
            .open()
            .map_err(|error| explain_open(interface, &pcap_words(&error)))
    }

    /// From now on only what `decode` may find a probe of these techniques in.
    pub(super) fn set_filter(&mut self, interface: &str, techniques: Techniques) -> Result<(), CaptureError> {
        let refused = |why: String| CaptureError::Interface {
            interface: interface.to_owned(),
            reason: format!("the kernel filter was refused: {why}"),
        };
        let program = |replies| filter::program_with(self.link, techniques, self.tunnels, replies);
        if self.replies == filter::Replies::Leaving {
            // libpcap runs it over its first ring, and knows nothing of what leaves; what of that gets through has an own address of
            // this host as its source. From then on the kernel knows.
            install::filter(&mut self.capture, &program(filter::Replies::All)).map_err(refused)?;
            // Past libpcap, which would move what the program reads to where the socket has it.
            let leaving =
                filter::for_socket(self.link, &program(filter::Replies::Leaving)).map_err(refused)?;
            fanout::attach(&self.capture, &leaving).map_err(|error| refused(error.to_string()))?;
        } else {
            install::filter(&mut self.capture, &program(self.replies)).map_err(refused)?;
        }
        self.techniques = techniques;
        self.look_for_requests(interface);
        Ok(())
    }

    /// Where UDP is looked for among what arrives, what leaves says which of it are answers.
    fn look_for_requests(&mut self, interface: &str) {
        let are_needed = self.techniques.contains(Technique::Udp) && self.direction == Direction::In;
        if !are_needed || interface == LOOPBACK {
            self.requests = None;
        } else if self.requests.is_none() {
            self.requests = Requests::open(interface)
                .inspect_err(|why| {
                    log::warn!(
                        "{}: what this host asks for by UDP cannot be seen ({why}); answers are told by their ports",
                        printable(interface)
                    );
                })
                .ok();
        }
    }

    /// The same, unless they are what it looks for already.
    pub(super) fn look_for(&mut self, interface: &str, techniques: Techniques) -> Result<(), String> {
        if techniques == self.techniques {
            return Ok(());
        }
        self.set_filter(interface, techniques).map_err(|error| error.reason())
    }

    /// Hands at most one batch to the sink.
    pub(super) fn dispatch(&mut self, sink: &mut impl FrameSink) -> Result<Dispatched, String> {
        let mut latest = Timestamp::default();
        let frames = match &mut self.requests {
            None => self.capture.dispatch(Some(BATCH), |packet| {
                latest = timestamp(packet.header);
                sink.frame(latest, packet.data);
            }),
            Some(requests) => {
                requests.hand_over_now(sink);
                self.capture.dispatch(Some(BATCH), |packet| {
                    latest = timestamp(packet.header);
                    requests.hand_over(latest, sink);
                    sink.frame(latest, packet.data);
                })
            }
        };
        let frames = frames.map_err(|error| pcap_words(&error))?;
        if frames > 0 {
            sink.batch_end();
        }
        Ok(Dispatched { frames, latest })
    }

    /// Adds what libpcap counted since the last look.
    pub(super) fn account(&mut self, totals: &mut CaptureStatus) {
        // A dead handle has nothing to add.
        let Ok(now) = self.capture.stats() else { return };
        totals.received += grown(self.seen.received, now.received);
        totals.dropped += grown(self.seen.dropped, now.dropped);
        totals.interface_dropped += grown(self.seen.if_dropped, now.if_dropped);
        self.seen = now;
    }

    /// Whether the name still means the interface that was opened: a deleted and recreated one leaves the
    /// old handle without an error and without frames.
    pub(super) fn check(&self, interface: &str) -> Result<(), String> {
        let Some(opened) = self.index else { return Ok(()) };
        match lookup(interface) {
            Ok(Some(index)) if index == opened => Ok(()),
            Ok(Some(_)) => Err(String::from("another interface has its name now")),
            Ok(None) => Err(String::from("the interface disappeared")),
            // Not being able to ask (no descriptor left) says nothing about the interface.
            Err(_) => Ok(()),
        }
    }

    /// Whether anything can arrive: not while the interface is down or has no carrier.
    pub(super) fn delivers(&self, interface: &str) -> bool {
        self.index.is_none() || is_running(interface)
    }
}

/// Which answers a capture takes. On `any` the kernel does not say of a frame whether it leaves, and on `lo` all is the host's own.
fn replies(interface: &str, options: &LiveOptions) -> filter::Replies {
    match options.direction {
        _ if !options.replies => filter::Replies::None,
        Direction::InOut => filter::Replies::All,
        Direction::In if interface != ANY && interface != LOOPBACK => filter::Replies::Leaving,
        _ => filter::Replies::None,
    }
}

/// The growth of a 32-bit counter that wraps. One that fell was reset by its driver: nothing to add.
fn grown(before: u32, now: u32) -> u64 {
    let growth = now.wrapping_sub(before);
    if growth > u32::MAX / 2 { 0 } else { u64::from(growth) }
}

/// The index of an interface, `None` if there is none of this name.
fn lookup(interface: &str) -> rustix::io::Result<Option<u32>> {
    // Any socket will do, and a sandbox leaves this family open when it closes the others.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    match netdevice::name_to_index(&socket, interface) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn index_of(interface: &str) -> Result<u32, CaptureError> {
    // A name that is too long for the kernel is as missing as any other.
    lookup(interface)
        .ok()
        .flatten()
        .ok_or_else(|| CaptureError::NoSuchInterface { interface: interface.to_owned(), known: names() })
}

/// libpcap's reason for not opening an interface, in the words of what to do about it.
fn explain_open(interface: &str, reason: &str) -> CaptureError {
    let interface = interface.to_owned();
    let lower = reason.to_lowercase();
    if lower.contains("permission") || lower.contains("not permitted") {
        CaptureError::NoPrivilege { interface }
    } else if lower.contains("not up") || lower.contains("network is down") {
        CaptureError::InterfaceDown { interface }
    } else if lower.contains("no such device") {
        CaptureError::NoSuchInterface { interface, known: names() }
    } else {
        CaptureError::Interface { interface, reason: reason.to_owned() }
    }
}

/// Waits for frames, a call, or the timeout; whether frames (or an error) wait.
pub(super) fn wait(handle: Option<&Handle>, wake: &Wake, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).ok();
    let mut descriptors = [PollFd::new(wake, PollFlags::IN), PollFd::new(wake, PollFlags::empty())];
    let used = match handle {
        Some(handle) => {
            descriptors[1] = PollFd::new(&handle.capture, PollFlags::IN);
            2
        }
        None => 1,
    };
    // An interrupted wait is a short one.
    let ready = poll(&mut descriptors[..used], timeout.as_ref());
    ready.is_ok() && used == 2 && !descriptors[1].revents().is_empty()
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_growing_over_the_wrap() {
        assert_eq!(grown(10, 25), 15);
        assert_eq!(grown(u32::MAX - 4, 5), 10);
        assert_eq!(grown(1000, 10), 0, "a reset is not four billion packets");
    }

    #[test]
    fn what_libpcap_says_becomes_what_to_do() {
        let say = |reason: &str| explain_open("eth0", reason).to_string();
        assert!(say("eth0: That device is not up").ends_with("(try: sudo ip link set eth0 up)"));
        assert!(say("eth0: You don't have permission to perform this capture").contains("CAP_NET_RAW"));
        assert_eq!(say("out of luck"), "cannot capture on eth0: out of luck");
    }
}
