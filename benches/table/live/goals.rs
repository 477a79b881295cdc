//! What the live table was to show, read off its rows: which goals hold, and by how much.

use super::send::Kind;
use super::{Receiver, Row, percentile};

/// The rate at which others lose packets.
const COMPARED: u64 = 200_000;

/// Prints a line for each goal; one that cannot be judged says why.
pub fn tell(rows: &[Row]) {
    let of = |receiver, kind| rows.iter().filter(move |row| row.receiver == receiver && row.kind == kind);
    let at = |receiver, rate| of(receiver, Kind::Syn).find(|row| row.rate == rate);
    println!("\n| goal | holds | figures |\n|---|---|---|");

    let lossless = |row: &&Row| row.account.dropped == 0;
    let by_rate = |a: &&Row, b: &&Row| a.offered().total_cmp(&b.offered());
    let bare = of(Receiver::Bare, Kind::Syn).filter(lossless).max_by(by_rate);
    judge(
        "0 drops of a 16 MiB buffer at the greatest rate that a bare receiver takes without",
        bare.and_then(|bare| at(Receiver::Exporter, bare.rate).map(|ours| (bare, ours))).map(
            |(bare, ours)| {
                let figures = format!(
                    "{} drops at {:.0}/s; bare: 0 at {:.0}/s",
                    ours.account.dropped,
                    ours.offered(),
                    bare.offered()
                );
                (ours.account.dropped == 0, figures)
            },
        ),
    );

    let dearest = |kind, cost: fn(&Row) -> f64| {
        let rows = of(Receiver::Exporter, kind);
        rows.max_by(|a, b| cost(a).total_cmp(&cost(b))).map(|row| (row, cost(row)))
    };
    judge(
        "at most 150 ns of CPU per SYN",
        dearest(Kind::Syn, Row::cpu_nanos).map(|(row, nanos)| {
            (nanos <= 150.0, format!("at most {nanos:.1} ns, at {:.0}/s", row.offered()))
        }),
    );
    judge(
        "at most 1 % of a core when the kernel discards everything",
        dearest(Kind::Ack, Row::core_percent)
            .map(|(row, core)| (core <= 1.0, format!("at most {core:.2} %, at {:.0}/s", row.offered()))),
    );

    let ours = at(Receiver::Exporter, COMPARED);
    for (other, times) in [(Receiver::Scanlogd, 20.0), (Receiver::Suricata, 60.0)] {
        judge(
            &format!("at least {times} times less CPU per packet than {}", other.label()),
            ours.zip(at(other, COMPARED)).map(|(ours, theirs)| {
                let ratio = theirs.cpu_nanos() / ours.cpu_nanos();
                let figures =
                    format!("{ratio:.1} times: {:.0} against {:.1} ns", theirs.cpu_nanos(), ours.cpu_nanos());
                (ratio >= times, figures)
            }),
        );
        judge(
            &format!("0 lost at 200 k/s, where {} loses", other.label()),
            ours.zip(at(other, COMPARED)).map(|(ours, theirs)| {
                let lost = ours.arrived.saturating_sub(ours.account.received);
                let figures = format!("{lost} against {} of {}", theirs.account.dropped, theirs.sent);
                (lost == 0 && theirs.account.dropped > 0, figures)
            }),
        );
    }

    let scraped: Vec<&Row> = of(Receiver::Scraped, Kind::Syn).collect();
    let mut latencies: Vec<_> = scraped.iter().flat_map(|row| row.latencies.iter().copied()).collect();
    latencies.sort_unstable();
    judge(
        "20 scrapes a second during the flood: 0 drops, p99 under 20 ms",
        (!latencies.is_empty()).then(|| {
            let drops: u64 = scraped.iter().map(|row| row.account.dropped).sum();
            let p99 = percentile(&latencies, 99).as_secs_f64() * 1e3;
            let figures = format!("{drops} drops, p99 {p99:.2} ms of {} scrapes", latencies.len());
            (drops == 0 && p99 < 20.0, figures)
        }),
    );
}

fn judge(goal: &str, verdict: Option<(bool, String)>) {
    match verdict {
        Some((holds, figures)) => {
            println!("| {goal} | {} | {figures} |", if holds { "yes" } else { "**no**" })
        }
        None => println!("| {goal} | **not judged** | a row it needs did not run |"),
    }
}
