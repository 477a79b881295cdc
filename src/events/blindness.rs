//! What the exporter does not see, told in the journal: interfaces that are away, frames that were dropped, sources that
//! were given up, records that were lost. The metrics have the same numbers; a journal that says nothing of them would
//! read like a quiet network.
//!
//! An attacker can cause most of these, so each kind has one record a minute and interface at most, with the number
//! since the one before. Outages are told as they come, five at once and one a minute after that: who has the other end of a
//! cable can take it out and put it in all day.

use crate::detect::Evicted;
use crate::logger;
use crate::publish::board::Standing;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::system::counters::{Counter, Counts};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `MESSAGE_ID` of a capture that sees nothing any more.
pub const DOWN_ID: &str = "8b4ffbfd62304b708bae4941f2840fcf";
/// `MESSAGE_ID` of a capture that sees again.
pub const UP_ID: &str = "6f87ddce5d4a4ba8b7aceb1e53b65699";
/// `MESSAGE_ID` of dropped frames.
pub const DROPPED_ID: &str = "0538b52895f447e69ec0aa6be52e0e3f";
/// `MESSAGE_ID` of sources that were given up.
pub const EVICTED_ID: &str = "5d2b168f935448558ca9bc9ee058ff8e";
/// `MESSAGE_ID` of records that were lost.
pub const LOST_ID: &str = "b4467548b27c4898b3bd851b89e493ed";

/// The least time between two records of one kind.
const AGAIN: Duration = Duration::from_secs(60);

/// Why nothing arrives though the capture stands: nothing need be done to get it back.
const LINK_DOWN: &str = "link down";

/// Outages that are told at once; then one every `AGAIN`.
const OUTAGES: f64 = 5.0;

/// After so long a capture that is up is back, even if the message that said so was lost.
const SETTLED: Duration = Duration::from_secs(3);

/// What is not seen, as far as it was told.
#[derive(Debug)]
pub struct Blindness {
    interfaces: Vec<Sight>,
    log_records: Losses,
}

/// What is seen of an interface.
#[derive(Debug)]
struct Sight {
    interface: String,
    /// Why nothing is.
    away: Option<Outage>,
    standing: Standing,
    allowance: Allowance,
    untold: Untold,
    dropped: Losses,
    dropped_by_interface: Losses,
    evicted: Losses,
    cut_short: Losses,
    events: Losses,
}

/// A time in which nothing is seen.
#[derive(Debug)]
struct Outage {
    /// The interface, by the name it had then.
    of: String,
    why: String,
    since: Instant,
    told: bool,
}

/// Outages that came too fast to tell each.
#[derive(Debug, Default)]
struct Untold {
    outages: u64,
    blind: Duration,
}

/// How many outages may be told now.
#[derive(Debug)]
struct Allowance {
    left: f64,
    refilled: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.refilled);
        self.left = (self.left + since.as_secs_f64() / AGAIN.as_secs_f64()).min(OUTAGES);
        self.refilled = now;
        let may = self.left >= 1.0;
        self.left -= f64::from(u8::from(may));
        may
    }
}

/// A total that should not grow, and how much of it was told.
#[derive(Debug, Clone, Copy)]
struct Losses {
    lost: u64,
    /// What `lost` is a part of, and when, since nothing is untold.
    of: u64,
    from: Instant,
    told: Option<Instant>,
}

/// Whole seconds, and never 0 for what takes a moment.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// What was lost within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loss {
    lost: u64,
    of: u64,
    within: Duration,
}

impl Loss {
    fn seconds(self) -> u64 {
        seconds(self.within)
    }
}

impl Losses {
    fn none(now: Instant) -> Self {
        Self { lost: 0, of: 0, from: now, told: None }
    }

    /// What is to be told now.
    fn look(&mut self, lost: u64, of: u64, now: Instant) -> Option<Loss> {
        let grown = lost.saturating_sub(self.lost);
        if grown == 0 {
            (self.of, self.from) = (of, now);
            return None;
        }
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < AGAIN) {
            return None;
        }
        let within = now.saturating_duration_since(self.from);
        let loss = Loss { lost: grown, of: of.saturating_sub(self.of), within };
        *self = Self { lost, of, from: now, told: Some(now) };
        Some(loss)
    }
}

impl Sight {
    fn of(interface: &str, now: Instant) -> Self {
        let none = Losses::none(now);
        Self {
            interface: interface.to_owned(),
            away: None,
            standing: Standing::Starting,
            allowance: Allowance { left: OUTAGES, refilled: now },
            untold: Untold::default(),
            dropped: none,
            dropped_by_interface: none,
            evicted: none,
            cut_short: none,
            events: none,
        }
    }

    /// Whoever follows the default route may be on another one now.
    fn is_called(&mut self, interface: &str) {
        if self.interface != interface {
            interface.clone_into(&mut self.interface);
        }
    }

    fn goes(&mut self, why: &str, now: Instant) {
        match &mut self.away {
            Some(outage) => why.clone_into(&mut outage.why),
            None => {
                self.away =
                    Some(Outage { of: self.interface.clone(), why: why.to_owned(), since: now, told: false })
            }
        }
        self.tell_outages(now);
    }

    fn comes_back(&mut self, now: Instant) {
        let Some(Outage { of, why, since, told }) = self.away.take() else { return };
        let blind = now.saturating_duration_since(since);
        if !told {
            self.untold.outages += 1;
            self.untold.blind += blind;
            logger::count_suppressed(2);
            return;
        }
        let (interface, reason, seconds) = (self.interface.as_str(), why.as_str(), seconds(blind));
        let words = if of == interface {
            format!("capture on {interface} is back after {seconds} s ({reason})")
        } else {
            // It was never captured before: nothing is back.
            format!(
                "capturing on {interface} now: the default route leads there (after {seconds} s; {of}: {reason})"
            )
        };
        log::warn!(
            message_id = UP_ID, event = "capture_back", interface, reason, blind_seconds = seconds;
            "{words}"
        );
    }

    /// Why nothing is seen, if nothing is.
    fn blind_by(&self) -> Option<&str> {
        match (&self.away, self.standing) {
            (Some(outage), _) => Some(&outage.why),
            (None, Standing::Starting) => Some("starting"),
            (None, Standing::Stalled) => Some("stalled"),
            // What was told of a capture is newer than how it stood at the latest look.
            (None, Standing::Ready | Standing::Down) => None,
        }
    }

    /// Tells what may be told by now: that it is away, or that it was.
    fn tell_outages(&mut self, now: Instant) {
        let interface = self.interface.as_str();
        let is_due = match &self.away {
            Some(outage) => !outage.told,
            None => self.untold.outages > 0,
        };
        if !is_due || !self.allowance.take(now) {
            return;
        }
        let Untold { outages, blind } = std::mem::take(&mut self.untold);
        let seconds = seconds(blind);
        let Some(outage) = &mut self.away else {
            log::warn!(
                message_id = UP_ID, event = "capture_back", interface, blind_seconds = seconds, untold = outages;
                "capture on {interface} is back; {outages} outages of {seconds} s in all were not told one by one"
            );
            return;
        };
        outage.told = true;
        let reason = outage.why.as_str();
        let (what, then) = match reason {
            LINK_DOWN => ("stopped", "it goes on when the link is back"),
            _ => ("lost", "trying to get it back"),
        };
        let before = match outages {
            0 => String::new(),
            some => format!(" ({some} outages of {seconds} s in all before it were not told)"),
        };
        log::error!(
            message_id = DOWN_ID, event = "capture_lost", interface, reason, untold = outages;
            "capture on {interface} {what}: {reason}; {then}{before}"
        );
    }

    fn stands(&mut self, standing: Standing, now: Instant) {
        self.standing = standing;
        match (standing, &self.away) {
            (Standing::Down, None) => self.goes(LINK_DOWN, now),
            (Standing::Ready, Some(outage))
                if outage.why == LINK_DOWN || now.saturating_duration_since(outage.since) > SETTLED =>
            {
                self.comes_back(now);
            }
            _ => {}
        }
        self.tell_outages(now);
    }

    fn look(&mut self, snapshot: &InterfaceSnapshot, now: Instant) {
        let interface = self.interface.as_str();
        let capture = &snapshot.capture;
        if let Some(loss) = self.dropped.look(capture.dropped, capture.received, now) {
            let (Loss { lost, of, .. }, seconds) = (loss, loss.seconds());
            let percent = (100 * lost).div_ceil(of.max(lost));
            log::warn!(
                message_id = DROPPED_ID, title = "frames dropped", event = "frames_dropped", interface, dropped = lost,
                received = of, percent, seconds;
                "{percent} % of the frames on {interface} dropped for want of room, {lost} of {of} within {seconds} s: \
                 scans may be missed (--capture.buffer-size, --capture.threads)"
            );
        }
        let by_interface = capture.interface_dropped;
        if let Some(loss) = self.dropped_by_interface.look(by_interface, 0, now) {
            let (lost, seconds) = (loss.lost, loss.seconds());
            log::warn!(
                message_id = DROPPED_ID, title = "frames dropped by the interface", event = "frames_dropped", interface,
                interface_dropped = lost, seconds;
                "{lost} frames dropped by {interface} or its driver within {seconds} s"
            );
        }
        let evicted = |reason| snapshot.detection.tally.evicted[reason as usize];
        let all = [Evicted::Doorkeeper, Evicted::Table, Evicted::Scan, Evicted::Evidence].map(evicted);
        if let Some(loss) = self.evicted.look(all.iter().sum(), 0, now) {
            let (lost, seconds) = (loss.lost, loss.seconds());
            let [doorkeeper, table, scan, evidence] = all;
            log::warn!(
                message_id = EVICTED_ID, title = "sources evicted", event = "sources_evicted", interface, evicted = lost,
                seconds, doorkeeper_total = doorkeeper, table_total = table, scan_total = scan,
                evidence_total = evidence;
                "{lost} sources on {interface} evicted for want of memory within {seconds} s: scans may be missed \
                 (--detection.memory)"
            );
        }
        if let Some(loss) = self.cut_short.look(snapshot.detection.tally.cut_short, 0, now) {
            let (lost, seconds) = (loss.lost, loss.seconds());
            let threshold = snapshot.detection.threshold;
            log::warn!(
                message_id = EVICTED_ID, title = "sources not counted to the threshold", event = "sources_cut_short",
                interface, cut_short = lost, threshold, seconds;
                "{lost} sources on {interface} could not be counted up to the threshold of {threshold} within {seconds} s: \
                 scans may be missed (--detection.memory)"
            );
        }
        if let Some(loss) = self.events.look(snapshot.events_lost, 0, now) {
            let (lost, seconds) = (loss.lost, loss.seconds());
            log::warn!(
                message_id = LOST_ID, title = "records lost", event = "records_lost", interface, lost, seconds;
                "{lost} records of scans on {interface} lost within {seconds} s: the log is slower than they come"
            );
        }
    }
}

impl Blindness {
    /// Nothing is known yet of these interfaces.
    pub fn new<'a>(interfaces: impl IntoIterator<Item = &'a str>, now: Instant) -> Self {
        let interfaces = interfaces.into_iter().map(|interface| Sight::of(interface, now)).collect();
        Self { interfaces, log_records: Losses::none(now) }
    }

    /// The capture of one of the interfaces, by the name it has now, was lost for this reason, or is back.
    pub fn changed(&mut self, index: usize, interface: &str, lost: Option<&str>, now: Instant) {
        let Some(sight) = self.interfaces.get_mut(index) else { return };
        sight.is_called(interface);
        match lost {
            Some(why) => sight.goes(why, now),
            None => sight.comes_back(now),
        }
    }

    /// Looks at everything, about once a second.
    pub fn look(
        &mut self,
        standings: &[(impl AsRef<str>, Standing)],
        snapshots: &[Arc<InterfaceSnapshot>],
        counts: &Counts,
        now: Instant,
    ) {
        for (sight, (interface, standing)) in self.interfaces.iter_mut().zip(standings) {
            sight.is_called(interface.as_ref());
            sight.stands(*standing, now);
        }
        for snapshot in snapshots {
            let of_it = |sight: &&mut Sight| sight.interface == snapshot.interface;
            if let Some(sight) = self.interfaces.iter_mut().find(of_it) {
                sight.look(snapshot, now);
            }
        }
        if let Some(loss) = self.log_records.look(counts.of(Counter::RecordsLost), 0, now) {
            let (lost, seconds) = (loss.lost, loss.seconds());
            log::warn!(
                message_id = LOST_ID, title = "log records lost", event = "records_lost", lost, seconds;
                "{lost} log records lost within {seconds} s: nobody took them"
            );
        }
    }

    /// What `systemctl status` shows: `capturing on eth0; eth7: link down`.
    pub fn status(&self) -> String {
        let sees = |sight: &&Sight| sight.blind_by().is_none();
        let seen: Vec<&str> =
            self.interfaces.iter().filter(sees).map(|sight| sight.interface.as_str()).collect();
        let mut status = match seen.is_empty() {
            true => String::from("capturing nothing"),
            false => format!("capturing on {}", seen.join(", ")),
        };
        for sight in &self.interfaces {
            let Some(why) = sight.blind_by() else { continue };
            status.push_str(&format!("; {}: {why}", sight.interface));
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::metrics::fixture;
    use crate::system::clock;

    const ETH: [&str; 2] = ["eth0", "eth7"];

    fn look(blindness: &mut Blindness, standings: [Standing; 2], now: Instant) -> String {
        let standings: Vec<_> = ETH.into_iter().zip(standings).collect();
        blindness.look(&standings, &[], &Counts::default(), now);
        blindness.status()
    }

    #[test]
    fn the_status_names_what_is_captured_and_why_the_rest_is_not() {
        use Standing::{Down, Ready, Stalled, Starting};
        let start = clock::steady();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut blindness = Blindness::new(ETH, start);
        assert_eq!(
            look(&mut blindness, [Starting, Starting], at(0)),
            "capturing nothing; eth0: starting; eth7: starting"
        );
        assert_eq!(look(&mut blindness, [Ready, Ready], at(1)), "capturing on eth0, eth7");
        assert_eq!(look(&mut blindness, [Ready, Down], at(2)), "capturing on eth0; eth7: link down");
        assert_eq!(look(&mut blindness, [Ready, Ready], at(3)), "capturing on eth0, eth7");
        assert_eq!(look(&mut blindness, [Ready, Stalled], at(3)), "capturing on eth0; eth7: stalled");
        assert_eq!(look(&mut blindness, [Ready, Ready], at(3)), "capturing on eth0, eth7");
        blindness.changed(1, "eth7", Some("the interface disappeared"), at(4));
        let gone = "capturing on eth0; eth7: the interface disappeared";
        assert_eq!(blindness.status(), gone);
        // The board may be a moment behind.
        assert_eq!(look(&mut blindness, [Ready, Ready], at(4)), gone);
        assert_eq!(look(&mut blindness, [Ready, Down], at(60)), gone);
        blindness.changed(1, "eth7", None, at(61));
        assert_eq!(blindness.status(), "capturing on eth0, eth7");
        // What told that it is back may have been lost.
        blindness.changed(1, "eth7", Some("the interface disappeared"), at(70));
        assert_eq!(look(&mut blindness, [Ready, Ready], at(75)), "capturing on eth0, eth7");
    }

    #[test]
    fn losses_are_told_at_once_and_then_once_a_minute_with_all_since() {
        let start = clock::steady();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut dropped = Losses::none(start);
        assert_eq!(dropped.look(0, 1_000_000, at(99)), None, "what came before is no part of it");
        let second = Duration::from_secs(1);
        assert_eq!(dropped.look(79, 1_000_100, at(100)), Some(Loss { lost: 79, of: 100, within: second }));
        for n in 1..60 {
            assert_eq!(dropped.look(79 + n, 1_000_100 + 2 * n, at(100 + n)), None);
        }
        let minute = Loss { lost: 60, of: 120, within: 60 * second };
        assert_eq!(dropped.look(139, 1_000_220, at(160)), Some(minute));
        // It is over; the next time the quiet between does not count.
        assert_eq!(dropped.look(139, 2_000_000, at(1_000)), None);
        assert_eq!(dropped.look(140, 2_000_010, at(1_001)), Some(Loss { lost: 1, of: 10, within: second }));
        // Some of it came just before it was over: told when its time has come.
        assert_eq!(dropped.look(145, 2_000_020, at(1_002)), None);
        assert_eq!(dropped.look(145, 2_000_020, at(1_061)).map(|loss| loss.lost), Some(5));
    }

    /// Somebody pulls the cable and puts it back, every two seconds for ten minutes.
    #[test]
    fn a_link_that_flaps_does_not_fill_the_journal_and_no_outage_is_forgotten() {
        let start = clock::steady();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sight = Sight::of("eth7", start);
        let (mut told, mut untold) = (0, 0);
        for n in 0..300 {
            let before = sight.untold.outages;
            sight.stands(Standing::Down, at(2 * n));
            if sight.away.as_ref().is_some_and(|outage| outage.told) {
                told += 1;
                untold += before;
                assert_eq!(sight.untold.outages, 0, "the record has them");
            }
            sight.stands(Standing::Ready, at(2 * n + 1));
            assert!(sight.away.is_none());
            if before > 0 && sight.untold.outages == 0 && sight.untold.blind.is_zero() {
                assert!(sight.allowance.left < 1.0);
            }
        }
        assert!((5..=15).contains(&told), "{told}");
        let left = sight.untold.outages;
        assert!(told + untold + left <= 300 && sight.untold.blind == Duration::from_secs(left));
        // It stays away: told when its time has come, with those before.
        sight.stands(Standing::Down, at(600));
        sight.stands(Standing::Down, at(700));
        assert!(sight.away.as_ref().unwrap().told && sight.untold.outages == 0);
        sight.stands(Standing::Ready, at(701));
        assert!(sight.away.is_none());
    }

    /// A storm on every kind of loss, every second for ten minutes: records stay few.
    #[test]
    fn an_attacker_cannot_fill_the_journal_with_losses() {
        let start = clock::steady();
        let mut losses = Losses::none(start);
        let told = (1..=600).filter(|&n| losses.look(n, n, start + Duration::from_secs(n)).is_some()).count();
        assert_eq!(told, 10);
    }

    #[test]
    fn an_interface_that_moves_keeps_its_account() {
        let now = clock::steady();
        let mut blindness = Blindness::new(["eth0"], now);
        let mut snapshot = fixture::quiet("wwan0");
        snapshot.capture.dropped = 7;
        blindness.look(&[("wwan0", Standing::Ready)], &[Arc::new(snapshot)], &Counts::default(), now);
        assert_eq!(blindness.status(), "capturing on wwan0");
        assert_eq!(blindness.interfaces[0].dropped.lost, 7);
        blindness.changed(0, "wwan0", Some("the default route leads through eth1 now"), now);
        blindness.changed(0, "eth1", None, now);
        assert_eq!(blindness.status(), "capturing on eth1", "it hears that it is back by another name");
    }
}
