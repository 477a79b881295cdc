//! Which ports a row has: for its records, and for those that most sources ask for.

use crate::detect::distinct::answers::Answer;
use crate::detect::distinct::block::{Block, port_of};
use crate::detect::distinct::port_set::PortSet;
use crate::detect::distinct::ports::Ports;
use crate::detect::distinct::store::PortStore;
use crate::detect::ranges::{PortRanges, RangeWriter};
use crate::detect::scan::PortSample;
use crate::detect::tuning::SAMPLE_PORTS;

impl PortStore {
    /// The lowest ports, and all of them as ranges.
    pub(crate) fn named(&self, ports: &Ports, row: u32) -> (PortSample, PortRanges) {
        let (mut lowest, mut ranges) = ([0; SAMPLE_PORTS], RangeWriter::default());
        let mut passed = 0;
        self.each_ascending(ports, row, |port, _| {
            if passed < SAMPLE_PORTS {
                lowest[passed] = port;
            }
            passed += 1;
            ranges.push(port);
        });
        (PortSample::lowest(lowest.into_iter().take(passed)), ranges.finish())
    }

    /// Hands over each port.
    pub(crate) fn each(&self, ports: &Ports, row: u32, mut take: impl FnMut(u16)) {
        self.each_ascending(ports, row, |port, _| take(port));
    }

    /// Those that were answered so, as ranges, and how many they are.
    pub(crate) fn answered_so(&self, ports: &Ports, row: u32, so: Answer) -> (PortRanges, u32) {
        let (mut ranges, mut count) = (RangeWriter::default(), 0);
        self.each_ascending(ports, row, |port, answer| {
            if answer == so {
                ranges.push(port);
                count += 1;
            }
        });
        (ranges.finish(), count)
    }

    /// Hands over the ports in ascending order, each with its answer.
    fn each_ascending(&self, ports: &Ports, row: u32, mut take: impl FnMut(u16, Answer)) {
        match ports.block.map(Block::parts) {
            None => {
                let listed = self.lists.first(row, usize::from(ports.listed)).0;
                let mut sorted = [(0, Answer::Silent); u8::MAX as usize];
                let sorted = &mut sorted[..listed.len()];
                for (at, (place, &port)) in sorted.iter_mut().zip(listed).enumerate() {
                    *place = (port, self.lists.answer_at(ports, row, at));
                }
                sorted.sort_unstable_by_key(|&(port, _)| port);
                sorted.iter().for_each(|&(port, answer)| take(port, answer));
            }
            Some((pool, at)) => {
                let (mut all, mut answered, mut refused) = (PortSet::EMPTY, PortSet::EMPTY, PortSet::EMPTY);
                for (held, answer) in self.pools[pool].held(at) {
                    all.insert(port_of(held));
                    match answer {
                        Answer::Silent => {}
                        Answer::Answered => answered.insert(port_of(held)),
                        Answer::Refused => refused.insert(port_of(held)),
                    }
                }
                all.each_ascending(|port| {
                    let answer = match (answered.contains(port), refused.contains(port)) {
                        (true, _) => Answer::Answered,
                        (_, true) => Answer::Refused,
                        _ => Answer::Silent,
                    };
                    take(port, answer);
                });
            }
        }
    }
}
