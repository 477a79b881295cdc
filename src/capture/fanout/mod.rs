//! Several sockets on one interface as one, by PACKET_FANOUT of packet(7): which of them gets a packet is decided by a
//! program on its source, so that one source always meets the same detector; and IPv4 is put together before that.
//!
//! Reassembly is the flag PACKET_FANOUT_FLAG_DEFRAG. What it costs is bounded by the kernel, not by us: incomplete
//! datagrams take at most `net.ipv4.ipfrag_high_thresh` (4 MiB) for `net.ipv4.ipfrag_time` (30 s), a queue is dropped when
//! pieces overlap (the kernel's Documentation/networking/ip-sysctl.rst). A flood of pieces fills that and
//! is back to not being reassembled; he gets no memory from this process. Seen on Linux 6.18, and written in the README: the
//! kernel answers a datagram for this host that stays incomplete once more than without us (ICMP "time exceeded"), and all
//! groups of a network namespace share one reassembly, so that only one of them gets the whole datagram.

mod program;

pub(super) use program::HashKeys;

use crate::packet::bpf::{Instruction, RETURN};
use program::program;
use rustix::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What a group does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A group of one, only for the sake of reassembly: of all ways the one that looks at no packet.
    One,
    /// By the program that `share_by_source` sets; until then everything goes to the first member.
    BySource,
}

impl Mode {
    fn kind(self) -> u32 {
        match self {
            Mode::One => libc::PACKET_FANOUT_CPU,
            Mode::BySource => libc::PACKET_FANOUT_CBPF,
        }
    }
}

/// A group as its further members name it: the argument of PACKET_FANOUT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group(u32);

/// Makes a group of this socket, under a number that nobody else in the network namespace uses.
pub(super) fn create(socket: &impl AsFd, mode: Mode, reassemble: bool) -> io::Result<Group> {
    let flags = if reassemble { libc::PACKET_FANOUT_FLAG_DEFRAG } else { 0 };
    let kind = mode.kind() | flags;
    set(
        socket.as_fd(),
        libc::SOL_PACKET,
        libc::PACKET_FANOUT,
        &((kind | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16),
    )?;
    let number = fanout(socket.as_fd())? & 0xffff;
    Ok(Group(number | kind << 16))
}

/// Adds a socket of the same interface to the group.
pub(super) fn join(socket: &impl AsFd, group: Group) -> io::Result<()> {
    set(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, &group.0)
}

/// Has the group of this socket share by source, of which IPv6 counts `ipv6_bits` (at most 64), and less where one party has
/// many networks.
pub(super) fn share_by_source(socket: &impl AsFd, keys: &HashKeys, ipv6_bits: u8) -> io::Result<()> {
    give(socket, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program(keys, ipv6_bits))
}

/// Drops everything before it reaches this socket, until it gets another filter.
pub(super) fn drop_all(socket: &impl AsFd) -> io::Result<()> {
    let nothing = [Instruction { code: RETURN, jt: 0, jf: 0, k: 0 }];
    attach(socket, &nothing)
}

/// Gives this socket a filter that libpcap does not know.
pub(super) fn attach(socket: &impl AsFd, program: &[Instruction]) -> io::Result<()> {
    give(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

fn give(socket: &impl AsFd, level: i32, option: i32, program: &[Instruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Errno::INVAL)?;
    // `Instruction` is laid out as the kernel's, which copies them before the call returns and writes to none.
    let filter = program.as_ptr().cast::<libc::sock_filter>().cast_mut();
    set(socket.as_fd(), level, option, &libc::sock_fprog { len, filter })
}

/// setsockopt(2) for options that rustix does not know.
fn set<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel only reads, and no more than the size given.
    #[allow(unsafe_code, reason = "packet(7) options have no safe wrapper")]
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(last_error()) }
}

/// The group of a socket: its number, and above it kind and flags.
fn fanout(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let (mut value, mut size) = (0_u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most the four bytes of `value`.
    #[allow(unsafe_code, reason = "packet(7) options have no safe wrapper")]
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw mut value).cast(),
            &raw mut size,
        )
    };
    if failed == 0 { Ok(value) } else { Err(last_error()) }
}

fn last_error() -> io::Errno {
    io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(io::Errno::INVAL)
}
