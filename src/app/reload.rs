//! The configuration in force, and how another takes its place: read, checked in full, handed to every capture; or the old
//! one stays.

use super::banner::{say_other_rules, warn_of};
use super::threads::CaptureThread;
use crate::capture::{self, Fanout, Surroundings, Wake};
use crate::detect::{Detector, Limits, Origin, Policy, Rule};
use crate::logger;
use crate::pipeline::{Reload, random_seed};
use crate::publish::metrics::{Build, ProcessState};
use crate::settings::{Ignored, Settings};
use crate::system::{clock, version};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The least time between two reloads, and between two records of reloads: a storm of signals or posts must not fill the
/// journal. The last one is always heeded.
const PACE: Duration = Duration::from_secs(1);

/// Replies to posts that may be owed at once: more than can wait on connections that are still open.
const MOST_REPLIES: usize = 256;

/// What a reload has to say; an error if the file was refused.
pub(super) type Outcome = Result<String, String>;

/// Looks about, and marks in a policy whom this host needs: where the operator has no name for it, it is called by what it is.
pub(super) fn mark(policy: &mut Policy, around: &mut Surroundings) {
    around.look();
    policy.names = std::mem::take(&mut policy.names).with_marks(around.each());
}

/// The configuration in force and how the latest reload went.
pub(super) struct Reloads {
    pub(super) settings: Settings,
    /// Whom this host needs.
    around: Mutex<Surroundings>,
    /// What the tables of each thread were made for.
    tables: Mutex<Tables>,
    captures: Vec<(Sender<Reload>, Fanout, Wake)>,
    state: Mutex<ProcessState>,
    /// When a record of a reload was last written.
    recorded: Mutex<Option<Instant>>,
}

/// What the tables of a thread were made for.
struct Tables {
    limits: Limits,
    greatest_threshold: u32,
    behind: Vec<Rule>,
}

impl Reloads {
    /// The configuration of a start is one that succeeded.
    pub(super) fn new(
        settings: Settings,
        around: Surroundings,
        limits: Limits,
        greatest_threshold: u32,
        captures: &[CaptureThread],
    ) -> Self {
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
        let reach =
            |thread: &CaptureThread| (thread.reloads.clone(), thread.fanout.clone(), thread.wake.clone());
        let behind = settings.policy.behind().collect();
        Self {
            settings,
            around: Mutex::new(around),
            tables: Mutex::new(Tables { limits, greatest_threshold, behind }),
            captures: captures.iter().map(reach).collect(),
            state: Mutex::new(state),
            recorded: Mutex::new(None),
        }
    }

    /// What the metrics show of the process.
    pub(super) fn state(&self) -> ProcessState {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        state.log_records_waiting = logger::waiting();
        state.places = capture::place_counts();
        state.counts = logger::counts().and(&capture::counts());
        state
    }

    /// Reads the file again and hands the policy to every capture; the old one stays if it is no good.
    pub(super) fn reload(&self) -> Outcome {
        if self.settings.flags.config.file.is_none() {
            let message = "there is no configuration file to reload (--config.file)";
            if self.may_record() {
                log::info!("{message}");
            }
            return Ok(String::from(message));
        }
        let outcome =
            self.settings.reload().map_err(|error| error.to_string()).and_then(|(mut policy, limits)| {
                mark(&mut policy, &mut self.around.lock().unwrap_or_else(PoisonError::into_inner));
                self.hand_over(&policy, limits.hold_nanos)?;
                Ok(policy)
            });
        self.show(outcome.as_ref().ok());
        match &outcome {
            _ if !self.may_record() => {}
            Ok(policy) => {
                log::info!("configuration reloaded");
                say_other_rules(&self.settings, policy);
                warn_of(&self.settings, policy);
            }
            Err(why) => log::error!("configuration not reloaded, the old one stays: {why}"),
        }
        outcome.map(|_| String::from("configuration reloaded"))
    }

    /// Hands a policy to every capture, or to none.
    fn hand_over(&self, policy: &Policy, hold_nanos: u64) -> Result<(), String> {
        let reloads = self.reloads_of(policy, hold_nanos)?;
        for (reload, (reloads, fanout, wake)) in reloads.into_iter().zip(&self.captures) {
            fanout.aggregate_ipv6(policy.shared_prefix());
            fanout.look_for(policy.techniques);
            // A capture that has ended takes no policy; the supervisor notices that by itself.
            let _ = reloads.send(reload);
            wake.wake();
        }
        Ok(())
    }

    /// What each capture gets for this policy. A threshold greater than the tables were made for, another hold, or other
    /// slower rules take new ones: all of them are there before the first capture gets its own, or the old policy stays.
    fn reloads_of(&self, policy: &Policy, hold_nanos: u64) -> Result<Vec<Reload>, String> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = Limits { hold_nanos, ..tables.limits };
        let fits = policy.threshold <= tables.greatest_threshold
            && policy.behind().eq(tables.behind.iter().copied());
        if fits && limits == tables.limits {
            return Ok(self.captures.iter().map(|_| Reload::Policy(Box::new(policy.clone()))).collect());
        }
        let one = |_| Detector::try_new(policy.clone(), limits, random_seed(), Origin::Live).map(Box::new);
        let all: Result<Vec<_>, _> = self.captures.iter().map(one).collect();
        let all = all.map_err(|error| error.to_string())?;
        let greatest_threshold = all.first().map_or(u32::MAX, |one| one.greatest_threshold());
        *tables = Tables { limits, greatest_threshold, behind: policy.behind().collect() };
        Ok(all.into_iter().map(Reload::Tables).collect())
    }

    /// Shows in the metrics how a reload went.
    fn show(&self, policy: Option<&Policy>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.config_last_reload_successful = policy.is_some();
        if let Some(policy) = policy {
            state.config_last_reload_success = Some(clock::wall());
            show_ignored(&mut state, Ignored::by(policy));
        }
    }

    /// Whether a reload may be recorded now; if not, that is counted.
    fn may_record(&self) -> bool {
        let now = clock::steady();
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded.is_some_and(|recorded| now.duration_since(recorded) < PACE) {
            logger::count_suppressed(1);
            return false;
        }
        *recorded = Some(now);
        true
    }
}

fn show_ignored(state: &mut ProcessState, ignored: Ignored) {
    state.ignored_addresses = [ignored.sources.ipv4, ignored.sources.ipv6];
    state.ignored_ports = ignored.ports.into();
}

/// Reloads that were asked for and are not due yet: at most one a `PACE`. Signals and posts that come meanwhile are one.
pub(super) struct Due {
    pub(super) wanted: bool,
    pub(super) at: tokio::time::Instant,
    /// The posts that wait for their reply.
    waiting: Vec<oneshot::Sender<Outcome>>,
}

impl Due {
    pub(super) fn now() -> Self {
        Self { wanted: false, at: tokio::time::Instant::from_std(clock::steady()), waiting: Vec::new() }
    }

    /// One more wants it. Beyond `MOST_REPLIES` nobody gets a reply: a client that posts and hangs up leaves its place
    /// until then.
    pub(super) fn request(&mut self, reply: oneshot::Sender<Outcome>) {
        self.wanted = true;
        if self.waiting.len() < MOST_REPLIES {
            self.waiting.push(reply);
        }
    }

    pub(super) fn done(&mut self, outcome: &Outcome) {
        self.wanted = false;
        self.at = tokio::time::Instant::from_std(clock::steady() + PACE);
        for reply in self.waiting.drain(..) {
            // A client that has gone does not get it.
            let _ = reply.send(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Posts as fast as they can be sent are one reload a second, and each gets its reply.
    #[test]
    fn reloads_that_are_asked_for_meanwhile_are_one() {
        let mut due = Due::now();
        let start = due.at;
        let requests: Vec<_> = (0..1_000)
            .map(|_| {
                let (reply, replied) = oneshot::channel();
                due.request(reply);
                replied
            })
            .collect();
        assert!(due.wanted && due.waiting.len() == MOST_REPLIES);
        due.done(&Err(String::from("no good")));
        assert!(!due.wanted && due.at >= start + PACE);
        let replies = requests.into_iter().map(|mut replied| replied.try_recv());
        let replies = replies.filter(|reply| *reply == Ok(Err(String::from("no good")))).count();
        assert_eq!(replies, MOST_REPLIES);
    }
}
