//! The sockets to serve on: on every address that is given, or those that systemd passed.

use super::address::ListenAddress;
use super::limits::{BACKLOG, RECEIVE_BUFFER, SEND_BUFFER};
use super::options::Options;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::os::fd::OwnedFd;

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    what: String,
    why: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.why.to_string();
        let why = match self.why.kind() {
            io::ErrorKind::AddrInUse => String::from("address in use"),
            io::ErrorKind::AddrNotAvailable => String::from("this host has no such address"),
            io::ErrorKind::PermissionDenied => {
                String::from("permission denied (a port below 1024 needs CAP_NET_BIND_SERVICE)")
            }
            _ if self.why.raw_os_error().is_none() => why,
            _ => why.split(" (os error").next().unwrap_or("").to_lowercase(),
        };
        write!(f, "cannot listen on {}: {why}", self.what)
    }
}

impl std::error::Error for BindError {}

/// Sockets that listen already.
#[derive(Debug)]
pub struct Listeners(Vec<StdListener>);

impl Listeners {
    /// The addresses in use.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok())
    }

    pub(super) fn into_inner(self) -> Vec<StdListener> {
        self.0
    }
}

/// Listens on every address, or on none; on the sockets that systemd passed, if the options say so.
pub fn bind(options: &Options, passed: Vec<OwnedFd>) -> Result<Listeners, BindError> {
    let mut listeners = Vec::new();
    if options.systemd_socket {
        let fail = |why| BindError { what: String::from("the sockets of systemd"), why };
        for socket in passed {
            check(&socket).map_err(fail)?;
            listeners.push(adopt(StdListener::from(socket)).map_err(fail)?);
        }
        if listeners.is_empty() {
            return Err(fail(io::Error::other("none were passed (is the .socket unit started?)")));
        }
        return Ok(Listeners(listeners));
    }
    // Where 0.0.0.0 is asked for beside [::] or no host, with the same port, each gets its own family.
    let is_ipv4 = |port| options.listen.iter().any(|it| it.host() == Some("0.0.0.0") && it.port() == port);
    for address in &options.listen {
        let fail = |why| BindError { what: address.to_string(), why };
        let takes_ipv4 = address.port() == 0 || !is_ipv4(address.port());
        for listener in listen_on(address, takes_ipv4).map_err(fail)? {
            listeners.push(adopt(listener).map_err(fail)?);
        }
    }
    Ok(Listeners(listeners))
}

fn listen_on(address: &ListenAddress, takes_ipv4: bool) -> io::Result<Vec<StdListener>> {
    let Some(host) = address.host() else {
        // One IPv6 socket takes IPv4 too; a kernel without IPv6 has only the other.
        let all = match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port())), takes_ipv4) {
            Err(error) if is_unavailable(&error) && takes_ipv4 => {
                listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), takes_ipv4)
            }
            other => other,
        };
        return all.map(|listener| vec![listener]);
    };
    let mut listeners = Vec::new();
    let mut unavailable = None;
    let mut resolved: Vec<SocketAddr> = (host, address.port()).to_socket_addrs()?.collect();
    resolved.sort_unstable();
    resolved.dedup();
    for address in resolved {
        match listen(address, takes_ipv4) {
            Ok(listener) => listeners.push(listener),
            // `localhost` names ::1 also where IPv6 is switched off; the rest of its addresses will do.
            Err(error) if is_unavailable(&error) => unavailable = Some(error),
            Err(error) => return Err(error),
        }
    }
    match unavailable {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

// std leaves an IPv6 socket to net.ipv6.bindv6only; `:10220` must mean both families everywhere.
fn listen(address: SocketAddr, takes_ipv4: bool) -> io::Result<StdListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !(takes_ipv4 && address.ip().is_unspecified()))?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

fn adopt(listener: StdListener) -> io::Result<StdListener> {
    listener.set_nonblocking(true)?;
    // Connections inherit these. A kernel that refuses keeps its own.
    let _ = sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER);
    let _ = sockopt::set_socket_recv_buffer_size(&listener, RECEIVE_BUFFER);
    Ok(listener)
}

/// Whether a socket that was passed is one to serve on. On any other there would be nothing to accept, for ever.
fn check(socket: &OwnedFd) -> io::Result<()> {
    let refuse = |what: &str| {
        let remedy =
            "the .socket unit needs ListenStream= with a port or an address and a port, and Accept=no";
        Err(io::Error::other(format!("one is {what} ({remedy})")))
    };
    match sockopt::socket_domain(socket) {
        Ok(AddressFamily::INET | AddressFamily::INET6) => {}
        Ok(AddressFamily::UNIX) => return refuse("a unix socket"),
        Ok(_) => return refuse("no internet socket"),
        Err(_) => return refuse("no socket at all"),
    }
    match sockopt::socket_type(socket)? {
        SocketType::STREAM => {}
        SocketType::DGRAM => return refuse("a UDP socket"),
        _ => return refuse("no TCP socket"),
    }
    if !sockopt::socket_acceptconn(socket)? {
        return refuse("a connection, not a listening socket");
    }
    Ok(())
}
