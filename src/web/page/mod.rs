//! The page at `/`: what every exporter says of itself, and below it who scans now and lately, and how the captures fare. It needs no
//! script; a little of it keeps the page fresh. What the page may run and load is named by its hash, so that nothing that comes from the
//! wire can be more than text.

mod escape;
mod picture;

use self::escape::escape;
use super::routes::{Methods, Route};
use super::status::{ByRule, Interface};
use crate::detect::{Provenance, Scan};
use crate::events::record::{JSON, Record, left_out};
use crate::packet::Timestamp;
use crate::publish::recent::{Kept, MINUTES};
use crate::system::version;
use crate::text::time::rfc3339;
use crate::text::units::write_nanos;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use std::sync::LazyLock;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The most scans that the page shows; the API has more.
const SHOWN: usize = 50;

/// Content-Security-Policy: this style, this script, questions to this host, and nothing else.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// What the page shows.
pub(super) struct View<'a> {
    pub(super) interfaces: &'a [Interface],
    pub(super) scans: &'a [Kept],
    pub(super) hits: [u64; MINUTES],
    pub(super) now: Timestamp,
}

/// The page.
pub(super) fn page<A>(routes: &[Route<A>], view: &View<'_>) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Portscan Exporter</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript><style>{STYLE}</style></head><body>\
         <header><h1>Portscan Exporter</h1><p class=\"soft\">Passive port-scan detector for Prometheus. Version {} \
         (revision {})</p></header><main><p id=\"stale\" class=\"bad\" role=\"status\">The exporter does not answer: what is \
         below is old.</p><div id=\"live\">",
        version::VERSION,
        version::REVISION,
    );
    write_scans(&mut page, view);
    write_interfaces(&mut page, view.interfaces);
    write_rules(&mut page, view.interfaces);
    page.push_str("</div>");
    write_links(&mut page, routes);
    let _ = writeln!(page, "</main><script>{SCRIPT}</script></body></html>");
    page
}

fn write_scans(page: &mut String, View { scans, hits, now, .. }: &View<'_>) {
    let open = scans.iter().filter(|kept| kept.scan.ended.is_none());
    let ended = scans.iter().filter(|kept| kept.scan.ended.is_some());
    let of_now = open.clone().count();
    let _ = write!(page, "<h2>Hits within the last hour</h2>{}", picture::hits(hits));
    let (all, most) = (hits.iter().sum::<u64>(), hits.iter().max().copied().unwrap_or(0));
    let _ = write!(
        page,
        "<p class=\"soft\">{all} {}, at most {most} in one minute; the last minute is on the right.</p>\
         <h2>Scans</h2>",
        if all == 1 { "hit" } else { "hits" }
    );
    if scans.is_empty() {
        page.push_str("<p>None since the start.</p>");
        return;
    }
    let shown: Vec<&Kept> = open.chain(ended).take(SHOWN).collect();
    let _ = write!(
        page,
        "<p class=\"soft\">{of_now} open, {} kept; the latest {}:</p><table><thead><tr>",
        scans.len(),
        shown.len()
    );
    let cells = |(label, column): &(&'static str, Column)| -> (&str, Vec<String>) {
        (label, shown.iter().map(|kept| column.write(kept, *now)).collect())
    };
    // What no scan has would only take room from what they have.
    let has_some = |(_, cells): &(&str, Vec<String>)| cells.iter().any(|cell| !cell.is_empty());
    let columns: Vec<_> = COLUMNS.iter().map(cells).filter(has_some).collect();
    for (label, _) in &columns {
        let _ = write!(page, "<th scope=\"col\">{label}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for row in 0..shown.len() {
        page.push_str("<tr>");
        for (label, cells) in &columns {
            let _ = write!(page, "<td data-label=\"{label}\"><div>{}</div></td>", cells[row]);
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
}

/// A column of scans: drawn here, or a field of the record as it stands, once there is one of that name.
enum Column {
    Drawn(fn(&Kept, Timestamp) -> String),
    Field(&'static str),
}

const COLUMNS: &[(&str, Column)] = &[
    (
        "Source",
        Column::Drawn(|kept, _| {
            format!("<span class=\"address\">{}</span>", escape(&kept.scan.source.to_string()))
        }),
    ),
    ("Known as", Column::Drawn(|kept, _| escape(&known_as(&kept.scan)))),
    (
        "State",
        Column::Drawn(|kept, _| match kept.scan.ended {
            None => String::from("<span class=\"bad\">open</span>"),
            Some(_) => String::from("ended"),
        }),
    ),
    ("Ports", Column::Drawn(|kept, _| ports(&kept.scan))),
    ("Hosts", Column::Drawn(|kept, _| kept.scan.distinct_hosts.to_string())),
    ("Kind", Column::Field("kind")),
    ("Technique", Column::Field("technique")),
    ("Tool", Column::Field("tool")),
    ("Answered", Column::Field("answered_ports")),
    ("Evidence", Column::Field("evidence")),
    ("Began", Column::Drawn(|kept, now| moment(kept.scan.started, now))),
    ("Last probe", Column::Drawn(|kept, now| moment(kept.scan.last_probe, now))),
    ("Interface", Column::Drawn(|kept, _| escape(&kept.interface))),
];

/// What the operator and his databases say of a source: `monitoring, DE, AS64500`.
fn known_as(scan: &Scan) -> String {
    let Provenance { country, asn, scanner } = scan.provenance;
    let names = [scan.name, scanner].into_iter().flatten().map(|name| name.as_str().to_owned());
    let country = country.map(|country| country.as_str().to_owned());
    names.chain(country).chain(asn.map(|asn| format!("AS{asn}"))).collect::<Vec<_>>().join(", ")
}

impl Column {
    fn write(&self, kept: &Kept, now: Timestamp) -> String {
        match self {
            Column::Drawn(draw) => draw(kept, now),
            Column::Field(name) => {
                let record = Record { scan: &kept.scan, interface: &kept.interface, clock_steps: 0 };
                let field = JSON.iter().find(|(field, _)| field == name);
                field.map(|(_, field)| escape(&field.of(&record).to_string())).unwrap_or_default()
            }
        }
    }
}

/// Ranges of ports in words; the picture shows, and names, more.
const SHOWN_RANGES: usize = 4;

/// The number, and where the ports lie that are known.
fn ports(scan: &Scan) -> String {
    let (count, known) = (scan.distinct_ports, &scan.asked);
    let list = known.to_string().replace(',', ", ");
    let what = match left_out(known, count) {
        0 => format!("ports {list}"),
        more => format!("ports {list}; {more} more"),
    };
    let few = known.at_most(SHOWN_RANGES);
    let more = if left_out(&few, count) > 0 { ", …" } else { "" };
    let note = format!("<span class=\"soft\">{}{more}</span>", few.to_string().replace(',', ", "));
    let least = if scan.lower_bound { "at least " } else { "" };
    format!("{least}{count} {note}{}", picture::ports(known.iter(), &what))
}

/// How long ago, and exactly when.
fn moment(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.nanos().saturating_sub(time.nanos()) / 1_000_000_000;
    let ago = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    let exact = rfc3339(time);
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{ago} ago</time>")
}

fn write_interfaces(page: &mut String, interfaces: &[Interface]) {
    page.push_str(
        "<h2>Captures</h2><table><thead><tr><th scope=\"col\">Interface</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Probes</th><th scope=\"col\">Hits</th><th scope=\"col\">Not well</th></tr></thead><tbody>",
    );
    for Interface { interface, state, reasons, probes, hits, .. } in interfaces {
        let class = if *state == "capturing" { "good" } else { "bad" };
        let reasons: Vec<String> = reasons.iter().map(|reason| escape(reason)).collect();
        let reasons = if reasons.is_empty() { String::from("–") } else { reasons.join("<br>") };
        let _ = write!(
            page,
            "<tr><td data-label=\"Interface\"><div>{}</div></td><td data-label=\"State\"><span class=\"{class}\">{state}</span></td>\
             <td data-label=\"Probes\" class=\"number\">{probes}</td><td data-label=\"Hits\" class=\"number\">{hits}</td>\
             <td data-label=\"Not well\"><div>{reasons}</div></td></tr>",
            escape(interface)
        );
    }
    page.push_str("</tbody></table>");
}

/// The rules, each with what it has found on all interfaces.
fn write_rules(page: &mut String, interfaces: &[Interface]) {
    let mut rules: Vec<(&ByRule, [u64; 5])> = Vec::new();
    for rule in interfaces.iter().flat_map(|interface| &interface.rules) {
        let more =
            [rule.hits, rule.open_scans, rule.peak.into(), rule.tracked_sources, rule.tracked_sources_limit];
        let same = |(known, _): &&mut (&ByRule, _)| {
            (known.window_nanos, known.counts, known.threshold, known.subject)
                == (rule.window_nanos, rule.counts, rule.threshold, rule.subject)
        };
        match rules.iter_mut().find(same) {
            None => rules.push((rule, more)),
            Some((_, all)) => {
                let peak = all[2].max(more[2]);
                all.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                all[2] = peak;
            }
        }
    }
    if rules.is_empty() {
        return;
    }
    page.push_str("<h2>Rules</h2><table><thead><tr>");
    for label in RULES {
        let _ = write!(page, "<th scope=\"col\">{label}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for (rule, [hits, open, peak, tracked, limit]) in rules {
        let of_whom = match rule.subject {
            "network" => " by an IPv6 network that hops",
            "target" => " of one host by many sources",
            _ => "",
        };
        let (ports, window) = (rule.threshold, write_nanos(rule.window_nanos));
        let block = rule.block_threshold.map(|ports| format!(" (a block with {ports} ports)"));
        let what = format!("{ports} {} within {window}{of_whom}{}", rule.counts, block.unwrap_or_default());
        let cells = [
            what,
            rule.kinds.join(", "),
            hits.to_string(),
            open.to_string(),
            peak.to_string(),
            format!("{tracked} of {limit}"),
        ];
        page.push_str("<tr>");
        for (label, cell) in RULES.iter().zip(cells) {
            let _ =
                write!(page, "<td data-label=\"{label}\" class=\"number\"><div>{}</div></td>", escape(&cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
}

/// The columns of the rules.
const RULES: [&str; 6] = ["Rule", "Finds", "Hits", "Open", "Greatest count", "Sources tracked"];

fn write_links<A>(page: &mut String, routes: &[Route<A>]) {
    page.push_str(
        "<h2>Why is there an alert, or none?</h2><form action=\"/api/v1/explain\" method=\"get\">\
         <label for=\"source\">Source</label><input id=\"source\" name=\"source\" required placeholder=\"198.51.100.7\">\
         <button>Explain</button></form><h2>Pages</h2><ul>",
    );
    for Route { name, path, methods, about, .. } in routes.iter().filter(|route| route.path != "/") {
        let (path, about) = (escape(path), escape(about));
        let _ = match methods {
            // Alone it is no question.
            Methods::Read if path == "/api/v1/explain" => {
                write!(page, "<li>{name} (<code>{path}</code>): {about}</li>")
            }
            Methods::Read => {
                write!(page, "<li><a href=\"{path}\">{name}</a> (<code>{path}</code>): {about}</li>")
            }
            Methods::Change => {
                write!(page, "<li>{name} ({} <code>{path}</code>): {about}</li>", methods.label())
            }
        };
    }
    page.push_str("</ul>");
}
