//! Live capture on one interface: non-blocking libpcap, `poll`, and a way back after the interface went away.
//!
//! An interface has one `Live` for each thread that captures on it. Their sockets are one PACKET_FANOUT group, opened and
//! lost as one: the first of them, the leader, opens all and hands them out.

use super::fanout::{self, Keys, Sharing};
use super::install;
use super::interfaces::{default_interface, is_running, names};
use super::{
    CaptureError, CaptureStatus, Direction, Fragments, FrameSink, LiveOptions, Wake, said, supported_link,
    timestamp,
};
use crate::packet::filter;
use crate::packet::{LinkType, Timestamp};
use crate::system::clock;
use crate::system::privilege;
use pcap::{Active, Capture, Precision};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time between two ticks.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Frames handed over between two looks at the clock and the wake: a tick is never later than this under load.
const BATCH: usize = 8192;

/// The least that a frame takes of the ring: its header there (`struct tpacket3_hdr` and what follows), without a byte of its own.
const LEAST_SLOT: usize = 64;

/// After how many milliseconds the kernel hands over a block that is not full.
const BLOCK_TIMEOUT_MS: i32 = 100;

/// Wait before the first attempt to reopen; doubles up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How long it takes until the kernel has handed over whatever it held: twice the block timeout, since its timer looks
/// at each block twice, and then some.
const LAST_BLOCKS: Duration = Duration::from_millis(300);

/// How often those without a handle look whether there is one for them.
const LOOK_FOR_HANDLE: Duration = Duration::from_millis(50);

/// How long a stopping capture waits for the block the kernel is still filling.
const LAST_BLOCK: Duration = Duration::from_millis(150);

/// The pseudo-interface that is all of them; it has no index, no flags and never goes away.
const ANY: &str = "any";

/// Here every packet leaves and arrives, and the kernel's reassembly takes each piece for its own repetition.
const LOOPBACK: &str = "lo";

/// How often a capture of the default route looks where that leads now.
const ROUTE_LOOK: Duration = Duration::from_secs(5);

/// A live capture, ready to run on a thread of its own: it passed every check, or waits for its interface.
pub struct Live {
    /// The interface it captures on now, or did last.
    interface: Arc<str>,
    /// Which of the interface's captures; 0 leads.
    shard: usize,
    shards: Arc<Shards>,
    handle: Option<Handle>,
    totals: CaptureStatus,
    /// The IPv6 prefix by which the group is shared now; the leader keeps it.
    steered: u8,
}

/// What the captures of one interface have in common.
struct Shards {
    options: LiveOptions,
    keys: Keys,
    ipv6_prefix: AtomicU8,
    /// Whether it captures wherever the default route leads.
    follows: AtomicBool,
    /// Whether it was told that the kernel does not reassemble.
    told: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// The interface that all of them capture on.
    interface: Arc<str>,
    /// Why one of them lost its handle: then all of them must give theirs up.
    lost: Option<String>,
    /// Those who have a handle, or one waiting.
    holding: usize,
    /// Handles for those who wait, by shard.
    waiting: Vec<Option<Handle>>,
}

impl Shards {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interface to open: where the default route leads, if that is followed and there is one.
    fn wanted(&self) -> Arc<str> {
        let followed = self.follows.load(Ordering::Relaxed).then(default_interface).flatten();
        followed.map_or_else(|| Arc::clone(&self.state().interface), Arc::from)
    }

    /// Opens a handle for each; nothing is delivered to one alone that another would get as well.
    fn open(&self, interface: &str) -> Result<Vec<Handle>, CaptureError> {
        let options = &self.options;
        let mut handles =
            (0..options.threads).map(|_| Handle::open(interface, options)).collect::<Result<Vec<_>, _>>()?;
        let reassemble = options.fragments == Fragments::Reassemble && interface != LOOPBACK;
        let refused = |error: rustix::io::Errno| CaptureError::Interface {
            interface: interface.to_owned(),
            reason: format!("its packets cannot be shared among threads ({error}); try --capture.threads=1"),
        };
        let no_reassembly = |error: rustix::io::Errno| {
            if !self.told.swap(true, Ordering::Relaxed) {
                log::info!("{interface}: the kernel does not reassemble IPv4 fragments ({error})");
            }
        };
        if let [handle] = &mut handles[..] {
            handle.set_filter(interface)?;
            // A group of one is for the sake of reassembly, and not needed without.
            if reassemble && let Err(error) = fanout::found(&handle.capture, Sharing::Alone, true) {
                no_reassembly(error);
            }
            return Ok(handles);
        }
        // Since it was opened every socket got every packet, and would until it has joined: let nothing more in, and
        // throw away what is there.
        for handle in &handles {
            fanout::close_to_all(&handle.capture).map_err(refused)?;
        }
        let end = clock::steady() + LAST_BLOCKS;
        while clock::steady() < end {
            std::thread::sleep(LAST_BLOCKS / 10);
            for handle in &mut handles {
                let broken = |reason| CaptureError::Interface { interface: interface.to_owned(), reason };
                while handle.dispatch(&mut Nowhere).map_err(broken)?.frames > 0 {}
            }
        }
        let found = |reassemble| fanout::found(&handles[0].capture, Sharing::BySource, reassemble);
        let group = match found(reassemble) {
            Err(error) if reassemble => {
                no_reassembly(error);
                found(false)
            }
            answer => answer,
        };
        let group = group.map_err(refused)?;
        let ipv6_prefix = self.ipv6_prefix.load(Ordering::Relaxed);
        fanout::steer(&handles[0].capture, &self.keys, ipv6_prefix).map_err(refused)?;
        for handle in &handles[1..] {
            fanout::join(&handle.capture, group).map_err(refused)?;
        }
        for handle in &mut handles {
            handle.set_filter(interface)?;
            // Nor does what was thrown away count.
            handle.account(&mut CaptureStatus::default());
        }
        Ok(handles)
    }
}

/// Where frames go that came before anyone was to see them.
struct Nowhere;

impl FrameSink for Nowhere {
    fn opened(&mut self, _link: LinkType) {}
    fn frame(&mut self, _time: Timestamp, _bytes: &[u8]) {}
    fn batch_end(&mut self) {}
    fn tick(&mut self, _status: &CaptureStatus) {}
}

/// How other threads tell the captures of an interface by what to share its packets.
#[derive(Clone)]
pub struct Steering(Arc<Shards>);

impl Steering {
    /// IPv6 sources are aggregated to this many bits: what counts for one of them goes to one thread, from the leader's next
    /// tick on.
    pub(crate) fn aggregate_ipv6(&self, prefix: u8) {
        self.0.ipv6_prefix.store(prefix, Ordering::Relaxed);
    }
}

impl Live {
    /// Opens the interface for one thread, or says what is in the way and what to try.
    pub fn open(options: LiveOptions) -> Result<Self, CaptureError> {
        let mut all = Self::open_all(LiveOptions { threads: 1, ..options }, 64)?;
        Ok(all.remove(0))
    }

    /// Opens the interface, once for each thread; IPv6 is shared by networks of this prefix (or by /64, if it is longer).
    pub fn open_all(options: LiveOptions, ipv6_prefix: u8) -> Result<Vec<Self>, CaptureError> {
        let mut lives = Self::waiting(options, ipv6_prefix, "it is not open yet");
        let shards = Arc::clone(&lives[0].shards);
        let handles = shards.open(&lives[0].interface)?;
        let mut state = shards.state();
        (state.lost, state.holding) = (None, handles.len());
        drop(state);
        for (live, handle) in lives.iter_mut().zip(handles) {
            live.handle = Some(handle);
        }
        Ok(lives)
    }

    /// The same for an interface that cannot be captured now, for this reason: it is tried again until it can.
    pub fn waiting(options: LiveOptions, ipv6_prefix: u8, reason: &str) -> Vec<Self> {
        let options = LiveOptions { threads: options.threads.max(1), ..options };
        let (threads, interface): (_, Arc<str>) = (options.threads, Arc::from(options.interface.as_str()));
        let state = State {
            interface: Arc::clone(&interface),
            lost: Some(reason.to_owned()),
            holding: 0,
            waiting: (0..threads).map(|_| None).collect(),
        };
        let shards = Arc::new(Shards {
            options,
            keys: Keys::random(),
            ipv6_prefix: AtomicU8::new(ipv6_prefix),
            follows: AtomicBool::new(false),
            told: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let live = |shard| Self {
            interface: Arc::clone(&interface),
            shard,
            shards: Arc::clone(&shards),
            handle: None,
            totals: CaptureStatus::default(),
            steered: ipv6_prefix,
        };
        (0..threads).map(live).collect()
    }

    /// From now on the capture goes where the default route leads, with all threads of its interface.
    pub(crate) fn follow_default_route(&self) {
        self.shards.follows.store(true, Ordering::Relaxed);
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Which packets it takes.
    pub fn direction(&self) -> Direction {
        self.shards.options.direction
    }

    /// Whether it captures on all interfaces.
    pub fn is_any(&self) -> bool {
        self.interface() == ANY
    }

    /// Whether it captures where every packet is this host's own.
    pub fn is_loopback(&self) -> bool {
        self.interface() == LOOPBACK
    }

    /// Which of the interface's threads this is for, from 0.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How to tell all of the interface's captures by what to share.
    pub(crate) fn steering(&self) -> Steering {
        Steering(Arc::clone(&self.shards))
    }

    /// Why the interface could not be opened, if it could not.
    pub fn lost(&self) -> Option<String> {
        self.shards.state().lost.clone()
    }

    /// The link layer of its frames; `None` while the interface is away.
    pub fn link(&self) -> Option<LinkType> {
        self.handle.as_ref().map(|handle| handle.link)
    }

    /// Captures until `wake` says stop, whatever happens to the interface meanwhile.
    ///
    /// Ticks once at the start, then about once a second and whenever woken, and a last time before it returns.
    pub fn run(&mut self, sink: &mut impl FrameSink, wake: &Wake) {
        match &self.handle {
            Some(handle) => sink.opened(handle.link),
            // All wait together: one tells it.
            None if self.shard == 0 => sink.lost(&self.lost().unwrap_or_default()),
            None => {}
        }
        let mut next_tick = clock::steady();
        let mut retry = Retry::after_loss(next_tick);
        let mut next_look = next_tick + ROUTE_LOOK;
        let mut fruitless = 0u32;
        while !wake.is_stopped() {
            let now = clock::steady();
            if now >= next_tick || wake.take() {
                next_tick = now + TICK;
                let mut outcome = self.catch_up(sink, wake).and_then(|()| self.tick(sink));
                if now >= next_look {
                    next_look = now + ROUTE_LOOK;
                    outcome = outcome.and_then(|()| self.look_at_route());
                }
                if let Err(reason) = outcome {
                    self.lose(sink, &reason);
                    retry = Retry::after_loss(now);
                }
            }
            let Some(handle) = &mut self.handle else {
                if self.shard > 0 {
                    if !self.take_handle(sink) {
                        wait(None, wake, LOOK_FOR_HANDLE.min(next_tick.saturating_duration_since(now)));
                    }
                } else if now >= retry.at {
                    self.reopen(sink, &mut retry, now);
                } else {
                    wait(None, wake, retry.at.min(next_tick).saturating_duration_since(now));
                }
                continue;
            };
            match handle.dispatch(sink) {
                // More may be waiting, and a half-read block does not show in `poll`.
                Ok(Dispatched { frames: BATCH, .. }) => continue,
                Ok(Dispatched { frames: 0, .. }) => {}
                Ok(_) => fruitless = 0,
                Err(reason) => {
                    self.lose(sink, &reason);
                    retry = Retry::after_loss(now);
                    continue;
                }
            }
            // A descriptor that is ready but yields nothing must not spin a core.
            let timeout = next_tick.saturating_duration_since(now);
            if fruitless < 8 {
                let ready = wait(Some(handle), wake, timeout);
                fruitless = if ready { fruitless + 1 } else { 0 };
            } else {
                wait(None, wake, timeout.min(Duration::from_millis(50)));
            }
        }
        self.finish(sink, wake);
    }

    /// Hands over what was captured before now: a tick moves the detector's time, and what it did not see until then counts as
    /// now. After a pause (SIGSTOP, a frozen container) that is a ring full of the past.
    ///
    /// Ends at the first frame that is not of the past, or after as many as the ring holds: however fast they come, those that
    /// waited have been handed over by then.
    fn catch_up(&mut self, sink: &mut impl FrameSink, wake: &Wake) -> Result<(), String> {
        let Some(handle) = &mut self.handle else { return Ok(()) };
        let now = clock::wall();
        for _ in 0..=self.shards.options.buffer_bytes / (LEAST_SLOT * BATCH) {
            let Dispatched { frames, latest } = handle.dispatch(sink)?;
            if frames < BATCH || latest >= now || wake.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    /// Hands over what the kernel still holds and tells the final numbers.
    fn finish(&mut self, sink: &mut impl FrameSink, wake: &Wake) {
        let deadline = clock::steady() + LAST_BLOCK;
        wake.take();
        while let Some(handle) = &mut self.handle {
            if handle.dispatch(sink).is_err() {
                break;
            }
            let left = deadline.saturating_duration_since(clock::steady());
            if left.is_zero() || !wait(Some(handle), wake, left) {
                break;
            }
        }
        sink.batch_end();
        // The reason of a failure found now no longer matters.
        let _ = self.tick(sink);
    }

    /// Tells the sink how the capture is; an error says why the handle is of no use any more.
    fn tick(&mut self, sink: &mut impl FrameSink) -> Result<(), String> {
        let mut checked = Ok(());
        self.totals.up = false;
        if let Some(handle) = &mut self.handle {
            handle.account(&mut self.totals);
            checked = handle.check(&self.interface);
            // The capture goes on by itself when the link is back, but nothing arrives until then.
            self.totals.up = checked.is_ok() && handle.delivers(&self.interface);
            if self.shards.options.threads > 1 {
                checked = checked.and_then(|()| self.keep_step());
                self.totals.up &= checked.is_ok();
            }
        }
        sink.tick(&self.totals);
        checked
    }

    /// An error if the default route is followed and leads elsewhere now.
    fn look_at_route(&self) -> Result<(), String> {
        if self.shard > 0 || self.handle.is_none() {
            return Ok(());
        }
        let wanted = self.shards.wanted();
        if wanted == self.interface {
            return Ok(());
        }
        Err(format!("the default route leads through {wanted} now"))
    }

    /// Does as the others: gives up when one of them has, and shares as all are told to.
    fn keep_step(&mut self) -> Result<(), String> {
        if let Some(reason) = &self.shards.state().lost {
            return Err(reason.clone());
        }
        let prefix = self.shards.ipv6_prefix.load(Ordering::Relaxed);
        if let Some(handle) = &self.handle
            && self.shard == 0
            && prefix != self.steered
        {
            fanout::steer(&handle.capture, &self.shards.keys, prefix)
                .map_err(|error| format!("its packets cannot be shared in another way: {error}"))?;
            self.steered = prefix;
        }
        Ok(())
    }

    fn lose(&mut self, sink: &mut impl FrameSink, reason: &str) {
        sink.batch_end();
        if let Some(mut handle) = self.handle.take() {
            handle.account(&mut self.totals);
            // Closed before the others hear of it: two groups never see the same packets.
            drop(handle);
            let mut state = self.shards.state();
            state.holding -= 1;
            state.lost.get_or_insert_with(|| reason.to_owned());
        }
        self.totals.up = false;
        // All are lost together: one tells it.
        if self.shard == 0 {
            sink.lost(reason);
        }
        sink.tick(&self.totals);
    }

    /// The leader opens all handles anew, once everyone has given up the old ones.
    fn reopen(&mut self, sink: &mut impl FrameSink, retry: &mut Retry, now: Instant) {
        if self.shards.state().holding > 0 {
            // They notice at their next tick.
            retry.at = now + LOOK_FOR_HANDLE;
            return;
        }
        self.steered = self.shards.ipv6_prefix.load(Ordering::Relaxed);
        let interface = self.shards.wanted();
        match self.shards.open(&interface) {
            Ok(handles) => {
                let mut state = self.shards.state();
                state.interface = interface;
                state.lost = None;
                state.holding = handles.len();
                let mut handles = handles.into_iter();
                let own = handles.next();
                for (place, handle) in state.waiting.iter_mut().skip(1).zip(handles) {
                    *place = Some(handle);
                }
                drop(state);
                if let Some(handle) = own {
                    self.begin(sink, handle);
                }
            }
            // Still away: the reason was told when it went.
            Err(_) => retry.later(now),
        }
    }

    /// Takes the handle that the leader has opened for this one, if there is one.
    fn take_handle(&mut self, sink: &mut impl FrameSink) -> bool {
        let handle = self.shards.state().waiting[self.shard].take();
        let found = handle.is_some();
        if let Some(handle) = handle {
            self.begin(sink, handle);
        }
        found
    }

    fn begin(&mut self, sink: &mut impl FrameSink, handle: Handle) {
        let interface = Arc::clone(&self.shards.state().interface);
        if interface != self.interface {
            sink.moved(&interface);
            self.interface = interface;
        }
        self.totals.restarts += 1;
        self.totals.up = handle.delivers(&self.interface);
        sink.opened(handle.link);
        self.handle = Some(handle);
        sink.tick(&self.totals);
    }
}

/// When to try again, and how long to wait after that.
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Retry {
    fn after_loss(now: Instant) -> Self {
        Self { at: now + RETRY_MIN, wait: RETRY_MIN }
    }

    fn later(&mut self, now: Instant) {
        self.wait = (self.wait * 2).min(RETRY_MAX);
        self.at = now + self.wait;
    }
}

/// What a sink was handed at once.
#[derive(Debug, Clone, Copy)]
struct Dispatched {
    frames: usize,
    /// When the last of them was captured.
    latest: Timestamp,
}

/// An open capture handle and what identifies it to the kernel.
struct Handle {
    capture: Capture<Active>,
    link: LinkType,
    /// The interface's index; a new interface of the same name has another one. `None` for `any`.
    index: Option<u32>,
    /// libpcap's counters at the last look: 32 bits, wrapping, from zero when reopened.
    seen: pcap::Stat,
}

impl Handle {
    /// Without a filter yet.
    fn open(interface: &str, options: &LiveOptions) -> Result<Self, CaptureError> {
        let refused = |reason: String| CaptureError::Interface { interface: interface.to_owned(), reason };
        // libpcap calls a missing interface a matter of permission when there is no privilege: look first.
        let index = if interface == ANY { None } else { Some(index_of(interface)?) };
        if !privilege::may_capture() {
            return Err(CaptureError::NoPrivilege { interface: interface.to_owned() });
        }
        let buffer = i32::try_from(options.buffer_bytes / options.threads).unwrap_or(i32::MAX);
        let capture = Capture::from_device(interface)
            .map_err(|error| refused(said(&error)))?
            // libpcap refuses promiscuous mode on `any`, although nothing is lost without it.
            .promisc(options.promiscuous && interface != ANY)
            // The filter says how much of each packet.
            .snaplen(filter::SNAPLEN_MAX.cast_signed())
            .timeout(BLOCK_TIMEOUT_MS)
            .buffer_size(buffer)
            .precision(Precision::Nano)
            .open()
            .map_err(|error| explain_open(interface, &said(&error)))?;
        let link = supported_link(capture.get_datalink())
            .map_err(|link| CaptureError::UnsupportedLink { interface: interface.to_owned(), link })?;
        let direction = match options.direction {
            Direction::In => pcap::Direction::In,
            Direction::Out => pcap::Direction::Out,
            Direction::InOut => pcap::Direction::InOut,
        };
        capture.direction(direction).map_err(|error| {
            refused(format!("the direction cannot be set ({}); try --capture.direction=inout", said(&error)))
        })?;
        let capture = capture.setnonblock().map_err(|error| refused(said(&error)))?;
        let seen = pcap::Stat { received: 0, dropped: 0, if_dropped: 0 };
        Ok(Self { capture, link, index, seen })
    }

    /// From now on only what `decode` may find a probe in.
    fn set_filter(&mut self, interface: &str) -> Result<(), CaptureError> {
        install::filter(&mut self.capture, &filter::program(self.link)).map_err(|why| {
            CaptureError::Interface {
                interface: interface.to_owned(),
                reason: format!("the kernel filter was refused: {why}"),
            }
        })
    }

    /// Hands at most one batch to the sink.
    fn dispatch(&mut self, sink: &mut impl FrameSink) -> Result<Dispatched, String> {
        let mut latest = Timestamp::default();
        let frames = self
            .capture
            .dispatch(Some(BATCH), |packet| {
                latest = timestamp(packet.header);
                sink.frame(latest, packet.data);
            })
            .map_err(|error| said(&error))?;
        if frames > 0 {
            sink.batch_end();
        }
        Ok(Dispatched { frames, latest })
    }

    /// Adds what libpcap counted since the last look.
    fn account(&mut self, totals: &mut CaptureStatus) {
        // A dead handle has nothing to add.
        let Ok(now) = self.capture.stats() else { return };
        totals.received += grown(self.seen.received, now.received);
        totals.dropped += grown(self.seen.dropped, now.dropped);
        totals.interface_dropped += grown(self.seen.if_dropped, now.if_dropped);
        self.seen = now;
    }

    /// Whether the name still means the interface that was opened: a deleted and recreated one leaves the
    /// old handle without an error and without frames.
    fn check(&self, interface: &str) -> Result<(), String> {
        let Some(opened) = self.index else { return Ok(()) };
        match lookup(interface) {
            Ok(Some(index)) if index == opened => Ok(()),
            Ok(Some(_)) => Err(String::from("another interface has its name now")),
            Ok(None) => Err(String::from("the interface disappeared")),
            // Not being able to ask (no descriptor left) says nothing about the interface.
            Err(_) => Ok(()),
        }
    }

    /// Whether anything can arrive: not while the interface is down or has no carrier.
    fn delivers(&self, interface: &str) -> bool {
        self.index.is_none() || is_running(interface)
    }
}

/// The growth of a 32-bit counter that wraps. One that fell was reset by its driver: nothing to add.
fn grown(before: u32, now: u32) -> u64 {
    let growth = now.wrapping_sub(before);
    if growth > u32::MAX / 2 { 0 } else { u64::from(growth) }
}

/// The index of an interface, `None` if there is none of this name.
fn lookup(interface: &str) -> rustix::io::Result<Option<u32>> {
    // Any socket will do, and a sandbox leaves this family open when it closes the others.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    match netdevice::name_to_index(&socket, interface) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn index_of(interface: &str) -> Result<u32, CaptureError> {
    // A name that is too long for the kernel is as missing as any other.
    lookup(interface)
        .ok()
        .flatten()
        .ok_or_else(|| CaptureError::NoSuchInterface { interface: interface.to_owned(), known: names() })
}

/// libpcap's reason for not opening an interface, in the words of what to do about it.
fn explain_open(interface: &str, said: &str) -> CaptureError {
    let interface = interface.to_owned();
    let lower = said.to_lowercase();
    if lower.contains("permission") || lower.contains("not permitted") {
        CaptureError::NoPrivilege { interface }
    } else if lower.contains("not up") || lower.contains("network is down") {
        CaptureError::InterfaceDown { interface }
    } else if lower.contains("no such device") {
        CaptureError::NoSuchInterface { interface, known: names() }
    } else {
        CaptureError::Interface { interface, reason: said.to_owned() }
    }
}

/// Waits for frames, a call, or the timeout; whether frames (or an error) wait.
fn wait(handle: Option<&Handle>, wake: &Wake, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).ok();
    let mut descriptors = [PollFd::new(wake, PollFlags::IN), PollFd::new(wake, PollFlags::empty())];
    let used = match handle {
        Some(handle) => {
            descriptors[1] = PollFd::new(&handle.capture, PollFlags::IN);
            2
        }
        None => 1,
    };
    // An interrupted wait is a short one.
    let ready = poll(&mut descriptors[..used], timeout.as_ref());
    ready.is_ok() && used == 2 && !descriptors[1].revents().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_growing_over_the_wrap() {
        assert_eq!(grown(10, 25), 15);
        assert_eq!(grown(u32::MAX - 4, 5), 10);
        assert_eq!(grown(1000, 10), 0, "a reset is not four billion packets");
    }

    #[test]
    fn retries_back_off_to_five_seconds() {
        let now = clock::steady();
        let mut retry = Retry::after_loss(now);
        let mut waits = vec![retry.at - now];
        for _ in 0..6 {
            retry.later(now);
            waits.push(retry.at - now);
        }
        assert_eq!(
            waits.iter().map(Duration::as_millis).collect::<Vec<_>>(),
            [200, 400, 800, 1600, 3200, 5000, 5000]
        );
    }

    #[test]
    fn a_missing_interface_is_named_with_those_that_exist() {
        let options = LiveOptions {
            interface: String::from("missing7"),
            direction: Direction::In,
            promiscuous: false,
            buffer_bytes: 1 << 20,
            threads: 1,
            fragments: Fragments::Reassemble,
        };
        let message = Live::open(options).err().expect("it does not exist").to_string();
        let start = "cannot capture on missing7: no such device (interfaces: ";
        assert!(message.starts_with(start) && message.contains("lo"), "{message}");
    }

    #[test]
    fn what_libpcap_says_becomes_what_to_do() {
        let say = |said: &str| explain_open("eth0", said).to_string();
        assert!(say("eth0: That device is not up").ends_with("(try: sudo ip link set eth0 up)"));
        assert!(say("eth0: You don't have permission to perform this capture").contains("CAP_NET_RAW"));
        assert_eq!(say("out of luck"), "cannot capture on eth0: out of luck");
    }
}
