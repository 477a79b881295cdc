//! The shell: threads, signals, reload, and the order of start and shutdown.

use crate::board::{Board, STALLED, Standing};
use crate::capture::{self, Live, Steering, Wake};
use crate::cli::LogFormat;
use crate::clock;
use crate::detect::{Limits, Origin, Policy, ScanEvent};
use crate::logger;
use crate::metrics::{Build, ProcessState};
use crate::notify::{Notice, Notifier};
use crate::pipeline::{LiveSink, Outlet, Pipeline};
use crate::settings::{self, Ignored, Settings};
use crate::snapshot::InterfaceSnapshot;
use crate::units::write_duration;
use crate::{privilege, systemd, version, web};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Scan events that may wait for the notifier; beyond it they are counted as lost.
const QUEUE: usize = 4096;

/// The least time between two reloads by signal, and between two records of reloads: whatever sends them in a storm
/// must not fill the journal. The last signal is always heeded.
const RELOAD_PACE: Duration = Duration::from_secs(1);

/// What a capture thread tells: state to the board, events to the notifier, its fate to the shell.
struct Wires {
    index: usize,
    shard: usize,
    interface: Arc<str>,
    board: Arc<Board>,
    notices: SyncSender<Notice>,
    fates: tokio::sync::mpsc::Sender<Fate>,
}

/// What happened to a capture.
struct Fate {
    interface: Arc<str>,
    lost: Option<String>,
}

impl Outlet for Wires {
    fn scan(&mut self, event: ScanEvent) -> bool {
        self.notices.try_send(Notice { interface: Arc::clone(&self.interface), event }).is_ok()
    }

    fn capture_changed(&mut self, lost: Option<&str>) {
        // An interface that flaps faster than the log takes it loses lines, not packets; `restarts` counts on.
        let _ = self
            .fates
            .try_send(Fate { interface: Arc::clone(&self.interface), lost: lost.map(str::to_owned) });
    }

    fn publish(&mut self, snapshot: InterfaceSnapshot) {
        self.board.publish_shard(self.index, self.shard, Arc::new(snapshot));
    }
}

/// A capture thread and the ways to reach it.
struct Worker {
    interface: Arc<str>,
    wake: Wake,
    policies: Sender<Policy>,
    steering: Steering,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(live: Live, pipeline: Pipeline, wires: Wires) -> Result<Self, String> {
        let wake = Wake::new().map_err(|error| format!("cannot make a wake descriptor: {error}"))?;
        let (policies, new_policies) = channel();
        let interface = Arc::clone(&wires.interface);
        let (name, called) = (interface.to_string(), wake.clone());
        let steering = live.steering();
        let thread = std::thread::Builder::new()
            .name(format!("capture-{name}"))
            .spawn(move || capture_loop(live, &name, pipeline, wires, new_policies, &called))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { interface, wake, policies, steering, thread })
    }
}

fn capture_loop(
    mut live: Live,
    interface: &str,
    pipeline: Pipeline,
    wires: Wires,
    policies: Receiver<Policy>,
    wake: &Wake,
) {
    let mut sink = LiveSink::new(interface, pipeline, wires, policies);
    live.run(&mut sink, wake);
    sink.finish();
}

/// The configuration in force and how the latest reload went.
struct Reloads {
    settings: Settings,
    greatest_threshold: u32,
    workers: Vec<(Sender<Policy>, Steering, Wake)>,
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
        let counts = logger::counts();
        state.log_records = counts.written;
        state.log_records_suppressed = counts.suppressed;
        state.log_records_redirected = counts.redirected;
        state.log_records_lost = counts.lost;
        state.log_records_waiting = counts.waiting;
        state
    }

    /// Reads the file again and hands the policy to every capture; the old one stays if it is no good.
    fn reload(&self) -> Result<(), String> {
        let _ = systemd::reloading();
        let (mut ignored, mut warnings) = (None, Vec::new());
        let outcome = self.settings.reload().map_err(|error| error.to_string()).and_then(|policy| {
            if policy.threshold > self.greatest_threshold {
                return Err(format!(
                    "a threshold of {} needs a restart: the tables were sized at start for at most {}",
                    policy.threshold, self.greatest_threshold
                ));
            }
            for (policies, steering, wake) in &self.workers {
                steering.aggregate_ipv6(policy.ipv6_prefix);
                // A capture that has ended takes no policy; the shell notices that by itself.
                let _ = policies.send(policy.clone());
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
        let _ = systemd::ready("capturing");
        outcome
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

/// Captures until a signal says stop. An error says what was in the way, and what to try.
pub fn run(settings: Settings) -> Result<(), String> {
    logger::start(logger_options(&settings)).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let guard = runtime.enter();
    // A log file that may grow no more costs records, not the process: with a listener the write fails instead.
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    let _ignored = signal(too_large).map_err(|error| format!("cannot listen for SIGXFSZ: {error}"))?;
    drop(guard);
    let no_default = || String::from("cannot capture: there is no default route; name an interface with -i");
    let options = settings.captures(|| capture::default_interface().ok_or_else(no_default))?;
    let lives = options
        .into_iter()
        .map(|options| {
            Live::open_all(options, settings.policy.ipv6_prefix).map_err(|error| error.to_string())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let guard = runtime.enter();
    let listeners = web::bind(&settings.web).map_err(|error| error.to_string())?;
    drop(guard);
    privilege::confine().map_err(|error| format!("cannot give up privileges: {error}"))?;
    logger::begin();
    banner(&settings, &lives, &listeners);

    let threads = settings.flags.capture.threads as usize;
    let leaders = lives.iter().filter_map(|shards| shards.first());
    let board = Arc::new(Board::shared(leaders.map(Live::interface), threads));
    let limits = Limits { memory_bytes: settings.limits.memory_bytes / threads, ..settings.limits };
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
        // Keys come from the wire: nobody may know how they hash.
        let seed = RandomState::new().build_hasher().finish();
        let pipeline = Pipeline::new(settings.policy.clone(), limits, seed, Origin::Live);
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
        greatest_threshold,
        workers: workers
            .iter()
            .map(|worker| (worker.policies.clone(), worker.steering.clone(), worker.wake.clone()))
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
    let outcome = runtime.block_on(attend(&reloads, &board, &workers, listeners, &mut told));

    // Captures first: their last scans are still told of. Then the notifier, which ends when they are gone.
    let mut failed = outcome.err();
    for worker in workers {
        worker.wake.stop();
        if worker.thread.join().is_err() {
            failed = Some(format!("the capture on {} panicked", worker.interface));
        }
    }
    if notifier.join().is_err() {
        failed = Some(String::from("the notifier panicked"));
    }
    match failed {
        None => {
            log::info!("stopped");
            Ok(())
        }
        Some(why) => Err(why),
    }
}

/// Serves, and attends to signals, systemd and the captures, until it is time to stop.
async fn attend(
    reloads: &Arc<Reloads>,
    board: &Arc<Board>,
    workers: &[Worker],
    listeners: web::Listeners,
    fates: &mut tokio::sync::mpsc::Receiver<Fate>,
) -> Result<(), String> {
    let listen = |kind, name| signal(kind).map_err(|error| format!("cannot listen for {name}: {error}"));
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut hang_up = listen(SignalKind::hangup(), "SIGHUP")?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = {
        let (state, reload) = (Arc::clone(reloads), Arc::clone(reloads));
        let app = web::App::new(
            reloads.settings.web.clone(),
            Arc::clone(board),
            move || state.state(),
            move || reload.reload(),
        );
        tokio::spawn(web::serve(listeners, app, async {
            let _ = stopped.await;
        }))
    };
    let mut beat = tokio::time::interval(
        systemd::watchdog_interval().unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1)),
    );
    let mut announced = false;
    // Signals that come meanwhile are one; it stays pending until its time has come.
    let (mut reload_wanted, mut reload_at) = (false, tokio::time::Instant::from_std(clock::steady()));
    let outcome = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            _ = hang_up.recv(), if !reload_wanted => reload_wanted = true,
            () = tokio::time::sleep_until(reload_at), if reload_wanted => {
                reload_wanted = false;
                let _ = reloads.reload();
                reload_at = tokio::time::Instant::from_std(clock::steady() + RELOAD_PACE);
            }
            Some(fate) = fates.recv() => match fate.lost {
                Some(why) => log::error!("capture on {} lost: {why}; trying to reopen it", fate.interface),
                None => log::info!("capture on {} is back", fate.interface),
            },
            _ = beat.tick() => {
                if !announced && board.standings().iter().all(|(_, standing)| *standing == Standing::Ready) {
                    announced = true;
                    let _ = systemd::ready("capturing");
                }
                if board.stalled(clock::steady(), STALLED).is_empty() {
                    let _ = systemd::alive();
                }
                if let Some(dead) = workers.iter().find(|worker| worker.thread.is_finished()) {
                    break Err(format!("the capture on {} ended by itself", dead.interface));
                }
            }
        }
    };
    let _ = systemd::stopping();
    log::info!("stopping");
    for worker in workers {
        worker.wake.stop();
    }
    let _ = stop.send(());
    let _ = tokio::time::timeout(Duration::from_millis(1200), server).await;
    outcome
}

fn logger_options(settings: &Settings) -> logger::Options {
    let flags = &settings.flags.log;
    let format = match flags.format {
        LogFormat::Auto => logger::Format::Auto,
        LogFormat::Journald => logger::Format::Journald,
        LogFormat::Logfmt => logger::Format::Logfmt,
        LogFormat::Json => logger::Format::Json,
    };
    logger::Options { level: settings::log_level(flags), format }
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
    for live in lives.iter().filter_map(|shards| shards.first()) {
        let addresses = known.iter().find(|interface| interface.name == live.interface());
        let addresses: Vec<String> = addresses
            .into_iter()
            .flat_map(|interface| &interface.addresses)
            .map(ToString::to_string)
            .collect();
        let addresses = if addresses.is_empty() { String::from("none") } else { addresses.join(",") };
        let threads = settings.flags.capture.threads;
        if threads > 1 {
            log::info!(interface = live.interface(), addresses = addresses.as_str(), threads; "capturing");
        } else {
            log::info!(interface = live.interface(), addresses = addresses.as_str(); "capturing");
        }
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
    for address in listeners.addresses() {
        log::info!(address = address.to_string().as_str(); "listening");
    }
}
