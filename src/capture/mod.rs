//! Frames of an interface (libpcap) or of a file, into a `FrameSink`.
//!
//! The capture knows nothing of what becomes of a frame; it owns the handle, the clock of the ticks and
//! its own account of losses.

// Live.
mod due;
mod fanout;
mod group;
mod handle;
mod install;
mod interfaces;
mod live;
mod opening;
mod places;
mod requests;
mod surroundings;

// Files.
mod account;
mod classic;
mod file;
mod format;
mod pcapng;
mod pieces;

mod wake;

pub use account::Account;
pub use file::{Progress, read_file};
pub(crate) use group::Fanout;
pub use interfaces::{Interface, default_interface, interfaces};
pub(crate) use interfaces::{own_addresses, own_name};
pub use live::Live;
pub use places::{Patterns, PlaceCounts};
pub(crate) use places::{counts, place_counts};
pub(crate) use requests::RING_BYTES as REQUEST_RING_BYTES;
pub(crate) use surroundings::Surroundings;
pub use wake::Wake;

pub use crate::packet::tunnel::Tunnels;
use crate::packet::{LinkType, Techniques, Timestamp};
use crate::text::printable;
use std::fmt;
use std::path::PathBuf;

/// Why the first place does not capture where no interface matches: what a sink's `lost` then hears.
pub(crate) const NOTHING_MATCHES: &str = "no interface matches";

/// Where frames go. The capture knows nothing of what becomes of them.
pub trait FrameSink {
    /// A source of frames was opened (again); what follows has this link layer.
    fn opened(&mut self, link: LinkType);
    /// One frame, as captured. The hot path: called for every frame.
    fn frame(&mut self, time: Timestamp, bytes: &[u8]);
    /// One datagram that this host sent, where answers to it must be told from probes; before the answer is handed over.
    fn sent(&mut self, _time: Timestamp, _bytes: &[u8]) {}
    /// What was waiting has been handed over; a sink that keeps a batch should finish it now.
    fn batch_end(&mut self);
    /// About once a second while live, however quiet the interface; never for files.
    fn tick(&mut self, status: &CaptureStatus);
    /// The live capture broke, for this reason; it is retried, and `opened` follows when it is back.
    fn lost(&mut self, _reason: &str) {}
    /// What follows is of another interface: the default route leads there now. `opened` comes next.
    fn moved(&mut self, _interface: &str) {}
    /// What follows is of an interface that has nothing to do with the one before: everything begins anew. `opened` comes next.
    fn replaced(&mut self, _interface: &str) {}
}

/// A capture's own account of itself. Totals are since the start of the process, across reopenings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureStatus {
    /// Whether frames are being captured now.
    pub up: bool,
    /// Whether there is no interface to capture on: a place that waits for one that matches.
    pub idle: bool,
    /// Frames that passed the kernel filter (`ps_recv`), whichever way they went: libpcap drops the other
    /// direction only afterwards, and on `lo` every frame goes both ways.
    pub received: u64,
    /// Frames lost because the buffer was full (`ps_drop`).
    pub dropped: u64,
    /// Frames the interface or its driver dropped (`ps_ifdrop`).
    pub interface_dropped: u64,
    /// Times the capture was reopened after a failure.
    pub restarts: u64,
    /// Times it did not run for more than three seconds: the process was stopped, the machine asleep, the thread stuck.
    pub pauses: u64,
    /// When its loop last ticked; `None` for files.
    pub last_tick: Option<Timestamp>,
}

/// Which packets of an interface are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Only what arrives: the host's own connections never count.
    #[default]
    In,
    /// Only what leaves.
    Out,
    /// Both, for mirror ports.
    InOut,
}

/// What becomes of an IPv4 datagram that comes in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fragments {
    /// The kernel puts it together before the filter looks at it, where it can: not on `lo`.
    #[default]
    Reassemble,
    /// Its pieces are counted, and none of them is a probe.
    Count,
}

/// How to capture on one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOptions {
    /// The interface's name.
    pub interface: String,
    /// Which packets.
    pub direction: Direction,
    /// Whether to ask the card for packets that are not for this host.
    pub promiscuous: bool,
    /// The kernel's rings, in bytes, all threads together.
    pub buffer_bytes: usize,
    /// Threads that share the interface's packets, by source; at least one.
    pub threads: usize,
    /// What to do about IPv4 fragments.
    pub fragments: Fragments,
    /// What the kernel looks for; a reload may change it.
    pub techniques: Techniques,
    /// Whether tunnels are looked into.
    pub tunnels: Tunnels,
    /// Whether what was answered is looked for.
    pub replies: bool,
}

/// Why nothing (more) can be captured or read, and what to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureError {
    /// No interface has this name.
    NoSuchInterface {
        /// The name that was asked for.
        interface: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The process may not open packet sockets.
    NoPrivilege {
        /// The interface that was to be captured.
        interface: String,
    },
    /// The interface is administratively down.
    InterfaceDown {
        /// The interface that was to be captured.
        interface: String,
    },
    /// The interface's frames start with a header that `decode` does not know.
    UnsupportedLink {
        /// The interface that was to be captured.
        interface: String,
        /// The link type's name and number.
        link: String,
    },
    /// Any other error of libpcap on an interface.
    Interface {
        /// The interface that was to be captured.
        interface: String,
        /// What was refused, and why.
        reason: String,
    },
    /// A file that cannot be read, or not to its end.
    File {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl CaptureError {
    /// What is in the way and what to try, without saying where.
    pub fn reason(&self) -> String {
        match self {
            CaptureError::NoSuchInterface { known, .. } => {
                format!("no such device (interfaces: {})", printable(&known.join(", ")))
            }
            CaptureError::NoPrivilege { .. } => String::from(
                "no privilege, it needs CAP_NET_RAW (run it with sudo, or grant it once: sudo setcap cap_net_raw+ep \
                 \"$(command -v portscan_exporter)\")",
            ),
            CaptureError::InterfaceDown { interface } => {
                format!("the interface is down (try: sudo ip link set {} up)", printable(interface))
            }
            CaptureError::UnsupportedLink { link, .. } => {
                format!("link type {link} is not supported (supported: {SUPPORTED_LINKS})")
            }
            CaptureError::Interface { reason, .. } | CaptureError::File { reason, .. } => reason.clone(),
        }
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        match self {
            CaptureError::NoSuchInterface { interface, .. }
            | CaptureError::NoPrivilege { interface }
            | CaptureError::InterfaceDown { interface }
            | CaptureError::UnsupportedLink { interface, .. }
            | CaptureError::Interface { interface, .. } => {
                write!(f, "cannot capture on {}: {reason}", printable(interface))
            }
            CaptureError::File { path, .. } if path.as_os_str() == "-" => {
                write!(f, "cannot read standard input: {reason}")
            }
            CaptureError::File { path, .. } => {
                write!(f, "cannot read {}: {reason}", printable(&path.to_string_lossy()))
            }
        }
    }
}

impl std::error::Error for CaptureError {}

/// What error messages say instead of a list of numbers.
const SUPPORTED_LINKS: &str = "Ethernet, Linux cooked, raw IP, BSD loopback";

/// The link type as libpcap numbers it, or its name and number for the message.
fn supported_link(link: pcap::Linktype) -> Result<LinkType, String> {
    LinkType::from_dlt(link.0).ok_or_else(|| match link.get_name() {
        Ok(name) => format!("{name} ({})", link.0),
        Err(_) => link.0.to_string(),
    })
}

/// The sentence about a link type that nobody can decode.
fn unsupported(name: &str) -> String {
    format!("link type {name} is not supported (supported: {SUPPORTED_LINKS})")
}

/// The reason that libpcap gives, without the crate's own "libpcap error: " before it.
fn pcap_words(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

/// The system's words without "(os error 2)".
fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// The time of a frame captured with nanosecond precision: `tv_usec` then holds nanoseconds.
#[inline]
fn timestamp(header: &pcap::PacketHeader) -> Timestamp {
    // libpcap reads the unsigned 32-bit seconds of a file as signed: a negative time is one after 2038.
    let seconds = header.ts.tv_sec;
    let seconds = u64::try_from(seconds).or_else(|_| u64::try_from(seconds & 0xffff_ffff)).unwrap_or(0);
    // A file may say anything; a second has fewer than 1e9 nanoseconds.
    let nanoseconds = u32::try_from(header.ts.tv_usec).unwrap_or(0).min(999_999_999);
    Timestamp::new(seconds, nanoseconds)
}

/// The libpcap at work, for `build_info`: "libpcap version 1.10.3 (with TPACKET_V3)".
pub fn libpcap_version() -> String {
    // The pcap crate links libpcap but does not expose this one call.
    #[allow(unsafe_code, reason = "a C function without arguments that returns a static string")]
    unsafe extern "C" {
        safe fn pcap_lib_version() -> *const std::ffi::c_char;
    }
    let text = pcap_lib_version();
    if text.is_null() {
        return String::from("unknown");
    }
    // SAFETY: pcap_lib_version(3PCAP) returns a NUL-terminated string that is never freed or changed.
    #[allow(unsafe_code, reason = "reading the static string of the call above")]
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}
