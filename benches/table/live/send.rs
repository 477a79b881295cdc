//! The sender, a process of its own: frames over a packet socket, many a system call, paced to a rate.

use lab::frames;
use lab::sender::{CLUMP, FRAME, Out};
use lab::traffic::{SECOND, Space};
use portscan_exporter::system::clock;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// The interface of the watched host is given this address: its own stack gets the frames as well, since some
/// receivers listen above it.
pub const TARGET_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The interface of nobody here.
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SYNs, each from a source of its own.
    Syn,
    /// ACKs, likewise: a kernel filter for probes discards them.
    Ack,
    /// SYNs, each from a source of its own, to somebody else, as a mirror port shows them: the host's own stack gives them up
    /// at once, which leaves more of the core for sending.
    Mirrored,
    /// SYNs of one source to one port after another.
    Scan,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Syn, Kind::Ack, Kind::Mirrored, Kind::Scan];

    pub const fn label(self) -> &'static str {
        match self {
            Kind::Syn => "syn",
            Kind::Ack => "ack",
            Kind::Mirrored => "mirrored",
            Kind::Scan => "scan",
        }
    }

    pub fn of(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

/// Sends on eth0 at a rate (0: as fast as it can), and prints how many frames and in how many nanoseconds.
#[allow(clippy::print_stdout, reason = "how the benchmark gets to know")]
pub fn send(rate: u64, seconds: u64, kind: Kind) -> io::Result<()> {
    stay_on_last_core()?;
    let out = Out::open()?;
    let mut frames = [frame(kind); CLUMP];
    let from = clock::steady();
    let end = Duration::from_secs(seconds);
    let mut sent = 0;
    let mut elapsed = Duration::ZERO;
    while elapsed < end {
        let due = if rate == 0 { u64::MAX } else { due(rate, elapsed) };
        let clump = due.saturating_sub(sent).min(CLUMP as u64);
        if clump == 0 {
            // Short enough that what is due meanwhile is a few clumps at the greatest rate.
            std::thread::sleep(Duration::from_micros(100));
        } else {
            for (n, frame) in (sent..sent + clump).zip(&mut frames) {
                address(frame, kind, n);
            }
            out.send(&frames[..clump as usize])?;
            sent += clump;
        }
        elapsed = from.elapsed();
    }
    println!("{sent} {}", elapsed.as_nanos());
    Ok(())
}

fn due(rate: u64, elapsed: Duration) -> u64 {
    (elapsed.as_nanos() * u128::from(rate) / u128::from(SECOND)) as u64
}

/// The kernel's work for a frame is done where it is sent: on one core, so that receivers can have the others.
fn stay_on_last_core() -> io::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let mut last = CpuSet::new();
    last.set(cores - 1);
    Ok(sched_setaffinity(None, &last)?)
}

/// What the frames of a kind have in common.
fn frame(kind: Kind) -> [u8; FRAME] {
    let segment = frames::tcp(if kind == Kind::Ack { frames::ACK } else { frames::SYN });
    let frame = frames::ethernet(frames::IPV4, &frames::ipv4(frames::TCP, &segment));
    let mut frame: [u8; FRAME] = frame.try_into().expect("as short as a frame may be");
    frame[..6].copy_from_slice(if kind == Kind::Mirrored { &OTHER_MAC } else { &TARGET_MAC });
    frame
}

/// The n-th frame's source and port. The header's sum must be right, the host's stack looks at it.
fn address(frame: &mut [u8; FRAME], kind: Kind, n: u64) {
    let (source, port) = match (kind, Space::Ipv4.spoofed(n)) {
        (Kind::Syn | Kind::Ack | Kind::Mirrored, IpAddr::V4(source)) => {
            (source.octets(), 1 + (n % 1_000) as u16)
        }
        _ => ([192, 0, 2, 7], 1 + (n % 65_535) as u16),
    };
    frame[26..30].copy_from_slice(&source);
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frames::sum(&mut frame[14..]);
}
