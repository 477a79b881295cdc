//! Where to listen: addresses as the Prometheus exporters take them, and sockets from systemd.

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::str::FromStr;

/// Connections that may wait for an accept.
const BACKLOG: i32 = 128;

/// An address to listen on: `:10220`, `127.0.0.1:10220`, `[::1]:10220` or `localhost:10220`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None` is every address of the host, IPv6 and IPv4.
    host: Option<String>,
    port: u16,
}

/// `:10220` on every address of the host.
impl Default for ListenAddress {
    fn default() -> Self {
        Self { host: None, port: 10220 }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("listen address \"{text}\": {what}");
        const EXAMPLES: &str = "write :10220, 127.0.0.1:10220 or [::1]:10220";
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("a ] is missing"))?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err(wrong(&format!("\"{host}\" is not an IPv6 address")));
                }
                (host, rest.strip_prefix(':'))
            }
            None if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 => {
                return Err(wrong("an IPv6 address is written in brackets, as in [::1]:10220"));
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None | Some("") => return Err(wrong(&format!("the port is missing; {EXAMPLES}"))),
            // `parse` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
        };
        let port = port.ok_or_else(|| wrong("the port is not a number from 0 to 65535"))?;
        if host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
            return Err(wrong(&format!("\"{}\" is not a host", host.escape_debug())));
        }
        Ok(Self { host: (!host.is_empty()).then(|| host.to_owned()), port })
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

impl ListenAddress {
    /// Listens; a name may mean several addresses.
    pub fn bind(&self) -> Result<Vec<TcpListener>, String> {
        self.try_bind().map_err(|error| format!("cannot listen on {self}: {}", reason(&error)))
    }

    fn try_bind(&self) -> io::Result<Vec<TcpListener>> {
        let Some(host) = &self.host else {
            let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port));
            return match listen(every) {
                Err(error) if has_no_such_family(&error) => {
                    listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port))).map(|l| vec![l])
                }
                other => other.map(|listener| vec![listener]),
            };
        };
        let mut addresses: Vec<SocketAddr> = (host.as_str(), self.port).to_socket_addrs()?.collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut listeners = Vec::new();
        let mut unavailable = None;
        for address in addresses {
            match listen(address) {
                Ok(listener) => listeners.push(listener),
                // `localhost` names ::1 also where IPv6 is switched off; the rest of its addresses will do.
                Err(error) if has_no_such_family(&error) => unavailable = Some(error),
                Err(error) => return Err(error),
            }
        }
        match unavailable {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(listeners),
        }
    }
}

fn has_no_such_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (a port below 1024 needs CAP_NET_BIND_SERVICE)".to_owned()
        }
        _ => error.to_string(),
    }
}

// std binds IPv6 with whatever net.ipv6.bindv6only says; `:10220` must mean both families everywhere.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// The listening sockets systemd handed over. Call once, at the start: they are owned from then on.
pub fn from_systemd() -> Result<Vec<TcpListener>, String> {
    let wrong = |error: io::Error| format!("cannot take the sockets from systemd: {error}");
    let handed: Vec<_> = sd_notify::listen_fds().map_err(wrong)?.collect();
    if handed.is_empty() {
        return Err("cannot take the sockets from systemd: it passed none (LISTEN_FDS, LISTEN_PID); \
                    start with a .socket unit"
            .to_owned());
    }
    handed
        .into_iter()
        .map(|fd| {
            #[allow(unsafe_code, reason = "LISTEN_PID names this process, so these descriptors are its own")]
            // SAFETY: systemd opened them for this process, and nothing else in it takes them.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            let listens = sockopt::socket_acceptconn(&socket).map_err(io::Error::from).map_err(wrong)?;
            if !listens {
                return Err(format!(
                    "cannot take the sockets from systemd: descriptor {fd} does not listen (Accept=no is needed)"
                ));
            }
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true).map_err(wrong)?;
            Ok(listener)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_the_exporters_take_them() {
        for text in [":10220", "127.0.0.1:10220", "[::1]:10220", "localhost:10220", ":0", "[2001:db8::1]:80"]
        {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!(ListenAddress::default().to_string(), ":10220");
    }

    #[test]
    fn wrong_addresses_are_told_apart() {
        let missing = "the port is missing; write :10220, 127.0.0.1:10220 or [::1]:10220";
        let number = "the port is not a number from 0 to 65535";
        let brackets = "an IPv6 address is written in brackets, as in [::1]:10220";
        for (text, what) in [
            ("", missing),
            ("10220", missing),
            ("127.0.0.1", missing),
            ("127.0.0.1:", missing),
            ("[::1]", missing),
            ("[::1]10220", missing),
            (":http", number),
            (":65536", number),
            (":-1", number),
            (":+1", number),
            ("[::1", "a ] is missing"),
            ("[eth0]:1", "\"eth0\" is not an IPv6 address"),
            ("::1", brackets),
            ("::1:10220", brackets),
            ("a b:1", "\"a b\" is not a host"),
            ("http//x:1", "\"http//x\" is not a host"),
        ] {
            let wrong = text.parse::<ListenAddress>().unwrap_err();
            assert_eq!(wrong, format!("listen address \"{text}\": {what}"));
        }
    }

    fn bind(text: &str) -> Result<Vec<TcpListener>, String> {
        text.parse::<ListenAddress>().unwrap().bind()
    }

    #[test]
    fn a_taken_or_foreign_address_is_an_error_of_start() {
        let taken = bind("127.0.0.1:0").unwrap();
        let address = taken[0].local_addr().unwrap();
        assert_eq!(
            bind(&address.to_string()).unwrap_err(),
            format!("cannot listen on {address}: address in use")
        );
        assert_eq!(
            bind("192.0.2.1:10220").unwrap_err(),
            "cannot listen on 192.0.2.1:10220: this host has no such address"
        );
    }

    #[test]
    fn without_a_host_both_families_are_listened_on() {
        let listeners = bind(":0").unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        std::net::TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn without_systemd_its_sockets_are_missed() {
        assert!(from_systemd().unwrap_err().contains("it passed none"));
    }
}
