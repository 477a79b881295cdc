//! The start. Its order is a contract: each step needs what a later one takes away, or gives what a later one needs.
//!
//! 0. **The sockets that systemd passed** (`Shell::new`), before anything is opened. They are known by number only: a file
//!    that was opened earlier would be served on.
//! 1. **SIGHUP and SIGXFSZ** (`Shell::new`), before anything that takes time. A reload that is asked for during the start
//!    would end the process.
//! 2. **The log and its hook for panics**, before anything that can fail. Else a failure is reported nowhere.
//! 3. **Tables**: the memory that is promised is compared with what there is, and allocated. Later, the process would be
//!    killed in the middle of a flood.
//! 4. **Sockets**: each interface with its ring, then the web listeners. As the user of step 5 neither can be opened
//!    everywhere.
//! 5. **Privileges** go (`system::privilege` has the order inside), before the first thread: a thread that runs already
//!    keeps its own, root with all of them.
//! 6. **Threads**: log, notifier, captures, web. The notifier comes before the captures, or their first hits wait; the web
//!    server comes after them, since it asks them questions. From here on an attacker is heard.
//! 7. **Supervision** (`supervise`): signals, and systemd learns that it is ready when every interface has shown itself
//!    once. Earlier, units that wait for a capture would not have one.
//!
//! The end is `stop`'s.

use super::banner::banner;
use super::reload::{Outcome, Reloads, mark};
use super::signals::listen;
use super::stop::Running;
use super::supervise::{Reports, Supervisor};
use super::threads::{CaptureThread, QUEUE, ShardPublisher};
use crate::capture::{self, CaptureError, Live, LiveOptions, Surroundings};
use crate::detect::{Limits, Origin, OutOfMemory};
use crate::events::notify::{Notice, Notifier};
use crate::logger;
use crate::pipeline::{Pipeline, Publisher, random_seed};
use crate::publish::recent::Recent;
use crate::publish::sample::{Sample, Sampling};
use crate::publish::store::SnapshotStore;
use crate::settings::{self, Settings};
use crate::system::memory::{self, Present, Wanted};
use crate::system::privilege::{self, Files};
use crate::system::systemd;
use crate::text::printable;
use crate::web;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::{mpsc, oneshot};

/// Reports of captures that may wait for the supervisor.
const REPORTS: usize = 64;

/// Requests for a reload that may wait for the supervisor.
const REQUESTS: usize = 16;

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

/// Captures until a signal says stop. An error says what was in the way, and what to try.
pub fn run(shell: Shell, settings: Settings) -> Result<(), String> {
    let notifier = |notices, recent| Notifier::new().with_recent(recent).run(notices);
    run_with(shell, settings, notifier, |publisher| publisher)
}

/// The same with another notifier, and with something between each capture and its publisher: a test puts in what panics.
pub fn run_with<P: Publisher + Send + 'static>(
    shell: Shell,
    mut settings: Settings,
    notifier: impl FnOnce(Receiver<Notice>, Arc<Recent>) + Send + 'static,
    publisher: impl Fn(ShardPublisher) -> P,
) -> Result<(), String> {
    let Shell { passed, runtime, hang_up, _too_large } = shell;
    let log = logger::Options { level: settings.flags.log.level, format: settings.flags.log.format };
    logger::start(log).map_err(|error| error.to_string())?;
    record_panics();
    check_memory(settings.memory())?;
    let mut around = Surroundings::default();
    mark(&mut settings.policy, &mut around);
    let limits = limits_of_a_thread(&settings);
    let pipelines = tables(&settings, limits)?;
    let lives = open_captures(&settings)?;
    let listeners = web::bind(&settings.web, passed).map_err(|error| error.to_string())?;
    let web_config = confine(&settings)?;
    logger::begin();
    banner(&settings, &lives, &listeners, web_config.as_ref());

    let threads = settings.flags.capture.threads as usize;
    let leaders = lives.iter().filter_map(|shards| shards.first());
    let store = Arc::new(SnapshotStore::shared(leaders.map(Live::interface), threads));
    let (notices, waiting) = sync_channel(QUEUE);
    let (reports, reported) = mpsc::channel(REPORTS);
    let recent = Arc::new(Recent::new(random_seed()));
    let remembers = Arc::clone(&recent);
    let notifier = start_notifier(move || notifier(waiting, remembers))?;
    let new_publisher = |live: &Live, index| {
        publisher(ShardPublisher::new(live, index, Arc::clone(&store), notices.clone(), reports.clone()))
    };
    let (captures, greatest_threshold) = start_captures(lives, pipelines, new_publisher)?;
    // From here on only captures hold them: their ends are seen.
    drop((notices, reports));
    let reloads = Arc::new(Reloads::new(settings, around, limits, greatest_threshold, &captures));
    let (requests, requested) = mpsc::channel(REQUESTS);
    let pages = pages(&reloads, &store, requests, &captures).with_recent(recent).with_config(web_config);
    let server = web::Server::start(listeners, pages)
        .map_err(|error| format!("cannot start the web server: {error}"))?;

    let running = Running { captures, notifier, server };
    let supervisor = Supervisor { reloads: &reloads, store: &store, running: &running };
    let outcome =
        runtime.block_on(supervisor.run(hang_up, Reports { captures: reported, reloads: requested }));
    running.stop(outcome)
}

/// Every thread of an interface has an equal part of its memory.
fn limits_of_a_thread(settings: &Settings) -> Limits {
    let threads = settings.flags.capture.threads as usize;
    Limits { memory_bytes: settings.limits.memory_bytes / threads, ..settings.limits }
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
        Ok(pipeline.with_sample(sample()).with_tunnels(settings.tunnels()))
    };
    let all: Result<Vec<_>, OutOfMemory> = (0..threads).map(one).collect();
    all.map_err(|error| format!("{error}; lower --detection.memory, or watch fewer interfaces"))
}

/// Opens every interface. One that cannot be opened is tried again while the others capture. An error says that none could be
/// opened; but what patterns mean may come later.
fn open_captures(settings: &Settings) -> Result<Vec<Vec<Live>>, String> {
    let prefix = settings.policy.shared_prefix();
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
            errors.push(error);
            waiting
        });
        lives.push(opened);
    }
    if let Some((patterns, places, options)) = settings.patterns() {
        for (opened, error) in Live::places(&options, prefix, patterns.except(own_names.into_keys()), places)
        {
            errors.extend(error);
            lives.push(opened);
        }
    }
    if !lives.iter().flatten().any(|live| live.link().is_some()) {
        none_is_open(settings, &errors)?;
    }
    if settings.flags.capture.interfaces.is_empty() {
        lives.iter().flatten().for_each(Live::follow_default_route);
    }
    Ok(lives)
}

/// No interface is there: with a pattern one may come, as on a host that gets its first container an hour later. What is in the way
/// of any is an error now, not when it comes.
fn none_is_open(settings: &Settings, errors: &[CaptureError]) -> Result<(), String> {
    let all = || errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let may_come = |error: &CaptureError| {
        matches!(error, CaptureError::NoSuchInterface { .. } | CaptureError::InterfaceDown { .. })
    };
    let Some((_, _, options)) = settings.patterns() else { return Err(all()) };
    if !errors.iter().all(may_come) {
        return Err(all());
    }
    let loopback = LiveOptions { interface: String::from("lo"), ..options };
    if let Err(error @ CaptureError::NoPrivilege { .. }) = Live::open(loopback) {
        return Err(error.to_string());
    }
    log::warn!("nothing is captured until an interface comes: {}", all());
    Ok(())
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

/// Gives up what is not needed any more, and says what is left. What asks for TLS and passwords is read as the user that
/// remains, as it will be for each request: nobody is let in later where it cannot be.
fn confine(settings: &Settings) -> Result<Option<web::ConfigFile>, String> {
    let config = settings.flags.config.file.as_deref();
    let web_config = settings.web.config_file.as_deref();
    let web_files =
        web_config.map(web::ConfigFile::open).transpose()?.map_or_else(Vec::new, |file| file.files());
    let databases = config.map_or_else(Vec::new, settings::files_of);
    let named = databases.iter().chain(&web_files).map(PathBuf::as_path);
    let files: Vec<&Path> = config.into_iter().chain(named).collect();
    let options = privilege::Options { user: settings.flags.user.clone(), readable: readable(&files) };
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
    web_config.map(web::ConfigFile::open).transpose().map_err(|error| {
        format!("{error} (as {who}, who reads it for each request: let this user read it, or choose another with --user)")
    })
}

/// What is read after the start: the directories of these files, since a new one takes the place of the old one; those of the files
/// that they may be links to; the program itself, for the names in a panic's backtrace; and who the resolvers are.
fn readable(files: &[&Path]) -> Vec<PathBuf> {
    let directory = |file: &Path| match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let linked: Vec<PathBuf> = files.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let directories = files.iter().copied().chain(linked.iter().map(PathBuf::as_path)).map(directory);
    directories.chain(std::env::current_exe()).chain(Surroundings::READ.map(PathBuf::from)).collect()
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

fn start_notifier(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new()
        .name(String::from("notify"))
        .spawn(run)
        .map_err(|error| format!("cannot start a thread: {error}"))
}

/// Starts every thread of every interface; also the greatest threshold that a reload may set without new tables.
fn start_captures<P: Publisher + Send + 'static>(
    lives: Vec<Vec<Live>>,
    mut pipelines: Vec<Pipeline>,
    new_publisher: impl Fn(&Live, usize) -> P,
) -> Result<(Vec<CaptureThread>, u32), String> {
    let mut captures = Vec::new();
    let mut greatest_threshold = u32::MAX;
    for (index, shards) in lives.into_iter().enumerate() {
        for live in shards {
            let pipeline = pipelines.pop().expect("as many as there are threads of interfaces");
            greatest_threshold = greatest_threshold.min(pipeline.greatest_threshold());
            let publisher = new_publisher(&live, index);
            captures.push(CaptureThread::start(live, pipeline, publisher)?);
        }
    }
    Ok((captures, greatest_threshold))
}

/// The pages, as the shell lets them act: a reload is its own work, at its own pace.
fn pages(
    reloads: &Arc<Reloads>,
    store: &Arc<SnapshotStore>,
    requests: mpsc::Sender<oneshot::Sender<Outcome>>,
    captures: &[CaptureThread],
) -> web::App {
    let state = Arc::clone(reloads);
    let reload = move || {
        let requests = requests.clone();
        async move {
            const ENDING: &str = "the exporter is stopping, or too many wait for a reload";
            let (reply, replied) = oneshot::channel();
            requests.send(reply).await.map_err(|_| String::from(ENDING))?;
            replied.await.unwrap_or_else(|_| Err(String::from(ENDING)))
        }
    };
    let questions = captures.iter().map(|capture| capture.questions.clone()).collect();
    web::App::new(reloads.settings.web.clone(), Arc::clone(store), move || state.state(), reload)
        .with_questions(questions)
}
