//! What a slower rule gets of a batch: the probes that the faster ones hand down to it. Of an open scan they hand down none, for
//! one scan is reported once.

use super::Tracker;
use super::replies::Replied;
use super::thinning::Thinning;
use crate::detect::batch::Batch;
use crate::detect::ground::Ground;
use crate::detect::memory::OutOfMemory;
use crate::detect::probe::Probe;
use crate::detect::rows::Seen;
use crate::detect::rule::Rule;
use crate::detect::sink::EventSink;
use crate::detect::snapshot::Evicted;
use crate::detect::table::{Directory, Found};
use crate::detect::tuning::BATCH;

/// A probe of a batch that a rule hands down to the next slower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Its number in the batch: a byte, so that a flood is kept and passed on in less memory.
    at: u8,
    /// What to do with it.
    pub what: What,
    /// When it came, by the detector's time.
    pub now: u64,
}

const _: () = assert!(BATCH <= u8::MAX as usize, "the number of a probe is a byte");

impl Handed {
    /// The probe of this number.
    #[inline]
    pub(crate) fn new(at: usize, now: u64, what: What) -> Self {
        Self { at: at as u8, now, what }
    }

    /// Its number in the batch.
    #[inline]
    pub(crate) fn at(self) -> usize {
        self.at.into()
    }
}

/// What a slower rule does with a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It counts it; the source has a row by the faster rule.
    Count,
    /// It counts it; the source may be a forged one that never comes back.
    CountNew,
    /// It forgets its source: a faster rule has found the scan.
    Forget,
}

impl What {
    /// What the next rule does with a probe that was this to one that counted it.
    #[inline]
    pub(crate) fn after(seen: Seen) -> Option<Self> {
        match seen {
            Seen::Below => Some(Self::Count),
            Seen::AtDoor => Some(Self::CountNew),
            Seen::Hit => Some(Self::Forget),
            Seen::Scanning => None,
        }
    }
}

/// Some numbers of a list, which is no longer than a batch, ascending.
struct Numbers {
    numbers: [u8; BATCH],
    len: usize,
}

impl Numbers {
    const NONE: Numbers = Numbers { numbers: [0; BATCH], len: 0 };

    #[inline]
    fn push(&mut self, number: usize) {
        self.numbers[self.len % BATCH] = number as u8;
        self.len += 1;
    }

    #[inline]
    fn at(&self, at: usize) -> usize {
        usize::from(self.numbers[at % BATCH])
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.numbers.iter().take(self.len).map(|&number| usize::from(number))
    }
}

/// A mark for each of a list, which is no longer than a batch.
struct Marks(u32);

const _: () = assert!(BATCH <= u32::BITS as usize, "a bit for each");

impl Marks {
    const NONE: Marks = Marks(0);

    fn mark(&mut self, number: usize) {
        self.mark_if(true, number);
    }

    /// Without a branch.
    #[inline]
    fn mark_if(&mut self, is_marked: bool, number: usize) {
        self.0 |= u32::from(is_marked) << (number % BATCH);
    }

    fn count(&self) -> u32 {
        self.0.count_ones()
    }

    /// The numbers of those of a list of so many that are not marked, ascending.
    fn others(&self, len: usize) -> impl Iterator<Item = usize> + use<> {
        let mut rest = !self.0 & (u32::MAX >> (BATCH - len.clamp(1, BATCH)));
        std::iter::from_fn(move || {
            let next = (rest != 0).then(|| rest.trailing_zeros() as usize);
            rest &= rest.wrapping_sub(1);
            next
        })
    }

    /// Takes away those of a list that are marked.
    fn remove_from(&self, list: &mut Vec<Handed>) {
        if self.0 != 0 {
            let mut number = 0..;
            list.retain(|_| number.next().is_none_or(|number| self.0 >> (number % BATCH) & 1 == 0));
        }
    }
}

impl Tracker {
    /// That of a rule behind the first, with all its memory: in a flood it looks at a share of the new sources.
    pub(crate) fn behind(rule: Rule, ground: &Ground<'_>) -> Result<Self, OutOfMemory> {
        let mut tracker = Self::with(Directory::with_hints, rule, ground)?;
        tracker.thinning = Thinning::of(tracker.directory.capacity());
        tracker.rows.is_behind = true;
        Ok(tracker)
    }

    /// Whether it is about networks, and not about the sources in them.
    pub(crate) fn are_networks(&self) -> bool {
        self.rows.are_networks()
    }

    /// In a flood, begins to fetch what is needed of a batch, before the faster rules look at it: when they have done so it is there. The
    /// set only of those that are in the share.
    pub(crate) fn await_batch(&mut self, batch: &Batch) {
        // Networks have hashes of their own, and are looked at one by one.
        self.is_awaited = self.thinning.is_on() && !self.rows.are_networks();
        if !self.is_awaited {
            return;
        }
        for (at, awaited) in self.awaited.iter_mut().enumerate().take(batch.as_slice().len()) {
            let spot = self.directory.spot(batch.hash(at));
            *awaited = spot;
            self.directory.prefetch_hints(spot);
            if self.thinning.takes(spot) {
                self.directory.prefetch(spot);
            }
        }
    }

    /// Observes what it was handed, and leaves in the list what it hands down in its turn.
    pub(crate) fn observe_handed(
        &mut self,
        batch: &Batch,
        list: &mut Vec<Handed>,
        replied: &[Replied],
        sink: &mut EventSink<'_>,
    ) {
        let mut replied = if self.rows.keeps_replies() { replied } else { &[] };
        if self.rows.are_networks() {
            return self.observe_networks(batch, list, replied, sink);
        }
        if self.is_among_few_hosts(batch, list, sink) {
            return;
        }
        let mine = self.look_ahead_of(batch, list);
        if mine.is_empty() && replied.is_empty() {
            return;
        }
        let mut done = Marks::NONE;
        for (at, listed) in mine.iter().enumerate() {
            let handed = &mut list[listed];
            self.answer_before(handed.at(), batch, &mut replied, sink);
            let Some(probe) = batch.at(handed.at()) else { continue };
            sink.now = handed.now;
            match self.act(at, probe, handed.what, sink) {
                Some(what) => handed.what = what,
                None => done.mark(listed),
            }
        }
        self.answer_before(BATCH, batch, &mut replied, sink);
        self.end_batch();
        done.remove_from(list);
    }

    /// Which of a list it looks at, and begins to fetch what they will need. A source that has no row by a faster rule seldom has one by
    /// this: its set is enough. In a flood nearly all are passed over, those that are not in the share and in no slot, and are counted as
    /// given up; of them not even that is fetched, and most of the others have a row.
    fn look_ahead_of(&mut self, batch: &Batch, list: &[Handed]) -> Numbers {
        let mut mine = Numbers::NONE;
        let is_flood = self.thinning.is_on();
        let may_have_row = |mine: &Numbers, at: usize| is_flood || list[mine.at(at)].what != What::CountNew;
        let passed_over = if is_flood { self.passed_over(batch, list) } else { Marks::NONE };
        self.rows.counters.evicted[Evicted::Evidence as usize] += u64::from(passed_over.count());
        for listed in passed_over.others(list.len()).filter(|&listed| listed < list.len()) {
            let spot = self.directory.spot(batch.hash(list[listed].at()));
            self.directory.prefetch(spot);
            mine.push(listed);
            if let Some(arrived) = self.lookups.push(spot)
                && may_have_row(&mine, arrived)
            {
                self.look_up(arrived);
            }
        }
        for arrived in self.lookups.rest().filter(|&at| may_have_row(&mine, at)) {
            self.look_up(arrived);
        }
        mine
    }

    /// Those of a list that are passed over in a flood. Nobody is in the batch in which a new quantum may begin.
    fn passed_over(&self, batch: &Batch, list: &[Handed]) -> Marks {
        let mut passed_over = Marks::NONE;
        let is_now = list.last().is_some_and(|last| !self.rows.present.is_over(last.now));
        if is_now && self.is_awaited && self.rows.concerns_all() {
            for (listed, handed) in list.iter().enumerate() {
                let spot = self.awaited[handed.at() % BATCH];
                debug_assert_eq!(spot, self.directory.spot(batch.hash(handed.at())), "it was awaited");
                let is_new = handed.what == What::CountNew;
                let is_of_flood = is_new & self.directory.is_nowhere(spot) & !self.thinning.takes(spot);
                passed_over.mark_if(is_of_flood, listed);
            }
        }
        passed_over
    }

    /// The same for a rule about networks. It comes behind the others, and what they find of one source is not forgotten of its
    /// network. It hands down what is no scan by it.
    fn observe_networks(
        &mut self,
        batch: &Batch,
        list: &mut Vec<Handed>,
        mut replied: &[Replied],
        sink: &mut EventSink<'_>,
    ) {
        // Only addresses of IPv6 are in a network of many.
        if !batch.has_ipv6() {
            return;
        }
        let mut mine = Numbers::NONE;
        for (listed, handed) in list.iter().enumerate() {
            let Some(probe) = batch.at(handed.at()).filter(|_| handed.what != What::Forget) else { continue };
            if self.rows.concerns(probe) {
                self.look_ahead(self.hash(probe.source, probe.technique.class()), false);
                mine.push(listed);
            }
        }
        self.look_up_rest();
        let mut found = Marks::NONE;
        for (at, listed) in mine.iter().enumerate() {
            let handed = list[listed];
            let Some(probe) = batch.at(handed.at()) else { continue };
            self.answer_before(handed.at(), batch, &mut replied, sink);
            sink.now = handed.now;
            self.pass(sink);
            let seen = self.observe(at, probe, handed.what == What::Count, sink);
            if matches!(seen, Seen::Hit | Seen::Scanning) {
                found.mark(listed);
            }
        }
        self.answer_before(BATCH, batch, &mut replied, sink);
        self.end_batch();
        found.remove_from(list);
    }

    /// Does with a probe, which was looked up under this number, what is to be done. What the next rule does with it.
    fn act(&mut self, at: usize, probe: &Probe, what: What, sink: &mut EventSink<'_>) -> Option<What> {
        self.pass(sink);
        match what {
            What::Forget => Some(self.forget(probe, sink)),
            _ if !self.rows.concerns(probe) => Some(what),
            _ => match self.observe(at, probe, what == What::Count, sink) {
                Seen::AtDoor => Some(what),
                seen => What::after(seen),
            },
        }
    }

    /// Whether so few hosts are asked that nobody can sweep them. Then the probes are only kept; once there are more, those that
    /// were kept are counted, before this batch.
    fn is_among_few_hosts(&mut self, batch: &Batch, list: &[Handed], sink: &mut EventSink<'_>) -> bool {
        let window_nanos = self.rows.rule.window_nanos;
        let Some(few) = self.few_hosts.as_mut().filter(|few| !few.are_many()) else { return false };
        // Where the answers of hosts count, none may be missed.
        match self.rows.judges_answers() {
            false if few.keep(batch, list, window_nanos) => return true,
            false => {}
            true => few.take_for_many(),
        }
        let kept = few.lend();
        // Before the batch others are looked at, and keys may be replaced.
        self.is_awaited = false;
        if let Some((_, first)) = kept.iter().next() {
            // Nothing is tracked: time goes back to where the first of them came.
            self.start_over(first.now);
        }
        for (probe, handed) in kept.iter() {
            sink.now = handed.now;
            self.look_ahead(self.hash(probe.source, probe.technique.class()), false);
            self.look_up_rest();
            self.act(0, probe, handed.what, sink);
            self.end_batch();
        }
        self.rows.take_as_answered();
        if let Some(few) = &mut self.few_hosts {
            few.take_back(kept);
        }
        false
    }

    /// Where nobody is tracked any more, a rule that counts hosts rests until there are many hosts again.
    pub(super) fn rest_among_few_hosts(&mut self) {
        let may_rest = self.used() == 0 && self.directory.on_probation() == 0 && !self.rows.judges_answers();
        if let Some(few) = self.few_hosts.as_mut().filter(|_| may_rest) {
            few.are_few();
        }
    }

    /// A faster rule has found the scan of a source: what this one counted of it is part of that, and its own scan is over. So it
    /// is for those behind it.
    fn forget(&mut self, probe: &Probe, sink: &mut EventSink<'_>) -> What {
        let class = probe.technique.class();
        let spot = self.spot(probe.source, class);
        let is_its = |row: u32| self.rows.is_of_source(row, probe.source, class);
        match self.directory.find(spot, is_its) {
            (_, Found::Row(row)) => {
                self.rows.expire(row, sink);
                self.vacate(row, sink);
                self.free.push(row);
            }
            (slot, Found::Probation) => self.directory.clear(slot),
            (_, Found::Nothing) => {}
        }
        What::Forget
    }
}
