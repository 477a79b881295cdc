//! The sender, a process of its own: frames over a packet socket, many a system call, paced to a rate.

use lab::frames;
use lab::traffic::{SECOND, Space};
use portscan_exporter::system::clock;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

/// The interface of the watched host is given this address: its own stack gets the frames as well, since some
/// receivers listen above it.
pub const TARGET_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The interface of nobody here.
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// Frames a system call. More gain nothing, and would come in clumps at low rates.
const CLUMP: usize = 64;

/// The shortest Ethernet frame, without its checksum.
const FRAME: usize = 60;

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

/// A packet socket that only sends.
struct Out(OwnedFd);

impl Out {
    fn open() -> io::Result<Self> {
        let failed = |what| io::Error::other(format!("{what}: {}", io::Error::last_os_error()));
        // SAFETY: no pointer is passed. Protocol 0: it receives nothing.
        #[allow(unsafe_code, reason = "rustix binds no packet sockets")]
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(failed("a packet socket"));
        }
        // SAFETY: it was just opened and has no other owner.
        #[allow(unsafe_code, reason = "from here on it closes itself")]
        let out = Self(unsafe { OwnedFd::from_raw_fd(socket) });
        let index = rustix::net::netdevice::name_to_index(&out.0, "eth0")?;
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the descriptor is open, the address has the size that is told, and is only read.
        #[allow(unsafe_code, reason = "rustix binds no packet sockets")]
        let refused = unsafe {
            let size = size_of_val(&address) as libc::socklen_t;
            libc::bind(out.0.as_raw_fd(), (&raw const address).cast(), size)
        };
        if refused != 0 {
            return Err(failed("eth0"));
        }
        // SAFETY: as above, an int. A queue of the sender's interface would only cost time.
        #[allow(unsafe_code, reason = "rustix has no options of packet sockets")]
        let refused = unsafe {
            let (yes, size) = (1_i32, size_of::<i32>() as libc::socklen_t);
            let option = libc::PACKET_QDISC_BYPASS;
            libc::setsockopt(out.0.as_raw_fd(), libc::SOL_PACKET, option, (&raw const yes).cast(), size)
        };
        if refused == 0 { Ok(out) } else { Err(failed("PACKET_QDISC_BYPASS")) }
    }

    /// Sends all of at most `CLUMP` frames. One that the kernel had no room for is sent again: every frame arrives.
    fn send(&self, frames: &[[u8; FRAME]]) -> io::Result<()> {
        let mut done = 0;
        while done < frames.len() {
            let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: FRAME }; CLUMP];
            // SAFETY: a header of null pointers and zero lengths is one of an empty message.
            #[allow(unsafe_code, reason = "libc's headers have private padding on some systems")]
            let mut headers: [libc::mmsghdr; CLUMP] = unsafe { std::mem::zeroed() };
            let left = frames[done..].iter().take(CLUMP);
            for ((frame, part), header) in left.zip(&mut parts).zip(&mut headers) {
                part.iov_base = frame.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
            }
            let count = (frames.len() - done).min(CLUMP) as libc::c_uint;
            // SAFETY: `count` headers point at one part each, the parts at frames of the length told; all outlive the
            // call, which reads the frames and writes only the lengths in the headers.
            #[allow(unsafe_code, reason = "one call for many frames has no safe wrapper")]
            let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
            match usize::try_from(sent) {
                Ok(sent) => done += sent,
                Err(_) => match io::Error::last_os_error() {
                    error
                        if matches!(
                            error.raw_os_error(),
                            Some(libc::ENOBUFS | libc::EINTR | libc::EAGAIN)
                        ) => {}
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }
}
