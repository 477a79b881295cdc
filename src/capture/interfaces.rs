//! Which interfaces there are, as the calling thread's network namespace sees them.
//!
//! /proc/thread-self/net follows the thread's namespace; /sys/class/net shows the one it was mounted in, which is
//! another one after `nsenter -n`.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, socket_with};
use std::io::Read as _;
use std::net::IpAddr;

/// A network interface, for messages and the start banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses, as the kernel lists them.
    pub addresses: Vec<IpAddr>,
}

/// Every interface with its addresses. Without AF_NETLINK (a sandbox) the addresses are missing, not the names.
pub fn interfaces() -> Vec<Interface> {
    let devices = pcap::Device::list().unwrap_or_default();
    names()
        .into_iter()
        .map(|name| {
            let device = devices.iter().find(|device| device.name == name);
            let addresses =
                device.map(|device| device.addresses.iter().map(|address| address.addr).collect());
            Interface { name, addresses: addresses.unwrap_or_default() }
        })
        .collect()
}

/// The addresses of this host, and the broadcast addresses of its networks; `None` if the kernel does not answer (no
/// AF_NETLINK, no memory).
pub(crate) fn own_addresses() -> Option<Vec<IpAddr>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: getifaddrs(3) writes a list that is ours until it is freed below, or fails.
    #[allow(unsafe_code, reason = "getifaddrs has no safe wrapper here")]
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return None;
    }
    let mut addresses = Vec::new();
    let mut at = first;
    // SAFETY: each entry is whole until the list is freed, and the last one's `next` is null.
    #[allow(unsafe_code, reason = "walking the list of getifaddrs")]
    while let Some(entry) = unsafe { at.as_ref() } {
        let address = address_of(entry.ifa_addr);
        addresses.extend(address);
        addresses.extend(address.zip(address_of(entry.ifa_netmask)).and_then(broadcast));
        at = entry.ifa_next;
    }
    // SAFETY: it is the list from above, and nothing points into it any more.
    #[allow(unsafe_code, reason = "the list of getifaddrs is freed by its own function")]
    unsafe {
        libc::freeifaddrs(first);
    }
    Some(addresses)
}

/// The broadcast address of an IPv4 network that has room for one: the kernel has it whether or not somebody named it.
fn broadcast((address, mask): (IpAddr, IpAddr)) -> Option<IpAddr> {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) if mask.to_bits().count_ones() < 31 => {
            Some(IpAddr::from((address.to_bits() | !mask.to_bits()).to_be_bytes()))
        }
        _ => None,
    }
}

/// The IP address that a socket address of the kernel holds, if it holds one.
fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null, or a socket address as long as its family says (getifaddrs(3)); bytes of it are copied.
    #[allow(unsafe_code, reason = "a C union")]
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let address = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()))
            }
            libc::AF_INET6 => {
                let address = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::from(address.sin6_addr.s6_addr))
            }
            _ => None,
        }
    }
}

/// The interface of the default route, IPv4 before IPv6, lowest metric first.
pub fn default_interface() -> Option<String> {
    default_ipv4(&table("route")).or_else(|| default_ipv6(&table("ipv6_route")))
}

/// The most of a table that is read. A router may have a million routes, and this is asked every few seconds. The kernel lists
/// IPv4's by destination, hence the default first; a default of IPv6 comes last, and beyond this it is not found.
const MOST: u64 = 4 << 20;

/// A table of /proc/net. A name in it need not be UTF-8: that must not hide the other lines.
fn table(file: &str) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(net(file)).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// An interface's own name, for one that may be an alternative name (`ip link property add … altname`). Those may be longer
/// than the 15 characters that libpcap can ask for. A name that nobody has stays as it is.
pub(crate) fn own_name(name: &str) -> String {
    by_any_name(name).unwrap_or_else(|_| name.to_owned())
}

fn by_any_name(name: &str) -> rustix::io::Result<String> {
    let ask = |family, kind| socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let asker = ask(AddressFamily::UNIX, SocketType::DGRAM)?;
    let index = netdevice::name_to_index(&asker, name).or_else(|_| {
        // Of netlink's protocols routes are the first.
        let route = ask(AddressFamily::NETLINK, SocketType::RAW)?;
        rustix::net::send(&route, &link_request(name), SendFlags::empty())?;
        let mut answer = [0; 8192];
        let (length, _) = rustix::net::recv(&route, &mut answer, RecvFlags::empty())?;
        link_index(&answer[..length]).ok_or(rustix::io::Errno::NODEV)
    })?;
    netdevice::index_to_name(&asker, index)
}

// rtnetlink(7): a header of 16 bytes, `struct ifinfomsg` of 16, then attributes of 4 bytes and their value.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const IFLA_ALT_IFNAME: u16 = 53;

/// Asks for the interface with this alternative name.
fn link_request(name: &str) -> Vec<u8> {
    let size = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
    let attribute = 4 + name.len() + 1;
    let mut message = vec![0; 32 + attribute.next_multiple_of(4)];
    let length = u32::from(size(message.len()));
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message[32..34].copy_from_slice(&size(attribute).to_ne_bytes());
    message[34..36].copy_from_slice(&IFLA_ALT_IFNAME.to_ne_bytes());
    message[36..36 + name.len()].copy_from_slice(name.as_bytes());
    message
}

/// The index in the answer; `None` if that is an error.
fn link_index(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let index = u32::from_ne_bytes(answer.get(20..24)?.try_into().ok()?);
    (kind == RTM_NEWLINK).then_some(index)
}

/// Whether an interface can deliver anything: it is set up, and its link is not known to be down (no carrier, the lower
/// interface down, a key exchange not done). Devices without a link, such as tunnels and `lo`, count as running while
/// they are up. If the kernel cannot be asked (no descriptor left), nothing is known against it.
pub(super) fn is_running(name: &str) -> bool {
    flags(name).map_or(true, |flags| i32::from(flags) & libc::IFF_RUNNING != 0)
}

/// The flags of an interface in this thread's network namespace (netdevice(7), SIOCGIFFLAGS).
fn flags(name: &str) -> rustix::io::Result<libc::c_short> {
    /// `struct ifreq` as this call uses it.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; size_of::<libc::ifreq>() - libc::IFNAMSIZ - size_of::<libc::c_short>()],
    }
    const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
    const ASK: rustix::ioctl::Opcode = libc::SIOCGIFFLAGS as rustix::ioctl::Opcode;

    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, rest: [0; _] };
    // One byte stays zero: the name's end.
    let place = request.name.get_mut(..name.len()).filter(|place| place.len() < libc::IFNAMSIZ);
    place.ok_or(rustix::io::Errno::NODEV)?.copy_from_slice(name.as_bytes());
    // SAFETY: SIOCGIFFLAGS reads and writes one `struct ifreq`; `Request` is as large, and any bits make its flags.
    #[allow(unsafe_code, reason = "no safe wrapper asks for an interface's flags")]
    unsafe {
        rustix::ioctl::ioctl(&socket, rustix::ioctl::Updater::<ASK, Request>::new(&mut request))?;
    }
    Ok(request.flags)
}

/// The path of a file about this thread's network namespace.
fn net(file: &str) -> String {
    format!("/proc/thread-self/net/{file}")
}

/// The names of all interfaces.
pub(super) fn names() -> Vec<String> {
    names_in(&table("dev"))
}

/// The names in /proc/net/dev: two lines of heading, then `name: counters`.
fn names_in(table: &str) -> Vec<String> {
    // The name may hold a colon (an old alias), the counters never do.
    table.lines().skip(2).filter_map(|line| Some(line.rsplit_once(':')?.0.trim().to_owned())).collect()
}

/// Flags of a route (linux/route.h).
const RTF_UP: u32 = 0x0001;
const RTF_REJECT: u32 = 0x0200;

fn leads_out(flags: u32) -> bool {
    flags & RTF_UP != 0 && flags & RTF_REJECT == 0
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, hexadecimal but for the metric.
fn default_ipv4(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, destination, _gateway, flags, _references, _use, metric, mask, ..] = columns[..] else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let default = destination == "00000000" && mask == "00000000" && leads_out(flags);
        default.then_some((metric.parse::<u32>().ok()?, name))
    });
    // `min_by_key` keeps the first of equals: the kernel's own order.
    routes.min_by_key(|&(metric, _)| metric).map(|(_, name)| name.to_owned())
}

/// `destination length source length gateway metric references use flags name`, all hexadecimal.
fn default_ipv6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, length, _, _, _gateway, metric, _, _, flags, name] = columns[..] else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let default = length == "00" && destination.bytes().all(|digit| digit == b'0') && leads_out(flags);
        (default && name != "lo").then_some((u32::from_str_radix(metric, 16).ok()?, name))
    });
    routes.min_by_key(|&(metric, _)| metric).map(|(_, name)| name.to_owned())
}

/// The gateways of the default routes, IPv4 before IPv6.
pub(super) fn gateways() -> Vec<IpAddr> {
    let (ipv4, ipv6) = (table("route"), table("ipv6_route"));
    ipv4.lines().filter_map(gateway_ipv4).chain(ipv6.lines().filter_map(gateway_ipv6)).collect()
}

/// The gateway of a line of the IPv4 table, if that is a default route with one. Addresses stand there as the processor has them in a word.
fn gateway_ipv4(line: &str) -> Option<IpAddr> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "00000000", gateway, flags, _, _, _, "00000000", ..] = columns[..] else { return None };
    let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
    leads_out(u32::from_str_radix(flags, 16).ok()?).then(|| IpAddr::from(gateway.to_ne_bytes()))
}

/// The same of a line of the IPv6 table.
fn gateway_ipv6(line: &str) -> Option<IpAddr> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, "00", _, _, gateway, _, _, _, flags, _] = columns[..] else { return None };
    let gateway = u128::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
    let leads_out = leads_out(u32::from_str_radix(flags, 16).ok()?);
    (leads_out && destination.bytes().all(|digit| digit == b'0')).then(|| IpAddr::from(gateway.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_those_of_default_routes() {
        let gateway = u32::from_ne_bytes([192, 0, 2, 1]);
        let line = |destination: &str, gateway: u32, flags: &str| {
            gateway_ipv4(&format!("eth0 {destination} {gateway:08X} {flags} 0 0 100 00000000 0 0 0"))
        };
        assert_eq!(line("00000000", gateway, "0003"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(line("00000000", 0, "0001"), None, "a device without one");
        assert_eq!(line("000200C0", gateway, "0003"), None);
        assert_eq!(line("00000000", gateway, "0200"), None, "unreachable");
        let line = |destination: &str, gateway: &str, length: &str| {
            let none = "0".repeat(32);
            let line = format!(
                "{destination} {length} {none} 00 {gateway} 00000400 00000001 00000000 00000003 eth0"
            );
            gateway_ipv6(&line)
        };
        let (none, link) = ("0".repeat(32), "fe800000000000000000000000000001");
        assert_eq!(line(&none, link, "00"), Some("fe80::1".parse().unwrap()));
        assert_eq!(line(&none, &none, "00"), None);
        assert_eq!(line("20010db8000000000000000000000000", link, "20"), None);
    }

    #[test]
    fn names_come_in_the_kernels_order() {
        let table =
            "Inter-|   Receive    |  Transmit\n face |bytes    packets|bytes\n    lo: 1 2 3\n  eth0:123 4\n";
        assert_eq!(names_in(table), ["lo", "eth0"]);
        assert!(names_in("").is_empty());
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_wins() {
        let heading = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let table = format!(
            "{heading}\
             wlan0\t00000000\t010000C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             dead0\t00000000\t010000C0\t0203\t0\t0\t1\t00000000\t0\t0\t0\n\
             eth0\t00000000\t010000C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth0\t000000C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        );
        assert_eq!(default_ipv4(&table).as_deref(), Some("eth0"));
        assert_eq!(default_ipv4(heading), None);
        assert_eq!(default_ipv4(""), None);
    }

    #[test]
    fn an_unreachable_ipv6_default_is_none() {
        let zero = "0".repeat(32);
        let to = |flags: &str, metric: &str, name: &str| {
            format!("{zero} 00 {zero} 00 {zero} {metric} 00000001 00000000 {flags} {name}\n")
        };
        let unreachable = to("00200200", "ffffffff", "lo");
        assert_eq!(default_ipv6(&unreachable), None);
        let table = to("00000003", "00000400", "eth1") + &to("00000003", "00000100", "eth0") + &unreachable;
        assert_eq!(default_ipv6(&table).as_deref(), Some("eth0"));
    }

    #[test]
    fn what_runs_is_what_the_kernel_says() {
        let flags = flags("lo").unwrap();
        assert!(i32::from(flags) & libc::IFF_LOOPBACK != 0, "{flags:x}");
        assert_eq!(is_running("lo"), i32::from(flags) & libc::IFF_UP != 0, "it has no link");
        let longest = "x".repeat(libc::IFNAMSIZ - 1);
        for missing in ["missing7", "", &longest, &(longest.clone() + "y"), &"x".repeat(4096)] {
            assert_eq!(super::flags(missing), Err(rustix::io::Errno::NODEV), "{missing}");
            assert!(is_running(missing), "that it is missing is another's to find");
        }
    }

    #[test]
    fn a_name_that_nobody_has_stays() {
        assert_eq!(own_name("lo"), "lo");
        for name in ["missing7", "a name that is longer than any the kernel takes for an interface", ""] {
            assert_eq!(own_name(name), name);
        }
    }

    #[test]
    fn a_network_with_room_for_it_has_a_broadcast_address() {
        let of = |address: &str, mask: &str| broadcast((address.parse().unwrap(), mask.parse().unwrap()));
        assert_eq!(of("192.0.2.10", "255.255.255.0"), Some("192.0.2.255".parse().unwrap()));
        assert_eq!(of("192.0.2.10", "255.255.255.252"), Some("192.0.2.11".parse().unwrap()));
        assert_eq!(of("192.0.2.10", "255.255.255.254"), None);
        assert_eq!(of("2001:db8::1", "ffff:ffff::"), None);
    }

    #[test]
    fn the_addresses_of_this_machine_are_those_of_its_interfaces() {
        let own = own_addresses().expect("the kernel answers");
        let shown: Vec<IpAddr> = interfaces().into_iter().flat_map(|interface| interface.addresses).collect();
        assert!(shown.iter().all(|address| own.contains(address)), "{shown:?} in {own:?}");
    }

    #[test]
    fn this_machine_has_a_loopback_with_an_address() {
        let all = interfaces();
        let lo = all.iter().find(|interface| interface.name == "lo").expect("lo exists in every namespace");
        assert!(lo.addresses.iter().all(IpAddr::is_loopback), "{lo:?}");
        assert!(!all.iter().any(|interface| interface.name == "any" || interface.name.starts_with("usbmon")));
    }
}
