//! What one connection is doing and since when, so that a client that dawdles can be told from one that waits.
//! hyper's own header timeout also runs while a kept connection is idle, which would cut Prometheus off between
//! two scrapes; so hyper's is off, and this one knows the difference.

use super::fair::{Holder, Permit, Scrapes};
use super::server::Limits;
use crate::system::clock;
use crate::system::counters::Counter;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// A request's header has begun, or the first has not come yet.
    Head,
    /// The answer is being made.
    Answering,
    /// The answer is made, and the client is taking it.
    Sending,
}

/// One connection, as the server watches it.
#[derive(Debug)]
pub(super) struct Watch {
    id: u64,
    /// Whose it is: an address, or an IPv6 /64, since whoever has one address of it has all.
    pub(super) client: IpAddr,
    state: Mutex<State>,
    /// Told when the connection must make place for another.
    pub(super) cut: Arc<Notify>,
    /// Whether it was given up in the middle of an answer.
    given_up: AtomicBool,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    // A scrape counts as running until the client has taken the whole page.
    permit: Option<Permit>,
}

impl Watch {
    pub(super) fn new(id: u64, peer: IpAddr) -> Self {
        let state = State { phase: Phase::Head, since: clock::steady(), permit: None };
        let client = match peer.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            address => address,
        };
        Self { id, client, state: Mutex::new(state), cut: Arc::default(), given_up: AtomicBool::new(false) }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = phase;
        state.since = clock::steady();
        if phase == Phase::Idle {
            state.permit = None;
        }
    }

    fn pass(&self, from: Phase, to: Phase) {
        if self.lock().phase == from {
            self.enter(to);
        }
    }

    /// Takes the place of a scrape, to be held until the client has taken the page; whether somebody was cut for it.
    /// `None` if there is no place.
    pub(super) fn begin_scrape(&self, scrapes: &Arc<Scrapes>) -> Option<bool> {
        if self.lock().permit.is_some() {
            // Of the page before, which the client has not taken yet.
            return Some(false);
        }
        let (permit, crowded) = scrapes.admit(self.id, self.client, &self.cut, clock::steady())?;
        self.lock().permit = Some(permit);
        Some(crowded)
    }

    /// What it holds, in the terms of fairness.
    pub(super) fn holder(&self) -> Holder {
        let state = self.lock();
        let waits = matches!(state.phase, Phase::Idle | Phase::Head);
        Holder { id: self.id, client: self.client, waits, since: state.since }
    }

    /// Nobody will take what is still to be sent.
    pub(super) fn give_up(&self) {
        let sending = matches!(self.lock().phase, Phase::Answering | Phase::Sending);
        self.given_up.store(sending, Ordering::Relaxed);
    }

    /// When patience ends.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        let state = self.lock();
        state.since
            + match state.phase {
                Phase::Idle => limits.idle,
                Phase::Head => limits.header,
                Phase::Answering | Phase::Sending => limits.request,
            }
    }

    /// Where it counts if it is cut now.
    pub(super) fn impatience(&self) -> Counter {
        match self.lock().phase {
            Phase::Idle => Counter::CutIdle,
            Phase::Head => Counter::CutHeader,
            Phase::Answering | Phase::Sending => Counter::CutRequest,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What carries a connection.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// When it is closed, what was not sent yet is thrown away.
    fn discard_unsent(&self);
}

impl Transport for TcpStream {
    fn discard_unsent(&self) {
        // Else the kernel keeps some hundred kilobytes for minutes, for a client who does not want them.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

/// The socket, telling its watch when a request begins to arrive and when an answer has left.
pub(super) struct Watched<S: Transport> {
    pub(super) socket: S,
    pub(super) watch: Arc<Watch>,
}

impl<S: Transport> Drop for Watched<S> {
    fn drop(&mut self) {
        if self.watch.given_up.load(Ordering::Relaxed) {
            self.socket.discard_unsent();
        }
    }
}

impl<S: Transport> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before {
            self.watch.pass(Phase::Idle, Phase::Head);
        }
        read
    }
}

impl<S: Transport> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    // hyper flushes once everything it held has been written, and every body here is one piece.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        if flushed.is_ready() {
            self.watch.pass(Phase::Sending, Phase::Idle);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
