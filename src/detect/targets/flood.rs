//! A flood of all ports to one host, in a loop of its own: it is what a rule for scans by many gets the most of.

use super::Targets;
use crate::detect::batch::Batch;
use crate::detect::tracker::{Handed, What};
use std::hash::BuildHasher;

impl Targets {
    /// In a flood of all ports to one host nearly every probe is of its open scan, which had the port, and the port is one of those that
    /// there is no room for. Counts those at the head of a list as `count` does, and says how many they were.
    pub(super) fn count_flood(&mut self, batch: &Batch, handed: &[Handed]) -> usize {
        let row = &mut self.rows[self.latest];
        let Some(place) = row.wide.filter(|_| row.quantum == self.present.quantum && row.episode.is_above())
        else {
            return 0;
        };
        if !row.slots.is_full() || handed.last().is_none_or(|last| self.present.is_over(last.now)) {
            return 0;
        }
        let target = (row.host, row.class);
        let is_only = batch.only_target() == Some(target);
        let all_count = self.concerns.include_all();
        // A flood of all ports soon had them all: then not even the bits are looked at.
        let had_all = self.wide.ports(place) == u32::from(u16::MAX) + 1;
        let mut wide = self.wide.at(place);
        let (mut counted, mut last) = (0, row.last_probe);
        for next in handed {
            let Some(probe) = batch.at(next.at()) else { break };
            let is_of_it = next.what != What::Forget
                && (is_only || target == (probe.host, probe.technique.class()))
                && !row.slots.has(probe.port, self.port_key)
                && (had_all || wide.has(probe.port))
                && (all_count || self.concerns.includes(probe));
            if !is_of_it {
                break;
            }
            row.run.push(probe);
            wide.add_source(
                self.source_hasher.hash_one(self.concerns.owner(probe.source, &self.source_hasher)),
            );
            (counted, last) = (counted + 1, next.now);
        }
        if counted > 0 {
            row.probes += counted as u64;
            (row.last_of_scan, row.last_probe) = (last, last);
            (row.full, row.is_cut) = (Some(row.quantum), true);
            self.overall.reach(self.present.epoch, row.slots.len());
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::ground::Ground;
    use crate::detect::names::{Alerts, Name, Names};
    use crate::detect::probe::{Probe, Technique, Tool};
    use crate::detect::rule::{Limits, Policy, Rule};
    use crate::detect::sink::EventSink;
    use crate::detect::time::timeline::{Origin, Timeline};
    use crate::detect::tuning::BATCH;
    use crate::detect::wanted::Wanted;
    use crate::packet::Timestamp;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    const SECOND: u64 = 1_000_000_000;

    /// All that is said of a batch.
    fn observe(targets: &mut Targets, probes: &[(Probe, What)], has_loop: bool) -> String {
        let (mut batch, mut list) = (Batch::new().unwrap(), Vec::new());
        for (at, &(probe, what)) in probes.iter().enumerate() {
            let _ = batch.push(probe, 0);
            list.push(Handed::new(at, probe.time.nanos(), what));
        }
        let mut said = String::new();
        let mut events = |event| said += &format!("{event:?}\n");
        let (mut timeline, mut wanted) = (Timeline::new(Origin::Sorted), Wanted::new(SECOND).unwrap());
        let mut sink = EventSink::new(&mut timeline, &mut events, &mut wanted);
        match has_loop {
            true => targets.observe_handed(&batch, &list, &mut sink),
            false => list.iter().for_each(|next| targets.observe_one(&batch, next, &mut sink)),
        }
        said
    }

    /// So many probes of some ports in this many milliseconds each, by some sources.
    fn part() -> impl Strategy<Value = (usize, u16, u64, u32)> {
        let ports = prop_oneof![1 => 1..30_u16, 3 => 193..400_u16];
        (1..600_usize, ports, prop_oneof![8 => 0..40_u64, 1 => 0..9_000_u64], 1..3_000_u32)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..Default::default() })]

        /// Nothing that is said or kept is another for it, and the flood is counted by it.
        #[test]
        fn a_flood_counted_in_a_loop_is_one_counted_one_by_one(
            parts in prop::collection::vec(part(), 1..9),
            seed in any::<u32>(),
            odd in 1..60_u32,
        ) {
            let muted = Name::new("muted").unwrap();
            let names = Names::new(vec![("198.18.0.0/29".parse().unwrap(), muted)]);
            let names = names.with_alerts(BTreeMap::from([(muted, Alerts::Muted)]));
            let policy = Policy { names, ..Policy::standard() };
            let limits = Limits { memory_bytes: 60_000, ..Limits::default() };
            let ground = Ground { policy: &policy, limits, seed: u64::from(seed), origin: Origin::Sorted };
            let [mut by_loop, mut by_one] = [(); 2].map(|()| Targets::new(Rule::DISTRIBUTED, &ground).unwrap());
            let (mut now, mut random) = (SECOND, seed);
            let mut draw = |below: u32| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 8) % below
            };
            for (count, ports, millis, sources) in parts {
                let mut probes = Vec::new();
                for _ in 0..count {
                    now += millis * 1_000_000;
                    let is_odd = draw(odd) == 0;
                    let (time, reply, signature) = (Timestamp(now), None, Default::default());
                    let source = IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + draw(sources)));
                    let host = Ipv4Addr::new(192, 0, 2, if is_odd && draw(2) == 0 { 2 } else { 1 }).into();
                    let technique = if is_odd && draw(3) == 0 { Technique::Fin } else { Technique::Syn };
                    let tool = if is_odd { Tool::Masscan } else { Tool::Unknown };
                    let what = if is_odd && draw(4) == 0 { What::Forget } else { What::CountNew };
                    let port = draw(ports.into()) as u16;
                    probes.push((Probe { time, source, host, port, technique, tool, signature, reply }, what));
                }
                for batch in probes.chunks(1 + draw(BATCH as u32) as usize) {
                    let told = observe(&mut by_loop, batch, true);
                    prop_assert_eq!(told, observe(&mut by_one, batch, false));
                }
                prop_assert_eq!(format!("{by_loop:?}"), format!("{by_one:?}"));
            }
        }
    }
}
