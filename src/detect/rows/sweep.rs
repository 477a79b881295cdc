//! Where a rule counts hosts: how many a source asked, and how much that says of it.

use super::Rows;
use crate::detect::distinct::peers::Peer;
use crate::detect::probe::{Class, Probe};
use crate::detect::scan::Kind;
use crate::detect::tuning::INSIDE_FACTOR;
use crate::detect::verdict::{self, Counts};

impl Rows {
    /// Whether a source can be found by the hosts that did not answer.
    pub(crate) fn judges_answers(&self) -> bool {
        self.keeps_replies() && self.peers.is_some() && !self.home.is_empty()
    }

    /// Nobody looked for what came back to the rows so far.
    pub(crate) fn take_as_answered(&mut self) {
        if let Some(peers) = self.peers.as_mut().filter(|_| !self.replies.is_empty()) {
            (0..self.rows.len() as u32).for_each(|at| peers.take_as_answered(at));
        }
    }

    /// Counts the host of a probe. How many count, and the verdict on them.
    pub(super) fn count_peer(&mut self, at: u32, probe: &Probe) -> (u32, Option<Kind>) {
        let Some(peers) = &mut self.peers else { return (0, None) };
        let row = &mut self.rows[at as usize];
        let peer = Peer::of(probe.host, &self.host_hasher);
        let was_saturated = peers.is_saturated(at);
        // Only clients that are inside need more than a short list to be found.
        let may_take = || self.home.contains(probe.source) && !row.episode.is_open();
        let size = peers.record(at, peer, self.present.quantum, may_take);
        self.has_outgrown |= peers.is_saturated(at);
        self.counters.cut_short += peers.taken();
        // Of one who is outside of what is known to be inside a short list says enough.
        if !was_saturated && peers.lacks_room(at) && !row.episode.is_open() {
            let needs_more = self.home.is_empty() || self.home.contains(probe.source);
            self.counters.cut_short += u64::from(needs_more);
        }
        let speak = match self.rule.peers {
            _ if row.episode.is_open() => size,
            Some(least) if size < least => size,
            // Clients of many services ask as many hosts, but no 25 of one network.
            _ if self.home.is_empty() => peers.neighbours(at, peer),
            _ if self.home.contains(probe.source) => {
                let sees_answers = !self.replies.is_empty() && row.class() == Class::Syn;
                // Clients lose hosts, and an outage all of theirs: but no 25 of one network.
                let unanswered = match sees_answers {
                    true => peers.unanswered_neighbours(at, peer, self.present.quantum),
                    false => 0,
                };
                unanswered.max(size / INSIDE_FACTOR)
            }
            _ => size,
        };
        let verdict = verdict::kind(&self.rule, Counts { ports: row.ports.count(), peers: speak });
        if verdict == Some(Kind::Block) && row.episode.is_open() && row.episode.kind() == Kind::Horizontal {
            row.episode.widen();
            self.open_scans[Kind::Horizontal as usize] -= 1;
            self.open_scans[Kind::Block as usize] += 1;
        }
        (size, verdict)
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::networks::Networks;
    use crate::detect::probe::Probe;
    use crate::detect::rule::{Limits, Policy, Rule};
    use crate::detect::scan::{EventKind, Kind};
    use crate::detect::world::{World, syn};

    const SWEEPER: [&str; 2] = ["198.51.100.7", "10.9.9.9"];

    /// So many clients, each of which asks 45 hosts that no other network has within 100 s, so many times.
    fn clients(clients: u32, rounds: u32) -> Vec<Probe> {
        let ask = |n: u32, round: u32| {
            let (client, host) = (n / 45, n % 45);
            let source = format!("10.1.{}.{}", client / 250, client % 250 + 1);
            let target = format!("{}.{}.{}.9:443", 20 + host, client / 250, client % 250);
            let pause = f64::from(n.wrapping_mul(2_654_435_761) >> 12) / f64::from(1 << 20);
            syn(&source, &target).at(100.0 * (f64::from(round) + pause))
        };
        (0..rounds).flat_map(|round| (0..clients * 45).map(move |n| ask(n, round))).collect()
    }

    /// What is found in all of this, by the rule for sweeps in 4 MiB, and how often there was no room.
    fn found(policy: Policy, mut probes: Vec<Probe>) -> (Vec<(Kind, String, u32)>, u64) {
        probes.sort_by_key(|probe| probe.time);
        let policy = Policy { slower: vec![Rule::SWEEP], ..policy };
        let mut world = World::within(policy, Limits { memory_bytes: 4 << 20, ..Limits::default() });
        probes.into_iter().for_each(|probe| {
            world.see(probe);
        });
        let scans = world.scans(EventKind::Hit).into_iter();
        let found = scans.map(|scan| (scan.kind, scan.source.to_string(), scan.distinct_hosts)).collect();
        (found, world.snapshot().slower[0].counters.cut_short)
    }

    /// So many numbers below that, in an order that looks like chance.
    fn shuffled(n: u32) -> impl Iterator<Item = (u32, f64)> {
        (0..n).map(move |at| (at * 619 % n, f64::from(at)))
    }

    fn inside() -> Policy {
        Policy { home: Networks::new(&["10.0.0.0/8".parse().unwrap()]), ..Policy::default() }
    }

    /// Clients take all longer lists, and a sweep is found among them all the same: from inside, where it takes 250 hosts.
    #[test]
    fn a_sweep_from_inside_is_found_among_more_clients_than_there_are_lists() {
        for count in [0, 100, 200, 400] {
            let mut probes = clients(count, 3);
            let target = |n: u32| format!("203.{}.{}.5:22", n % 250, n / 250);
            probes.extend((0..300).map(|n| syn(SWEEPER[1], &target(n)).at(110.0 + f64::from(n) / 2.0)));
            let (found, cut_short) = found(inside(), probes);
            assert_eq!(found, [(Kind::Horizontal, SWEEPER[1].to_owned(), 250)], "{count} clients");
            assert_eq!(cut_short > 0, count > 100, "{count} clients: {cut_short}");
        }
    }

    /// From outside, where nobody said what is inside: ZMap of a /22, whose hosts it asks in an order by chance.
    #[test]
    fn a_sweep_of_four_networks_is_found_among_more_clients_than_there_are_lists() {
        for count in [0, 100, 200, 400] {
            let mut probes = clients(count, 3);
            let target = |n: u32| format!("10.1.{}.{}:22", n / 254, n % 254 + 1);
            probes.extend(shuffled(1_016).map(|(n, at)| syn(SWEEPER[0], &target(n)).at(110.0 + at / 4.0)));
            let (found, _) = found(Policy::default(), probes);
            let found: Vec<_> = found.iter().map(|(kind, source, _)| (*kind, source.as_str())).collect();
            assert_eq!(found, [(Kind::Horizontal, SWEEPER[0])], "{count} clients");
        }
    }

    /// From inside, where the answers are seen: 60 hosts of one network, each among five of others.
    #[test]
    fn hosts_that_do_not_answer_come_together_in_a_short_list() {
        for count in [0, 100, 200, 400] {
            let mut probes = clients(count, 3);
            probes.extend(
                (0..60).map(|n| syn(SWEEPER[1], &format!("203.0.113.{n}:22")).at(110.0 + f64::from(n))),
            );
            let other = |n: u32| format!("{}.{}.7.7:22", 150 + n / 200, n % 200);
            probes.extend((0..300).map(|n| syn(SWEEPER[1], &other(n)).at(110.1 + f64::from(n) / 5.0)));
            let (found, _) = found(Policy { replies: true, ..inside() }, probes);
            let found: Vec<_> = found.iter().map(|(kind, source, _)| (*kind, source.as_str())).collect();
            assert_eq!(found, [(Kind::Horizontal, SWEEPER[1])], "{count} clients");
        }
    }

    /// From outside, where nobody said what is inside: more networks, and more hosts of each, than any list has room for.
    #[test]
    fn a_sweep_of_a_whole_slash_16_is_found() {
        for networks in [100, 128, 256] {
            let target = |n: u32| format!("10.1.{}.{}:22", n / 254, n % 254 + 1);
            let hosts = shuffled(networks * 254);
            let probes = hosts.map(|(n, at)| syn(SWEEPER[0], &target(n)).at(at / 300.0)).collect();
            let (found, _) = found(Policy::default(), probes);
            assert_eq!(found.len(), 1, "{networks} networks: {found:?}");
        }
    }

    /// A sweeper asks for hosts of ever other networks beside those of one, 60 times as many.
    #[test]
    fn a_sweep_is_found_among_other_requests_of_its_source() {
        let other = |n: u32| format!("{}.{}.{}.9:80", 20 + n % 100, n / 100 % 250, n / 25_000);
        let mut probes: Vec<_> =
            (0..15_000).map(|n| syn(SWEEPER[0], &other(n)).at(f64::from(n) / 60.0)).collect();
        probes.extend((0..250).map(|n| syn(SWEEPER[0], &format!("10.1.1.{n}:22")).at(f64::from(n))));
        let (found, _) = found(Policy::default(), probes);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    /// 24 hosts of a network, which are no sweep, come first into a short list of 40.
    #[test]
    fn a_network_that_came_first_keeps_no_other_out() {
        let mut probes = clients(400, 4);
        probes.extend(
            (0..24).map(|n| syn(SWEEPER[0], &format!("10.2.2.{n}:22")).at(110.0 + f64::from(n) / 10.0)),
        );
        probes.extend((0..250).map(|n| syn(SWEEPER[0], &format!("10.1.1.{n}:22")).at(120.0 + f64::from(n))));
        let (found, _) = found(Policy::default(), probes);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
