//! What the exporter does not see, reported in the journal: interfaces that are away, frames that were dropped, sources that
//! were given up, records that were lost. The metrics have the same numbers; a journal that says nothing of them would
//! read like a quiet network.

use super::losses::{LOST_ID, Losses, Reported};
use super::outages::Outages;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::publish::store::CaptureState;
use crate::system::counters::{Counter, Counts};
use std::sync::Arc;
use std::time::Instant;

/// What is not seen, as far as it was reported.
#[derive(Debug)]
pub(crate) struct Blindness {
    interfaces: Vec<Interface>,
    log_records: Reported,
}

#[derive(Debug)]
struct Interface {
    outages: Outages,
    losses: Losses,
}

impl Blindness {
    /// Nothing is known yet of these interfaces.
    pub(crate) fn new<'a>(interfaces: impl IntoIterator<Item = &'a str>, now: Instant) -> Self {
        let interface = |name| Interface { outages: Outages::none(name, now), losses: Losses::none(now) };
        Self { interfaces: interfaces.into_iter().map(interface).collect(), log_records: Reported::none(now) }
    }

    /// The capture of one of the interfaces, by the name it has now, was lost for this reason, or is back.
    pub(crate) fn changed(&mut self, index: usize, interface: &str, lost: Option<&str>, now: Instant) {
        let Some(Interface { outages, .. }) = self.interfaces.get_mut(index) else { return };
        outages.is_called(interface);
        match lost {
            Some(why) => outages.begin(why, now),
            None => outages.end(now),
        }
    }

    /// The capture at this place is for another interface now, or for none: what was reported of the one before is over.
    pub(crate) fn replaced(&mut self, index: usize, interface: &str, now: Instant) {
        if let Some(one) = self.interfaces.get_mut(index) {
            *one = Interface { outages: Outages::none(interface, now), losses: Losses::none(now) };
        }
    }

    /// Looks at everything, about once a second.
    pub(crate) fn look(
        &mut self,
        states: &[(impl AsRef<str>, CaptureState)],
        snapshots: &[Arc<InterfaceSnapshot>],
        counts: &Counts,
        now: Instant,
    ) {
        for (Interface { outages, .. }, (interface, state)) in self.interfaces.iter_mut().zip(states) {
            outages.is_called(interface.as_ref());
            outages.stands(*state, now);
        }
        for snapshot in snapshots {
            let is_of_it = |one: &&mut Interface| one.outages.interface == snapshot.interface;
            if let Some(Interface { losses, .. }) = self.interfaces.iter_mut().find(is_of_it) {
                losses.look(snapshot, &snapshot.interface, now);
            }
        }
        if let Some(loss) = self.log_records.look(counts.of(Counter::RecordsLost), 0, now) {
            let (lost, seconds) = (loss.lost, loss.seconds());
            log::warn!(
                message_id = LOST_ID, title = "log records lost", event = "records_lost", lost, seconds;
                "{lost} log records lost within {seconds} s: neither the journal nor standard error took them"
            );
        }
    }

    /// What `systemctl status` shows: `capturing on eth0; eth7: link down`.
    pub(crate) fn status(&self) -> String {
        let all = || {
            self.interfaces.iter().map(|interface| &interface.outages).filter(|outages| !outages.is_idle())
        };
        let seen: Vec<&str> = all()
            .filter(|outages| outages.blind_by().is_none())
            .map(|outages| outages.interface.as_str())
            .collect();
        let mut status = match seen.is_empty() {
            true => String::from("capturing nothing"),
            false => format!("capturing on {}", seen.join(", ")),
        };
        for outages in all() {
            let Some(why) = outages.blind_by() else { continue };
            status.push_str(&format!("; {}: {why}", outages.interface));
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::snapshot as fixture;
    use crate::system::clock;
    use std::time::Duration;

    const ETH: [&str; 2] = ["eth0", "eth7"];

    fn look(blindness: &mut Blindness, states: [CaptureState; 2], now: Instant) -> String {
        let states: Vec<_> = ETH.into_iter().zip(states).collect();
        blindness.look(&states, &[], &Counts::default(), now);
        blindness.status()
    }

    #[test]
    fn the_status_names_what_is_captured_and_why_the_rest_is_not() {
        use CaptureState::{Down, Ready, Stalled, Starting};
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
        // The store may be a moment behind.
        assert_eq!(look(&mut blindness, [Ready, Ready], at(4)), gone);
        assert_eq!(look(&mut blindness, [Ready, Down], at(60)), gone);
        blindness.changed(1, "eth7", None, at(61));
        assert_eq!(blindness.status(), "capturing on eth0, eth7");
        // The message that it is back may have been lost.
        blindness.changed(1, "eth7", Some("the interface disappeared"), at(70));
        assert_eq!(look(&mut blindness, [Ready, Ready], at(75)), "capturing on eth0, eth7");
    }

    #[test]
    fn an_interface_that_moves_keeps_its_account() {
        let now = clock::steady();
        let mut blindness = Blindness::new(["eth0"], now);
        let mut snapshot = fixture::quiet("wwan0");
        snapshot.capture.dropped = 7;
        blindness.look(&[("wwan0", CaptureState::Ready)], &[Arc::new(snapshot)], &Counts::default(), now);
        assert_eq!(blindness.status(), "capturing on wwan0");
        assert_eq!(blindness.interfaces[0].losses.dropped(), 7);
        blindness.changed(0, "wwan0", Some("the default route leads through eth1 now"), now);
        blindness.changed(0, "eth1", None, now);
        assert_eq!(blindness.status(), "capturing on eth1", "it is back by another name");
    }
}
