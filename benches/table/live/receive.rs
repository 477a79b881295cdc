//! The bare receiver, a process of its own: what libpcap costs when nothing is done with a packet.

use pcap::{Capture, Direction, Precision};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;

/// How long it stays after it was told to end, for the block the kernel still fills: three times its timeout.
const LAST_BLOCKS: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };

/// SYNs, as the exporter's filter takes them.
const SYNS: &str = "tcp[13] & 0x17 == 0x02 or (ip6[6] == 6 and ip6[53] & 0x17 == 0x02)";

/// Counts frames on eth0 with the exporter's buffer until standard input ends, then prints how many came and
/// what libpcap's own account is. Says `ready` when it captures.
#[allow(clippy::print_stdout, reason = "how the benchmark gets to know")]
pub fn receive(buffer: i32) -> io::Result<()> {
    let capture = Capture::from_device("eth0")
        .map_err(io::Error::other)?
        .snaplen(256)
        .timeout(100)
        .buffer_size(buffer)
        .precision(Precision::Nano)
        .open()
        .map_err(io::Error::other)?;
    capture.direction(Direction::In).map_err(io::Error::other)?;
    let mut capture = capture.setnonblock().map_err(io::Error::other)?;
    capture.filter(SYNS, true).map_err(io::Error::other)?;
    println!("ready");
    let input = io::stdin();
    let (mut packets, mut told) = (0_u64, false);
    loop {
        while capture.dispatch(Some(8192), |_| packets += 1).map_err(io::Error::other)? > 0 {}
        let mut descriptors = [PollFd::new(&capture, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
        let waits_for = if told { 1 } else { 2 };
        let ready = poll(&mut descriptors[..waits_for], told.then_some(&LAST_BLOCKS))?;
        if told && ready == 0 {
            break;
        }
        told |= !descriptors[1].revents().is_empty();
    }
    let stats = capture.stats().map_err(io::Error::other)?;
    println!("{packets} {} {}", stats.received, stats.dropped);
    Ok(())
}
