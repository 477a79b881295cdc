//! Since when a host is asked for ports that it was not asked for before, or by sources that had none. Visitors of what it has come all the
//! time: a scan by many did not begin with them, and their probes are not of it.
//!
//! The time is cut into stretches of a fifteenth of the window. Of each stretch in which a port or its owner was new it is kept when that
//! was and how the first such probe looked, and how many came until the next. So a scan began with the first port or owner that was new
//! within the window before its hit (or up to a fifteenth earlier), and this takes as much memory as it takes, whatever arrives.

use crate::detect::majority::{MainTechnique, MainTool};
use crate::detect::probe::{Probe, Signature, Technique, Tool};
use crate::detect::tuning::{QUANTA, STRETCHES};

/// Quanta of a stretch: all stretches but one hold a window, wherever in one it begins.
const QUANTA_OF_STRETCH: u64 = QUANTA / (STRETCHES as u64 - 1);

/// What belongs together of what is asked of a host: from a probe for a new port on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Since when, in nanoseconds.
    pub since: u64,
    /// How many probes; 0 is no run at all.
    pub probes: u32,
    /// The port of the first.
    pub first_port: u16,
    /// Its signature.
    pub signature: Signature,
    /// How most of them asked.
    pub technique: MainTechnique,
    /// By which tool most of them were sent.
    pub tool: MainTool,
}

impl Run {
    /// None.
    pub(super) const NONE: Run = Run {
        since: 0,
        probes: 0,
        first_port: 0,
        signature: Signature { window: 0, ttl: 0 },
        technique: MainTechnique::new(Technique::Syn),
        tool: MainTool::new(Tool::Unknown),
    };

    fn begun_by(probe: &Probe, now: u64) -> Self {
        Self {
            since: now,
            probes: 1,
            first_port: probe.port,
            signature: probe.signature,
            technique: MainTechnique::new(probe.technique),
            tool: MainTool::new(probe.tool),
        }
    }

    /// One more.
    #[inline]
    pub(super) fn push(&mut self, probe: &Probe) {
        self.probes = self.probes.saturating_add(1);
        // In a flood nearly always.
        if self.technique.is_settled_on(probe.technique) && self.tool.is_settled_on(probe.tool) {
            return;
        }
        self.technique.vote(probe.technique);
        self.tool.vote(probe.tool);
    }

    /// Goes on with what came later.
    fn go_on(&mut self, later: &Self) {
        self.probes = self.probes.saturating_add(later.probes);
        self.technique.merge(later.technique);
        self.tool.merge(later.tool);
    }
}

/// What was new lately at a host.
#[derive(Debug, Clone)]
pub(super) struct Lately {
    /// By the number of the stretch, of which they are the remainder.
    stretches: [Run; STRETCHES],
    /// The latest of them.
    latest: u8,
}

impl Lately {
    /// Nothing.
    pub(super) const NONE: Lately = Lately { stretches: [Run::NONE; STRETCHES], latest: 0 };

    /// Somebody asked for a port that was new, or got one from another, in this quantum of so many nanoseconds.
    pub(super) fn news(&mut self, probe: &Probe, now: u64, quantum_nanos: u64) {
        let stretch = now / quantum_nanos / QUANTA_OF_STRETCH;
        let at = (stretch % STRETCHES as u64) as usize;
        let run = &mut self.stretches[at];
        if run.probes > 0 && run.since / quantum_nanos / QUANTA_OF_STRETCH == stretch {
            run.push(probe);
        } else {
            *run = Run::begun_by(probe, now);
        }
        self.latest = at as u8;
    }

    /// Who owns a port asks for it again.
    pub(super) fn again(&mut self, probe: &Probe) {
        let run = &mut self.stretches[usize::from(self.latest)];
        if run.probes > 0 {
            run.push(probe);
        }
    }

    /// All of it that is lately at this moment, as one.
    pub(super) fn whole(&self, now: u64, quantum_nanos: u64) -> Run {
        let stretch = now / quantum_nanos / QUANTA_OF_STRETCH;
        let mut whole = Run::NONE;
        for back in (0..STRETCHES as u64).rev() {
            let Some(then) = stretch.checked_sub(back) else { continue };
            let run = &self.stretches[(then % STRETCHES as u64) as usize];
            match (run.probes > 0 && run.since / quantum_nanos / QUANTA_OF_STRETCH == then, whole.probes) {
                (false, _) => {}
                (true, 0) => whole = *run,
                (true, _) => whole.go_on(run),
            }
        }
        whole
    }
}
