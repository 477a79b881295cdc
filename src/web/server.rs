//! Accepting, bounding and ending connections.

use super::App;
use super::connection::{Phase, Watch, Watched};
use super::pages;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time;

/// A request's header may be this long, in bytes; a longer one is answered with 431.
const HEADER_BYTES: usize = 16 << 10;

/// How long to wait when the system has no descriptor or memory for another connection.
const BACK_OFF: Duration = Duration::from_millis(250);

/// How much the outside may ask of the server. Whoever reaches the port can hold no more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. One more takes the place of the one that has waited longest without a request.
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

/// Serves until `shutdown` is done; then accepts nothing more and lets running answers finish within
/// `limits.drain`. Needs a tokio runtime, of any flavour; fails only if a listener cannot be used with it.
pub async fn serve(
    listeners: Vec<TcpListener>,
    app: App,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (accepted, mut arrivals) = mpsc::channel(1);
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        acceptors.spawn(accept(tokio::net::TcpListener::from_std(listener)?, accepted.clone()));
    }
    let scrapes = match app.options.max_requests {
        0 => Semaphore::MAX_PERMITS,
        most => most.min(Semaphore::MAX_PERMITS),
    };
    let scrapes = Arc::new(Semaphore::new(scrapes));
    let app = Arc::new(app);
    let (stop, stopping) = watch::channel(false);
    let mut open: HashMap<u64, Arc<Watch>> = HashMap::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    for id in 0_u64.. {
        let socket = loop {
            tokio::select! {
                // In this order: a flood of arrivals must not keep the server from stopping or from tidying up.
                biased;
                () = &mut shutdown => break None,
                Some(ended) = connections.join_next() => {
                    if let Ok(id) = ended {
                        open.remove(&id);
                    }
                }
                Some(socket) = arrivals.recv() => break Some(socket),
            }
        };
        let Some(socket) = socket else { break };
        if open.len() >= limits.connections && !make_place(&mut open) {
            // Every connection has a request under way: this one is closed at once.
            continue;
        }
        let watch = Arc::new(Watch::new());
        open.insert(id, Arc::clone(&watch));
        let served = attend(socket, watch, Arc::clone(&app), Arc::clone(&scrapes), limits, stopping.clone());
        connections.spawn(async move {
            served.await;
            id
        });
    }
    acceptors.shutdown().await;
    drop(arrivals);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Whoever has not finished by now is cut when the set is dropped.
    let _ = time::timeout(limits.drain, drained).await;
    Ok(())
}

// Cut the connection that has waited longest without a request, so that idle ones cannot lock out a scrape.
fn make_place(open: &mut HashMap<u64, Arc<Watch>>) -> bool {
    let longest = open.iter().filter_map(|(&id, watch)| watch.waiting_since().map(|since| (since, id))).min();
    let Some((_, id)) = longest else { return false };
    if let Some(watch) = open.remove(&id) {
        watch.cut.notify_one();
    }
    true
}

async fn accept(listener: tokio::net::TcpListener, accepted: mpsc::Sender<TcpStream>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                if accepted.send(socket).await.is_err() {
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
                log::warn!("cannot accept a connection: {error}");
                time::sleep(BACK_OFF).await;
            }
        }
    }
}

async fn attend(
    socket: TcpStream,
    watch: Arc<Watch>,
    app: Arc<App>,
    scrapes: Arc<Semaphore>,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let (watch, app, scrapes) = (Arc::clone(&watch), Arc::clone(&app), Arc::clone(&scrapes));
        async move {
            watch.enter(Phase::Answering);
            let answer = pages::answer(&request, &app, &scrapes, &watch).await;
            watch.enter(Phase::Sending);
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(Watched { socket, watch: Arc::clone(&watch) });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(HEADER_BYTES);
    let mut connection = pin!(http.serve_connection(io, service));
    let due = || time::Instant::from_std(watch.deadline(&limits));
    let mut alarm = pin!(time::sleep_until(due()));
    let mut stops = false;
    loop {
        let served = poll_fn(|cx| {
            // A client that broke off or sent nonsense is its own affair: hyper has answered what could be.
            if connection.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            let due = due();
            if alarm.deadline() != due {
                alarm.as_mut().reset(due);
            }
            alarm.as_mut().poll(cx)
        });
        tokio::select! {
            () = served => return,
            () = watch.cut.notified() => return,
            _ = stopping.wait_for(|&stop| stop), if !stops => stops = true,
        }
        connection.as_mut().graceful_shutdown();
    }
}
