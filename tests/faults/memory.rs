//! Memory that is promised, and is not there.

use crate::support::finds_a_scan;
use lab::{ends_well, in_room, journal_text};
use std::fs;

/// What is promised must be there: the kernel would kill it in the first flood, not at start.
#[test]
fn more_memory_than_there_is_is_refused_at_start() {
    in_room("memory::more_memory_than_there_is_is_refused_at_start", |lab| {
        let refused = |mut command: std::process::Command, why: &[&str]| {
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            for why in why {
                assert!(said.contains(why) && !said.contains("panicked"), "{why}: {said}");
            }
        };
        let flags = ["--log.format=logfmt", "--detection.memory=48GiB"];
        // A machine that has so much gives it; with less address space, asking for it must not abort.
        let mut limited = lab.on("t", "prlimit");
        limited.args(["--as=1073741824", env!("CARGO_BIN_EXE_portscan_exporter"), "-i", "eth0"]).args(flags);
        refused(limited, &["portscan_exporter: not enough memory: "]);
        // Whatever the limit, it starts or says why not: no table is asked for by a call that cannot fail.
        for limit in [50, 120, 170, 200, 230] {
            let mut limited = lab.on("t", "timeout");
            limited.args(["2", "prlimit", &format!("--as={}", limit << 20)]);
            limited.args([
                env!("CARGO_BIN_EXE_portscan_exporter"),
                "-i",
                "eth0",
                "--detection.memory=128MiB",
            ]);
            let output = limited.args(["--web.listen-address=127.0.0.1:10220"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            println!("{limit} MiB of addresses: {}", output.status);
            assert!(matches!(output.status.code(), Some(1 | 124)), "{limit} MiB: {}: {said}", output.status);
            assert!(!said.contains("panicked") && !said.contains("backtrace"), "{limit} MiB: {said}");
        }
        if rustix::system::sysinfo().totalram < 64 << 30 {
            let all = "64GiB of tables, 16MiB of kernel rings, 24MiB for the rest: 65576MiB in all; this machine has ";
            refused(lab.exporter_command(&flags), &[all]);
        }

        // A control group of 64 MiB, in whichever version there is.
        let v1 = std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
        let root = if v1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
        let group = Group(format!("{root}/portscan-{}", lab.directory.path().file_name().unwrap().display()));
        fs::create_dir(&group.0).expect("a control group for the test");
        let group = &group.0;
        let limit = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(format!("{group}/{limit}"), "67108864").expect("the memory controller");
        let within = |memory: &str| {
            // Not `ip netns exec`, which hides the control groups.
            let mut command = std::process::Command::new("sh");
            command.args([
                "-c",
                "echo $$ >\"$0/cgroup.procs\" && exec nsenter --net=/run/netns/lab-t \"$@\"",
                group,
            ]);
            command.args([env!("CARGO_BIN_EXE_portscan_exporter"), "-i", "eth0", memory]);
            command.args(["--web.listen-address=127.0.0.1:10220", "--log.format=journald"]);
            command
        };
        refused(
            within("--detection.memory=144MiB"),
            &[
                "192MiB of tables, 16MiB of kernel rings, 24MiB for the rest: 232MiB in all; the control group ",
                " has 64MiB; lower ",
            ],
        );
        let exporter = lab.exporter_of(within("--detection.memory=27MiB"));
        let said = journal_text();
        assert!(
            said.contains("memory: 36MiB of tables, 16MiB of kernel rings, 24MiB for the rest: 76MiB in all"),
            "{said}"
        );
        assert!(said.contains("little memory is left: "), "{said}");
        finds_a_scan(&exporter);
        ends_well(exporter);
    });
}

/// A control group, gone with the test.
struct Group(String);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
