//! What is odd about a file that was read, in sentences: why a scan in it may be missing, and what to do about it.

use crate::capture::Account;
use crate::detect::Ignored;
use crate::packet::Skipped;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::replay::order::Disorder;

/// Something to know about a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    /// A sentence.
    pub text: String,
    /// Whether the report may be wrong because of it, so that every format has it.
    pub is_grave: bool,
}

/// The remarks on a capture, the gravest first.
pub(crate) fn of(account: &Account, disorder: &Disorder, snapshot: &InterfaceSnapshot) -> Vec<Remark> {
    let grave =
        of_order(disorder).into_iter().chain(of_memory(snapshot)).map(|text| Remark { text, is_grave: true });
    let others = of_frames(account, snapshot).into_iter().map(|text| Remark { text, is_grave: false });
    grave.chain(others).collect()
}

/// How to put a file in order: reordercap comes with Wireshark, as mergecap does.
const SORT: &str = "sort the file by time (reordercap FILE SORTED)";

fn of_order(disorder: &Disorder) -> Vec<String> {
    let mut remarks = Vec::new();
    let steps = counted(disorder.steps, "clock step", "clock steps");
    let stray = counted(disorder.stray, "stray stamp counts", "stray stamps count");
    if disorder.steps > 0 {
        let undone = match disorder.stray {
            0 => String::new(),
            _ => format!("; {stray} at the time of the frame before"),
        };
        remarks.push(format!("{steps}: stamps are out of order by more than 5 s{undone}; {SORT}"));
    }
    if disorder.late > 0 {
        remarks.push(format!(
            "{} too late to be sorted and counted when it came: too many frames in between; {SORT}",
            counted(disorder.late, "probe was", "probes were"),
        ));
    }
    if disorder.placed > 0 {
        remarks.push(format!(
            "{} a usable time at the time of the frame before: a scan may owe its number to that",
            counted(disorder.placed, "probe counts without", "probes count without"),
        ));
    }
    if disorder.untimed > 0 {
        remarks.push(format!(
            "{} left out without a usable time: none at all, one beyond any clock (a wrong resolution?) or out of any \
             order",
            counted(disorder.untimed, "probe was", "probes were"),
        ));
    }
    remarks
}

/// Where hits depend on blocks of memory, and these were spent.
fn of_memory(snapshot: &InterfaceSnapshot) -> Option<String> {
    let [first, behind] = snapshot.detection.cut_short();
    let by = match first {
        0 => "as far as a slower rule needs".to_owned(),
        _ => format!("up to the threshold of {}", snapshot.detection.threshold),
    };
    (first + behind > 0).then(|| {
        let sources = counted(first + behind, "source could", "sources could");
        format!("{sources} not be counted {by}, so scans may be missing: more --detection.memory")
    })
}

/// Probes that say nothing of a scanner, and why.
fn of_ignored(snapshot: &InterfaceSnapshot) -> Option<String> {
    let ignored = &snapshot.detection.counters.ignored;
    let why = |reason: Ignored| match reason {
        Ignored::Source => "from ignored sources (ignore.sources)",
        Ignored::Port => "to ignored ports (ignore.ports)",
        Ignored::Destination => "to ignored hosts (ignore.destinations)",
        Ignored::SourcePort | Ignored::SourceDestination => "of ignored pairs (ignore.pairs)",
        Ignored::Own => "of the host to itself",
        Ignored::Martian => "from addresses that no packet can come from (martian)",
    };
    let reasons = Ignored::ALL.iter().filter(|reason| ignored[**reason as usize] > 0);
    let reasons: Vec<String> =
        reasons.map(|reason| format!("{} {}", ignored[*reason as usize], why(*reason))).collect();
    let total = ignored.iter().sum();
    (total > 0).then(|| {
        format!("{} not counted: {}", counted(total, "probe was", "probes were"), reasons.join(", "))
    })
}

fn of_frames(account: &Account, snapshot: &InterfaceSnapshot) -> Vec<String> {
    let mut remarks = Vec::new();
    let skipped = |reason: Skipped| snapshot.skipped[reason as usize];
    let limit = account.snap_length.map_or_else(String::new, |length| format!(" of {length}"));
    if skipped(Skipped::Truncated) > 0 {
        remarks.push(format!(
            "{} cut short before the flags of TCP, by a snap length{limit}: capture whole headers (tcpdump -s 256)",
            counted(skipped(Skipped::Truncated), "frame is", "frames are"),
        ));
    }
    if account.oversize > 0 {
        remarks.push(format!(
            "{} longer than the snap length{limit} that the file claims: read whole, but the file was written by a \
             broken tool",
            counted(account.oversize, "frame is", "frames are"),
        ));
    }
    if let Some(why) = &account.unread_link
        && account.unread > 0
    {
        remarks.push(format!("{} not read: {why}", counted(account.unread, "frame was", "frames were")));
    }
    remarks.extend(of_ignored(snapshot));
    let probes: u64 = snapshot.detection.counters.probes.iter().flatten().sum();
    if probes == 0 && snapshot.packets > 0 {
        let reasons = Skipped::ALL.iter().filter(|reason| skipped(**reason) > 0);
        let reasons: Vec<String> =
            reasons.map(|reason| format!("{} {}", skipped(*reason), reason.label())).collect();
        remarks.push(format!("why no probe: {}", reasons.join(", ")));
    }
    remarks
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
