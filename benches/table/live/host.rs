//! The watched host of a benchmark, in one of two namespaces that send nothing of their own.

use super::send::TARGET_MAC;
use lab::spaces::command_in;
use lab::{Pair, inside, ip};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Where the exporter on the watched host serves its metrics; nobody else is in its network.
pub const METRICS: &str = "127.0.0.1:10220";

/// The two namespaces, for one run of the benchmark.
pub fn pair() -> io::Result<Pair> {
    if rustix::process::geteuid().is_root() {
        Ok(Pair::silent(TARGET_MAC))
    } else {
        Err(io::Error::other("needs root, to make network namespaces"))
    }
}

/// Frames that came over the wire to the watched host, whether or not anybody took them.
pub fn arrived(pair: &Pair) -> io::Result<u64> {
    let path = "/sys/class/net/eth0/statistics/rx_packets";
    let output = command_in(&pair.watched, "cat").arg(path).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| io::Error::other(format!("no count of packets in {text:?}")))
}

/// The processes of the watched host.
pub fn processes(pair: &Pair) -> Vec<i32> {
    let output = ip(&["netns", "pids", &pair.watched]);
    let pids = String::from_utf8_lossy(&output.stdout);
    pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The exporter's page.
pub fn page(pair: &Pair) -> io::Result<String> {
    inside(&pair.watched, scrape).join().map_err(|_| io::Error::other("the scrape panicked"))?
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
