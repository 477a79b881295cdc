//! Where to listen: `:10220`, `127.0.0.1:10220`, `[::1]:10220`, `localhost:10220`, or sockets from systemd.

use super::Options;
use crate::systemd;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::str::FromStr;
use tokio::net::TcpListener;

/// An address as the Prometheus exporters write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None`: all addresses, IPv6 and IPv4.
    host: Option<String>,
    port: u16,
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why} in {text:?} (write :10220, 127.0.0.1:10220 or [::1]:10220)");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let port = match port.parse::<u16>() {
            Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => number,
            _ => return Err(wrong("no valid port")),
        };
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(|| wrong("no closing bracket"))?;
                inner.parse::<Ipv6Addr>().map_err(|_| wrong("no valid IPv6 address"))?;
                Some(inner.to_owned())
            }
            None if host.is_empty() => None,
            None if host.contains(':') => return Err(wrong("an IPv6 address without brackets")),
            None if host.contains(|c: char| c.is_whitespace() || c == '/') => {
                return Err(wrong("no valid host"));
            }
            None => Some(host.to_owned()),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    what: String,
    why: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.why.to_string();
        let why = why.split(" (os error").next().unwrap_or("").to_lowercase();
        write!(f, "cannot listen on {}: {why}", self.what)
    }
}

impl std::error::Error for BindError {}

/// Sockets that listen already.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// The addresses in use.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok())
    }

    pub(super) fn into_inner(self) -> Vec<TcpListener> {
        self.0
    }
}

/// Listens on every address, or on none. Needs a runtime around it.
pub fn bind(options: &Options) -> Result<Listeners, BindError> {
    let mut listeners = Vec::new();
    if options.systemd_socket {
        let fail = |why| BindError { what: String::from("the sockets of systemd"), why };
        for socket in systemd::sockets().map_err(fail)? {
            listeners.push(adopt(StdListener::from(socket)).map_err(fail)?);
        }
        if listeners.is_empty() {
            return Err(fail(io::Error::other("none were passed (is the .socket unit started?)")));
        }
        return Ok(Listeners(listeners));
    }
    for address in &options.listen {
        let fail = |why| BindError { what: address.to_string(), why };
        match &address.host {
            None => {
                // One IPv6 socket takes IPv4 too; a kernel without IPv6 has only the other.
                let all = StdListener::bind((Ipv6Addr::UNSPECIFIED, address.port))
                    .or_else(|error| match error.kind() {
                        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                        _ => StdListener::bind((Ipv4Addr::UNSPECIFIED, address.port)),
                    })
                    .map_err(fail)?;
                listeners.push(adopt(all).map_err(fail)?);
            }
            Some(host) => {
                for resolved in (host.as_str(), address.port).to_socket_addrs().map_err(fail)? {
                    listeners.push(adopt(StdListener::bind(resolved).map_err(fail)?).map_err(fail)?);
                }
            }
        }
    }
    Ok(Listeners(listeners))
}

fn adopt(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_operators_write() {
        for text in [":10220", "127.0.0.1:10220", "[::1]:10220", "localhost:10220", "0.0.0.0:0"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let hint = "(write :10220, 127.0.0.1:10220 or [::1]:10220)";
        for (text, why) in [
            ("10220", "no port"),
            (":", "no valid port"),
            (":+1", "no valid port"),
            ("host:65536", "no valid port"),
            ("::1:10220", "an IPv6 address without brackets"),
            ("[::1:10220", "no closing bracket"),
            ("[host]:10220", "no valid IPv6 address"),
            ("a b:10220", "no valid host"),
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap_err(), format!("{why} in {text:?} {hint}"));
        }
    }
}
