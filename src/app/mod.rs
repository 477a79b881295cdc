//! The shell: threads, signals, reload, and the order of start and shutdown.

use crate::capture::{self, Direction, Live, Steering, Wake};
use crate::detect::{Detector, Explanation, Limits, Origin, OutOfMemory, Policy, ScanEvent};
use crate::events::blindness::Blindness;
use crate::events::notify::{Notice, Notifier};
use crate::logger;
use crate::pipeline::vantage::{Place, Vantage};
use crate::pipeline::{LiveSink, Outlet, Pipeline, QUESTIONS, Question, Reload, random_seed};
use crate::publish::board::{Board, Standing};
use crate::publish::metrics::{Build, ProcessState};
use crate::publish::sample::{Sample, Sampling};
use crate::publish::snapshot::InterfaceSnapshot;
use crate::publish::vitals::{self, Sign, Vitals};
use crate::settings::{self, Ignored, Settings};
use crate::system::clock;
use crate::system::memory::{self, Present, Wanted};
use crate::system::privilege::{self, Files};
use crate::system::{systemd, version};
use crate::text::printable;
use crate::text::units::write_duration;
use crate::web;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Scan events that may wait for the notifier; beyond it they are counted as lost.
const QUEUE: usize = 4096;

/// The least time between two reloads by signal, and between two records of reloads: whatever sends them in a storm
/// must not fill the journal. The last signal is always heeded.
const RELOAD_PACE: Duration = Duration::from_secs(1);

/// How long running HTTP answers may take when it ends.
const LAST_ANSWERS: Duration = Duration::from_millis(1200);

/// What a capture thread tells: state to the board, events to the notifier, its fate to the shell.
struct Wires {
    index: usize,
    shard: usize,
    interface: Arc<str>,
    board: Arc<Board>,
    notices: SyncSender<Notice>,
    fates: tokio::sync::mpsc::Sender<Fate>,
}

/// The captures get so long to end, and then the notifier: together less than systemd's TimeoutStopSec.
const END_WITHIN: Duration = Duration::from_secs(3);

/// What happened to the capture on an interface.
struct Fate {
    /// Which of the interfaces, in the order they were given: its name may have changed with it.
    index: usize,
    interface: Arc<str>,
    what: Happened,
}

enum Happened {
    Lost(String),
    Back,
    Paused(Duration),
}

fn tell_pause(interface: &str, pause: Duration) {
    let seconds = pause.as_secs();
    log::warn!(
        interface, seconds;
        "capture on {interface} did not run for {seconds} s (stopped, suspended or stuck): what its buffer still held is \
         counted, what came beyond is dropped or was never seen"
    );
}

impl Outlet for Wires {
    fn scan(&mut self, event: ScanEvent) -> bool {
        self.notices.try_send(Notice { interface: Arc::clone(&self.interface), event }).is_ok()
    }

    fn capture_changed(&mut self, lost: Option<&str>) {
        self.tell(lost.map_or(Happened::Back, |why| Happened::Lost(why.to_owned())));
    }

    fn paused(&mut self, pause: Duration) {
        // All threads of an interface pause together: one tells it.
        if self.shard == 0 {
            self.tell(Happened::Paused(pause));
        }
    }

    fn moved(&mut self, interface: &str) {
        self.interface = Arc::from(interface);
    }

    fn publish(&mut self, snapshot: InterfaceSnapshot) {
        self.board.publish_shard(self.index, self.shard, Arc::new(snapshot));
    }

    fn answer(&mut self, question: u64, explanation: Explanation) {
        self.board.answer_shard(self.index, self.shard, question, explanation);
    }
}

impl Wires {
    fn tell(&self, what: Happened) {
        // An interface that flaps faster than the log takes it loses lines, not packets; `restarts` counts on.
        let (index, interface) = (self.index, Arc::clone(&self.interface));
        let _ = self.fates.try_send(Fate { index, interface, what });
    }
}

/// A capture thread and the ways to reach it.
struct Worker {
    interface: Arc<str>,
    wake: Wake,
    reloads: Sender<Reload>,
    questions: SyncSender<Question>,
    steering: Steering,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(live: Live, pipeline: Pipeline, wires: Wires) -> Result<Self, String> {
        let wake = Wake::new().map_err(|error| format!("cannot make a wake descriptor: {error}"))?;
        let (reloads, new_reloads) = channel();
        let (questions, asked) = sync_channel(QUESTIONS);
        let interface = Arc::clone(&wires.interface);
        let (name, called) = (interface.to_string(), wake.clone());
        let steering = live.steering();
        let thread = std::thread::Builder::new()
            .name(format!("capture-{name}"))
            .spawn(move || capture_loop(live, &name, pipeline, wires, (new_reloads, asked), &called))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { interface, wake, reloads, questions, steering, thread })
    }
}

fn capture_loop(
    mut live: Live,
    interface: &str,
    pipeline: Pipeline,
    wires: Wires,
    (reloads, questions): (Receiver<Reload>, Receiver<Question>),
    wake: &Wake,
) {
    let pipeline = pipeline.at(Vantage::of(place(&live)));
    let sink = LiveSink::new(interface, pipeline, wires, reloads).with_questions(questions);
    let mut sink = sink.with_addresses(capture::own_addresses);
    live.run(&mut sink, wake);
    sink.finish();
}

/// Where a capture stands. Who asks for both directions asks for the host's own connections.
fn place(live: &Live) -> Place {
    match live.direction() {
        Direction::Out | Direction::InOut => Place::Anywhere,
        Direction::In if live.is_any() => Place::Any,
        Direction::In if live.is_loopback() => Place::Loopback,
        Direction::In => Place::Link,
    }
}

/// The configuration in force and how the latest reload went.
struct Reloads {
    settings: Settings,
    /// Of each thread.
    limits: Limits,
    /// What the tables were made for.
    greatest_threshold: AtomicU32,
    workers: Vec<(Sender<Reload>, Steering, Wake)>,
    state: Mutex<ProcessState>,
    /// When a reload was last told of.
    told: Mutex<Option<Instant>>,
}

impl Reloads {
    /// Whether a reload may be told of now; if not, that is counted.
    fn may_tell(&self) -> bool {
        let now = clock::steady();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.duration_since(told) < RELOAD_PACE) {
            logger::count_suppressed(1);
            return false;
        }
        *told = Some(now);
        true
    }

    fn state(&self) -> ProcessState {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        state.log_records_waiting = logger::waiting();
        state.counts = logger::counts();
        state
    }

    /// What each capture is told of this policy. A threshold greater than the tables were made for takes new ones: all of them are
    /// there before the first capture is told, or the old policy stays.
    fn reloads_of(&self, policy: &Policy) -> Result<Vec<Reload>, String> {
        if policy.threshold <= self.greatest_threshold.load(Ordering::Relaxed) {
            return Ok(self.workers.iter().map(|_| Reload::Policy(policy.clone())).collect());
        }
        let tables =
            || Detector::try_new(policy.clone(), self.limits, random_seed(), Origin::Live).map(Box::new);
        let tables: Vec<_> = self
            .workers
            .iter()
            .map(|_| tables())
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        if let Some(one) = tables.first() {
            self.greatest_threshold.store(one.greatest_threshold(), Ordering::Relaxed);
        }
        Ok(tables.into_iter().map(Reload::Tables).collect())
    }

    /// Reads the file again and hands the policy to every capture; the old one stays if it is no good. Gives what is to
    /// be said of it.
    fn reload(&self) -> Outcome {
        if self.settings.flags.config.file.is_none() {
            let said = "there is no configuration file to reload (--config.file)";
            if self.may_tell() {
                log::info!("{said}");
            }
            return Ok(String::from(said));
        }
        let (mut ignored, mut warnings) = (None, Vec::new());
        let outcome = self.settings.reload().map_err(|error| error.to_string()).and_then(|policy| {
            for (reload, (reloads, steering, wake)) in
                self.reloads_of(&policy)?.into_iter().zip(&self.workers)
            {
                steering.aggregate_ipv6(policy.ipv6_prefix);
                // A capture that has ended takes no policy; the shell notices that by itself.
                let _ = reloads.send(reload);
                wake.wake();
            }
            let ignores = Ignored::by(&policy);
            warnings = ignores.warnings(policy.threshold);
            ignored = Some(ignores);
            Ok(())
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.config_last_reload_successful = outcome.is_ok();
        if outcome.is_ok() {
            state.config_last_reload_success = Some(clock::wall());
        }
        if let Some(ignored) = ignored {
            show_ignored(&mut state, ignored);
        }
        drop(state);
        match &outcome {
            _ if !self.may_tell() => {}
            Ok(()) => {
                log::info!("configuration reloaded");
                warn_of(&warnings);
            }
            Err(why) => log::error!("configuration not reloaded, the old one stays: {why}"),
        }
        outcome.map(|()| String::from("configuration reloaded"))
    }
}

/// What is to be said of a reload; an error if the file was refused.
type Outcome = Result<String, String>;

/// Reloads that were asked for and are not due yet: at most one a `RELOAD_PACE`. Signals and posts that come meanwhile
/// are one.
struct Due {
    wanted: bool,
    at: tokio::time::Instant,
    /// Who waits to hear of it.
    waiting: Vec<oneshot::Sender<Outcome>>,
}

/// More than can wait on connections that are still open.
const MOST_WAITING: usize = 256;

impl Due {
    fn now() -> Self {
        Self { wanted: false, at: tokio::time::Instant::from_std(clock::steady()), waiting: Vec::new() }
    }

    /// One more wants it. Beyond `MOST_WAITING` nobody hears of it: whoever posts and hangs up leaves his place until
    /// then.
    fn tell(&mut self, asker: oneshot::Sender<Outcome>) {
        self.wanted = true;
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push(asker);
        }
    }

    fn done(&mut self, outcome: &Outcome) {
        self.wanted = false;
        self.at = tokio::time::Instant::from_std(clock::steady() + RELOAD_PACE);
        for asker in self.waiting.drain(..) {
            // Who has gone does not hear it.
            let _ = asker.send(outcome.clone());
        }
    }
}

fn show_ignored(state: &mut ProcessState, ignored: Ignored) {
    state.ignored_addresses = [ignored.ipv4, ignored.ipv6];
    state.ignored_ports = ignored.ports.into();
}

/// Says which lists most likely hold more than was meant.
fn warn_of(warnings: &[String]) {
    for warning in warnings {
        log::warn!("the configuration blinds: {warning}");
    }
}

/// What must be there before anything else.
pub struct Shell {
    /// The sockets that systemd passed, if it is to serve on them.
    passed: Vec<OwnedFd>,
    runtime: Runtime,
    hang_up: Signal,
    /// A log file that may grow no more costs records, not the process: with a listener the write fails instead.
    _too_large: Signal,
}

impl Shell {
    /// A shell that heeds SIGHUP from now on: one that comes while the exporter starts is a reload, not its end. (SIGINT and
    /// SIGTERM end it at once until it captures.) With `takes_sockets` those that systemd passed are to be served on; call
    /// it before anything is opened.
    pub fn new(takes_sockets: bool) -> Result<Self, String> {
        let passed = if takes_sockets {
            systemd::sockets().map_err(|error| format!("cannot listen on the sockets of systemd: {error}"))?
        } else {
            Vec::new()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the runtime: {error}"))?;
        let guard = runtime.enter();
        let hang_up = listen(SignalKind::hangup(), "SIGHUP")?;
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        let _too_large = listen(too_large, "SIGXFSZ")?;
        drop(guard);
        Ok(Self { passed, runtime, hang_up, _too_large })
    }
}

fn listen(kind: SignalKind, name: &str) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for {name}: {error}"))
}

/// What is promised must be there, or the process is killed when a flood first asks for it.
fn check_memory(wanted: Wanted) -> Result<(), String> {
    let present = Present::now();
    let warning = wanted.compare(&present).map_err(|error| error.to_string())?;
    log::info!(
        interfaces = wanted.interfaces, tables_bytes = wanted.tables, rings_bytes = wanted.rings;
        "memory: {wanted}"
    );
    if let Some(warning) = warning {
        log::warn!("little memory is left: {warning}");
    }
    if let Some(group) = &present.unread {
        log::info!(
            "the memory limit of the control group {} cannot be read here (under `ip netns exec`, use `nsenter --net`): the \
             memory was compared with this machine's only",
            printable(group)
        );
    }
    Ok(())
}

/// The tables of every thread of every interface, allocated once and for good: memory that the system does not give is an
/// error here.
fn tables(settings: &Settings, limits: Limits) -> Result<Vec<Pipeline>, String> {
    memory::map_large_allocations();
    let threads = settings.memory().interfaces * u64::from(settings.flags.capture.threads);
    // Each source meets one thread, so its part of the series is enough for its part of the sources.
    let shards = settings.flags.capture.threads as usize;
    let sampling = settings.sampling.map(|all| Sampling { max_sources: all.max_sources / shards, ..all });
    let sample = || sampling.map(|sampling| Sample::new(sampling, settings.policy.clone()));
    let one = |_| {
        let pipeline = Pipeline::try_new(settings.policy.clone(), limits, random_seed(), Origin::Live)?;
        Ok(pipeline.with_sample(sample()))
    };
    let all: Result<Vec<_>, OutOfMemory> = (0..threads).map(one).collect();
    all.map_err(|error| format!("{error}; lower --detection.memory, or watch fewer interfaces"))
}

/// Opens every interface. One that cannot be opened is tried again while the others capture; an error says that none
/// could.
fn open_captures(settings: &Settings) -> Result<Vec<Vec<Live>>, String> {
    let prefix = settings.policy.ipv6_prefix;
    let mut errors = Vec::new();
    let mut lives = Vec::new();
    let mut own_names = BTreeMap::new();
    for mut options in settings.captures(default_interface)? {
        let given = options.interface;
        options.interface = capture::own_name(&given);
        if let Some(earlier) = own_names.insert(options.interface.clone(), given.clone()) {
            let (given, earlier) = (printable(&given), printable(&earlier));
            return Err(format!(
                "cannot capture on {given}: it is the same interface as {earlier}, by another name"
            ));
        }
        let opened = Live::open_all(options.clone(), prefix).unwrap_or_else(|error| {
            let waiting = Live::waiting(options, prefix, &error.reason());
            errors.push(error.to_string());
            waiting
        });
        lives.push(opened);
    }
    if errors.len() == lives.len() {
        return Err(errors.join("; "));
    }
    if settings.flags.capture.interfaces.is_empty() {
        lives.iter().flatten().for_each(Live::follow_default_route);
    }
    Ok(lives)
}

fn default_interface() -> Result<String, String> {
    let name = capture::default_interface()
        .ok_or("cannot capture: there is no default route; name an interface with -i")?;
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!(
            "cannot capture: the name of the default route's interface ({}) is not UTF-8; rename it, or name another \
             with -i",
            printable(&name)
        ));
    }
    Ok(name)
}

/// Gives up what is not needed any more, and says what is left.
fn confine(settings: &Settings) -> Result<(), String> {
    let config = settings.flags.config.file.as_deref();
    let options = privilege::Options { user: settings.flags.user.clone(), readable: readable(config) };
    let confined = privilege::confine(&options).map_err(|error| error.to_string())?;
    if let Some(why) = &confined.still_root {
        log::warn!("it stays root, with no privilege but CAP_NET_RAW: {why}");
    }
    let who = confined.became.as_deref().unwrap_or("the user that started it");
    let files = match confined.files {
        Files::Restricted => "restricted",
        Files::Partly => "partly restricted",
        Files::Free => "unrestricted",
    };
    let calls = if confined.calls { "restricted" } else { "unrestricted" };
    log::info!(user = who, files, calls; "runs as {who}; files are {files}, system calls {calls}");
    if confined.shared {
        log::info!(
            "any other process of {who} can stop it or take its limits away: --user names an account that nobody else uses"
        );
    }
    if let Err(error) = config.map_or(Ok(()), settings::may_read) {
        log::warn!(
            "a reload will be refused: {error} (as {who}; let this user read it, or choose another with --user)"
        );
    }
    Ok(())
}

/// What is read after the start: the configuration's directory, since a new file takes the place of the old one; that of
/// the file it may be a link to; and the program itself, for the names in a panic's backtrace.
fn readable(config: Option<&Path>) -> Vec<PathBuf> {
    let directory = |file: &Path| match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let linked = config.and_then(|path| path.canonicalize().ok());
    let directories = config.into_iter().chain(linked.as_deref()).map(directory);
    directories.chain(std::env::current_exe()).collect()
}

/// Captures until a signal says stop. An error says what was in the way, and what to try.
///
/// The order of the start is a contract; each step needs what a later one takes away, or gives what a later one needs:
///
/// 0. The sockets that systemd passed are taken (`Shell::new`): before anything is opened, since they are known by number only.
/// 1. SIGHUP is heeded (`Shell::new`), before anything that takes time.
/// 2. The log is open, for what is found on the way; and the tables are there.
/// 3. Sockets: each interface with its ring, then the web listeners. Both may need root.
/// 4. Privileges go, before the first thread: threads inherit what they may do.
/// 5. Threads: log, notifier, captures, web. They meet what an attacker sends.
/// 6. Signals are attended to, and systemd is told that it is ready when every interface has shown itself once.
pub fn run(shell: Shell, settings: Settings) -> Result<(), String> {
    let Shell { passed, runtime, hang_up, _too_large } = shell;
    logger::start(logger::Options { level: settings.flags.log.level, format: settings.flags.log.format })
        .map_err(|error| error.to_string())?;
    record_panics();
    check_memory(settings.memory())?;
    let threads = settings.flags.capture.threads as usize;
    let limits = Limits { memory_bytes: settings.limits.memory_bytes / threads, ..settings.limits };
    let mut pipelines = tables(&settings, limits)?;
    let lives = open_captures(&settings)?;
    let listeners = web::bind(&settings.web, passed).map_err(|error| error.to_string())?;
    confine(&settings)?;
    logger::begin();
    banner(&settings, &lives, &listeners);

    let leaders = lives.iter().filter_map(|shards| shards.first());
    let board = Arc::new(Board::shared(leaders.map(Live::interface), threads));
    let (notices, waiting) = sync_channel(QUEUE);
    let (fates, mut told) = tokio::sync::mpsc::channel(64);
    let notifier = std::thread::Builder::new()
        .name(String::from("notify"))
        .spawn(move || Notifier::new().run(waiting))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let mut workers = Vec::new();
    let mut greatest_threshold = u32::MAX;
    let shards = lives
        .into_iter()
        .enumerate()
        .flat_map(|(index, shards)| shards.into_iter().map(move |live| (index, live)));
    for (index, live) in shards {
        let pipeline = pipelines.pop().expect("as many as there are threads of interfaces");
        greatest_threshold = greatest_threshold.min(pipeline.greatest_threshold());
        let wires = Wires {
            index,
            shard: live.shard(),
            interface: Arc::from(live.interface()),
            board: Arc::clone(&board),
            notices: notices.clone(),
            fates: fates.clone(),
        };
        workers.push(Worker::start(live, pipeline, wires)?);
    }
    drop((notices, fates));

    let reloads = Arc::new(Reloads {
        limits,
        greatest_threshold: AtomicU32::new(greatest_threshold),
        workers: workers
            .iter()
            .map(|worker| (worker.reloads.clone(), worker.steering.clone(), worker.wake.clone()))
            .collect(),
        state: Mutex::new({
            let mut state = ProcessState {
                build: Build {
                    version: version::VERSION.into(),
                    revision: version::REVISION.into(),
                    rustversion: version::RUST_VERSION.into(),
                    libpcap: capture::libpcap_version().into(),
                },
                config_last_reload_successful: true,
                config_last_reload_success: Some(clock::wall()),
                ..ProcessState::default()
            };
            show_ignored(&mut state, Ignored::by(&settings.policy));
            state
        }),
        told: Mutex::new(None),
        settings,
    });
    let (asks, mut asked) = tokio::sync::mpsc::channel(16);
    let questions = workers.iter().map(|worker| worker.questions.clone()).collect();
    let server = web::Server::start(listeners, pages(&reloads, &board, asks, questions))
        .map_err(|error| format!("cannot start the web server: {error}"))?;
    let attention = Attention {
        reloads: &reloads,
        board: &board,
        workers: &workers,
        server: &server,
        notifier: &notifier,
    };
    let outcome = runtime.block_on(attention.pay(hang_up, &mut told, &mut asked));
    drop(asked);
    let _ = systemd::stopping();
    log::info!("stopping");

    // Captures first: their last scans are still told of. Then the notifier, which ends when they are gone.
    let mut faults: Vec<String> = outcome.err().into_iter().collect();
    for worker in &workers {
        worker.wake.stop();
    }
    if !server.stop(LAST_ANSWERS) {
        faults.push(String::from("the web server panicked"));
    }
    let captures =
        workers.into_iter().map(|worker| (format!("the capture on {}", worker.interface), worker.thread));
    faults.extend(vitals::gather(captures.collect(), END_WITHIN));
    faults.extend(vitals::gather(vec![(String::from("the notifier"), notifier)], END_WITHIN));
    let why = faults.join("; ");
    if faults.is_empty() {
        log::info!("stopped");
    } else {
        log::error!("stopped: {why}");
    }
    log::logger().flush();
    if faults.is_empty() { Ok(()) } else { Err(why) }
}

/// A panic is a record like any other, not only some lines on standard error.
fn record_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let why = panic.payload_as_str().unwrap_or("no reason given");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log::error!("panic in thread {name} at {place}: {why}");
    }));
}

fn tell(sign: &Sign) {
    match sign {
        Sign::Stalled(interface, silence) => log::error!(
            interface = interface.as_str(), seconds = silence.as_secs();
            "capture on {interface} has stalled: its thread has not ticked for {} s, and what comes there is not seen",
            silence.as_secs()
        ),
        Sign::Recovered(interface) => {
            log::info!(interface = interface.as_str(); "capture on {interface} ticks again");
        }
    }
}

/// The pages, as the shell lets them act: a reload is its own work, at its own pace.
fn pages(
    reloads: &Arc<Reloads>,
    board: &Arc<Board>,
    asks: tokio::sync::mpsc::Sender<oneshot::Sender<Outcome>>,
    questions: Vec<SyncSender<Question>>,
) -> web::App {
    let state = Arc::clone(reloads);
    let reload = move || {
        let asks = asks.clone();
        async move {
            const ENDING: &str = "the exporter is stopping, or too many wait for a reload";
            let (asker, told) = oneshot::channel();
            asks.send(asker).await.map_err(|_| String::from(ENDING))?;
            told.await.unwrap_or_else(|_| Err(String::from(ENDING)))
        }
    };
    web::App::new(reloads.settings.web.clone(), Arc::clone(board), move || state.state(), reload)
        .with_questions(questions)
}

/// What the shell attends to until it is time to stop: signals, systemd, and whether everyone is still at work. It has
/// the main thread for itself, so that no client and no journal makes the watchdog's beat late.
struct Attention<'a> {
    reloads: &'a Reloads,
    board: &'a Board,
    workers: &'a [Worker],
    server: &'a web::Server,
    notifier: &'a JoinHandle<()>,
}

impl Attention<'_> {
    async fn pay(
        &self,
        mut hang_up: Signal,
        fates: &mut tokio::sync::mpsc::Receiver<Fate>,
        asked: &mut tokio::sync::mpsc::Receiver<oneshot::Sender<Outcome>>,
    ) -> Result<(), String> {
        let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
        let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
        let mut beat = tokio::time::interval(
            systemd::watchdog_interval().unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1)),
        );
        let start = clock::steady();
        let interfaces = self.board.standings();
        let mut eyes = Eyes {
            blindness: Blindness::new(interfaces.iter().map(|(interface, _)| &**interface), start),
            vitals: Vitals::default(),
            status: String::new(),
            announced: false,
        };
        let mut due = Due::now();
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hang_up.recv(), if !due.wanted => due.wanted = true,
                Some(asker) = asked.recv() => due.tell(asker),
                () = tokio::time::sleep_until(due.at), if due.wanted => {
                    // Before it is ready no reload may say so.
                    if eyes.announced {
                        let _ = systemd::reloading();
                    }
                    due.done(&self.reloads.reload());
                    if eyes.announced {
                        let _ = systemd::ready(&eyes.status);
                    }
                }
                Some(fate) = fates.recv() => eyes.hear(&fate),
                _ = beat.tick() => {
                    // What was told of a capture comes before what its snapshot shows.
                    while let Ok(fate) = fates.try_recv() {
                        eyes.hear(&fate);
                    }
                    self.beat(&mut eyes)?;
                }
            }
        }
    }

    /// Tells systemd how we are; an error if somebody has ended who should not have.
    fn beat(&self, eyes: &mut Eyes) -> Result<(), String> {
        let standings = self.board.standings();
        eyes.blindness.look(&standings, &self.board.all(), &logger::counts(), clock::steady());
        if !eyes.announced && standings.iter().all(|(_, standing)| *standing != Standing::Starting) {
            // One that is not there yet does not hold up the others; the status and `portscan_capture_up` tell which.
            eyes.announced = true;
            let _ = systemd::ready(&eyes.blindness.status());
        }
        eyes.show();
        let (alive, signs) = eyes.vitals.look(self.board, clock::steady());
        signs.iter().for_each(tell);
        // A capture that hangs starves the watchdog: systemd starts us anew.
        if alive {
            let _ = systemd::alive();
        }
        let captures = self
            .workers
            .iter()
            .map(|worker| (format!("the capture on {}", worker.interface), worker.thread.is_finished()));
        let others =
            [("the web server", self.server.is_finished()), ("the notifier", self.notifier.is_finished())];
        let all = captures.chain(others.map(|(who, ended)| (who.to_owned(), ended)));
        ended(all).map_or(Ok(()), |who| Err(format!("{who} ended by itself")))
    }
}

/// What is seen and what is not, and what was told of it.
struct Eyes {
    blindness: Blindness,
    vitals: Vitals,
    status: String,
    announced: bool,
}

impl Eyes {
    fn hear(&mut self, fate: &Fate) {
        let Fate { index, interface, what } = fate;
        let now = clock::steady();
        match what {
            Happened::Lost(why) => self.blindness.changed(*index, interface, Some(why), now),
            Happened::Back => self.blindness.changed(*index, interface, None, now),
            Happened::Paused(pause) => tell_pause(interface, *pause),
        }
        self.show();
    }

    /// Tells systemd when it has changed.
    fn show(&mut self) {
        let status = self.blindness.status();
        if status != self.status {
            let _ = systemd::status(&status);
            self.status = status;
        }
    }
}

/// The first who has ended.
fn ended(all: impl IntoIterator<Item = (String, bool)>) -> Option<String> {
    all.into_iter().find_map(|(who, ended)| ended.then_some(who))
}

/// A great threshold is reached in a block of memory: says for how many sources there is one, loudly if they are few.
fn say_how_many_at_once(settings: &Settings) {
    let threads = settings.flags.capture.threads as usize;
    let share = Limits { memory_bytes: settings.limits.memory_bytes / threads, ..settings.limits };
    let Some(sources) = share.sources_at_once(settings.policy.threshold) else { return };
    let sources = sources * threads;
    const FEW: usize = 100;
    let level = if sources < FEW { log::Level::Warn } else { log::Level::Info };
    log::log!(
        level,
        sources, threshold = settings.policy.threshold;
        "at most {sources} sources of an interface can be counted up to this threshold at once; --detection.memory sets how many"
    );
}

/// Says what is about to happen: version, interfaces with their addresses, window, threshold, listen address.
fn banner(settings: &Settings, lives: &[Vec<Live>], listeners: &web::Listeners) {
    log::info!(
        version = version::VERSION,
        revision = version::REVISION,
        libpcap = capture::libpcap_version().as_str();
        "starting portscan_exporter"
    );
    let known = capture::interfaces();
    for live in lives.iter().filter_map(|shards| shards.first()).filter(|live| live.link().is_some()) {
        let addresses = known.iter().find(|interface| interface.name == live.interface());
        let addresses: Vec<String> = addresses
            .into_iter()
            .flat_map(|interface| &interface.addresses)
            .map(ToString::to_string)
            .collect();
        let addresses = if addresses.is_empty() { String::from("none") } else { addresses.join(",") };
        let threads = settings.flags.capture.threads;
        let interface = live.interface();
        log::info!(interface, addresses = addresses.as_str(), threads; "capturing on {interface} ({addresses})");
    }
    log::info!(
        threshold = settings.policy.threshold,
        window = write_duration(Duration::from_nanos(settings.policy.window_nanos)).as_str(),
        hold = write_duration(Duration::from_nanos(settings.limits.hold_nanos)).as_str();
        "a source that probes {} distinct ports within {} is a hit",
        settings.policy.threshold,
        write_duration(Duration::from_nanos(settings.policy.window_nanos))
    );
    warn_of(&Ignored::by(&settings.policy).warnings(settings.policy.threshold));
    say_how_many_at_once(settings);
    for address in listeners.addresses() {
        log::info!(address = address.to_string().as_str(); "listening on {address}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ends_by_itself_is_named() {
        let panicked = std::thread::spawn(|| panic!("as a test"));
        while !panicked.is_finished() {
            std::thread::yield_now();
        }
        let works = |who: &str| (who.to_owned(), false);
        let all = [works("the capture on eth0"), (String::from("the notifier"), panicked.is_finished())];
        assert_eq!(ended(all), Some(String::from("the notifier")));
        assert_eq!(ended([works("the web server")]), None);
        assert!(panicked.join().is_err());
    }

    /// Posts as fast as they can be sent are one reload a second, and each hears of it.
    #[test]
    fn reloads_that_are_asked_for_meanwhile_are_one() {
        let mut due = Due::now();
        let start = due.at;
        let askers: Vec<_> = (0..1_000)
            .map(|_| {
                let (asker, told) = oneshot::channel();
                due.tell(asker);
                told
            })
            .collect();
        assert!(due.wanted && due.waiting.len() == MOST_WAITING);
        due.done(&Err(String::from("no good")));
        assert!(!due.wanted && due.at >= start + RELOAD_PACE);
        let heard = askers.into_iter().map(|mut told| told.try_recv());
        let heard = heard.filter(|told| *told == Ok(Err(String::from("no good")))).count();
        assert_eq!(heard, MOST_WAITING);
    }
}
