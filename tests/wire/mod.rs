//! A thread in another network, and frames made by hand.

#![allow(dead_code, reason = "each test that includes this uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::thread::JoinHandle;

/// Runs `work` on a thread that has moved into a network namespace.
pub fn inside<T: Send + 'static>(space: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let space = File::open(format!("/run/netns/{space}")).unwrap();
    std::thread::spawn(move || {
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("this test needs root");
        work()
    })
}

/// Sends frames as they are on the eth0 of a network.
pub fn inject(space: &str, frames: Vec<Vec<u8>>) {
    inside(space, move || {
        let mut out = pcap::Capture::from_device("eth0").unwrap().open().unwrap();
        for frame in frames {
            out.sendpacket(frame).unwrap();
        }
    })
    .join()
    .unwrap();
}

/// A SYN from an address to a port of 192.0.2.10, with VLAN tags.
pub fn syn(source: Ipv4Addr, tags: &[u16], port: u16) -> Vec<u8> {
    let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 10]);
    }
    frame.extend([8, 0]);
    frame.extend(syn_packet(source, port));
    frame
}

/// The same, with an ether type of its own and what it begins with before the IP packet.
pub fn syn_behind(source: Ipv4Addr, ether_type: u16, before: &[u8], port: u16) -> Vec<u8> {
    let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(before);
    frame.extend(syn_packet(source, port));
    frame
}

fn syn_packet(source: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    let mut header = [0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 0, 0, 0, 0, 192, 0, 2, 10];
    header[12..16].copy_from_slice(&source.octets());
    // A bridge that filters drops a header whose sum is wrong.
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(header);
    packet.extend([0x9c, 0x40]);
    packet.extend(port.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 4, 0, 0, 0, 0, 0]);
    packet
}
