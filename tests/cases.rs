//! Captures that once were read wrongly, and what each must give: the files of tests/cases, one row each.
//!
//! `FAILING` names the rows that are known not to hold yet. A row that begins to hold fails the test until its name is
//! taken off, so the list can only shrink.

use assert_cmd::Command;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rows that fail. Take a name off with the change that mends it.
const FAILING: &[&str] = &[];

/// The scanner of nearly every row.
const SCANNER: &str = "198.51.100.7";

/// What must hold of a row besides its scans.
enum And {
    /// The text report or standard error says this.
    Says(&'static str),
    /// The same, of scans that are missing besides those that are told.
    SaysOfOthers(&'static str),
    /// A field of every scan.
    Field(&'static str, u64),
    /// This many scans that nobody asks for more ports than its source asked.
    Honest(usize),
    /// The scanner is told, or that sources were given up.
    FoundOrCounted,
}

/// Files given together, the flags before `replay`, the scans told (source and distinct ports), and what else must hold.
type Row = (&'static [&'static str], &'static [&'static str], &'static [(&'static str, u64)], &'static [And]);

/// A case that no file holds, because it packs badly: it is made when it is asked for.
const SHORT_OF_BLOCKS: &str = "short-of-blocks-193";

const ONE_OF_30: &[(&str, u64)] = &[(SCANNER, 30)];

const ROWS: &[Row] = &[
    (&["scan30.pcap"], &[], ONE_OF_30, &[]),
    (&["f01-two-link-types.pcapng"], &[], &[(SCANNER, 30), ("203.0.113.7", 30)], &[]),
    (&["f02-two-snaplens.pcapng"], &[], ONE_OF_30, &[]),
    (&["f03-two-taps-clock-apart-0_5s.pcap"], &[], ONE_OF_30, &[]),
    (&["f03-two-taps-clock-apart-1_5s.pcap"], &[], ONE_OF_30, &[]),
    (&["f04b-epb-and-spb.pcapng"], &[], ONE_OF_30, &[]),
    (&["f05-scan30.pcap.gz"], &[], ONE_OF_30, &[]),
    (&["f06-rotated.pcap0", "f06-rotated.pcap1"], &[], ONE_OF_30, &[]),
    (&["rot-disorder.pcap0", "rot-disorder.pcap1"], &[], ONE_OF_30, &[And::Says("as one capture")]),
    (&["f07-snaplen-34.pcap"], &[], &[], &[And::Says("snap length")]),
    (&["f09-two-sections-le-be.pcapng"], &[], ONE_OF_30, &[]),
    (&["f26c-frames-longer-than-snaplen.pcap"], &[], ONE_OF_30, &[And::Says("snap length")]),
    (&["f30-newest-first.pcap"], &[], &[], &[And::Says("clock steps")]),
    (&["two-days-newest-first.pcap"], &[], &[], &[And::Says("1 clock step")]),
    (&["zero-stamps-19-become-20.pcap"], &[], &[(SCANNER, 82)], &[And::Says("count without a usable time")]),
    (&["f30b-oldest-first.pcap"], &[], &[], &[]),
    (&["f31-every-10th-stamp-an-hour-back.pcap"], &[], &[(SCANNER, 60)], &[And::Says("clock steps")]),
    (&["f32-ns-stamps-without-tsresol.pcapng"], &[], &[], &[And::Says("without a usable time")]),
    (&["g01-pppoe.pcap"], &[], ONE_OF_30, &[]),
    (&["g02-mpls.pcap"], &[], ONE_OF_30, &[]),
    (&["g05-three-tags.pcap"], &[], ONE_OF_30, &[]),
    (&["three-priority-tags.pcap"], &[], &[("2001:db8:77::/64", 30)], &[]),
    (&["j01-nat64-two-users.pcap"], &[], &[], &[]),
    (&["k01-dstopts-192.pcap"], &[], &[("2001:db8:10::/64", 40)], &[]),
    (&["ipv6-syn-in-two-fragments.pcap"], &[], &[("2001:db8:77::/64", 30)], &[]),
    (&["frag-odd-length-mf.pcap.gz"], &[], ONE_OF_30, &[]),
    (&["frag-stray.pcap.gz"], &[], ONE_OF_30, &[And::Says("clock steps")]),
    (&["frag-stretches.pcap.gz"], &[], ONE_OF_30, &[]),
    (
        &["martian.pcap"],
        &[],
        &[],
        &[And::Says("30 probes were not counted: 30 from addresses that no packet can come from")],
    ),
    (&["scan30.pcap"], &["--detection.window=1h"], ONE_OF_30, &[]),
    (
        &[SHORT_OF_BLOCKS],
        &["--detection.threshold=193", "--detection.memory=4MiB"],
        &[],
        &[And::SaysOfOthers("could not be counted up to the threshold of 193")],
    ),
    (&["hang-threshold-193.pcap"], &["--detection.threshold=193"], &[(SCANNER, 193)], &[]),
    (&["set-full-of-15-ipv4.pcap"], &[], &[(SCANNER, 100), (SCANNER, 100), (SCANNER, 100)], &[]),
    (&["set-full-of-16-ipv4.pcap"], &[], &[(SCANNER, 100), (SCANNER, 100), (SCANNER, 100)], &[]),
    (&["crowded-26-ports-count-19-4MiB.pcap.gz"], &["--detection.memory=4MiB"], &[], &[And::FoundOrCounted]),
    (&["blocks-spent-4MiB.pcap.gz"], &["--detection.memory=4MiB"], &[], &[And::Honest(257)]),
    (&["one-stamp-in-the-past-between-19-and-19.pcap"], &[], &[(SCANNER, 38)], &[]),
    (&["seven-decoys-then-300-ports.pcap"], &[], &[(SCANNER, 301)], &[And::Field("busiest_host_ports", 300)]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// 200 sources that ask for 194 ports each, one each in a round of 16 ms.
fn short_of_blocks() -> PathBuf {
    let frames = (1..=194_u16).flat_map(|port| {
        let nanos = 1_700_000_000_000_000_000 + 16_000_000 * u64::from(port);
        (0..200).map(move |source| (nanos, lab::frames::syn([198, 51, 100, source], &[], port)))
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(SHORT_OF_BLOCKS);
    lab::files::write(&path, frames);
    path
}

/// What `replay` prints of a row's files: standard output and standard error.
fn replay(row: &Row, format: &str) -> Result<(String, String), String> {
    let mut command = Command::cargo_bin("portscan_exporter").expect("the binary under test");
    command.current_dir(folder()).args(row.1).arg("replay").args(["--format", format]);
    for file in row.0 {
        match *file {
            SHORT_OF_BLOCKS => command.arg(short_of_blocks()),
            file => command.arg(file),
        };
    }
    // Endless loops were among these faults.
    let out = command.timeout(Duration::from_secs(20)).output().map_err(|error| error.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| error.to_string());
    let (told, said) = (text(out.stdout)?, text(out.stderr)?);
    match out.status.code() {
        Some(0) => Ok((told, said)),
        code => Err(format!("exit {code:?}: {said}")),
    }
}

/// The ports that each IPv4 source asks for in a compressed pcap of Ethernet frames, by a reader of its own.
fn asked(file: &str) -> BTreeMap<String, BTreeSet<u16>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(folder().join(file)).expect("it is there");
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("it is compressed");
    let (mut asked, mut rest) = (BTreeMap::<_, BTreeSet<u16>>::new(), &bytes[24..]);
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let captured = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let (frame, after) = after.split_at(captured);
        let source = std::net::Ipv4Addr::new(frame[26], frame[27], frame[28], frame[29]).to_string();
        asked.entry(source).or_default().insert(u16::from_be_bytes([frame[36], frame[37]]));
        rest = after;
    }
    asked
}

/// The sum of a family in an exposition.
fn total(exposition: &str, family: &str) -> u64 {
    let lines = exposition.lines().filter(|line| line.split('{').next() == Some(family));
    lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
}

fn check(row: &Row) -> Result<(), String> {
    let scans: Vec<serde_json::Value> = replay(row, "json")?
        .0
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}")))
        .collect::<Result<_, _>>()?;
    let mut told: Vec<(String, u64)> = scans
        .iter()
        .map(|scan| {
            let source = scan["source"].as_str().unwrap_or_default().to_owned();
            (source, scan["distinct_ports"].as_u64().unwrap_or_default())
        })
        .collect();
    told.sort();
    let by_itself =
        row.3.iter().any(|and| matches!(and, And::Honest(_) | And::FoundOrCounted | And::SaysOfOthers(_)));
    let wanted: Vec<(String, u64)> =
        row.2.iter().map(|(source, ports)| ((*source).to_owned(), *ports)).collect();
    if !by_itself && told != wanted {
        return Err(format!("told {told:?}, wanted {wanted:?}"));
    }
    for and in row.3 {
        match and {
            And::Says(words) | And::SaysOfOthers(words) => {
                let (told, said) = replay(row, "text")?;
                if !told.contains(words) && !said.contains(words) {
                    return Err(format!("{words:?} is not said: {told}{said}"));
                }
            }
            And::Field(name, value) => {
                if let Some(scan) = scans.iter().find(|scan| scan[name] != *value) {
                    return Err(format!("{name} is {}, not {value}", scan[name]));
                }
            }
            And::Honest(count) => {
                let asked = asked(row.0[0]);
                if told.len() != *count {
                    return Err(format!("{} scans, not {count}", told.len()));
                }
                if let Some((source, ports)) =
                    told.iter().find(|(source, ports)| *ports > asked[source].len() as u64)
                {
                    return Err(format!("{source} asked for {}, not {ports}", asked[source].len()));
                }
            }
            And::FoundOrCounted => {
                let given_up = total(&replay(row, "metrics")?.0, "portscan_sources_evicted_total");
                if given_up == 0 && !told.iter().any(|(source, _)| source == SCANNER) {
                    return Err(String::from("neither found nor counted"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_case_gives_what_it_must() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let name = row.0[0];
        match (check(row), FAILING.contains(&name)) {
            (Err(why), false) => wrong.push(format!("{name}: {why}")),
            (Ok(()), true) => wrong.push(format!("{name} holds now: take it off FAILING")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_has_a_row_and_every_failing_name_is_one() {
    let rows: BTreeSet<&str> = ROWS.iter().flat_map(|row| row.0).copied().collect();
    let found = std::fs::read_dir(folder()).expect("it is there");
    let found: BTreeSet<String> = found
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".pcap"))
        .collect();
    let files = rows.iter().filter(|name| **name != SHORT_OF_BLOCKS);
    assert_eq!(found, files.map(ToString::to_string).collect());
    assert!(FAILING.iter().all(|name| rows.contains(name)), "{FAILING:?}");
}
