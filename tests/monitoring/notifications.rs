//! How many messages an operator gets. A real Prometheus with the rules of `alerts/` scrapes simulated exporters, and real
//! Alertmanagers with the routes of `deploy/alertmanager` send mail and chat to a sink that counts.
//!
//! All stories run at once, each a job of its own, thirty times faster than in life: minutes of the rules and routes are
//! two seconds here. A machine that is too busy for that tells them again, fifteen times faster than in life. Beside the Alertmanager that is right stand those that lack one inhibition each; they must be found out.

use lab::{Ended, PATIENCE, eventually};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const RULES: &str = include_str!("../../alerts/portscan.rules.yml");
const CONFIG: &str = include_str!("../../deploy/alertmanager/alertmanager.yml");
const TEMPLATES: &str = include_str!("../../deploy/alertmanager/portscan.tmpl");

/// How many seconds a minute takes in the stories.
#[derive(Clone, Copy)]
struct Pace(u32);

impl Pace {
    /// How long a peak is held: five minutes.
    fn hold(self) -> Duration {
        Duration::from_secs(5) * self.0
    }
}

const HOSTS: usize = 200;

/// What a simulated exporter shows.
#[derive(Clone)]
struct Page {
    /// Published sources and their peaks.
    sources: Vec<(String, u32)>,
    /// Those that swept, and how many hosts.
    swept: Vec<(String, u32)>,
    hits: u64,
    suppressed: u64,
    evicted: u64,
    up: bool,
    /// Frames lost, of as many received.
    dropped: (u64, u64),
    /// It does not answer at all.
    silent: bool,
}

impl Default for Page {
    fn default() -> Self {
        Page {
            sources: Vec::new(),
            swept: Vec::new(),
            hits: 0,
            suppressed: 0,
            evicted: 0,
            up: true,
            dropped: (0, 0),
            silent: false,
        }
    }
}

impl Page {
    fn text(&self) -> String {
        let mut page = String::new();
        let mut put = |name: &str, labels: &str, value: u64| {
            lab::contract::assert_within(&format!("{name}{labels}"), &[]);
            writeln!(page, "{name}{labels} {value}").unwrap();
        };
        let eth0 = "{interface=\"eth0\"}";
        put("portscan_threshold_ports", "{window=\"10s\"}", 20);
        put("portscan_threshold_hosts", "{window=\"5m\"}", 25);
        put("process_start_time_seconds", "", 1_000_000_000);
        put("portscan_exporter_build_info", concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
        put("portscan_config_last_reload_successful", "", 1);
        put("portscan_capture_up", eth0, self.up.into());
        put("portscan_capture_dropped_packets_total", eth0, self.dropped.0);
        put("portscan_capture_received_packets_total", eth0, self.dropped.1);
        put("portscan_hits_total", "{interface=\"eth0\",kind=\"vertical\",window=\"10s\"}", self.hits);
        put("portscan_suppressed_sources", eth0, self.suppressed);
        put("portscan_published_sources_limit", eth0, 100);
        put("portscan_log_records_suppressed_total", "", self.hits.saturating_sub(100));
        put("portscan_sources_evicted_total", "{interface=\"eth0\",reason=\"evidence\"}", self.evicted);
        for (source, peak) in &self.sources {
            let labels = format!("{{interface=\"eth0\",source=\"{source}\",window=\"10s\"}}");
            put("portscan_source_peak_distinct_ports", &labels, (*peak).into());
        }
        for (source, peak) in &self.swept {
            let labels = format!("{{interface=\"eth0\",source=\"{source}\",window=\"5m\"}}");
            put("portscan_source_peak_distinct_hosts", &labels, (*peak).into());
        }
        page
    }
}

/// The simulated exporters, by job and host.
#[derive(Default, Clone)]
struct World(Arc<Mutex<BTreeMap<String, Page>>>);

impl World {
    fn set(&self, hosts: &[String], page: &Page) {
        let mut pages = self.0.lock().unwrap();
        pages.extend(hosts.iter().map(|host| (host.clone(), page.clone())));
    }

    fn serve(&self) -> u16 {
        each_connection(self, World::answer)
    }

    /// Answers scrapes of one connection, until it closes or asks for who does not answer.
    fn answer(&self, mut connection: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection.try_clone().ok()?);
        loop {
            let request = header(&mut reader)?;
            let host = request.split(' ').nth(1)?.trim_start_matches('/').to_owned();
            let page = self.0.lock().unwrap().get(&host)?.clone();
            if page.silent {
                return None;
            }
            let text = page.text();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length:";
            write!(connection, "{head} {}\r\n\r\n{text}", text.len()).ok()?;
        }
    }
}

/// Serves every connection to a port of its own in a thread of its own; gives the port.
fn each_connection<T: Clone + Send + 'static>(to: &T, serve: fn(&T, TcpStream) -> Option<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = to.clone();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let to = to.clone();
            thread::spawn(move || serve(&to, connection.unwrap()));
        }
    });
    port
}

/// A request line and its header fields; nothing at the end of the connection.
fn header(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            return Some(text);
        }
        text += &line;
    }
}

/// Messages that one Alertmanager sent: to whom, the subject, the size in bytes.
#[derive(Default, Clone)]
struct Sink(Arc<Mutex<Vec<(String, String, usize)>>>);

impl Sink {
    /// Takes mail on a port of its own.
    fn take_mail(&self) -> u16 {
        each_connection(self, Sink::mail)
    }

    fn mail(&self, mut connection: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(connection.try_clone().ok()?).lines();
        writeln!(connection, "220 sink\r").ok()?;
        while let Some(Ok(line)) = lines.next() {
            let answer = match line.get(..4) {
                Some("DATA") => "354 go on",
                Some("QUIT") => "221 bye",
                _ => "250 fine",
            };
            writeln!(connection, "{answer}\r").ok()?;
            if answer.starts_with("354") {
                let (mut subject, mut size) = (String::new(), 0);
                for line in lines.by_ref().map_while(Result::ok).take_while(|line| line != ".") {
                    size += line.len() + 2;
                    if let Some(text) = line.strip_prefix("Subject: ") {
                        text.clone_into(&mut subject);
                    }
                }
                self.0.lock().unwrap().push(("mail".to_owned(), subject, size));
                writeln!(connection, "250 taken\r").ok()?;
            }
        }
        Some(())
    }

    /// Takes what is posted to chat or pager, on a port of its own.
    fn take_posts(&self) -> u16 {
        each_connection(self, Sink::post)
    }

    fn post(&self, mut connection: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection.try_clone().ok()?);
        loop {
            let request = header(&mut reader)?;
            let to = request.split(' ').nth(1)?.trim_start_matches('/').to_owned();
            let field =
                |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
            let size: usize = request.lines().find_map(field)?;
            let mut body = vec![0; size];
            reader.read_exact(&mut body).ok()?;
            let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
            let subject = match &body["attachments"][0]["title"] {
                serde_json::Value::String(title) => title.clone(),
                _ => body["commonAnnotations"]["summary"].as_str().unwrap_or_default().to_owned(),
            };
            self.0.lock().unwrap().push((to, subject, size));
            write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
        }
    }

    /// What was sent, sorted: "to: subject".
    fn sent(&self) -> Vec<String> {
        let mut sent: Vec<_> =
            self.0.lock().unwrap().iter().map(|(to, subject, _)| format!("{to}: {subject}")).collect();
        sent.sort();
        sent
    }
}

/// Faster than in life: minutes become seconds, hours minutes; what is shorter becomes two seconds, more than a scrape and an
/// evaluation. All of that times the pace.
fn faster(text: &str, Pace(pace): Pace) -> String {
    let mut fast = String::new();
    for line in text.lines() {
        let line = match line.split_once(':') {
            Some((key, value)) if key.trim() == "group_wait" && value.trim().ends_with('s') => {
                fast += &format!("{key}: {}s\n", 2 * pace);
                continue;
            }
            _ => line.to_owned(),
        };
        let mut rest = line.as_str();
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let digits = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
            let (before, after) = rest.split_at(at + digits);
            let number = before[at..].parse::<u32>().unwrap_or(0);
            let is_duration = |after: &str| after.len() == 1 || after[1..].starts_with([']', ' ', '\n', '<']);
            let unit = match after.chars().next() {
                Some('m') if is_duration(after) => Some("s"),
                Some('h') if is_duration(after) => Some("m"),
                _ => None,
            };
            match unit {
                Some(unit) => fast += &format!("{}{}{unit}", &before[..at], number * pace),
                None => fast += before,
            }
            rest = if unit.is_some() { &after[1..] } else { after };
        }
        fast += rest;
        fast.push('\n');
    }
    fast
}

/// The configuration without one of its inhibitions; all of them for none.
fn without_inhibition(left_out: Option<usize>) -> String {
    let (head, rest) = CONFIG.split_once("inhibit_rules:\n").unwrap();
    let (rules, tail) = rest.split_once("\nreceivers:\n").unwrap();
    let mut kept = String::new();
    let mut index = None;
    for line in rules.lines() {
        if line.starts_with("  - ") {
            index = Some(index.map_or(0, |index| index + 1));
        }
        if index.is_none() || index != left_out {
            kept += line;
            kept.push('\n');
        }
    }
    format!("{head}inhibit_rules:\n{kept}\nreceivers:\n{tail}")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(directory: &Path, program: &str, log: &str, arguments: &[&str]) -> Ended {
    let log = File::create(directory.join(log)).unwrap();
    let command = Command::new(program).args(arguments).current_dir(directory).stderr(log).spawn();
    Ended(command.unwrap_or_else(|error| panic!("this test needs {program}: {error}")))
}

fn alertmanager(directory: &Path, name: &str, config: &str, pace: Pace) -> (Ended, Sink, u16) {
    let sink = Sink::default();
    let config = faster(config, pace)
        .replace("localhost:25", &format!("127.0.0.1:{}", sink.take_mail()))
        .replace("127.0.0.1:9099", &format!("127.0.0.1:{}", sink.take_posts()));
    fs::write(directory.join(format!("{name}.yml")), config).unwrap();
    let port = free_port();
    let program = start(
        directory,
        "prometheus-alertmanager",
        &format!("{name}.log"),
        &[
            &format!("--config.file={name}.yml"),
            &format!("--storage.path={name}"),
            &format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=",
            "--log.level=warn",
        ],
    );
    (program, sink, port)
}

fn prometheus(
    directory: &Path,
    exporters: u16,
    jobs: &[(&str, usize)],
    alertmanagers: &[u16],
    pace: Pace,
) -> (Ended, u16) {
    let lately = format!("process_start_time_seconds < {}", 10 * pace.0);
    let rules = faster(RULES, pace).replace("process_start_time_seconds < 600", &lately);
    fs::write(directory.join("portscan.rules.yml"), rules).unwrap();
    let often = format!("{}ms", 500 * pace.0);
    let mut config = format!(
        "global: {{scrape_interval: {often}, scrape_timeout: {often}, evaluation_interval: {often}}}\n\
         rule_files: [portscan.rules.yml]\nscrape_configs:\n"
    );
    for (job, hosts) in jobs {
        let targets: Vec<_> = (1..=*hosts).map(|host| format!("{job}{host}")).collect();
        let targets = targets.join(", ");
        writeln!(
            config,
            "- job_name: portscan-{job}\n  static_configs: [{{targets: [{targets}]}}]\n  relabel_configs:\n  \
             - {{source_labels: [__address__], target_label: instance}}\n  \
             - {{source_labels: [__address__], target_label: __metrics_path__, replacement: /$1}}\n  \
             - {{target_label: __address__, replacement: '127.0.0.1:{exporters}'}}"
        )
        .unwrap();
    }
    let targets: Vec<_> = alertmanagers.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    writeln!(
        config,
        "alerting: {{alertmanagers: [{{static_configs: [{{targets: [{}]}}]}}]}}",
        targets.join(", ")
    )
    .unwrap();
    fs::write(directory.join("prometheus.yml"), config).unwrap();
    let port = free_port();
    let program = start(
        directory,
        "prometheus",
        "prometheus.log",
        &[
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            &format!("--web.listen-address=127.0.0.1:{port}"),
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        ],
    );
    (program, port)
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    answer.contains(" 200 OK").then_some(answer)
}

fn hosts(job: &str, from: usize, to: usize) -> Vec<String> {
    (from..=to).map(|host| format!("{job}{host}")).collect()
}

fn scan(sources: &[(&str, u32)]) -> Page {
    let sources: Vec<_> = sources.iter().map(|(source, peak)| ((*source).to_owned(), *peak)).collect();
    Page { hits: sources.len() as u64, sources, ..Page::default() }
}

/// Five hundred forged sources: a hundred have series, and everything else that gives way does.
fn storm() -> Page {
    let sources = (0..100).map(|n| (format!("198.18.{n}.7"), 60 - n / 4)).collect();
    Page { sources, hits: 500, suppressed: 400, evicted: 5000, ..Page::default() }
}

/// The same exporter when the peaks have left the hold.
fn over(page: &Page) -> Page {
    Page { sources: Vec::new(), swept: Vec::new(), suppressed: 0, ..page.clone() }
}

/// What happens, from the first packet until everything must have been said.
fn tell_the_stories(world: &World, pace: Pace) {
    let hold = pace.hold();
    let one = scan(&[("198.51.100.1", 150)]);
    let wide = scan(&[("198.51.100.2", 1000)]);
    let first = scan(&[("198.51.100.3", 40)]);
    let both = scan(&[("198.51.100.3", 40), ("198.51.100.4", 30)]);
    let fleet = scan(&[("198.51.100.5", 1000)]);
    let restarted = scan(&[("198.51.100.6", 25)]);
    // Who scans, so that there is a message, then sweeps, and makes a storm before the next message about him would be due.
    let scanned = scan(&[("198.51.100.8", 40)]);
    let swept = Page { swept: vec![("198.51.100.8".to_owned(), 30)], ..scanned.clone() };
    let mut hidden = Page { swept: swept.swept.clone(), ..storm() };
    hidden.sources.extend(scanned.sources.clone());
    let sinking = Page { up: false, dropped: (5000, 10_000), ..Page::default() };
    world.set(&hosts("one", 1, 1), &one);
    world.set(&hosts("wide", 1, 1), &wide);
    world.set(&hosts("two", 1, 1), &first);
    world.set(&hosts("storm", 1, 1), &storm());
    world.set(&hosts("swept", 1, 1), &scanned);
    world.set(&hosts("restart", 1, 1), &restarted);
    world.set(&hosts("sinking", 1, 1), &sinking);
    // The scanner goes through the fleet: the last fifty hosts come when the message has long been sent.
    world.set(&hosts("fleet", 1, HOSTS - 50), &fleet);
    thread::sleep(hold / 2);
    world.set(&hosts("two", 1, 1), &both);
    world.set(&hosts("swept", 1, 1), &swept);
    world.set(&hosts("restart", 1, 1), &Page { silent: true, ..Page::default() });
    // A restart takes less than the two minutes after which an exporter counts as down.
    thread::sleep(hold / 5);
    world.set(&hosts("restart", 1, 1), &Page::default());
    thread::sleep(hold / 2);
    world.set(&hosts("fleet", HOSTS - 49, HOSTS), &fleet);
    world.set(&hosts("swept", 1, 1), &hidden);
    for (job, page) in [("one", &one), ("wide", &wide), ("storm", &storm())] {
        world.set(&hosts(job, 1, 1), &over(page));
    }
    thread::sleep(hold);
    world.set(&hosts("two", 1, 1), &over(&both));
    world.set(&hosts("swept", 1, 1), &over(&hidden));
    world.set(&hosts("fleet", 1, HOSTS), &over(&fleet));
    // Until the storm's alert is over (ten minutes), and a group_interval after it.
    thread::sleep(hold * 2);
    // Meanwhile all of the fleet is unplugged.
    world.set(&hosts("fleet", 1, HOSTS), &Page { silent: true, ..Page::default() });
    thread::sleep(hold * 2);
}

#[test]
fn one_message_for_a_scan_and_one_for_a_storm() {
    // At sixty times, with one second, a busy machine needed the second telling more often than not.
    let Err(wrong) = count_messages(Pace(2)) else { return };
    println!("thirty times faster: {wrong}\nwas the machine too busy? Again, fifteen times faster");
    if let Err(wrong) = count_messages(Pace(4)) {
        panic!("{wrong}");
    }
}

/// What of the messages is not as it should be.
fn count_messages(pace: Pace) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("portscan.tmpl"), TEMPLATES).unwrap();
    let world = World::default();
    let single = ["one", "wide", "two", "storm", "swept", "restart", "sinking"];
    let jobs = single.map(|job| (job, 1)).into_iter().chain([("fleet", HOSTS)]).collect::<Vec<_>>();
    for &(job, count) in &jobs {
        world.set(&hosts(job, 1, count), &Page::default());
    }
    let (_right, sink, port) = alertmanager(directory, "right", CONFIG, pace);
    let inhibitions = CONFIG.matches("  - source_matchers").count();
    let route = CONFIG.find("        # As well, so that a sweep").expect("the route of sweeps");
    let length = CONFIG[route..].find("    - matchers:\n        - alertname =~ \"PortScan(Storm").unwrap();
    let together = format!("{}{}", &CONFIG[..route], &CONFIG[route + length..]);
    let wrong: Vec<_> = (0..inhibitions)
        .map(|left_out| without_inhibition(Some(left_out)))
        .chain([together])
        .enumerate()
        .map(|(left_out, config)| alertmanager(directory, &format!("wrong{left_out}"), &config, pace))
        .collect();
    let mut ports = vec![port];
    ports.extend(wrong.iter().map(|(_, _, port)| *port));
    let (_prometheus, prometheus) = prometheus(directory, world.serve(), &jobs, &ports, pace);
    for port in ports.iter().chain([&prometheus]) {
        eventually("a server to be ready", PATIENCE, || get(*port, "/-/ready"));
    }
    // Two samples of everybody: a counter is compared with its last one.
    eventually("two scrapes of every host", PATIENCE, || {
        let asked =
            get(prometheus, "/api/v1/query?query=count(count_over_time(portscan_hits_total[1m])%3E1)")?;
        asked.contains(&format!("\"{}\"", HOSTS + jobs.len() - 1)).then_some(())
    });

    tell_the_stories(&world, pace);

    let sent = sink.sent();
    println!("{sent:#?}");
    let wanted = [
        "chat: Port scan from 198.51.100.5 on several hosts of job portscan-fleet within 10s",
        "chat: Wide port scan from 198.51.100.2 on wide1 within 10s",
        "mail: No capture on eth0 of sinking1",
        &format!("mail: No portscan_exporter on fleet1 ({HOSTS} alerts)"),
        "mail: Port scan from 198.51.100.1 on one1 within 10s",
        "mail: Port scan from 198.51.100.3 on two1 within 10s",
        "mail: Port scan from 198.51.100.4 on two1 within 10s",
        "mail: Port scan from 198.51.100.5 on several hosts of job portscan-fleet within 10s",
        "mail: Port scan from 198.51.100.6 on restart1 within 10s",
        "mail: Port scan from 198.51.100.8 on swept1 within 10s",
        "mail: Storm of port scans: 100 sources at once in job portscan-storm",
        "mail: Storm of port scans: 101 sources at once in job portscan-swept",
        "mail: Sweep of many hosts from 198.51.100.8, seen on swept1 within 5m",
        "mail: Wide port scan from 198.51.100.2 on wide1 within 10s",
        "pager: ",
        "pager: No capture on eth0 of sinking1",
    ];
    if sent != wanted {
        return Err(format!("sent {sent:#?}\nand not {wanted:#?}"));
    }
    for (left_out, (_, sink, _)) in wrong.iter().enumerate() {
        if sink.sent() == sent {
            return Err(format!("nobody misses the inhibition {left_out} (the last: the route of sweeps)"));
        }
    }
    // Small, also where two hundred alerts are one message.
    for sink in wrong.iter().map(|(_, sink, _)| sink).chain([&sink]) {
        for (to, subject, size) in &*sink.0.lock().unwrap() {
            assert!(*size < 10_000, "{to}: {subject}: {size} bytes");
        }
    }
    let greatest = sink.0.lock().unwrap().iter().map(|(to, _, size)| (*size, to.clone())).max();
    println!("the greatest message, in bytes: {greatest:?}");
    Ok(())
}

/// In a thread of its own, where the stories show them, a page that no exporter has would only be a scrape that failed.
#[test]
fn simulated_exporters_show_what_the_code_lists() {
    for page in [storm(), Page::default()] {
        assert!(page.text().contains("portscan_sources_evicted_total"));
    }
}

#[test]
fn minutes_become_seconds_here() {
    assert_eq!(
        faster("a[5m] for: 2m\nfor: 1h\nx > 0.05\n  group_wait: 35s\n/26.", Pace(1)),
        "a[5s] for: 2s\nfor: 1m\nx > 0.05\n  group_wait: 2s\n/26.\n"
    );
    assert_eq!(faster("a[5m] > 10\n  group_wait: 35s\n", Pace(4)), "a[20s] > 10\n  group_wait: 8s\n");
    assert_eq!(without_inhibition(None), CONFIG);
    assert!(without_inhibition(Some(0)).len() < CONFIG.len());
}
