//! What the process uses, from /proc/self. The prometheus crate's own collector cuts CPU time and start time to
//! whole seconds and needs /proc/stat, which systemd's `ProcSubset=pid` hides.

use crate::system::clock;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::sync::OnceLock;

/// Resources of a process; `None` where the system does not say.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// User and system CPU time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// When it started, in seconds since the Unix epoch.
    pub start_time_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_memory_bytes: Option<f64>,
    /// Virtual memory, in bytes.
    pub virtual_memory_bytes: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<f64>,
    /// How many it may open.
    pub max_fds: Option<f64>,
    /// Its threads.
    pub threads: Option<f64>,
}

impl Usage {
    /// What this process uses now.
    pub(crate) fn of_this_process() -> Self {
        // The start does not move, so it is worked out once: a later step of the wall clock would move it.
        static START: OnceLock<Option<f64>> = OnceLock::new();
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let stat = stat.as_deref().and_then(Stat::parse);
        let boot = || clock::wall().as_secs_f64() - clock::since_boot().as_secs_f64();
        Self {
            cpu_seconds: stat.map(|stat| stat.cpu_ticks / ticks_per_second()),
            start_time_seconds: *START
                .get_or_init(|| stat.map(|stat| boot() + stat.start_ticks / ticks_per_second())),
            resident_memory_bytes: stat.map(|stat| stat.resident_pages * rustix::param::page_size() as f64),
            virtual_memory_bytes: stat.map(|stat| stat.virtual_bytes),
            // The descriptor that lists them is not counted.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64),
            max_fds: getrlimit(Resource::Nofile).current.map(|limit| limit as f64),
            threads: stat.map(|stat| stat.threads),
        }
    }
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// The fields of /proc/PID/stat that are shown (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may hold both spaces and parentheses.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_spaces_and_parentheses() {
        let line = "42 (a) (b c) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 9000 4096000 250 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                cpu_ticks: 200.0,
                threads: 3.0,
                start_ticks: 9000.0,
                virtual_bytes: 4_096_000.0,
                resident_pages: 250.0
            }
        );
        assert_eq!(Stat::parse("42 (a"), None);
        assert_eq!(Stat::parse("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_every_number() {
        let usage = Usage::of_this_process();
        let now = clock::wall().as_secs_f64();
        let start = usage.start_time_seconds.unwrap();
        assert!(start <= now + 0.1 && start > now - 86_400.0, "started at {start}, now {now}");
        assert!(usage.cpu_seconds.unwrap() < 86_400.0);
        assert!(usage.resident_memory_bytes.unwrap() > 100_000.0);
        assert!(usage.virtual_memory_bytes.unwrap() >= usage.resident_memory_bytes.unwrap());
        assert!(usage.open_fds.unwrap() >= 3.0);
        assert!(usage.max_fds.unwrap() >= usage.open_fds.unwrap());
        assert!(usage.threads.unwrap() >= 1.0);
        assert_eq!(Usage::of_this_process().start_time_seconds, Some(start));
    }
}
