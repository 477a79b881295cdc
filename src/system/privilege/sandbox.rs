//! What the kernel holds the process to, under any user: the files it may read (Landlock), and the system calls it has a use
//! for (seccomp).

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use std::path::PathBuf;

/// How far the kernel goes along with restricting files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// It reads only the files that were named, and makes no TCP connection.
    Restricted,
    /// An older kernel: not all of the above.
    Partly,
    /// The kernel has no Landlock.
    Free,
}

/// What is asked of the kernel: up to signals and TCP. An older one does what it can.
const KNOWN: ABI = ABI::V6;

/// What is read as long as it runs, besides what the options name. Its own numbers and those of its network are under
/// /proc; libpcap asks for an interface's losses under /sys, by links that lead to `devices`.
const SYSTEM: [&str; 3] = ["/proc", "/sys/class/net", "/sys/devices"];

/// From now on files can be read where they are named here and in `SYSTEM`, and nowhere else, by nobody; none can be
/// written or executed. What is open stays open. Nor can it listen on or connect to another TCP port.
pub(super) fn restrict_files(readable: &[PathBuf]) -> Result<Files, String> {
    restrict(readable).map_err(|error| format!("Landlock: {error}"))
}

fn restrict(readable: &[PathBuf]) -> Result<Files, landlock::RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::Signal)?
        .create()?;
    for path in SYSTEM.iter().map(PathBuf::from).chain(readable.iter().cloned()) {
        // What is not there now cannot be read later either.
        let Ok(file) = PathFd::new(&path) else { continue };
        let access: BitFlags<AccessFs> =
            if path.is_dir() { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
        rules = rules.add_rule(PathBeneath::new(file, access))?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Files::Restricted,
        RulesetStatus::PartiallyEnforced => Files::Partly,
        RulesetStatus::NotEnforced => Files::Free,
    })
}

/// System calls that no part of this program makes once it runs, and that turn a fault in it into more: other programs, other
/// processes, other namespaces, the kernel's larger attack surfaces. A list of what is refused, not of what is
/// allowed: that one would change with every libc, allocator and runtime, and a missing entry would end a capture.
const REFUSED: &[libc::c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_memfd_create,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Other namespaces and file systems.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    // Where the kernel's own faults were found.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Another user.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
];

/// From now on the system calls of `REFUSED` fail with EPERM. False where there is no seccomp, or the program that checks
/// is not known for this processor.
pub(super) fn restrict_calls() -> Result<bool, String> {
    let Ok(processor) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    let refused = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let program: BpfProgram = SeccompFilter::new(refused, SeccompAction::Allow, eperm, processor)
        .and_then(TryInto::try_into)
        .map_err(|error| format!("the list of system calls: {error}"))?;
    // A kernel without seccomp, or a sandbox around this one that does not let us add to it.
    Ok(apply_filter(&program).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::PermissionDenied;
    use std::process::Command;

    /// Both belong to a thread, so one of its own can try them.
    fn in_a_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(body).join().expect("it does not panic")
    }

    #[test]
    fn files_are_read_where_they_are_named_and_written_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.yml");
        std::fs::write(&config, "{}").unwrap();
        let readable = vec![directory.path().to_owned(), "/no/such/path".into()];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        in_a_thread(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            if restrict_files(&readable).unwrap() == Files::Free {
                eprintln!("NOT RUN: this kernel has no Landlock");
                return;
            }
            assert_eq!(std::fs::read_to_string(&config).unwrap(), "{}");
            // As editors replace a file.
            assert!(std::fs::read("/proc/self/stat").is_ok());
            let denied =
                |outcome: std::io::Result<()>| assert_eq!(outcome.unwrap_err().kind(), PermissionDenied);
            denied(std::fs::read("/etc/passwd").map(drop));
            denied(std::fs::read("/etc/shadow").map(drop));
            denied(std::fs::read_dir("/root").map(drop));
            denied(std::fs::write(&config, "").map(drop));
            denied(std::fs::write("/proc/self/comm", "x").map(drop));
            denied(std::fs::write(config.with_extension("new"), "").map(drop));
            denied(std::net::TcpStream::connect(address).map(drop));
            denied(std::net::TcpListener::bind("127.0.0.1:0").map(drop));
        });
    }

    #[test]
    fn no_other_program_is_started() {
        in_a_thread(|| {
            if !restrict_calls().unwrap() {
                eprintln!("NOT RUN: no seccomp for this kernel or processor");
                return;
            }
            assert_eq!(Command::new("/bin/true").spawn().unwrap_err().kind(), PermissionDenied);
            let memory = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC);
            assert_eq!(memory.unwrap_err(), rustix::io::Errno::PERM);
            // What the program does all day still works.
            assert!(std::thread::spawn(|| std::fs::read("/proc/self/stat").is_ok()).join().unwrap());
        });
    }

    #[test]
    fn a_call_is_refused_once() {
        let mut calls = REFUSED.to_vec();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), REFUSED.len());
    }
}
