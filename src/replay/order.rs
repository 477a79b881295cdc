//! Puts what a file holds into the order of its stamps, before anything is counted.
//!
//! A file is judged by its stamps. Several queues, several taps or a merge leave frames in another order than their stamps;
//! a broken driver leaves a stray stamp, and some formats leave none. To count such frames as they come makes scans vanish
//! and appears others. So probes wait here until what is stamped earlier has had the chance to arrive:
//!
//! - Within the **horizon** they are sorted, and disorder changes nothing.
//! - A frame **beyond the horizon**, ahead or behind, is doubted until what follows it decides. Frames follow that go on
//!   where the clock was: the step is undone, the doubted count at that moment. Frames go on from there: behind it is a
//!   step of the clock, ahead it is silence.
//! - A frame **without a time** (0, or later than any clock will show) counts where it lies between two others.
//! - What cannot be judged is left out and counted, never guessed.
//!
//! The writer of the file gets no more than a fixed number of places to wait in; beyond that the earliest goes on, and
//! a later arrival for a moment that has passed is counted. A file that has been in order for long pays a comparison for each
//! frame.

use crate::detect::Probe;
use crate::packet::Timestamp;
use crate::replay::waiting::{HORIZON_NANOS, Waiting};

/// Frames that are doubted at the same time. As many in a row decide by themselves.
const MOST_DOUBTED: usize = 32;

/// Frames behind the horizon, one of them later than the first by as much, that make a step of the clock.
const DECISIVE: usize = 8;

/// No clock shows a later time: the end of the 32-bit seconds of a pcap file, in 2106.
const LAST_PLAUSIBLE: u64 = (1 << 32) * 1_000_000_000 - 1;

/// What goes on, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ordered {
    /// A probe, no earlier than the one before it.
    Probe(Probe),
    /// The clock stepped back: what was stamped `from` is followed by what is stamped `to`, or up to the horizon before it.
    Step {
        /// The latest stamp until here.
        from: Timestamp,
        /// The first stamp from here on.
        to: Timestamp,
        /// How long the clock had gone since it last stepped; `None` the first time.
        ran_nanos: Option<u64>,
    },
    /// The clock stepped, but what followed took it back.
    Undone,
}

/// What was out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disorder {
    /// Times the clock stepped, also those that were undone.
    pub steps: u64,
    /// Frames whose stamp was put aside, because what followed took it back; they count at the time of their neighbours.
    pub stray: u64,
    /// Probes that came too late to be sorted, because too many were waiting.
    pub late: u64,
    /// Probes without a time that count at the time of the frame before, because one follows soon after.
    pub placed: u64,
    /// Probes left out, because nothing says when they were.
    pub untimed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Doubted {
    time: u64,
    probe: Option<Probe>,
}

impl Doubted {
    fn has_time(&self) -> bool {
        has_time(self.time)
    }
}

/// The order of one capture's stamps.
#[derive(Debug)]
pub(crate) struct Order {
    /// The latest stamp on the clock in force.
    now: u64,
    /// The first stamp on it, if it is not the first.
    since: Option<u64>,
    started: bool,
    /// How far ahead a frame may be and need no thought: the horizon, or nothing while any frame is doubted.
    at_ease: u64,
    waiting: Waiting,
    doubted: Vec<Doubted>,
    /// By how much the latest stray stamp was off.
    stray_by: Option<i128>,
    disorder: Disorder,
    /// The earliest and latest stamps on clocks before the one in force, or before now.
    span: Option<(u64, u64)>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            now: 0,
            since: None,
            started: false,
            at_ease: 0,
            waiting: Waiting::default(),
            doubted: Vec::with_capacity(MOST_DOUBTED),
            stray_by: None,
            disorder: Disorder::default(),
            span: None,
        }
    }
}

/// Whether a stamp is a time at all.
pub(crate) fn has_time(time: u64) -> bool {
    (1..=LAST_PLAUSIBLE).contains(&time)
}

impl Order {
    /// What was out of order so far.
    pub(crate) fn disorder(&self) -> Disorder {
        self.disorder
    }

    /// The latest stamp, on the clock in force; `None` before any frame that has a time.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.started.then_some(Timestamp(self.now))
    }

    /// From the earliest to the latest stamp that was believed.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let (first, last) = self.span?;
        Some((Timestamp(first), Timestamp(last.max(self.now))))
    }

    fn spans(&mut self, time: u64) {
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
    }

    /// Whether a frame is the next of a file that has been in order for long, so that the probe in it, if it is one, simply goes
    /// on. Else nothing has happened: then `frame`.
    #[inline(always)]
    pub(crate) fn simply_next(&mut self, time: Timestamp, probe: Option<Timestamp>) -> bool {
        let is_next = time.nanos().wrapping_sub(self.now) < self.at_ease && self.waiting.is_believed();
        if is_next {
            self.now = time.nanos();
            if let Some(probe) = probe {
                self.waiting.went_on(probe.nanos());
            }
        }
        is_next
    }

    /// Takes a frame, and the probe in it if it is one. `out` gets what can go on.
    #[inline]
    pub(crate) fn frame(&mut self, time: Timestamp, probe: Option<Probe>, out: &mut impl FnMut(Ordered)) {
        if time.nanos().wrapping_sub(self.now) < self.at_ease {
            self.now = time.nanos();
            if let Some(probe) = probe {
                self.queue(probe, out);
            }
        } else {
            self.think(Doubted { time: time.nanos(), probe }, out);
        }
    }

    /// The file is over: what waits goes on, and what is doubted is decided.
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(Ordered)) {
        // Stray as those before, only that nothing follows that could say so.
        let first = self.doubted.iter().find(|frame| frame.has_time()).map(|frame| self.off_by(frame.time));
        if let (Some(first), Some(before)) = (first, self.stray_by)
            && first.abs_diff(before) <= u128::from(HORIZON_NANOS)
        {
            self.take_back(true, out);
        }
        while !self.doubted.is_empty() {
            self.decide(out);
        }
        self.waiting.drain(&mut |probe| out(Ordered::Probe(probe)));
    }

    /// By how much a stamp is ahead of now.
    fn off_by(&self, time: u64) -> i128 {
        i128::from(time) - i128::from(self.now)
    }

    /// A probe on the clock in force, not earlier than any before it.
    #[inline]
    fn queue(&mut self, probe: Probe, out: &mut impl FnMut(Ordered)) {
        self.waiting.push(probe, self.now, &mut |probe| out(Ordered::Probe(probe)));
    }

    /// A frame that is not simply the next.
    #[cold]
    #[inline(never)]
    fn think(&mut self, frame: Doubted, out: &mut impl FnMut(Ordered)) {
        if !self.started && frame.has_time() {
            self.start(frame.time, out);
        }
        let near = self.started && frame.has_time() && frame.time.abs_diff(self.now) <= HORIZON_NANOS;
        if near {
            self.go_on(frame, out);
        } else {
            self.doubt(frame, out);
        }
        self.at_ease = if self.started && self.doubted.is_empty() { HORIZON_NANOS + 1 } else { 0 };
    }

    /// The first frame that has a time.
    fn start(&mut self, time: u64, out: &mut impl FnMut(Ordered)) {
        self.started = true;
        let before = std::mem::take(&mut self.doubted);
        // Simulators begin at 0; for anybody else 0 is no time.
        let at_zero = time <= HORIZON_NANOS;
        self.now = if at_zero { 0 } else { time };
        if at_zero && before.iter().any(|frame| frame.time == 0) {
            self.spans(0);
        }
        for frame in before {
            match frame.probe {
                Some(probe) if at_zero && frame.time == 0 => self.queue(probe, out),
                probe => self.disorder.untimed += u64::from(probe.is_some()),
            }
        }
        self.now = time;
    }

    /// A frame within the horizon, which decides about those that are doubted.
    fn go_on(&mut self, frame: Doubted, out: &mut impl FnMut(Ordered)) {
        let between =
            |doubted: &Doubted| doubted.time > self.now && doubted.time.abs_diff(frame.time) <= HORIZON_NANOS;
        let mut timed = self.doubted.iter().filter(|doubted| doubted.has_time()).peekable();
        if timed.peek().is_none() || !timed.all(between) {
            self.take_back(true, out);
            self.accept(frame, out);
            return;
        }
        // It belongs between the clock and them: they were ahead of nothing but silence and a late frame.
        let doubted = std::mem::take(&mut self.doubted);
        self.accept(frame, out);
        for frame in doubted {
            self.disorder.placed += u64::from(!frame.has_time() && frame.probe.is_some());
            let time = if frame.has_time() { frame.time } else { self.now };
            self.accept(Doubted { time, ..frame }, out);
        }
    }

    /// A frame within the horizon.
    fn accept(&mut self, frame: Doubted, out: &mut impl FnMut(Ordered)) {
        let in_order = frame.time >= self.now;
        self.spans(frame.time);
        self.now = self.now.max(frame.time);
        let probe = frame.probe.map(|probe| Probe { time: Timestamp(frame.time), ..probe });
        match probe {
            None => {}
            Some(probe) if in_order => self.queue(probe, out),
            Some(probe) => {
                let out = &mut |probe| out(Ordered::Probe(probe));
                self.disorder.late += u64::from(self.waiting.push_late(probe, self.now, out));
            }
        }
    }

    /// The file goes on where it was, or `near` enough to say when the doubted were: their stamps are stray.
    fn take_back(&mut self, near: bool, out: &mut impl FnMut(Ordered)) {
        if self.doubted.is_empty() {
            return;
        }
        let doubted = std::mem::take(&mut self.doubted);
        let timed = || doubted.iter().filter(|frame| frame.has_time());
        if timed().next().is_some() {
            self.disorder.steps += 1;
            out(Ordered::Undone);
        }
        // Stamps that agree with each other are those of another clock. Others say nothing about when they were.
        let agree = timed().zip(timed().skip(1)).all(|(a, b)| a.time.abs_diff(b.time) <= HORIZON_NANOS);
        if let Some(last) = timed().next_back().filter(|_| agree) {
            self.stray_by = Some(self.off_by(last.time));
        }
        for frame in &doubted {
            let stray = near && (agree || !frame.has_time());
            self.disorder.stray += u64::from(stray && frame.has_time());
            match frame.probe {
                Some(probe) if stray => {
                    self.disorder.placed += u64::from(!frame.has_time());
                    self.queue(Probe { time: Timestamp(self.now), ..probe }, out);
                }
                probe => self.disorder.untimed += u64::from(probe.is_some()),
            }
        }
    }

    /// A frame beyond the horizon, or without a time.
    fn doubt(&mut self, frame: Doubted, out: &mut impl FnMut(Ordered)) {
        let ahead = frame.has_time() && frame.time > self.now;
        let first = self.doubted.iter().find(|frame| frame.has_time()).map(|frame| frame.time);
        if self.started
            && ahead
            && first.is_some_and(|first| first < self.now || first > frame.time.saturating_add(HORIZON_NANOS))
        {
            // It goes on from where the clock was, nearer than those before it; but too late to say when those were.
            self.take_back(false, out);
        }
        self.doubted.push(frame);
        let first = self.doubted.iter().find(|frame| frame.has_time()).map(|frame| frame.time);
        let is_decided = first.is_some_and(|first| {
            let progress = frame.has_time() && frame.time.saturating_sub(first) >= HORIZON_NANOS;
            progress && (ahead || self.doubted.len() >= DECISIVE)
        });
        if is_decided || self.doubted.len() == MOST_DOUBTED {
            self.decide(out);
        }
    }

    /// Nothing took the doubted back: time goes on from the first of them that has one.
    fn decide(&mut self, out: &mut impl FnMut(Ordered)) {
        let doubted = std::mem::take(&mut self.doubted);
        let Some(first) = doubted.iter().position(|frame| frame.has_time()) else {
            self.disorder.untimed += doubted.iter().filter(|frame| frame.probe.is_some()).count() as u64;
            return;
        };
        let (before, after) = doubted.split_at(first);
        self.disorder.untimed += before.iter().filter(|frame| frame.probe.is_some()).count() as u64;
        let time = after[0].time;
        if time < self.now {
            self.step(time, out);
        } else {
            // Silence.
            self.now = time;
        }
        // At most one less than were doubted: each round decides at least one frame.
        for frame in after {
            let near = frame.has_time() && frame.time.abs_diff(self.now) <= HORIZON_NANOS;
            if near {
                self.go_on(*frame, out);
            } else {
                self.doubt(*frame, out);
            }
        }
        self.waiting.release(self.now, &mut |probe| out(Ordered::Probe(probe)));
    }

    /// The clock steps back, from now to `to`.
    fn step(&mut self, to: u64, out: &mut impl FnMut(Ordered)) {
        self.waiting.start_over(&mut |probe| out(Ordered::Probe(probe)));
        self.spans(self.now);
        self.spans(to);
        self.disorder.steps += 1;
        let ran_nanos = self.since.map(|since| self.now - since);
        out(Ordered::Step { from: Timestamp(self.now), to: Timestamp(to), ran_nanos });
        (self.now, self.since) = (to, Some(to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Technique;
    use crate::replay::waiting::{BELIEVED, MOST_WAITING};
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    const START: u64 = 1_700_000_000_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    /// A probe of one source, told apart by its port.
    fn probe(time: u64, port: u16) -> Probe {
        let [source, host] = [7, 10].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        Probe {
            time: Timestamp(time),
            source,
            host,
            port,
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply: None,
        }
    }

    /// What goes on, of probes with these times in this order; ports count from 0.
    fn order(times: &[u64]) -> (Vec<Ordered>, Disorder) {
        let (mut order, mut out) = (Order::default(), Vec::new());
        for (port, time) in times.iter().enumerate() {
            order.frame(Timestamp(*time), Some(probe(*time, port as u16)), &mut |next| out.push(next));
        }
        order.finish(&mut |next| out.push(next));
        (out, order.disorder())
    }

    /// The same in seconds since a start, as (second, port), steps left out.
    fn seconds(times: &[i64]) -> (Vec<(i64, u16)>, Disorder) {
        let times: Vec<u64> =
            times.iter().map(|time| START.saturating_add_signed(time * SECOND as i64)).collect();
        let (out, disorder) = order(&times);
        let probes = out.into_iter().filter_map(|next| match next {
            Ordered::Probe(probe) => Some((
                (i128::from(probe.time.nanos()) - i128::from(START)) as i64 / SECOND as i64,
                probe.port,
            )),
            _ => None,
        });
        (probes.collect(), disorder)
    }

    #[test]
    fn a_file_in_order_passes_as_it_is() {
        assert_eq!(
            seconds(&[0, 0, 1, 2, 100, 100_000]),
            (vec![(0, 0), (0, 1), (1, 2), (2, 3), (100, 4), (100_000, 5)], Disorder::default())
        );
    }

    #[test]
    fn within_the_horizon_stamps_are_sorted() {
        assert_eq!(
            seconds(&[5, 0, 3, 3, 8, 4, 30]).0,
            [(0, 1), (3, 2), (3, 3), (4, 5), (5, 0), (8, 4), (30, 6)]
        );
    }

    #[test]
    fn a_stray_stamp_counts_at_the_time_of_its_neighbour_on_either_side() {
        for stray in [-3600, 3600, 100_000] {
            let (probes, disorder) = seconds(&[0, 1, stray, 2, 3]);
            assert_eq!(probes, [(0, 0), (1, 1), (1, 2), (2, 3), (3, 4)], "{stray}");
            assert_eq!((disorder.steps, disorder.stray, disorder.untimed), (1, 1, 0), "{stray}");
        }
    }

    #[test]
    fn the_last_stamp_of_a_file_is_stray_if_it_is_as_those_before() {
        assert_eq!(seconds(&[0, -3600, 1, 2, -3598]).0, [(0, 0), (0, 1), (1, 2), (2, 3), (2, 4)]);
    }

    #[test]
    fn a_clock_that_is_set_back_and_stays_there_steps_once() {
        let times: Vec<u64> = (0..40).chain(10..60).map(|second| START + second * SECOND).collect();
        let (out, disorder) = order(&times);
        let steps: Vec<&Ordered> = out.iter().filter(|next| matches!(next, Ordered::Step { .. })).collect();
        let [from, to] = [39, 10].map(|second| Timestamp(START + second * SECOND));
        assert_eq!(steps, [&Ordered::Step { from, to, ran_nanos: None }]);
        assert_eq!((disorder.steps, disorder.untimed, out.len()), (1, 0, 91));
    }

    #[test]
    fn what_has_no_time_counts_between_two_that_have_one_and_else_not_at_all() {
        let (early, late) = (START + SECOND, START + 2 * SECOND);
        let beyond = LAST_PLAUSIBLE + 1;
        let (out, disorder) = order(&[0, beyond, START, 0, beyond, early, late, u64::MAX]);
        let ports = |out: &[Ordered]| -> Vec<(u64, u16)> {
            let probes = out.iter().filter_map(|next| match next {
                Ordered::Probe(probe) => Some((probe.time.nanos(), probe.port)),
                _ => None,
            });
            probes.collect()
        };
        assert_eq!(ports(&out), [(START, 2), (START, 3), (START, 4), (early, 5), (late, 6)]);
        assert_eq!((disorder.untimed, disorder.steps), (3, 0));
        assert_eq!(order(&[u64::MAX; 100]).1.untimed, 100);
        assert_eq!(order(&[0; 100]).1.untimed, 100, "no time, not 1970");
        assert_eq!(
            ports(&order(&[0, 0, SECOND]).0),
            [(0, 0), (0, 1), (SECOND, 2)],
            "a simulator's beginning"
        );
    }

    #[test]
    fn more_than_there_is_room_for_goes_on_unsorted_and_is_counted() {
        let most = MOST_WAITING as u64;
        let after_disorder = |frames: u64| {
            let mut times = vec![START + SECOND, START];
            times.extend((1..=frames).map(|n| START + 2 * SECOND + n));
            times.push(START + 2 * SECOND);
            times
        };
        let (out, disorder) = order(&after_disorder(2 * most));
        assert_eq!((out.len() as u64, disorder.late), (2 * most + 3, 1));
        assert_eq!(order(&after_disorder(most - 4)).1.late, 0);
    }

    #[test]
    fn after_a_long_time_in_order_only_the_first_late_one_is_too_late() {
        let long = u64::from(BELIEVED);
        let mut times: Vec<u64> = (1..=long).map(|n| START + SECOND + n).collect();
        times.extend([START, START + 3 * SECOND, START + 2 * SECOND]);
        let (out, disorder) = order(&times);
        assert_eq!((out.len(), disorder.late), (times.len(), 1));
        let last: Vec<u64> = out
            .iter()
            .rev()
            .take(2)
            .map(|next| match next {
                Ordered::Probe(probe) => probe.time.nanos() - START,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(last, [3 * SECOND, 2 * SECOND]);
    }

    proptest! {
        /// However frames within the horizon are shuffled, they go on in the order of their stamps.
        #[test]
        fn disorder_within_the_horizon_changes_nothing(
            steps in prop::collection::vec((0..3 * SECOND, 0..HORIZON_NANOS), 1..300)
        ) {
            let mut now = START;
            let mut frames: Vec<(u64, u64)> = steps.iter().map(|(step, delay)| { now += step; (now + delay, now) }).collect();
            frames.sort_by_key(|(arrives, _)| *arrives);
            let times: Vec<u64> = frames.iter().map(|(_, time)| *time).collect();
            let (out, disorder) = order(&times);
            let out: Vec<u64> = out.iter().map(|next| match next {
                Ordered::Probe(probe) => probe.time.nanos(),
                other => panic!("{other:?}"),
            }).collect();
            let mut sorted = times.clone();
            sorted.sort();
            prop_assert_eq!(out, sorted);
            prop_assert_eq!(disorder, Disorder::default());
        }

        /// Whatever the stamps: no probe is lost or made, and between two steps they go on in order.
        #[test]
        fn any_stamps_are_bounded_and_accounted_for(
            stamps in prop::collection::vec(prop_oneof![
                8 => START..START + 20 * SECOND,
                4 => START..START + 100_000 * SECOND,
                1 => Just(0_u64),
                1 => any::<u64>(),
            ], 1..400)
        ) {
            let (out, disorder) = order(&stamps);
            let mut last = 0;
            let (mut probes, mut steps) = (0, 0);
            for next in &out {
                match next {
                    Ordered::Probe(probe) => {
                        prop_assert!(probe.time.nanos() >= last);
                        last = probe.time.nanos();
                        probes += 1;
                    }
                    Ordered::Step { from, to, .. } => {
                        prop_assert!(from.nanos() >= last && from != to);
                        last = 0;
                        steps += 1;
                    }
                    Ordered::Undone => steps += 1,
                }
            }
            prop_assert_eq!(probes + disorder.untimed, stamps.len() as u64);
            prop_assert_eq!(steps, disorder.steps);
        }
    }
}
