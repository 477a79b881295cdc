//! What one connection is doing and since when, so that a client that dawdles can be told from one that waits.
//! hyper's own header timeout also runs while a kept connection is idle, which would cut Prometheus off between
//! two scrapes; so hyper's is off, and this one knows the difference.

use super::fair::{Permit, Places, Slot};
use super::limits::ClientLimits;
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
    pub(super) id: u64,
    /// Whose it is: an address, or an IPv6 /64, since a client that has one address of it has all.
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
    // An answer is under way until the client has taken the whole of it.
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

    /// Takes a place for an answer, to be held until the client has taken it; whether another was cut for it. `None` if
    /// there is no place.
    pub(super) fn take_place(&self, places: &Arc<Places>) -> Option<bool> {
        if self.lock().permit.is_some() {
            // Of the answer before, which the client has not taken yet.
            return Some(false);
        }
        let (permit, crowded) = places.admit(self.id, self.client, &self.cut, clock::steady())?;
        self.lock().permit = Some(permit);
        Some(crowded)
    }

    /// The place it holds among connections.
    pub(super) fn slot(&self) -> Slot {
        let state = self.lock();
        let idle = matches!(state.phase, Phase::Idle | Phase::Head);
        Slot { id: self.id, client: self.client, idle, since: state.since }
    }

    /// Nobody will take what is still to be sent.
    pub(super) fn give_up(&self) {
        let sending = matches!(self.lock().phase, Phase::Answering | Phase::Sending);
        self.given_up.store(sending, Ordering::Relaxed);
    }

    /// When it is cut, unless it goes on.
    pub(super) fn deadline(&self, limits: &ClientLimits) -> Instant {
        let state = self.lock();
        state.since
            + match state.phase {
                Phase::Idle => limits.idle,
                Phase::Head => limits.header,
                Phase::Answering | Phase::Sending => limits.request,
            }
    }

    /// Where it counts if it is cut then.
    pub(super) fn timeout_counter(&self) -> Counter {
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

/// What carries a connection. One that is encrypted makes its handshake at the first read, so that it counts as a part of the
/// first header.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Throws away unsent bytes when it is closed.
    fn discard_unsent(&self);
}

impl Stream for TcpStream {
    fn discard_unsent(&self) {
        // Else the kernel keeps some hundred kilobytes for minutes, for a client that does not want them.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

/// A stream that tells its watch when a request begins to arrive and when an answer has left.
pub(super) struct Watched<S: Stream> {
    pub(super) stream: S,
    pub(super) watch: Arc<Watch>,
}

impl<S: Stream> Drop for Watched<S> {
    fn drop(&mut self) {
        if self.watch.given_up.load(Ordering::Relaxed) {
            self.stream.discard_unsent();
        }
    }
}

impl<S: Stream> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before {
            self.watch.pass(Phase::Idle, Phase::Head);
        }
        read
    }
}

impl<S: Stream> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // hyper flushes once everything it held has been written, and every body here is one piece.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.watch.pass(Phase::Sending, Phase::Idle);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
