//! A small share of all sources, the same on every host that has the key, shown from their first probe on: who asks each host of a
//! fleet for one port shows there, though no host alone has seen a scan.
//!
//! The share is chosen by a keyed hash, so a stranger cannot tell whether an address is in it. When more sources are in it than
//! may be shown, those with the least hashes are: hosts that see different crowds still agree on whom they show, and an
//! order by recency or by evidence would let any flood decide.

use crate::detect::{BATCH, Policy, Probe, Source};
use crate::packet::Timestamp;
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;

/// How many ports of a sampled source are counted.
pub const PORTS: usize = 8;

/// The secret of a fleet. A scanner who knows it can scan from addresses that are in no sample.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// The key that 32 hexadecimal digits write, with white space around; `None` if there is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_ascii();
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(digits, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }

    /// Where a source stands among all, from 0. SipHash-2-4 of its network's octets: part of the contract among the hosts of a fleet,
    /// which need not run one version.
    pub fn place(&self, source: Source) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        match source.address {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.finish()
    }

    /// Differs where the keys differ, and gives neither away.
    pub fn fingerprint(&self) -> String {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(b"fingerprint");
        format!("{:08x}", hasher.finish() >> 32)
    }
}

/// Not the key itself: settings end up in panics and logs.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.fingerprint())
    }
}

/// Which sources are in the sample, and how many are shown for how long. Fixed at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// The fleet's key.
    pub key: Key,
    /// One source in so many is in the sample; at least 1.
    pub one_in: u32,
    /// The most that are shown.
    pub max_sources: usize,
    /// How long one is shown after its latest probe, in nanoseconds.
    pub hold_nanos: u64,
}

impl Sampling {
    /// The place of a source, if it is in the sample.
    #[inline]
    pub fn place(&self, source: Source) -> Option<u64> {
        let place = self.key.place(source);
        (place <= u64::MAX / u64::from(self.one_in.max(1))).then_some(place)
    }
}

/// A source of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sampled {
    place: u64,
    source: Source,
    last_probe: Timestamp,
    ports: [u16; PORTS],
    count: u8,
}

impl Sampled {
    fn new(place: u64, source: Source, probe: &Probe, now: Timestamp) -> Self {
        let mut known = Self { place, source, last_probe: now, ports: [0; PORTS], count: 0 };
        known.see(probe.port, now);
        known
    }

    fn see(&mut self, port: u16, now: Timestamp) {
        self.last_probe = now;
        let count = usize::from(self.count);
        if count < PORTS && !self.ports[..count].contains(&port) {
            self.ports[count] = port;
            self.count += 1;
        }
    }

    fn order(&self) -> (u64, Source) {
        (self.place, self.source)
    }
}

/// Why a source of the sample is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppressed {
    /// A probe of one that came when all were taken by sources of lesser hashes.
    Refused,
    /// One that was shown, and made room for a source of a lesser hash.
    Replaced,
}

impl Suppressed {
    /// Every reason.
    pub const ALL: [Suppressed; 2] = [Suppressed::Refused, Suppressed::Replaced];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Suppressed::Refused => "refused",
            Suppressed::Replaced => "replaced",
        }
    }
}

/// A source of the sample that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledSource {
    /// Who.
    pub source: Source,
    /// Where it stands among all.
    pub place: u64,
    /// Distinct ports it asked for while it was shown; `PORTS` means so many or more.
    pub ports: u8,
}

/// The sample at a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleSnapshot {
    /// Of which key.
    pub fingerprint: String,
    /// One source in so many is in it.
    pub one_in: u32,
    /// Those shown, by their places; at most `limit`.
    pub sources: Vec<SampledSource>,
    /// The most that are shown.
    pub limit: u64,
    /// Those not shown, by `Suppressed as usize`, since the start.
    pub suppressed: [u64; Suppressed::ALL.len()],
}

impl SampleSnapshot {
    /// Takes in what another thread of the same interface has sampled: other sources, but for a moment after a reload.
    pub fn merge(&mut self, other: &Self) {
        self.limit += other.limit;
        for (sum, more) in self.suppressed.iter_mut().zip(&other.suppressed) {
            *sum += more;
        }
        self.sources.extend(&other.sources);
        self.sources.sort_by_key(|shown| (shown.place, shown.source, std::cmp::Reverse(shown.ports)));
        self.sources.dedup_by_key(|shown| shown.source);
    }
}

/// The sample of one capture thread. All its memory is reserved by `new`.
#[derive(Debug, Clone)]
pub struct Sample {
    sampling: Sampling,
    policy: Policy,
    /// The time of the capture, as far as it has come.
    now: Timestamp,
    /// By their places; at most `max_sources`.
    known: Vec<Sampled>,
    /// What the batch that is being gathered has of the sample.
    gathered: Vec<(u64, Probe)>,
    suppressed: [u64; Suppressed::ALL.len()],
}

impl Sample {
    /// An empty sample.
    pub fn new(sampling: Sampling, policy: Policy) -> Self {
        Self {
            sampling,
            policy,
            now: Timestamp(0),
            known: Vec::with_capacity(sampling.max_sources),
            gathered: Vec::with_capacity(BATCH),
            suppressed: [0; Suppressed::ALL.len()],
        }
    }

    /// The same that has seen nothing yet.
    #[must_use]
    pub(crate) fn renewed(&self) -> Self {
        Self::new(self.sampling, self.policy.clone())
    }

    /// Takes a probe, as the detector does: it counts when the batch is flushed.
    #[inline]
    pub fn gather(&mut self, probe: &Probe) {
        if let Some(place) = self.sampling.place(Source::by(probe.source, &self.policy.parties)) {
            if self.gathered.len() == BATCH {
                self.flush();
            }
            self.gathered.push((place, *probe));
        }
    }

    /// No probe of the batch is later than this.
    pub(crate) fn cap(&mut self, latest: Timestamp) {
        for (_, probe) in &mut self.gathered {
            probe.time = probe.time.min(latest);
        }
    }

    /// Counts what was gathered.
    #[inline]
    pub fn flush(&mut self) {
        for at in 0..self.gathered.len() {
            let (place, probe) = self.gathered[at];
            self.take(place, &probe);
        }
        self.gathered.clear();
    }

    fn take(&mut self, place: u64, probe: &Probe) {
        // An older packet counts as now.
        self.now = self.now.max(probe.time);
        if self.policy.ignores(probe).is_some() {
            return;
        }
        let source = Source::by(probe.source, &self.policy.parties);
        let at = match self.known.binary_search_by_key(&(place, source), Sampled::order) {
            Ok(at) => return self.known[at].see(probe.port, self.now),
            Err(at) => at,
        };
        if self.known.len() >= self.sampling.max_sources {
            if at == self.known.len() {
                self.suppressed[Suppressed::Refused as usize] += 1;
                return;
            }
            self.known.pop();
            self.suppressed[Suppressed::Replaced as usize] += 1;
        }
        self.known.insert(at, Sampled::new(place, source, probe, self.now));
    }

    /// Moves time on; forgets those whose latest probe is further back than the hold.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let (now, hold) = (self.now, self.sampling.hold_nanos);
        self.known.retain(|known| known.last_probe.saturating_add(hold) >= now);
    }

    /// The clock of the capture stepped by this many nanoseconds: a probe of a minute ago stays one of a minute ago.
    pub fn clock_stepped(&mut self, nanos: i64) {
        let stepped = |time: Timestamp| Timestamp(time.nanos().saturating_add_signed(nanos));
        self.now = stepped(self.now);
        for known in &mut self.known {
            known.last_probe = stepped(known.last_probe);
        }
    }

    /// Takes a new policy. Whom it ignores is forgotten; with another aggregation of IPv6 all are, as in the detector.
    pub fn reload(&mut self, policy: &Policy) {
        self.flush();
        if policy.parties != self.policy.parties {
            self.known.clear();
        }
        self.known.retain(|known| !policy.ignores_source(known.source.address));
        self.policy = policy.clone();
    }

    /// Sources are shown for so long from now on.
    pub(crate) fn set_hold(&mut self, hold_nanos: u64) {
        self.sampling.hold_nanos = hold_nanos;
    }

    /// The sample at this moment.
    pub fn snapshot(&self) -> SampleSnapshot {
        let shown =
            |known: &Sampled| SampledSource { source: known.source, place: known.place, ports: known.count };
        SampleSnapshot {
            fingerprint: self.sampling.key.fingerprint(),
            one_in: self.sampling.one_in,
            sources: self.known.iter().map(shown).collect(),
            limit: self.sampling.max_sources as u64,
            suppressed: self.suppressed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Technique;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const SECOND: u64 = 1_000_000_000;

    fn key() -> Key {
        Key::parse("000102030405060708090a0b0c0d0e0f").unwrap()
    }

    fn sampling(one_in: u32, max_sources: usize) -> Sampling {
        Sampling { key: key(), one_in, max_sources, hold_nanos: 300 * SECOND }
    }

    fn sample(one_in: u32, max_sources: usize) -> Sample {
        Sample::new(sampling(one_in, max_sources), Policy::default())
    }

    fn probe(source: IpAddr, port: u16, seconds: u64) -> Probe {
        Probe {
            source,
            port,
            time: Timestamp::new(seconds, 0),
            host: IpAddr::from([192, 0, 2, 10]),
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply: None,
        }
    }

    fn v4(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xc633_0000 + n).into()
    }

    fn see(sample: &mut Sample, source: IpAddr, port: u16, seconds: u64) {
        sample.gather(&probe(source, port, seconds));
        sample.flush();
    }

    fn shown(sample: &Sample) -> Vec<(String, u8)> {
        sample.snapshot().sources.iter().map(|shown| (shown.source.to_string(), shown.ports)).collect()
    }

    /// Hosts of a fleet may run different versions: this must never change. The first vectors of SipHash's own reference
    /// (`vectors_sip64`) for four and sixteen octets, under its key.
    #[test]
    fn the_hash_is_that_of_the_reference() {
        let v4 = Source::of(Ipv4Addr::new(0, 1, 2, 3).into(), 64);
        assert_eq!(key().place(v4), 0xcf27_94e0_2771_87b7);
        let octets: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let v6 = Source::of(Ipv6Addr::from(octets).into(), 128);
        assert_eq!(key().place(v6), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn a_key_is_32_digits_and_does_not_print_itself() {
        assert_eq!(Key::parse(" 000102030405060708090A0B0C0D0E0F\n"), Some(key()));
        for text in ["", "00", "000102030405060708090a0b0c0d0e0", "+00102030405060708090a0b0c0d0e0f"] {
            assert_eq!(Key::parse(text), None, "{text:?}");
        }
        assert_eq!(Key::parse("000102030405060708090a0b0c0d0e0f 00"), None);
        assert!(!format!("{:?}", sampling(64, 32)).contains("0102"));
        assert_eq!(key().fingerprint().len(), 8);
        assert_ne!(Key::parse(&"0".repeat(32)).unwrap().fingerprint(), key().fingerprint());
    }

    #[test]
    fn a_source_shows_from_its_first_probe_until_the_hold_is_over() {
        let mut sample = sample(1, 32);
        see(&mut sample, v4(7), 22, 1000);
        assert_eq!(shown(&sample), [("198.51.0.7".to_owned(), 1)]);
        see(&mut sample, v4(7), 22, 1001);
        see(&mut sample, v4(7), 23, 1001);
        assert_eq!(shown(&sample)[0].1, 2);
        sample.advance(Timestamp::new(1301, 0));
        assert_eq!(shown(&sample).len(), 1);
        sample.advance(Timestamp::new(1301, 1));
        assert!(shown(&sample).is_empty());
        (0..100).for_each(|port| see(&mut sample, v4(7), port, 1400));
        assert_eq!(shown(&sample)[0].1, 8, "and no more");
    }

    #[test]
    fn a_share_is_what_it_says_and_a_network_is_one_source() {
        for one_in in [1, 16, 64, 256] {
            let sampling = sampling(one_in, 1);
            let of = |n| sampling.place(Source::of(v4(n), 64)).is_some();
            let found = (0..65_536).filter(|&n| of(n)).count();
            let expected = 65_536.0 / f64::from(one_in);
            assert!((found as f64 - expected).abs() <= 5.0 * expected.sqrt(), "1/{one_in}: {found}");
        }
        let mut sample = sample(1, 32);
        see(&mut sample, "2001:db8::1".parse().unwrap(), 22, 1);
        see(&mut sample, "2001:db8::ffff:2".parse().unwrap(), 80, 1);
        assert_eq!(shown(&sample), [("2001:db8::/64".to_owned(), 2)]);
    }

    /// The attacker: floods of spoofed sources, of which one in 64 is in the sample, on some hosts and not on others.
    #[test]
    fn a_full_sample_keeps_the_least_hashes_whatever_the_order_and_counts_the_others() {
        let sources: Vec<IpAddr> = (0..500).map(v4).collect();
        let mut least: Vec<_> =
            sources.iter().map(|&one| (key().place(Source::of(one, 64)), one.to_string())).collect();
        least.sort();
        let least: Vec<String> = least.into_iter().take(32).map(|(_, source)| source).collect();
        let mut backwards = sources.clone();
        backwards.reverse();
        for order in [sources, backwards] {
            let mut sample = sample(1, 32);
            let reserved = (sample.known.capacity(), sample.gathered.capacity());
            order.iter().for_each(|&source| see(&mut sample, source, 22, 1));
            let kept: Vec<String> = shown(&sample).into_iter().map(|(source, _)| source).collect();
            assert_eq!(kept, least);
            assert_eq!(sample.suppressed.iter().sum::<u64>(), 500 - 32);
            assert_eq!((sample.known.capacity(), sample.gathered.capacity()), reserved, "no allocation");
        }
    }

    #[test]
    fn a_batch_that_nobody_flushes_is_bounded() {
        let mut sample = sample(1, 32);
        (0..1000).for_each(|n| sample.gather(&probe(v4(n), 22, 1)));
        assert!(sample.gathered.capacity() <= 2 * BATCH && sample.known.len() == 32);
    }

    #[test]
    fn a_step_of_the_clock_neither_forgets_nor_keeps() {
        for step in [-3600, 3600_i64] {
            let mut sample = sample(1, 32);
            see(&mut sample, v4(1), 22, 10_000);
            sample.clock_stepped(step * 1_000_000_000);
            let now = 10_000_u64.saturating_add_signed(step);
            sample.advance(Timestamp::new(now + 299, 0));
            assert_eq!(shown(&sample).len(), 1, "{step}");
            sample.advance(Timestamp::new(now + 301, 0));
            assert!(shown(&sample).is_empty(), "{step}");
        }
    }

    #[test]
    fn a_stamp_from_the_future_is_capped_with_its_batch() {
        let mut sample = sample(1, 32);
        sample.gather(&probe(v4(1), 22, 1_000_000));
        sample.cap(Timestamp::new(100, 0));
        sample.flush();
        sample.advance(Timestamp::new(401, 0));
        assert!(shown(&sample).is_empty());
    }

    #[test]
    fn what_the_policy_ignores_is_not_shown_from_the_reload_on() {
        let mut sample = sample(1, 32);
        see(&mut sample, v4(1), 22, 1);
        see(&mut sample, v4(2), 22, 1);
        let policy = Policy {
            ignored_sources: crate::detect::Networks::new(&["198.51.0.1/32".parse().unwrap()]),
            ignored_ports: vec![80],
            ..Policy::default()
        };
        sample.reload(&policy);
        see(&mut sample, v4(1), 22, 2);
        see(&mut sample, v4(3), 80, 2);
        assert_eq!(shown(&sample), [("198.51.0.2".to_owned(), 1)]);
        sample.reload(&Policy { parties: crate::detect::Parties::of(48), ..policy });
        assert!(shown(&sample).is_empty());
    }

    #[test]
    fn threads_show_what_one_would_and_no_source_twice() {
        let (mut one, mut two) = (sample(1, 16), sample(1, 16));
        (0..8).for_each(|n| see(&mut one, v4(n), 22, 1));
        (8..12).for_each(|n| see(&mut two, v4(n), 22, 1));
        see(&mut two, v4(0), 22, 1);
        see(&mut two, v4(0), 23, 1);
        let mut all = sample(1, 32);
        (0..12).for_each(|n| see(&mut all, v4(n), 22, 1));
        see(&mut all, v4(0), 23, 1);
        let mut merged = one.snapshot();
        merged.merge(&two.snapshot());
        assert_eq!(merged, all.snapshot());
        let mut other = two.snapshot();
        other.merge(&one.snapshot());
        assert_eq!(other, merged, "in whichever order");
    }
}
