//! A client of the exporter's web side, in any network of the lab.

use lab::Lab;
use portscan_exporter::system::clock;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// A connection from `lab-HOST` to the exporter.
pub fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}

/// A connection from one of the addresses of `srv`.
pub fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &format!("{from}:0").parse::<SocketAddr>().unwrap())?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Asks for a page and reads the status; the connection stays open if `keep` says so.
pub fn ask(stream: &mut TcpStream, keep: bool) -> std::io::Result<(u16, String)> {
    let connection = if keep { "keep-alive" } else { "close" };
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: {connection}\r\n\r\n")?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    Ok((head[9..12].parse().unwrap(), String::from_utf8(body).unwrap()))
}

/// How long a proper scrape takes, from the watched host itself; it must be answered.
pub fn scrape(_: &Lab, address: &str) -> Duration {
    let to = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 10220);
    lab::inside("lab-t", move || {
        let start = clock::steady();
        let (status, page) = ask(&mut connect(to).unwrap(), false).unwrap();
        assert!(status == 200 && page.contains("portscan_capture_up"), "{status}");
        start.elapsed()
    })
    .join()
    .unwrap()
}
