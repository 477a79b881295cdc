//! What the shell attends to until it is time to stop: signals, systemd, and whether every thread still runs. It has the
//! main thread for itself, so that no client and no journal makes the watchdog's beat late.

use super::reload::{Due, Outcome, Reloads};
use super::signals::listen;
use super::stop::Running;
use super::threads::{Change, Report};
use crate::detect::Withdrawn;
use crate::events::blindness::Blindness;
use crate::logger;
use crate::publish::store::{CaptureState, SnapshotStore};
use crate::publish::vitals::{Sign, Vitals};
use crate::system::{clock, systemd};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::{mpsc, oneshot};

/// The longest between two looks at everything.
const BEAT: Duration = Duration::from_secs(1);

pub(super) struct Supervisor<'a> {
    pub(super) reloads: &'a Reloads,
    pub(super) store: &'a SnapshotStore,
    pub(super) running: &'a Running,
}

/// What others report to the supervisor.
pub(super) struct Reports {
    pub(super) captures: mpsc::Receiver<Report>,
    /// Posts that ask for a reload.
    pub(super) reloads: mpsc::Receiver<oneshot::Sender<Outcome>>,
}

impl Supervisor<'_> {
    /// Runs until a signal says stop; an error says which thread has ended by itself.
    pub(super) async fn run(&self, mut hang_up: Signal, mut reports: Reports) -> Result<(), String> {
        let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
        let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
        let mut beat = tokio::time::interval(systemd::watchdog_interval().unwrap_or(BEAT).min(BEAT));
        let mut health = Health::of(self.store);
        let mut due = Due::now();
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hang_up.recv(), if !due.wanted => due.wanted = true,
                Some(reply) = reports.reloads.recv() => due.request(reply),
                () = tokio::time::sleep_until(due.at), if due.wanted => {
                    due.done(&self.reload(&health));
                }
                Some(report) = reports.captures.recv() => health.take(&report),
                _ = beat.tick() => {
                    // What a capture reports comes before what its snapshot shows.
                    while let Ok(report) = reports.captures.try_recv() {
                        health.take(&report);
                    }
                    self.beat(&mut health)?;
                }
            }
        }
    }

    /// Reloads, and tells systemd when it begins and ends; but not before the first READY=1, which a reload must not anticipate.
    fn reload(&self, health: &Health) -> Outcome {
        if health.announced {
            let _ = systemd::reloading();
        }
        let outcome = self.reloads.reload();
        if health.announced {
            let _ = systemd::ready(&health.status);
        }
        outcome
    }

    /// Tells systemd how we are; an error if a thread has ended that should not have.
    fn beat(&self, health: &mut Health) -> Result<(), String> {
        let states = self.store.states();
        health.blindness.look(&states, &self.store.all(), &logger::counts(), clock::steady());
        if !health.announced && states.iter().all(|(_, state)| *state != CaptureState::Starting) {
            // One that is not there yet does not hold up the others; the status and `portscan_capture_up` show which.
            health.announced = true;
            let _ = systemd::ready(&health.blindness.status());
        }
        health.show();
        let (alive, signs) = health.vitals.look(self.store, clock::steady());
        signs.iter().for_each(record_sign);
        // A capture that hangs starves the watchdog: systemd starts us anew.
        if alive {
            let _ = systemd::alive();
        }
        self.running.first_ended().map_or(Ok(()), |name| Err(format!("{name} ended by itself")))
    }
}

/// What is seen and what is not, and what systemd knows of it.
struct Health {
    blindness: Blindness,
    vitals: Vitals,
    status: String,
    /// Whether READY=1 was sent.
    announced: bool,
}

impl Health {
    fn of(store: &SnapshotStore) -> Self {
        let states = store.states();
        let interfaces = states.iter().map(|(interface, _)| &**interface);
        Self {
            blindness: Blindness::new(interfaces, clock::steady()),
            vitals: Vitals::default(),
            status: String::new(),
            announced: false,
        }
    }

    fn take(&mut self, report: &Report) {
        let Report { index, interface, change } = report;
        let now = clock::steady();
        match change {
            Change::Lost(why) => self.blindness.changed(*index, interface, Some(why), now),
            Change::Back => self.blindness.changed(*index, interface, None, now),
            Change::Replaced => self.blindness.replaced(*index, interface, now),
            Change::Paused(pause) => record_pause(interface, *pause),
            Change::Withdrawn(withdrawn) => record_withdrawn(interface, withdrawn),
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

fn record_pause(interface: &str, pause: Duration) {
    let seconds = pause.as_secs();
    log::warn!(
        interface, seconds;
        "capture on {interface} did not run for {seconds} s (stopped, suspended or stuck): what its buffer still held is \
         counted, what came beyond is dropped or was never seen"
    );
}

/// The most sources that a record names.
const NAMED: usize = 5;

fn record_withdrawn(interface: &str, Withdrawn { sources, scans }: &Withdrawn) {
    let mut names: Vec<String> = sources.iter().take(NAMED).map(ToString::to_string).collect();
    if sources.len() > NAMED {
        names.push(format!("{} others", sources.len() - NAMED));
    }
    log::info!(
        interface, sources = sources.len(), scans;
        "ignored from now on, and no longer shown on {interface}: {} (open scans that ended with it: {scans})",
        names.join(", ")
    );
}

fn record_sign(sign: &Sign) {
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
