//! Frames for tests, by the link types of this crate.

use crate::packet::LinkType;
pub(crate) use lab::frames::*;

/// Every link type with the number libpcap gives it.
pub(crate) const LINKS: [(LinkType, i32); 6] = [
    (LinkType::Ethernet, ETHERNET),
    (LinkType::LinuxSll, LINUX_SLL),
    (LinkType::LinuxSll2, LINUX_SLL2),
    (LinkType::RawIp, RAW_IP),
    (LinkType::Null, NULL),
    (LinkType::Loop, LOOP),
];

/// An IP packet in a frame of any link type.
pub(crate) fn link(link: LinkType, packet: &[u8]) -> Vec<u8> {
    let (_, number) =
        LINKS.into_iter().find(|(other, _)| *other == link).expect("every link type has a number");
    lab::frames::link(number, packet)
}
