//! Network namespaces: threads and commands in them, and two with a cable between. They need root and iproute2, and fail
//! without them.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A program that is ended when the test is over, however it ends.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `ip` to a good end.
pub fn ip(arguments: &[&str]) -> Output {
    let output = Command::new("ip").args(arguments).output().expect("this test needs iproute2");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this test needs root: ip {}: {complaint}", arguments.join(" "));
    output
}

/// A program that will run in a namespace; `ip` becomes it, so the child is the program itself.
pub fn command_in(space: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space]).arg(program.as_ref());
    command
}

/// Runs a program in a namespace to its end, which must be a good one.
pub fn run_in(space: &str, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", "ip", "netns", "exec", space, program]).args(arguments);
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} in {space}: {}: {complaint}", output.status);
    output
}

/// Runs `work` on a thread that has moved into a network namespace.
pub fn inside<T: Send + 'static>(space: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let space = File::open(format!("/run/netns/{space}")).unwrap();
    std::thread::spawn(move || {
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("this test needs root");
        work()
    })
}

/// Sends frames as they are on the eth0 of a namespace.
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

/// Connects from a namespace to closed ports.
pub fn knock_from(space: &str, address: &str, ports: Range<u16>) {
    let address: IpAddr = address.parse().unwrap();
    inside(space, move || {
        for port in ports {
            let _ = TcpStream::connect_timeout(&SocketAddr::new(address, port), Duration::from_millis(300));
        }
    })
    .join()
    .unwrap();
}

/// Two namespaces joined by a cable (a veth, eth0 on both sides), until it is dropped: `watched` (192.0.2.10, 2001:db8::10) and
/// `source` (192.0.2.7, 2001:db8::7). Spoofed sources pass.
pub struct Pair {
    pub watched: String,
    pub source: String,
    /// Whether they speak IPv6.
    is_v6: bool,
    /// The address of the watched host's interface, if it matters.
    mac: Option<[u8; 6]>,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(true, None)
    }

    /// Without IPv6: nobody says anything but what the test sends. Frames come for this address.
    pub fn silent(mac: [u8; 6]) -> Self {
        Self::with(false, Some(mac))
    }

    fn with(is_v6: bool, mac: Option<[u8; 6]>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pair{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let pair = Pair { watched: format!("{name}-w"), source: format!("{name}-s"), is_v6, mac };
        let v6 = u8::from(!is_v6);
        // No duplicate address detection: addresses are usable at once.
        let settings = [
            &format!("net.ipv6.conf.all.disable_ipv6={v6}"),
            &format!("net.ipv6.conf.default.disable_ipv6={v6}"),
            "net.ipv6.conf.default.accept_dad=0",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
        ];
        for space in [&pair.watched, &pair.source] {
            ip(&["netns", "add", space]);
            ip(&["-n", space, "link", "set", "lo", "up"]);
            ip(&[&["netns", "exec", space, "sysctl", "-qw"], &settings[..]].concat());
        }
        pair.plug();
        pair
    }

    /// Joins the namespaces.
    pub fn plug(&self) {
        let (watched, source) = (self.watched.as_str(), self.source.as_str());
        let mac = self.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        let address: Vec<&str> = mac.iter().flat_map(|mac| ["address", mac]).collect();
        let cable = ["type", "veth", "peer", "name", "eth0", "netns", source];
        ip(&[&["-n", watched, "link", "add", "eth0"], &address[..], &cable].concat());
        for (space, last) in [(watched, "10"), (source, "7")] {
            ip(&["-n", space, "link", "set", "eth0", "up"]);
            ip(&["-n", space, "addr", "add", &format!("192.0.2.{last}/24"), "dev", "eth0"]);
            if self.is_v6 {
                ip(&["-n", space, "addr", "add", &format!("2001:db8::{last}/64"), "dev", "eth0", "nodad"]);
            }
        }
    }

    pub fn unplug(&self) {
        ip(&["-n", &self.watched, "link", "del", "eth0"]);
    }

    pub fn set_watched(&self, words: &[&str]) {
        ip(&[&["-n", &self.watched, "link", "set"], words].concat());
    }

    /// The source knocks at these ports of the watched host, all closed.
    pub fn knock(&self, address: &str, ports: Range<u16>) {
        knock_from(&self.source, address, ports);
    }

    /// The source sends these frames as they are.
    pub fn inject(&self, frames: Vec<Vec<u8>>) {
        inject(&self.source, frames);
    }

    /// nmap's SYN scan from the source.
    pub fn nmap(&self, arguments: &[&str]) {
        let nmap = ["-n", "-Pn", "-T4", "-sS", "--max-retries=0"];
        run_in(&self.source, "nmap", &[&nmap, arguments].concat());
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for space in [&self.watched, &self.source] {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}
