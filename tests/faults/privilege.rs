//! Who it is, and what it may do: started by root, by a user, with a file capability, in a container.

use crate::support::{PATIENCE, UP, finds_a_scan, is_well_again, settled};
use lab::{assert_confined, ends_well, eventually, in_room, journal, journal_text};
use rustix::process::{Signal, kill_process};
use std::fs;

/// Whoever gets code to run in it finds nobody, with one capability, who reads its configuration and little else.
#[test]
fn started_by_root_it_is_nobody_and_still_reloads_and_reopens() {
    in_room("privilege::started_by_root_it_is_nobody_and_still_reloads_and_reopens", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        fs::write(&path, "detection: {threshold: 20}\n").unwrap();
        let exporter = lab.exporter(&[&format!("--config.file={}", path.display())]);
        let before = settled(&exporter);
        let pid = exporter.pid().as_raw_pid();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let own = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            assert_confined(&own, &[]);
        }
        let shared =
            "any other process of nobody can stop it or take its limits away: --user names an account";
        assert!(journal_text().contains(shared), "{}", journal_text());
        // Its own numbers are still there.
        let page = exporter.metrics().unwrap();
        for family in [
            "process_open_fds ",
            "process_max_fds ",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
        ] {
            assert!(page.lines().any(|line| line.starts_with(family)), "{family}");
        }

        let hang_up = || kill_process(exporter.pid(), Signal::HUP).unwrap();
        let refused = |why: &str| {
            hang_up();
            exporter.wait_for("portscan_config_last_reload_successful", &[], 0.0);
            eventually("the reason", PATIENCE, || journal_text().contains(why).then_some(()));
            fs::remove_file(&path).unwrap();
            fs::write(&path, "detection: {threshold: 21}\n").unwrap();
            hang_up();
            exporter.wait_for("portscan_config_last_reload_successful", &[], 1.0);
        };
        // As an editor replaces a file.
        fs::write(path.with_extension("part"), "detection: {threshold: 19}\n").unwrap();
        fs::rename(path.with_extension("part"), &path).unwrap();
        hang_up();
        exporter.wait_for("portscan_threshold_ports", &["window=\"10s\""], 19.0);
        // What the user may not read, and what he may, but not this process.
        for secret in ["/etc/shadow", "/etc/passwd"] {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(secret, &path).unwrap();
            refused(": permission denied");
        }
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        refused("it is not a regular file");

        lab.netlab("unplug");
        exporter.wait_for(UP.0, UP.1, 0.0);
        lab.netlab("plug");
        is_well_again("an interface lost by nobody", &exporter, before);
        ends_well(exporter);
    });
}

#[test]
fn a_user_may_be_named_and_what_he_cannot_read_is_said_at_start() {
    in_room("privilege::a_user_may_be_named_and_what_he_cannot_read_is_said_at_start", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        fs::write(&path, "{}\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let exporter = lab.exporter(&["--user=daemon", &format!("--config.file={}", path.display())]);
        assert_eq!(exporter.status("Uid"), "1 1 1 1");
        let warning = format!(
            "a reload will be refused: cannot read {}: permission denied (as daemon;",
            path.display()
        );
        assert!(journal_text().contains(&warning), "{}", journal_text());
        assert!(!journal_text().contains("any other process of"), "{}", journal_text());
        ends_well(exporter);

        // To setresuid(2) this number means no change: it would stay root, and say that it is not.
        for (user, why) in [
            (
                "4294967295",
                "nobody can become \"4294967295\" (--user): the number 4294967295 means no change",
            ),
            ("", "there is no user \"\" (--user)"),
            ("no such user", "there is no user \"no such user\" (--user)"),
        ] {
            let flags = ["-i", "eth0", &format!("--user={user}"), "--log.format=logfmt"];
            let output = lab.exporter_command(&flags[2..]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("cannot give up privileges: {why}")), "{said}");
        }
        let exporter = lab.exporter(&["--user=4294967294"]);
        assert_eq!(exporter.status("Uid"), ["4294967294"; 4].join(" "));
        ends_well(exporter);

        let exporter = lab.exporter(&["--user=root"]);
        assert_eq!(
            (exporter.status("Uid"), exporter.status("CapEff")),
            ("0 0 0 0".into(), "0000000000002000".into())
        );
        assert!(
            journal_text().contains("it stays root, with no privilege but CAP_NET_RAW"),
            "{}",
            journal_text()
        );
        ends_well(exporter);

        // Not root any more, with what a file capability gives.
        let mut command = lab.on("t", "setpriv");
        command.args([
            "--reuid=2",
            "--regid=2",
            "--clear-groups",
            "--inh-caps=-all,+net_raw",
            "--ambient-caps=-all,+net_raw",
        ]);
        command.args([
            env!("CARGO_BIN_EXE_portscan_exporter"),
            "-i",
            "eth0",
            "--web.listen-address=127.0.0.1:10220",
        ]);
        let exporter = lab.exporter_of(command);
        assert_eq!(
            (exporter.status("Uid"), exporter.status("CapPrm")),
            ("2 2 2 2".into(), "0000000000002000".into())
        );
        finds_a_scan(&exporter);
        ends_well(exporter);
    });
}

/// A container may leave root without the right to become somebody else.
#[test]
fn root_that_may_not_become_nobody_stays_root_and_says_so() {
    in_room("privilege::root_that_may_not_become_nobody_stays_root_and_says_so", |lab| {
        for missing in ["-setuid", "-setgid"] {
            let command = |flags: &[&str]| {
                let mut command = lab.on("t", "setpriv");
                command.args([&format!("--bounding-set={missing}"), env!("CARGO_BIN_EXE_portscan_exporter")]);
                command.args(["-i", "eth0", "--web.listen-address=127.0.0.1:10220"]).args(flags);
                command
            };
            let exporter = lab.exporter_of(command(&["--log.format=journald"]));
            assert!(exporter.status("Uid").starts_with("0 0 0 0"), "{missing}");
            for sets in ["CapPrm", "CapEff"] {
                assert_eq!(exporter.status(sets), "0000000000002000", "{missing}");
            }
            assert_eq!(
                (exporter.status("CapBnd"), exporter.status("Seccomp")),
                ("0000000000000000".into(), "2".into())
            );
            eventually("the warning", PATIENCE, || {
                let warning = "it stays root, with no privilege but CAP_NET_RAW: cannot become nobody: ";
                let is_it =
                    |record: &serde_json::Value| record["MESSAGE"].as_str().unwrap().starts_with(warning);
                journal(&["PRIORITY=4"]).iter().any(is_it).then_some(())
            });
            finds_a_scan(&exporter);
            ends_well(exporter);
            // Who names a user means it.
            let output = command(&["--log.format=logfmt", "--user=nobody"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("cannot give up privileges: cannot become nobody: "), "{said}");
        }
    });
}

/// `setcap cap_net_raw+ep`, as the error message advises, and run by anybody.
#[test]
fn a_file_capability_is_enough() {
    in_room("privilege::a_file_capability_is_enough", |lab| {
        let program = lab.directory.path().join("portscan_exporter");
        fs::copy(env!("CARGO_BIN_EXE_portscan_exporter"), &program).unwrap();
        let nobody = |flags: &[&str]| {
            let mut command = lab.on("t", "setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
            command.args(["-i", "eth0", "--web.listen-address=127.0.0.1:10220"]).args(flags);
            command
        };
        let output = nobody(&["--log.format=logfmt"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("sudo setcap cap_net_raw+ep"), "{said}");

        let setcap = std::process::Command::new("setcap").arg("cap_net_raw+ep").arg(&program).output();
        let setcap = setcap.expect("needs setcap (package libcap2-bin)");
        assert!(setcap.status.success(), "{}", String::from_utf8_lossy(&setcap.stderr));
        let exporter = lab.exporter_of(nobody(&["--log.format=journald"]));
        let before = settled(&exporter);
        // The bounding set is not his to give up, and the groups are those he came with.
        assert_confined(&exporter.status_file(), &["CapBnd", "Groups"]);
        // The kernel hides such a process from others, not from itself.
        assert!(exporter.value("process_open_fds", &[]).is_some_and(|open| open > 3.0));
        lab.netlab("unplug");
        exporter.wait_for(UP.0, UP.1, 0.0);
        lab.netlab("plug");
        is_well_again("an interface lost by a file capability", &exporter, before);
        ends_well(exporter);
    });
}
