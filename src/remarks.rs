//! What is odd about a file that was read, in sentences: why a scan in it may not be told, and what to do about it.

use crate::capture::Account;
use crate::decode::Skipped;
use crate::snapshot::InterfaceSnapshot;

/// The remarks on a file, the gravest first.
pub fn of(account: &Account, snapshot: &InterfaceSnapshot) -> Vec<String> {
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
    let probes: u64 = snapshot.detection.tally.probes.iter().flatten().sum();
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
