//! The end. Its order is a contract, too:
//!
//! 1. systemd and the journal learn of it: from here on its own patience counts, not the watchdog's.
//! 2. **Captures** stop, and hand over their last scans. A notifier that ended first would lose them.
//! 3. **Web**: running answers may finish, while the captures end.
//! 4. **Notifier**: it ends by itself when the last capture is gone, and has then written every scan.
//! 5. **Log**: flushed last, since everyone above writes to it.
//!
//! Each wait has a limit, and together they are less than systemd's TimeoutStopSec. A thread that hangs is left behind: the
//! process ends without it, and says so.

use super::threads::CaptureThread;
use crate::publish::vitals;
use crate::system::systemd;
use crate::web;
use std::thread::JoinHandle;
use std::time::Duration;

/// The captures get so long to end, and then the notifier.
const END_WITHIN: Duration = Duration::from_secs(3);

/// How long running HTTP answers may take.
const LAST_ANSWERS: Duration = Duration::from_millis(1200);

/// Every thread that runs.
pub(super) struct Running {
    pub(super) captures: Vec<CaptureThread>,
    pub(super) notifier: JoinHandle<()>,
    pub(super) server: web::Server,
}

impl Running {
    /// The first thread that has ended, if one has; none should.
    pub(super) fn first_ended(&self) -> Option<String> {
        let captures = self.captures.iter().map(|capture| (capture.name(), capture.thread.is_finished()));
        let others =
            [("the web server", self.server.is_finished()), ("the notifier", self.notifier.is_finished())];
        let mut all = captures.chain(others.map(|(name, ended)| (name.to_owned(), ended)));
        all.find_map(|(name, ended)| ended.then_some(name))
    }

    /// Ends every thread; an error says what went wrong before, or on the way.
    pub(super) fn stop(self, outcome: Result<(), String>) -> Result<(), String> {
        let _ = systemd::stopping();
        log::info!("stopping");
        let mut faults: Vec<String> = outcome.err().into_iter().collect();
        for capture in &self.captures {
            capture.wake.stop();
        }
        if !self.server.stop(LAST_ANSWERS) {
            faults.push(String::from("the web server panicked"));
        }
        let captures = self.captures.into_iter().map(|capture| (capture.name(), capture.thread));
        faults.extend(vitals::gather(captures.collect(), END_WITHIN));
        faults.extend(vitals::gather(vec![(String::from("the notifier"), self.notifier)], END_WITHIN));
        let why = faults.join("; ");
        if faults.is_empty() {
            log::info!("stopped");
        } else {
            log::error!("stopped: {why}");
        }
        log::logger().flush();
        if faults.is_empty() { Ok(()) } else { Err(why) }
    }
}
