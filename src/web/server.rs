//! Accepting, bounding and ending connections.

use super::connection::{Accept, Protocol, Stream, Watch, Watched};
use super::fair;
use super::limits::{BACK_OFF, BODY_WAIT, ClientLimits, HEADER_BYTES, PIECE, RECORD_EVERY, RESETS, STREAMS};
use super::listen::Listeners;
use super::pages::App;
use super::secure::Encrypted;
use crate::system::clock;
use crate::system::counters::Counter;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time;

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
    match app.tls() {
        None => serve_on(listeners, app, limits, stop).await,
        Some(config) => {
            let listeners = listeners.into_iter().map(|inner| Encrypted::new(inner, Arc::clone(&config)));
            serve_on(listeners.collect(), app, limits, stop).await
        }
    }
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

/// Throws the body of a request away, as far as it is short and comes soon: by HTTP/2 an answer before its end resets the stream, and
/// curl takes the reset for the answer. Who sends a long one, or slowly, gets the reset.
async fn discard(body: Incoming) {
    let _ = time::timeout(BODY_WAIT, Limited::new(body, HEADER_BYTES).collect()).await;
}

/// Serves one connection to its end; gives its number.
async fn attend(
    mut stream: impl Stream,
    watch: Arc<Watch>,
    app: Arc<App>,
    limits: ClientLimits,
    closed: watch::Receiver<bool>,
) -> u64 {
    let mut patience = Patience { watch: Arc::clone(&watch), app: Arc::clone(&app), limits, closed };
    let protocol = match patience.wait(pin!(stream.ready()), |_| {}).await {
        None => return watch.id,
        Some(Err(_)) => {
            app.counters.count(Counter::HandshakesFailed);
            return watch.id;
        }
        Some(Ok(protocol)) => protocol,
    };
    let service = service_fn(|request| {
        let (turn, app) = (watch.begin(), Arc::clone(&app));
        async move {
            // After each answer everybody else has a turn: a connection can hold sixteen requests or more at once.
            tokio::task::yield_now().await;
            let reply = app.answer(&request, &turn).await;
            if protocol == Protocol::Http2 {
                discard(request.into_body()).await;
            }
            Ok::<_, Infallible>(reply.map(|body| body.to(turn)))
        }
    });
    let io = TokioIo::new(Watched { stream, watch: Arc::clone(&watch) });
    // A client that broke off or sent nonsense is its own affair: hyper has answered what could be.
    match protocol {
        Protocol::Http1 => {
            let mut http = http1::Builder::new();
            // A client that has asked and closed its side still waits for the answer.
            http.half_close(true).header_read_timeout(None).max_buf_size(HEADER_BYTES);
            let connection = pin!(http.serve_connection(io, service));
            patience.wait(connection, |connection| connection.graceful_shutdown()).await;
        }
        Protocol::Http2 => {
            watch.speaks_http2();
            let connection = pin!(http2_server().serve_connection(io, service));
            patience.wait(connection, |connection| connection.graceful_shutdown()).await;
        }
    }
    watch.id
}

/// HTTP/2 within bounds. A client holds as much of a request as a window and a header list have, and as much of each answer as
/// one piece; floods of resets end its connection, those of settings and pings are answered one at a time.
fn http2_server() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    let (window, headers) = (PIECE as u32, HEADER_BYTES as u32);
    http.max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(headers)
        .initial_stream_window_size(window)
        .initial_connection_window_size(u32::from(u16::MAX))
        .max_send_buf_size(PIECE);
    http
}

/// How long a client may take for what it does, and whether it may go on at all.
struct Patience {
    watch: Arc<Watch>,
    app: Arc<App>,
    limits: ClientLimits,
    closed: watch::Receiver<bool>,
}

impl Patience {
    /// What comes of it; `None` if the client took too long or had to give way. When the server stops, `end` asks it to end.
    async fn wait<F: Future>(
        &mut self,
        mut work: Pin<&mut F>,
        end: impl Fn(Pin<&mut F>),
    ) -> Option<F::Output> {
        let Self { watch, app, limits, closed } = self;
        let due = || {
            let (due, counter) = watch.deadline(limits);
            (time::Instant::from_std(due), counter)
        };
        let mut alarm = pin!(time::sleep_until(due().0));
        let mut stops = false;
        loop {
            let done = poll_fn(|cx| {
                if let Poll::Ready(output) = work.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                let (due, counter) = due();
                if alarm.deadline() != due {
                    alarm.as_mut().reset(due);
                }
                alarm.as_mut().poll(cx).map(|()| Err(counter))
            });
            tokio::select! {
                done = done => return match done {
                    Ok(output) => Some(output),
                    Err(counter) => {
                        watch.give_up();
                        app.counters.count(counter);
                        None
                    }
                },
                () = watch.cut.notified() => {
                    watch.give_up();
                    return None;
                }
                _ = closed.wait_for(|&closing| closing), if !stops => stops = true,
            }
            end(work.as_mut());
        }
    }
}
