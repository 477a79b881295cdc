//! Whether the memory that the tables and the kernel's rings will want is there. The kernel gives a page when it is first
//! written to, so a promise that cannot be kept is not noticed at start: the process is killed in the middle of a flood.
//!
//! So it is compared here, and asked for at once and fallibly; but it is not touched. To touch 48 MiB took 40 ms and 1 GiB
//! 0.7 s (with huge pages 0.3 and 6.5 s, on a busy machine), and would stay resident for good, where a quiet process has 2 MiB
//! of memory of its own.

use crate::text::units::ByteSize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What the process needs beside its tables: code, queues, pages being rendered, connections.
const REST: u64 = 24 << 20;

/// What code, libraries and the stacks of threads take of the address space, whether or not it is ever used. Measured on x86-64 with
/// glibc 2.36: under the least limit that is let through it captures and answers scrapes, and 21 MiB beside tables and rings are in
/// use, and 2 MiB more for each further thread. The rest is for one of the arenas of 64 MiB that glibc's allocator maps for a
/// thread where it can; where it cannot, threads share one. (Without a limit it has one for nearly every thread: 340 MiB in all
/// with the defaults.)
const ADDRESSES: u64 = 64 << 20;

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
        let (tables, rings) = (about(tables), about(rings));
        match interfaces {
            1 => write!(f, "{tables} of tables, {rings} of kernel rings")?,
            many => write!(f, "{many} interfaces with {tables} of tables and {rings} of kernel rings each")?,
        }
        write!(f, ", {} for the rest: {} in all", about(REST), about(self.all()))
    }
}

/// An amount as people read it: a share of a total need not be a whole number of anything.
pub(crate) fn about(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        _ if bytes.is_multiple_of(MIB) => ByteSize(bytes).to_string(),
        _ if bytes >= MIB => format!("{:.1}MiB", bytes as f64 / MIB as f64),
        _ => ByteSize(bytes).to_string(),
    }
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The memory of the machine, in bytes.
    pub physical: u64,
    /// The least limit of the control groups that the process is in, and whose it is.
    pub group: Option<(u64, PathBuf)>,
    /// A control group whose limit cannot be read, if there is one.
    pub unread: Option<String>,
    /// The limit of this process's address space (RLIMIT_AS), if it has one.
    pub address_space: Option<u64>,
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
        let address_space = present.address_space.map(|limit| {
            let own = ADDRESSES.saturating_add(self.all());
            let whose = format!(
                "its address space, with {} for code and threads, is limited (ulimit -v) to",
                ByteSize(ADDRESSES)
            );
            (own, limit, whose)
        });
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
        for (wanted, limit, whose) in [Some(physical), group, address_space].into_iter().flatten() {
            let shortage = || format!("{self}; {whose} {}", ByteSize(limit));
            if wanted > limit {
                return Err(TooLarge(format!("not enough memory: {}; {TRY}", shortage())));
            }
            // Others want some of it too.
            if wanted > limit / 10 * 9 {
                warning = Some(shortage());
            }
        }
        Ok(warning)
    }
}

impl Present {
    /// As the system reports it now.
    pub fn now() -> Self {
        let info = rustix::system::sysinfo();
        // 64 bits where a long has 64: the units are bytes there.
        let physical = info.totalram.saturating_mul(info.mem_unit.into());
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        let group = least_limit(&groups, &mounts, |path| fs::read_to_string(path).ok());
        let address_space = rustix::process::getrlimit(rustix::process::Resource::As).current;
        Self { physical, group, unread: out_of_sight(&groups, &mounts), address_space }
    }
}

/// The hierarchy and the file with its limit, if this line of /proc/PID/cgroup is of one that can limit memory:
/// `0::/path` is version 2, `4:memory:/path` version 1. And the group.
fn limiting(line: &str) -> Option<(&'static str, &'static str, &str)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    match controllers {
        "" => Some(("cgroup2", "memory.max", group)),
        list if list.split(',').any(|controller| controller == "memory") => {
            Some(("cgroup", "memory.limit_in_bytes", group))
        }
        _ => None,
    }
}

/// A group that is not the root and of which no hierarchy is mounted here: `ip netns exec` mounts a /sys without them.
fn out_of_sight(groups: &str, mounts: &str) -> Option<String> {
    let limiting: Vec<_> = groups.lines().filter_map(limiting).collect();
    let is_seen = |(kind, _, group): &(&str, &str, &str)| {
        mount(mounts, kind).is_some_and(|(_, root)| Path::new(group).starts_with(root))
    };
    if limiting.iter().any(is_seen) {
        return None;
    }
    limiting.iter().map(|(_, _, group)| *group).find(|group| *group != "/").map(str::to_owned)
}

/// The least limit on the way from the root of the hierarchy to the process's group, in both versions of control groups.
fn least_limit(groups: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<(u64, PathBuf)> {
    let mut least: Option<(u64, PathBuf)> = None;
    for line in groups.lines() {
        let Some((kind, file, group)) = limiting(line) else { continue };
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
pub(crate) fn map_large_allocations() {
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

/// Gives the kernel what the allocator keeps of memory that was dropped: a few milliseconds, for when tables were.
///
/// The small arrays of the slower rules lie between others in the heap, so each reload would leave a megabyte of holes there.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number; the allocator takes its own locks.
    #[allow(unsafe_code, reason = "a C function that takes a number")]
    unsafe {
        libc::malloc_trim(0);
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
            unread: None,
            address_space: None,
        }
    }

    #[test]
    fn amounts_are_said_as_people_read_them() {
        let shares = Wanted { interfaces: 100, tables: 8 * MIB, rings: 128 * MIB / 100 };
        let said = "100 interfaces with 8MiB of tables and 1.3MiB of kernel rings each, 24MiB for the rest: 952.0MiB in all";
        assert_eq!(shares.to_string(), said);
        let said = "48MiB of tables, 16MiB of kernel rings, 24MiB for the rest: 88MiB in all";
        assert_eq!(wanted(1, 48).to_string(), said);
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
    fn an_address_space_that_is_too_small_is_refused() {
        let limited = |mib: u64| Present { address_space: Some(mib * MIB), ..present(4096, None) };
        assert_eq!(
            wanted(1, 48).compare(&limited(100)).unwrap_err().to_string(),
            "not enough memory: 48MiB of tables, 16MiB of kernel rings, 24MiB for the rest: 88MiB in all; its address \
             space, with 64MiB for code and threads, is limited (ulimit -v) to 100MiB; lower --detection.memory or \
             --capture.buffer-size, or watch fewer interfaces"
        );
        assert!(wanted(1, 48).compare(&limited(160)).unwrap().is_some());
        assert_eq!(wanted(1, 48).compare(&limited(512)), Ok(None));
    }

    /// As `ip netns exec` shows it: the group is named, its files are not there.
    #[test]
    fn a_group_that_is_not_mounted_is_out_of_sight() {
        let v2 = "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let v1 = "31 1 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let inside = "31 1 0:29 /docker/7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        for (groups, mounts, unread) in [
            ("0::/system.slice/x\n", v2, None),
            ("0::/system.slice/x\n", "", Some("/system.slice/x")),
            ("0::/system.slice/x\n", inside, Some("/system.slice/x")),
            ("0::/docker/7/a\n", inside, None),
            ("4:memory:/x\n1:cpu:/y\n0::/\n", v1, None),
            ("4:memory:/x\n1:cpu:/y\n0::/\n", "", Some("/x")),
            ("1:cpu:/y\n0::/\n", "", None),
            ("", v2, None),
        ] {
            assert_eq!(out_of_sight(groups, mounts).as_deref(), unread, "{groups}{mounts}");
        }
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
