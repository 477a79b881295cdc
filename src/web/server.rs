//! Accepting, bounding and ending connections.

use super::connection::{Phase, Watch, Watched};
use super::{App, Listeners};
use crate::clock;
use crate::metrics::Cut;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time;

/// A request's header may be this long, in bytes; a longer one is answered with 431.
const HEADER_BYTES: usize = 16 << 10;

/// How long to wait when the system has no descriptor or memory for another connection.
const BACK_OFF: Duration = Duration::from_millis(250);

/// While nothing can be accepted, it is said this often: whoever holds connections must not fill the journal too.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The share of the process' file descriptors that connections may have. The capture needs some to come back.
const DESCRIPTOR_SHARE: u64 = 3;

/// How much the outside may ask of the server. Whoever reaches the port can hold no more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. One more takes the place of one that waits without a request: of the client who holds
    /// most places, the one that has waited longest.
    pub connections: usize,
    /// From the first byte of a request to the end of its header.
    pub header: Duration,
    /// From the end of the header until the client has taken the answer.
    pub request: Duration,
    /// Between two requests; longer than any usual scrape interval.
    pub idle: Duration,
    /// For running answers when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            header: Duration::from_secs(10),
            request: Duration::from_secs(30),
            idle: Duration::from_secs(180),
            drain: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// The usual limits, with fewer connections where the system grants few file descriptors.
    pub fn of_this_process() -> Self {
        let usual = Self::default();
        let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTOR_SHARE;
        Self {
            connections: usual.connections.min(usize::try_from(granted).unwrap_or(usize::MAX)).max(1),
            ..usual
        }
    }
}

/// Serves until `stop` is done, then lets running answers finish for a moment.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) {
    serve_within(listeners, app, Limits::of_this_process(), stop).await;
}

/// The same within other limits. Needs a tokio runtime, of any flavour.
pub async fn serve_within(listeners: Listeners, app: App, limits: Limits, stop: impl Future<Output = ()>) {
    let (accepted, mut arrivals) = mpsc::channel(1);
    let mut acceptors = JoinSet::new();
    let app = Arc::new(app);
    for listener in listeners.into_inner() {
        acceptors.spawn(accept(listener, accepted.clone(), Arc::clone(&app)));
    }
    let (closing, closed) = watch::channel(false);
    let mut open: HashMap<u64, Arc<Watch>> = HashMap::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    for id in 0_u64.. {
        let arrival = loop {
            tokio::select! {
                // In this order: a flood of arrivals must not keep the server from stopping or from tidying up.
                biased;
                () = &mut stop => break None,
                Some(ended) = connections.join_next() => {
                    match ended {
                        Ok(id) => drop(open.remove(&id)),
                        // It panicked: nobody but this map holds its watch any more.
                        Err(_) => open.retain(|_, watch| Arc::strong_count(watch) > 1),
                    }
                }
                Some(arrival) = arrivals.recv() => break Some(arrival),
            }
        };
        let Some((socket, peer)) = arrival else { break };
        if open.len() >= limits.connections {
            let made = make_place(&mut open);
            app.tally.cut(if made { Cut::Crowded } else { Cut::Full });
            if !made {
                // Every connection has a request under way: this one is closed at once.
                continue;
            }
        }
        let watch = Arc::new(Watch::new(peer));
        open.insert(id, Arc::clone(&watch));
        let served = attend(socket, watch, Arc::clone(&app), limits, closed.clone());
        connections.spawn(async move {
            served.await;
            id
        });
    }
    acceptors.shutdown().await;
    drop(arrivals);
    closing.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Whoever has not finished by now is cut when the set is dropped.
    let _ = time::timeout(limits.drain, drained).await;
}

// Cut a connection that waits without a request, so that idle ones cannot lock out a scrape: one of the client who
// holds most, or a storm of connections would push out Prometheus before its request is here.
fn make_place(open: &mut HashMap<u64, Arc<Watch>>) -> bool {
    let mut held: HashMap<IpAddr, usize> = HashMap::new();
    for watch in open.values() {
        *held.entry(watch.client).or_default() += 1;
    }
    let waiting =
        open.iter().filter_map(|(&id, watch)| watch.waiting_since().map(|since| (watch, since, id)));
    let first = waiting.min_by_key(|&(watch, since, id)| (std::cmp::Reverse(held[&watch.client]), since, id));
    let Some((_, _, id)) = first else { return false };
    if let Some(watch) = open.remove(&id) {
        watch.cut.notify_one();
    }
    true
}

async fn accept(listener: TcpListener, accepted: mpsc::Sender<(TcpStream, IpAddr)>, app: Arc<App>) {
    let mut said = None;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if accepted.send((socket, peer.ip())).await.is_err() {
                    return;
                }
            }
            // The client gave up while it waited for us: nothing of ours.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::Interrupted
                ) => {}
            // No descriptor or memory left (EMFILE, ENFILE, ENOBUFS, ENOMEM): trying at once would spin a core.
            Err(error) => {
                app.tally.accept_failures.fetch_add(1, Ordering::Relaxed);
                let now = clock::steady();
                if said.is_none_or(|said| now.duration_since(said) >= SAY_AGAIN) {
                    said = Some(now);
                    log::warn!("cannot accept a connection: {error}");
                }
                time::sleep(BACK_OFF).await;
            }
        }
    }
}

async fn attend(
    socket: TcpStream,
    watch: Arc<Watch>,
    app: Arc<App>,
    limits: Limits,
    mut closed: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let (watch, app) = (Arc::clone(&watch), Arc::clone(&app));
        async move {
            watch.enter(Phase::Answering);
            let answer = app.answer(&request, &watch);
            watch.enter(Phase::Sending);
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(Watched { socket, watch: Arc::clone(&watch) });
    let mut http = http1::Builder::new();
    // A client that has asked and closed its side still waits for the answer.
    http.half_close(true).header_read_timeout(None).max_buf_size(HEADER_BYTES);
    let mut connection = pin!(http.serve_connection(io, service));
    let due = || time::Instant::from_std(watch.deadline(&limits));
    let mut alarm = pin!(time::sleep_until(due()));
    let mut stops = false;
    loop {
        let served = poll_fn(|cx| {
            // A client that broke off or sent nonsense is its own affair: hyper has answered what could be.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let due = due();
            if alarm.deadline() != due {
                alarm.as_mut().reset(due);
            }
            alarm.as_mut().poll(cx).map(|()| Some(watch.impatience()))
        });
        tokio::select! {
            late = served => {
                if let Some(reason) = late {
                    app.tally.cut(reason);
                }
                return;
            }
            () = watch.cut.notified() => return,
            _ = closed.wait_for(|&closing| closing), if !stops => stops = true,
        }
        connection.as_mut().graceful_shutdown();
    }
}
