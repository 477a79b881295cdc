//! The examples of deploy/response, with the real programs and real records: fail2ban, nftables, a webhook.

use lab::{Ended, HERE, Lab, PATIENCE, WATCHED, WATCHED_V6, eventually, in_room, journal};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn response(file: &str) -> String {
    format!("{HERE}/deploy/response/{file}")
}

/// Lines as syslog writes them: of a real hit over IPv4, of one over IPv6, of one by many, and what must not be taken for one.
fn fail2ban_finds(lab: &Lab, messages: &[String]) {
    let directory = lab.directory.path();
    let common = "/etc/fail2ban/filter.d/common.conf";
    std::fs::copy(common, directory.join("common.conf")).expect("this test needs fail2ban");
    std::fs::copy(response("fail2ban-filter.conf"), directory.join("portscan_exporter.conf")).unwrap();
    let forged = messages[0].replace("198.51.100.7", "203.0.113.9");
    let mut log = String::new();
    for message in messages.iter().chain(&[
        format!("x {forged}"),
        format!("{forged} and more"),
        forged.replace("hit", "ended"),
        format!("user=\"{forged}\""),
    ]) {
        log += &format!("Nov 25 23:00:00 t portscan_exporter[123]: {message}\n");
    }
    log += &format!("Nov 25 23:00:00 t somebody[123]: {forged}\n");
    std::fs::write(directory.join("log"), log).unwrap();
    let output = Command::new("fail2ban-regex")
        .arg("--print-all-matched")
        .arg("log")
        .arg(directory.join("portscan_exporter.conf"))
        .current_dir(directory)
        .output()
        .expect("this test needs fail2ban");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("8 lines, 0 ignored, 2 matched, 6 missed"), "{said}");
    let matched = said.split("Missed line(s)").next().unwrap();
    assert!(!matched.contains("203.0.113.9") && !matched.contains("many"), "{said}");
    let jail = std::fs::read_to_string(response("fail2ban-jail.conf")).unwrap();
    assert!(jail.contains("enabled = false") && jail.contains("ignoreip = "));
}

/// Promtail and Vector are no Debian packages. That they read fields which real records have, and make no label of what an
/// attacker can write, is what can be seen without them.
fn loki_can_be_fed(record: &Value) {
    let unit = "portscan_exporter.service";
    assert!(Path::new(&format!("{HERE}/deploy/{unit}")).exists());
    let read = |file: &str| -> (String, Value) {
        let text = std::fs::read_to_string(response(file)).unwrap();
        let yaml = serde_saphyr::from_str(&text).unwrap();
        (text, yaml)
    };
    let (_, promtail) = read("promtail.yml");
    let scrape = &promtail["scrape_configs"][0];
    assert_eq!(scrape["journal"]["matches"], format!("_SYSTEMD_UNIT={unit}"));
    let mut fields = Vec::new();
    let mut labels = Vec::new();
    for rule in scrape["relabel_configs"].as_array().unwrap() {
        let field = rule["source_labels"][0].as_str().unwrap().strip_prefix("__journal_").unwrap();
        fields.push(field.to_uppercase());
        labels.push(rule["target_label"].as_str().unwrap().to_owned());
    }
    let (text, vector) = read("vector.yml");
    assert_eq!(vector["sources"]["journal"]["include_units"], serde_json::json!([unit]));
    assert_eq!(vector["transforms"]["records"]["inputs"][0], "journal");
    let loki = &vector["sinks"]["loki"];
    assert_eq!(loki["inputs"][0], "records");
    labels.extend(loki["labels"].as_object().unwrap().keys().cloned());
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    fields.extend(text.split('.').map(|rest| rest.split(ends).next().unwrap().to_owned()));
    fields.retain(|field| field.starts_with("PORTSCAN_"));
    assert_eq!(fields, ["PORTSCAN_EVENT", "PORTSCAN_EVENT"], "one of each");
    assert!(fields.iter().all(|field| record[field].is_string()), "{record}");
    labels.sort();
    labels.dedup();
    assert_eq!(labels, ["event", "host", "unit"]);
}

/// What is banned in the watched host's network.
fn banned(lab: &Lab) -> String {
    let sets = lab.run("t", "nft", &["list", "table", "inet", "portscan"]).stdout;
    String::from_utf8(sets).unwrap()
}

/// Sixty-four addresses ask for two or three ports each.
fn scan_by_many(lab: &Lab) {
    let router = lab.run("gw", "cat", &["/sys/class/net/a0/address"]).stdout;
    let mac = String::from_utf8(router).unwrap().trim().replace(':', "-");
    let command = format!(
        "timeout 5 masscan --range {WATCHED} -p1-160 --rate 1000 --wait 0 -e eth0 \
         --source-ip 198.51.100.128-198.51.100.191 --router-mac {mac} || [ $? = 124 ]"
    );
    lab.run("s1", "sh", &["-c", &command]);
}

fn act_on_scans(lab: &Lab) {
    let _open = lab.serving("t", &["serve", "22"]);
    let exporter = lab.exporter(&["--detection.replies"]);
    lab.run("t", "nft", &["-f", &response("nftables.nft")]);
    // Looks by name, since no systemd started the exporter here, and from the first record on.
    let feed = |unproven| {
        let mut command = lab.on("t", response("portscan-ban"));
        let words = ["-t", "portscan_exporter", "-n", "all"];
        let mut feed =
            Ended(command.args(words).env("BAN_UNPROVEN", unproven).stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(feed.0.stdout.take().unwrap()).lines();
        (feed, lines)
    };
    // This one waits for proof.
    let (_lazy, _) = feed("no");
    lab.nmap(&["-sS", "-p1-30", WATCHED]);
    exporter.wait_for("portscan_hits_total", &[], 1.0);
    lab.nmap(&["-6", "-sS", "-p1-30", WATCHED_V6]);
    exporter.wait_for("portscan_hits_total", &[], 2.0);
    scan_by_many(lab);
    exporter.wait_for("portscan_hits_total", &["kind=\"distributed\""], 1.0);
    let records = eventually("the hits in the journal", PATIENCE, || {
        Some(journal(&["PORTSCAN_EVENT=hit"])).filter(|records| records.len() == 3)
    });
    let messages: Vec<_> =
        records.iter().map(|record| record["MESSAGE"].as_str().unwrap().to_owned()).collect();
    assert!(messages[2].starts_with("portscan hit source=many "), "{messages:?}");
    fail2ban_finds(lab, &messages);
    records.iter().for_each(loki_can_be_fed);

    // The neighbour is put on the never-list: it is named, and still gets in.
    lab.run("t", "nft", &["add", "element", "inet", "portscan", "never4", "{ 198.51.100.8 }"]);
    assert!(!banned(lab).contains("expires"), "nothing is proven: {}", banned(lab));
    // It connects: by the time that it has grown tenfold it has proved its address.
    lab.run("s2", "nmap", &["-n", "-Pn", "-T4", "-sT", "-p1-250", WATCHED]);
    eventually("the one that is proven", PATIENCE, || {
        let sets = banned(lab);
        if sets.contains("198.51.100.8 expires") { Ok(()) } else { Err(sets) }
    });
    assert!(!banned(lab).contains("198.51.100.7 expires"), "the others are not: {}", banned(lab));
    let (_eager, lines) = feed("yes");
    // Nobody for the scan by many.
    let said: Vec<_> = lines.take(3).map(Result::unwrap).collect();
    assert_eq!(said, ["banned 198.51.100.7", "banned 2001:db8:51::/64", "banned 198.51.100.8"]);
    let sets = banned(lab);
    assert!(sets.contains("198.51.100.7 expires") && sets.contains("2001:db8:51::/64 expires"), "{sets}");
    lab.run("s2", "ping", &["-c", "1", "-W", "5", WATCHED]);
    let scanner = lab.on("s1", "ping").args(["-c", "1", "-W", "1", WATCHED]).status().unwrap();
    assert!(!scanner.success(), "the scanner is banned");
}

#[test]
fn real_records_ban_whom_they_name_and_nobody_on_the_never_list() {
    in_room("response::real_records_ban_whom_they_name_and_nobody_on_the_never_list", act_on_scans);
}
