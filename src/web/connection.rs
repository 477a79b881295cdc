//! What one connection is doing and since when, so that a client that dawdles can be told from one that waits.
//! hyper's own header timeout also runs while a kept connection is idle, which would cut Prometheus off between
//! two scrapes; so hyper's is off, and this one knows the difference.

use super::fair::{Permit, Places, Slot};
use super::limits::ClientLimits;
use crate::system::clock;
use crate::system::counters::Counter;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
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
    /// The answer goes on for ever, piece by piece.
    Following,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and before: one answer at a time.
    Http1,
    /// HTTP/2: several at once.
    Http2,
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
    /// With HTTP/2 only `Head`, until the first request, and `Idle`.
    phase: Phase,
    since: Instant,
    // An answer is under way until the client has taken the whole of it.
    permit: Option<Permit>,
    /// With HTTP/2, the requests that are under way.
    streams: Option<BTreeMap<u64, Running>>,
    next_stream: u64,
}

/// A request of HTTP/2.
#[derive(Debug)]
struct Running {
    since: Instant,
    permit: Option<Permit>,
}

impl Watch {
    pub(super) fn new(id: u64, peer: IpAddr) -> Self {
        let state =
            State { phase: Phase::Head, since: clock::steady(), permit: None, streams: None, next_stream: 0 };
        let client = match peer.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            address => address,
        };
        Self { id, client, state: Mutex::new(state), cut: Arc::default(), given_up: AtomicBool::new(false) }
    }

    /// From now on it speaks HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.lock().streams = Some(BTreeMap::new());
    }

    /// A request has come, and is answered from now on.
    pub(super) fn begin(self: &Arc<Self>) -> Turn {
        let mut state = self.lock();
        let stream = state.next_stream;
        let now = clock::steady();
        let is_http2 = match &mut state.streams {
            Some(streams) => streams.insert(stream, Running { since: now, permit: None }).is_none(),
            None => false,
        };
        state.next_stream += 1;
        state.phase = if is_http2 { Phase::Idle } else { Phase::Answering };
        state.since = now;
        drop(state);
        Turn { watch: Arc::clone(self), stream: is_http2.then_some(stream) }
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = phase;
        state.since = clock::steady();
        if phase == Phase::Idle {
            state.permit = None;
        }
    }

    /// HTTP/1 only: with HTTP/2 what is read and written belongs to no request in particular.
    fn pass(&self, from: Phase, to: Phase) {
        let state = self.lock();
        let passes = state.streams.is_none() && state.phase == from;
        drop(state);
        if passes {
            self.enter(to);
        }
    }

    fn follows(&self) -> bool {
        self.lock().phase == Phase::Following
    }

    /// The place it holds among connections.
    pub(super) fn slot(&self) -> Slot {
        let state = self.lock();
        let idle = matches!(state.phase, Phase::Idle | Phase::Head)
            && state.streams.as_ref().is_none_or(BTreeMap::is_empty);
        Slot { id: self.id, client: self.client, idle, since: state.since }
    }

    /// Nobody will take what is still to be sent.
    pub(super) fn give_up(&self) {
        let state = self.lock();
        let sending = matches!(state.phase, Phase::Answering | Phase::Sending | Phase::Following)
            || state.streams.as_ref().is_some_and(|streams| !streams.is_empty());
        self.given_up.store(sending, Ordering::Relaxed);
    }

    /// When it is cut, unless it goes on; and where it counts if it is cut then.
    pub(super) fn deadline(&self, limits: &ClientLimits) -> (Instant, Counter) {
        let state = self.lock();
        let oldest = state.streams.iter().flat_map(BTreeMap::values).map(|running| running.since).min();
        let request = (limits.request, Counter::CutRequest);
        let (since, (limit, counter)) = match (oldest, state.phase) {
            (Some(since), _) => (since, request),
            (None, Phase::Idle) => (state.since, (limits.idle, Counter::CutIdle)),
            (None, Phase::Head) => (state.since, (limits.header, Counter::CutHeader)),
            (None, Phase::Answering | Phase::Sending | Phase::Following) => (state.since, request),
        };
        (since + limit, counter)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request on a connection, until the client has taken its answer.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) watch: Arc<Watch>,
    /// With HTTP/2.
    stream: Option<u64>,
}

impl Turn {
    /// Whether other requests of the connection are answered beside this one.
    pub(super) fn is_http2(&self) -> bool {
        self.stream.is_some()
    }

    /// Takes a place for the answer, to be held until the client has taken it; whether another was cut for it. `None` if
    /// there is no place.
    pub(super) fn take_place(&self, places: &Arc<Places>) -> Option<bool> {
        if self.held(|permit| permit.is_some()).unwrap_or(false) {
            // Of the answer before, which the client has not taken yet.
            return Some(false);
        }
        let (permit, crowded) = places.admit(self.watch.client, &self.watch.cut)?;
        // With HTTP/2 the client may have gone meanwhile: then it is free again.
        let _ = self.held(|held| *held = Some(permit));
        Some(crowded)
    }

    fn held<T>(&self, look: impl FnOnce(&mut Option<Permit>) -> T) -> Option<T> {
        let mut state = self.watch.lock();
        match self.stream {
            None => Some(look(&mut state.permit)),
            Some(stream) => Some(look(&mut state.streams.as_mut()?.get_mut(&stream)?.permit)),
        }
    }

    /// The answer is made; with `follows` it goes on for ever.
    pub(super) fn answered(&self, follows: bool) {
        match self.stream {
            None if follows => self.watch.enter(Phase::Following),
            None => self.watch.enter(Phase::Sending),
            Some(_) => {}
        }
    }

    /// The client has taken a piece of an answer that goes on.
    pub(super) fn goes_on(&self) {
        let mut state = self.watch.lock();
        let now = clock::steady();
        match self.stream {
            None => state.since = now,
            Some(stream) => {
                if let Some(running) = state.streams.as_mut().and_then(|streams| streams.get_mut(&stream)) {
                    running.since = now;
                }
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(stream) = self.stream else {
            // What is left of it is sent; other answers are, when the connection has been flushed.
            return self.watch.pass(Phase::Following, Phase::Sending);
        };
        let mut state = self.watch.lock();
        state.since = clock::steady();
        let ended = state.streams.as_mut().and_then(|streams| streams.remove(&stream));
        drop(state);
        // Its place is free, after the lock is gone.
        drop(ended);
    }
}

/// What carries a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes it ready to be read, and says what is spoken on it. One that is encrypted makes its handshake here: it counts as a part
    /// of the first header.
    fn ready(&mut self) -> impl Future<Output = io::Result<Protocol>> + Send {
        std::future::ready(Ok(Protocol::Http1))
    }

    /// Throws away unsent bytes when it is closed.
    fn discard_unsent(&self);

    /// Whether the client has closed its side, or is gone; else the task is woken when something comes.
    fn poll_closed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Stream for TcpStream {
    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        // What it sent before it went is still to be read, and stays so: hence not by reading.
        let mut watched = [PollFd::new(self, PollFlags::RDHUP)];
        let is_closed =
            rustix::event::poll(&mut watched, Some(&Timespec::default())).is_ok_and(|many| many > 0);
        if is_closed { Poll::Ready(()) } else { Poll::Pending }
    }

    fn discard_unsent(&self) {
        // Else the kernel keeps some hundred kilobytes for minutes, for a client that does not want them.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

/// Where connections come from.
pub trait Accept: Send + 'static {
    /// What carries one.
    type Stream: Stream;

    /// The next one, and whose it is. Dropped halfway, it loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, IpAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, IpAddr)> {
        TcpListener::accept(self).await.map(|(stream, peer)| (stream, peer.ip()))
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
        // A client that has closed its side still waits for an answer that ends. For one that goes on for ever it would hold a place
        // until writing fails, which takes two heartbeats.
        if self.watch.follows() && self.stream.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
