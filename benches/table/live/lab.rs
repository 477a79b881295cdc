//! Two network namespaces joined by a veth, for one run of the benchmark: `watched` (192.0.2.10) and `source` (192.0.2.7).

use super::send::TARGET_MAC;
use crate::wire::inside;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Where the exporter on the watched host serves its metrics; nobody else is in its network.
pub const METRICS: &str = "127.0.0.1:10220";

/// The names of the two networks; dropping it removes them.
pub struct Lab {
    pub watched: String,
    pub source: String,
}

impl Lab {
    pub fn new() -> io::Result<Self> {
        let name = format!("bench{}", std::process::id());
        let lab = Self { watched: format!("{name}-w"), source: format!("{name}-s") };
        for space in [&lab.watched, &lab.source] {
            ip(&["netns", "add", space])?;
            ip(&["-n", space, "link", "set", "lo", "up"])?;
            // Neighbour discovery would be counted as well; spoofed sources must pass, as they do on most hosts of a
            // provider.
            ip(&[
                "netns",
                "exec",
                space,
                "sysctl",
                "-qw",
                "net.ipv6.conf.all.disable_ipv6=1",
                "net.ipv6.conf.default.disable_ipv6=1",
                "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.default.rp_filter=0",
            ])?;
        }
        let (watched, source) = (lab.watched.as_str(), lab.source.as_str());
        let mac = TARGET_MAC.map(|byte| format!("{byte:02x}")).join(":");
        ip(&["-n", watched, "link", "add", "eth0", "address", &mac, "type", "veth"]
            .into_iter()
            .chain(["peer", "name", "eth0", "netns", source])
            .collect::<Vec<_>>())?;
        for (space, last) in [(watched, "10"), (source, "7")] {
            ip(&["-n", space, "link", "set", "eth0", "up"])?;
            ip(&["-n", space, "addr", "add", &format!("192.0.2.{last}/24"), "dev", "eth0"])?;
        }
        Ok(lab)
    }

    /// A program that will run in one of the networks; `ip` becomes it, so the child is the program itself.
    pub fn command(&self, space: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", space]).arg(program);
        command
    }

    /// Frames that came over the wire to the watched host, whether or not anybody took them.
    pub fn arrived(&self) -> io::Result<u64> {
        let path = "/sys/class/net/eth0/statistics/rx_packets";
        let output = self.command(&self.watched, Path::new("cat")).arg(path).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| io::Error::other(format!("no count of packets in {text:?}")))
    }

    /// The processes of the watched host.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        let output = ip(&["netns", "pids", &self.watched])?;
        let pids = String::from_utf8_lossy(&output.stdout);
        Ok(pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// The exporter's page.
    pub fn page(&self) -> io::Result<String> {
        inside(&self.watched, scrape).join().map_err(|_| io::Error::other("the scrape panicked"))?
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for space in [&self.watched, &self.source] {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

/// One scrape, on a connection of its own as from `curl`, by a thread that is in the exporter's network.
pub fn scrape() -> io::Result<String> {
    let patience = Duration::from_secs(10);
    let address: SocketAddr = METRICS.parse().expect("an address and a port");
    let mut connection = TcpStream::connect_timeout(&address, patience)?;
    connection.set_read_timeout(Some(patience))?;
    write!(
        connection,
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        Ipv4Addr::LOCALHOST
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, page)) if head.starts_with("HTTP/1.1 200 ") => Ok(page.to_owned()),
        _ => Err(io::Error::other(format!("no page: {}", answer.lines().next().unwrap_or_default()))),
    }
}

fn ip(arguments: &[&str]) -> io::Result<Output> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {} (needs root and iproute2)", arguments.join(" "), said.trim())))
}
