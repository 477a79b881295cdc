//! Accepting, bounding and ending connections.

use super::connection::{Phase, Stream, Watch, Watched};
use super::fair;
use super::limits::{BACK_OFF, ClientLimits, HEADER_BYTES, RECORD_EVERY};
use super::listen::Listeners;
use super::pages::App;
use crate::system::clock;
use crate::system::counters::Counter;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
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
use tokio::task::{JoinError, JoinSet};
use tokio::time;

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

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, and waits for running answers, but not for long; false if it had panicked.
    pub fn stop(self, within: Duration) -> bool {
        let _ = self.stop.send(());
        match self.ended.recv_timeout(within) {
            Err(RecvTimeoutError::Disconnected) => self.thread.join().is_ok(),
            // It ends with the process.
            _ => true,
        }
    }
}

/// Serves until `stop` is done, then lets running answers finish for a moment.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) -> io::Result<()> {
    serve_within(listeners, app, ClientLimits::of_this_process(), stop).await
}

/// The same within other limits. Needs a tokio runtime, of any flavour.
pub async fn serve_within(
    listeners: Listeners,
    app: App,
    limits: ClientLimits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let listeners: Vec<_> =
        listeners.into_inner().into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
    serve_on(listeners, app, limits, stop).await
}

/// The same on anything that connections come from.
pub async fn serve_on<L: Accept>(
    listeners: Vec<L>,
    app: App,
    limits: ClientLimits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (accepted, mut arrivals) = mpsc::channel(limits.arrivals());
    let mut acceptors = JoinSet::new();
    let app = Arc::new(app);
    for listener in listeners {
        acceptors.spawn(accept_all(listener, accepted.clone(), Arc::clone(&app)));
    }
    let (closing, closed) = watch::channel(false);
    let mut open = Open::default();
    let mut stop = pin!(stop);
    loop {
        let arrival = tokio::select! {
            // In this order: a flood of arrivals must not keep the server from stopping or from tidying up.
            biased;
            () = &mut stop => break,
            Some(ended) = open.tasks.join_next() => {
                open.forget(ended);
                continue;
            }
            // It never ends by itself: it panicked, and nobody would be let in any more.
            Some(_) = acceptors.join_next() => return Err(io::Error::other("accepting has ended")),
            arrival = arrivals.recv() => arrival,
        };
        let Some((stream, peer)) = arrival else { break };
        if let Some(watch) = open.admit(peer, &limits, &app) {
            let served = attend(stream, watch, Arc::clone(&app), limits, closed.clone());
            open.tasks.spawn(served);
        }
    }
    acceptors.shutdown().await;
    drop(arrivals);
    closing.send_replace(true);
    let drained = async { while open.tasks.join_next().await.is_some() {} };
    // A client that has not finished by now is cut when the set is dropped.
    let _ = time::timeout(limits.drain, drained).await;
    Ok(())
}

/// The connections that have a place.
#[derive(Default)]
struct Open {
    next: u64,
    watches: HashMap<u64, Arc<Watch>>,
    /// Each gives its number when it ends.
    tasks: JoinSet<u64>,
}

impl Open {
    /// A place for a connection; `None` if there is none, since its client holds as many as any other, and all have a request
    /// under way.
    fn admit(&mut self, peer: IpAddr, limits: &ClientLimits, app: &App) -> Option<Arc<Watch>> {
        let watch = Arc::new(Watch::new(self.next, peer));
        if self.watches.len() >= limits.connections {
            let made = self.make_place(&watch);
            app.counters.count(if made { Counter::CutCrowded } else { Counter::CutFull });
            if !made {
                return None;
            }
        }
        self.watches.insert(self.next, Arc::clone(&watch));
        self.next += 1;
        Some(watch)
    }

    /// Cuts the connection that must give way to a newcomer, if one must.
    fn make_place(&mut self, newcomer: &Watch) -> bool {
        let slots: Vec<fair::Slot> = self.watches.values().map(|watch| watch.slot()).collect();
        let first = fair::gives_way(&slots, newcomer.client).and_then(|id| self.watches.remove(&id));
        let Some(watch) = first else { return false };
        watch.cut.notify_one();
        true
    }

    fn forget(&mut self, ended: Result<u64, JoinError>) {
        match ended {
            Ok(id) => drop(self.watches.remove(&id)),
            // It panicked: nobody but this map holds its watch any more.
            Err(_) => self.watches.retain(|_, watch| Arc::strong_count(watch) > 1),
        }
    }
}

async fn accept_all<L: Accept>(mut listener: L, accepted: mpsc::Sender<(L::Stream, IpAddr)>, app: Arc<App>) {
    let mut recorded = None;
    loop {
        match listener.accept().await {
            Ok(arrival) => {
                if accepted.send(arrival).await.is_err() {
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
                if recorded.is_none_or(|recorded| now.duration_since(recorded) >= RECORD_EVERY) {
                    recorded = Some(now);
                    log::warn!("cannot accept a connection: {error}");
                }
                time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Serves one connection to its end; gives its number.
async fn attend(
    stream: impl Stream,
    watch: Arc<Watch>,
    app: Arc<App>,
    limits: ClientLimits,
    mut closed: watch::Receiver<bool>,
) -> u64 {
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
    let io = TokioIo::new(Watched { stream, watch: Arc::clone(&watch) });
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
            alarm.as_mut().poll(cx).map(|()| Some(watch.timeout_counter()))
        });
        tokio::select! {
            late = served => {
                if let Some(reason) = late {
                    watch.give_up();
                    app.counters.count(reason);
                }
                return watch.id;
            }
            () = watch.cut.notified() => {
                watch.give_up();
                return watch.id;
            }
            _ = closed.wait_for(|&closing| closing), if !stops => stops = true,
        }
        connection.as_mut().graceful_shutdown();
    }
}
