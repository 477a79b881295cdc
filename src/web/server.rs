//! Accepting, bounding and ending connections.

use super::connection::{Phase, Transport, Watch, Watched};
use super::{App, Listeners, fair};
use crate::system::clock;
use crate::system::counters::Counter;
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
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
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
    /// Connections at a time. One more takes the place of the oldest of the client who holds most, if its own holds
    /// fewer; else of one of its own that waits without a request.
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

/// The server on its thread: whatever clients do to it, signals and the watchdog are served elsewhere.
#[derive(Debug)]
pub struct Server {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    ended: Receiver<()>,
}

impl Server {
    /// Serves from now on.
    pub fn start(listeners: Listeners, app: App) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ends, ended) = sync_channel::<()>(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(String::from("web")).spawn(move || {
            // Dropped when the thread ends, however it does.
            let _ends = ends;
            let served = runtime.block_on(serve(listeners, app, async {
                let _ = stopped.await;
            }));
            if let Err(error) = served {
                panic!("the web server cannot listen: {error}");
            }
        })?;
        Ok(Self { thread, stop, ended })
    }

    /// Whether it has ended, which nobody told it to.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, and waits for running answers, but not for long; false if it had panicked.
    pub fn stop(self, patience: Duration) -> bool {
        let _ = self.stop.send(());
        match self.ended.recv_timeout(patience) {
            Err(RecvTimeoutError::Disconnected) => self.thread.join().is_ok(),
            // It ends with the process.
            _ => true,
        }
    }
}

/// Serves until `stop` is done, then lets running answers finish for a moment.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) -> io::Result<()> {
    serve_within(listeners, app, Limits::of_this_process(), stop).await
}

/// The same within other limits. Needs a tokio runtime, of any flavour.
pub async fn serve_within(
    listeners: Listeners,
    app: App,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    // Few of those who have come are not in `open` yet: they hold a descriptor too.
    let (accepted, mut arrivals) = mpsc::channel((limits.connections / 8).max(1));
    let mut acceptors = JoinSet::new();
    let app = Arc::new(app);
    for listener in listeners.into_inner() {
        acceptors.spawn(accept(TcpListener::from_std(listener)?, accepted.clone(), Arc::clone(&app)));
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
                // It never ends by itself: it panicked, and nobody would be let in any more.
                Some(_) = acceptors.join_next() => return Err(io::Error::other("accepting has ended")),
                Some(arrival) = arrivals.recv() => break Some(arrival),
            }
        };
        let Some((socket, peer)) = arrival else { break };
        if open.len() >= limits.connections {
            let made = make_place(&mut open, &Watch::new(id, peer));
            app.counters.count(if made { Counter::CutCrowded } else { Counter::CutFull });
            if !made {
                // Its client holds as many as any other, and all have a request under way.
                continue;
            }
        }
        let watch = Arc::new(Watch::new(id, peer));
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
    Ok(())
}

/// Cuts the connection that must give way to a newcomer, if one must.
fn make_place(open: &mut HashMap<u64, Arc<Watch>>, newcomer: &Watch) -> bool {
    let holders: Vec<fair::Holder> = open.values().map(|watch| watch.holder()).collect();
    let first = fair::gives_way(&holders, newcomer.client).and_then(|id| open.remove(&id));
    let Some(watch) = first else { return false };
    watch.cut.notify_one();
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
                app.counters.count(Counter::AcceptFailures);
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
    socket: impl Transport,
    watch: Arc<Watch>,
    app: Arc<App>,
    limits: Limits,
    mut closed: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let (watch, app) = (Arc::clone(&watch), Arc::clone(&app));
        async move {
            watch.enter(Phase::Answering);
            // After each answer everybody else has a turn: a connection can hold sixteen requests or more at once.
            tokio::task::yield_now().await;
            let answer = app.answer(&request, &watch).await;
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
                    watch.give_up();
                    app.counters.count(reason);
                }
                return;
            }
            () = watch.cut.notified() => return watch.give_up(),
            _ = closed.wait_for(|&closing| closing), if !stops => stops = true,
        }
        connection.as_mut().graceful_shutdown();
    }
}
