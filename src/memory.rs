//! Whether the memory that the tables and the kernel's rings will want is there. The kernel gives a page when it is first
//! written to, so a promise that cannot be kept is not noticed at start: the process is killed in the middle of a flood.
//!
//! So it is compared here, and asked for at once and fallibly; but it is not touched. To touch 48 MiB took 40 ms and 1 GiB
//! 0.7 s (with huge pages 0.3 and 6.5 s, on a busy machine), and would stay resident for good, where a quiet process has 2 MiB
//! of memory of its own.

use crate::units::ByteSize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What the process needs beside its tables: code, queues, pages being rendered, connections.
const REST: u64 = 24 << 20;

/// What is wanted: by how many interfaces, and how much by each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Interfaces that are captured.
    pub interfaces: u64,
    /// Tables of each, in bytes.
    pub tables: u64,
    /// Kernel rings of each, in bytes.
    pub rings: u64,
}

impl Wanted {
    /// What this process itself holds at most. The kernel's rings are not charged to its group.
    fn own(self) -> u64 {
        (self.tables.saturating_mul(self.interfaces)).saturating_add(REST)
    }

    fn all(self) -> u64 {
        self.own().saturating_add(self.rings.saturating_mul(self.interfaces))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interfaces, tables, rings } = *self;
        let (tables, rings) = (ByteSize(tables), ByteSize(rings));
        match interfaces {
            1 => write!(f, "{tables} of tables, {rings} of kernel rings")?,
            many => write!(f, "{many} interfaces with {tables} of tables and {rings} of kernel rings each")?,
        }
        write!(f, ", {} for the rest: {} in all", ByteSize(REST), ByteSize(self.all()))
    }
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The memory of the machine, in bytes.
    pub physical: u64,
    /// The least limit of the control groups that the process is in, and whose it is.
    pub group: Option<(u64, PathBuf)>,
}

/// Too much was promised; shows as one line with the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge(String);

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooLarge {}

impl Wanted {
    /// An error if it cannot be there; a warning if it is most of what there is.
    pub fn compare(self, present: &Present) -> Result<Option<String>, TooLarge> {
        const TRY: &str = "lower --detection.memory or --capture.buffer-size, or watch fewer interfaces";
        let physical = (self.all(), present.physical, String::from("this machine has"));
        let group = present.group.as_ref().map(|(limit, path)| {
            (
                self.own(),
                *limit,
                format!(
                    "the control group {} (without the rings, which are the kernel's) has",
                    path.display()
                ),
            )
        });
        let mut warning = None;
        for (wanted, limit, whose) in [Some(physical), group].into_iter().flatten() {
            let said = || format!("{self}; {whose} {}", ByteSize(limit));
            if wanted > limit {
                return Err(TooLarge(format!("not enough memory: {}; {TRY}", said())));
            }
            // Others want some of it too.
            if wanted > limit / 10 * 9 {
                warning = Some(said());
            }
        }
        Ok(warning)
    }
}

impl Present {
    /// As the system tells it now.
    pub fn now() -> Self {
        let info = rustix::system::sysinfo();
        // 64 bits where a long has 64: the units are bytes there.
        let physical = info.totalram.saturating_mul(info.mem_unit.into());
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let group = least_limit(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"), |path| {
            fs::read_to_string(path).ok()
        });
        Self { physical, group }
    }
}

/// The least limit on the way from the root of the hierarchy to the process's group, in both versions of control groups.
fn least_limit(groups: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<(u64, PathBuf)> {
    let mut least: Option<(u64, PathBuf)> = None;
    for line in groups.lines() {
        // `0::/path` is version 2, `4:memory:/path` version 1.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (kind, file) = match controllers {
            "" => ("cgroup2", "memory.max"),
            list if list.split(',').any(|controller| controller == "memory") => {
                ("cgroup", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let Some((point, root)) = mount(mounts, kind) else { continue };
        // What the mount shows begins at its root; a group beside it cannot be seen.
        let Ok(below) = Path::new(group).strip_prefix(root) else { continue };
        for ancestor in below.ancestors() {
            let directory = Path::new(point).join(ancestor);
            // "max" is no number, and no limit.
            let limit = read(&directory.join(file)).and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(limit) = limit
                && least.as_ref().is_none_or(|(least, _)| limit < *least)
            {
                least = Some((limit, directory));
            }
        }
    }
    least
}

/// Where a hierarchy with the memory controller is mounted, and what of it: `id parent major:minor root point options … -
/// type source options` (proc_pid_mountinfo(5)).
fn mount<'a>(mounts: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (is, _source, options) = (after.next()?, after.next()?, after.next()?);
        let memory = kind == "cgroup2" || options.split(',').any(|option| option == "memory");
        let mut before = before.split(' ').skip(3);
        (is == kind && memory).then_some(())?;
        let (root, point) = (before.next()?, before.next()?);
        Some((point, root))
    })
}

/// From now on every large allocation is a mapping of its own: zero until it is touched, and given back when it is dropped.
///
/// Call it before the tables are made. glibc would otherwise take the size of the largest mapping that was ever given back for its
/// threshold, and cut tables that a reload makes from its heap: written with zeros at once, and kept after their end.
pub fn map_large_allocations() {
    #[cfg(target_env = "gnu")]
    {
        /// glibc's own threshold at start.
        const THRESHOLD: libc::c_int = 128 << 10;
        // SAFETY: mallopt(3) takes two numbers; the allocator takes its own lock.
        #[allow(unsafe_code, reason = "a C function that takes two numbers")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn wanted(interfaces: u64, tables: u64) -> Wanted {
        Wanted { interfaces, tables: tables * MIB, rings: 16 * MIB }
    }

    fn present(physical: u64, group: Option<u64>) -> Present {
        Present {
            physical: physical * MIB,
            group: group.map(|mib| (mib * MIB, PathBuf::from("/sys/fs/cgroup/x"))),
        }
    }

    #[test]
    fn what_cannot_be_there_is_refused_with_the_numbers() {
        assert_eq!(wanted(1, 48).compare(&present(1024, Some(512))), Ok(None));
        assert_eq!(
            wanted(1, 192).compare(&present(1024, Some(64))).unwrap_err().to_string(),
            "not enough memory: 192MiB of tables, 16MiB of kernel rings, 24MiB for the rest: 232MiB in all; the control \
             group /sys/fs/cgroup/x (without the rings, which are the kernel's) has 64MiB; lower --detection.memory or \
             --capture.buffer-size, or watch fewer interfaces"
        );
        assert_eq!(
            wanted(11, 48).compare(&present(4096, Some(512))).unwrap_err().to_string(),
            "not enough memory: 11 interfaces with 48MiB of tables and 16MiB of kernel rings each, 24MiB for the rest: \
             728MiB in all; the control group /sys/fs/cgroup/x (without the rings, which are the kernel's) has 512MiB; \
             lower --detection.memory or --capture.buffer-size, or watch fewer interfaces"
        );
        assert!(wanted(1, 65_536).compare(&present(32_768, None)).is_err());
        assert!(wanted(u64::MAX, u64::MAX / MIB).compare(&present(1 << 20, None)).is_err());
    }

    #[test]
    fn most_of_what_there_is_is_told() {
        assert_eq!(wanted(10, 48).compare(&present(4096, Some(600))), Ok(None));
        let warning = wanted(10, 48).compare(&present(4096, Some(512))).unwrap().unwrap();
        assert!(warning.ends_with("664MiB in all; the control group /sys/fs/cgroup/x (without the rings, which are the kernel's) has 512MiB"), "{warning}");
        assert!(wanted(1, 900).compare(&present(1000, None)).unwrap().is_some());
    }

    #[test]
    fn the_least_limit_on_the_way_counts_in_either_version() {
        let limits = |files: &'static [(&'static str, &'static str)]| {
            move |path: &Path| {
                let found = files.iter().find(|(name, _)| Path::new(name) == path);
                found.map(|(_, text)| (*text).to_owned())
            }
        };
        let v2 = "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = least_limit(
            "0::/system.slice/x.service\n",
            v2,
            limits(&[
                ("/sys/fs/cgroup/system.slice/x.service/memory.max", "max\n"),
                ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
            ]),
        );
        assert_eq!(found, Some((512 * MIB, PathBuf::from("/sys/fs/cgroup/system.slice"))));

        let v1 = "30 1 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 1 0:29 /docker/7 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let found = least_limit(
            "5:cpu:/docker/7\n4:memory:/docker/7/a\n0::/\n",
            v1,
            limits(&[
                ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "67108864\n"),
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ]),
        );
        assert_eq!(found, Some((64 * MIB, PathBuf::from("/sys/fs/cgroup/memory/a"))));

        assert_eq!(least_limit("0::/\n", v2, |_| None), None);
        assert_eq!(least_limit("nonsense\n0::/../other\n", "", |_| None), None);
    }
}
