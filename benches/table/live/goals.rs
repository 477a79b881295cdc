//! What the live table was to show, read off its rows: which goals hold, and by how much.

use super::send::Kind;
use super::{COMPARED, Receiver, Row, percentile};

/// Prints a line for each goal; one that cannot be judged says why.
pub fn tell(rows: &[Row]) {
    let of = |receiver, kind| rows.iter().filter(move |row| row.receiver == receiver && row.kind == kind);
    let floods = |receiver| rows.iter().filter(move |row| row.receiver == receiver && row.kind != Kind::Ack);
    println!("\n| goal | holds | figures |\n|---|---|---|");

    // Of what a bare receiver took whole, the most in a second.
    let whole = floods(Receiver::Bare).filter(|row| row.account.dropped + row.unaccounted() == 0);
    let most = whole.max_by(|a, b| a.offered().total_cmp(&b.offered()));
    judge(
        "0 drops of a 16 MiB buffer at the greatest rate that a bare receiver takes without",
        most.and_then(|bare| {
            let ours = of(Receiver::Exporter, bare.kind).find(|row| row.rate == bare.rate)?;
            let lost = ours.account.dropped + ours.unaccounted();
            Some((
                lost == 0,
                format!("{lost} at {:.0}/s; bare: 0 at {:.0}/s", ours.offered(), bare.offered()),
            ))
        }),
    );

    let costs: Vec<_> = floods(Receiver::Exporter).map(|row| (row.offered(), row.cpu_nanos())).collect();
    let each: Vec<_> = costs.iter().map(|(rate, nanos)| format!("{nanos:.0} ns at {rate:.0}/s")).collect();
    judge(
        "at most 150 ns of CPU per SYN at the greatest rate",
        costs.iter().max_by(|a, b| a.0.total_cmp(&b.0)).map(|&(_, nanos)| (nanos <= 150.0, each.join(", "))),
    );

    let dearest = |kind, cost: fn(&Row) -> f64| {
        let rows = of(Receiver::Exporter, kind);
        rows.max_by(|a, b| cost(a).total_cmp(&cost(b))).map(|row| (row, cost(row)))
    };
    judge(
        "at most 1 % of a core when the kernel discards everything",
        dearest(Kind::Ack, Row::core_percent)
            .map(|(row, core)| (core <= 1.0, format!("at most {core:.2} %, at {:.0}/s", row.offered()))),
    );

    let compared = |receiver| of(receiver, Kind::Syn).find(|row| row.rate == COMPARED);
    let ours = compared(Receiver::Exporter);
    for (other, times) in [(Receiver::Scanlogd, 20.0), (Receiver::Suricata, 60.0)] {
        let both = ours.zip(compared(other));
        judge(
            &format!("at least {times} times less CPU per packet taken than {}", other.label()),
            both.map(|(ours, theirs)| {
                let (our, their) = (ours.cpu_nanos(), theirs.cpu_nanos());
                // One that drops what it has no time for looks cheap.
                let taken = theirs.cpu.as_secs_f64() * 1e9 / theirs.account.received.max(1) as f64;
                let figures = format!(
                    "{:.1} times: {taken:.0} against {our:.1} ns per packet it took ({:.1} times: {their:.0} ns per packet sent)",
                    taken / our,
                    their / our,
                );
                (taken / our >= times, figures)
            }),
        );
        judge(
            &format!("0 lost at {} k/s, where {} loses", COMPARED / 1_000, other.label()),
            both.map(|(ours, theirs)| {
                let lost = ours.account.dropped + ours.unaccounted();
                let figures = format!("{lost} against {} of {}", theirs.account.dropped, theirs.sent);
                (lost == 0 && theirs.account.dropped > 0, figures)
            }),
        );
    }

    let scraped: Vec<&Row> = floods(Receiver::Scraped).collect();
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
