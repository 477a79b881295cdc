//! Live capture on one interface: non-blocking libpcap, `poll`, and a way back after the interface went away.
//!
//! An interface has one `Live` for each thread that captures on it.

use super::due::{Due, ROUTE_LOOK, Retry};
use super::group::{Fanout, Group, LOOPBACK};
use super::handle::{ANY, BATCH, Dispatched, Handle, wait};
use super::{CaptureStatus, Direction, Fragments, FrameSink, NOTHING_MATCHES, Wake};
use crate::packet::LinkType;
use crate::system::clock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time between two ticks.
const TICK: Duration = Duration::from_secs(1);

/// The least that a frame takes of the ring: its header there (`struct tpacket3_hdr` and what follows), without a byte of its own.
const LEAST_SLOT: usize = 64;

/// How often those without a handle look whether there is one for them.
const LOOK_FOR_HANDLE: Duration = Duration::from_millis(50);

/// How often a place without an interface looks whether there is one for it.
const LOOK_FOR_INTERFACE: Duration = Duration::from_secs(1);

/// How long a stopping capture waits for the block the kernel is still filling.
const LAST_BLOCK: Duration = Duration::from_millis(150);

/// After so many waits in a row that ended for nothing, the descriptor is not waited for any more.
const MOST_EMPTY_WAITS: u32 = 8;

/// A live capture, ready to run on a thread of its own: it passed every check, or waits for its interface.
pub struct Live {
    /// The interface it captures on now, or did last.
    pub(super) interface: Arc<str>,
    /// Which of the interface's captures; 0 leads.
    pub(super) shard: usize,
    pub(super) group: Arc<Group>,
    pub(super) handle: Option<Handle>,
    pub(super) totals: CaptureStatus,
    /// The IPv6 prefix by which the group is shared now; the leader keeps it.
    pub(super) shared_by: u8,
}

impl Live {
    /// From now on the capture goes where the default route leads, with all threads of its interface.
    pub(crate) fn follow_default_route(&self) {
        self.group.follow_default_route();
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Which packets it takes.
    pub fn direction(&self) -> Direction {
        self.group.options.direction
    }

    /// Whether it captures on all interfaces.
    pub fn is_any(&self) -> bool {
        self.interface() == ANY
    }

    /// Whether it captures where every packet is this host's own.
    pub fn is_loopback(&self) -> bool {
        self.interface() == LOOPBACK
    }

    /// Whether IPv4 datagrams that come in pieces are to be put together.
    pub(crate) fn puts_together(&self) -> bool {
        self.group.options.fragments == Fragments::Reassemble
    }

    /// Which of the interface's threads this is for, from 0.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How all of the interface's captures share its packets.
    pub(crate) fn fanout(&self) -> Fanout {
        Fanout(Arc::clone(&self.group))
    }

    /// Why the interface could not be opened, if it could not.
    pub fn lost(&self) -> Option<String> {
        self.group.state().lost.clone()
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
            // All wait together: one reports it.
            None if self.shard == 0 && !self.group.state().idle => {
                sink.lost(&self.lost().unwrap_or_default())
            }
            None => {}
        }
        let mut due = Due::from(clock::steady());
        while !wake.is_stopped() {
            let now = clock::steady();
            if now >= due.tick || wake.take() {
                self.tick_and_check(sink, wake, &mut due, now);
            }
            if self.handle.is_some() {
                self.read(sink, wake, &mut due, now);
            } else {
                self.wait_for_handle(sink, wake, &mut due, now);
            }
        }
        self.finish(sink, wake);
    }

    /// A tick, after what waited before it; a handle that is of no use any more is given up.
    fn tick_and_check(&mut self, sink: &mut impl FrameSink, wake: &Wake, due: &mut Due, now: Instant) {
        due.tick = now + TICK;
        let mut outcome = self.catch_up(sink, wake).and_then(|()| self.tick(sink));
        if now >= due.route_look {
            due.route_look = now + ROUTE_LOOK;
            outcome = outcome.and_then(|()| self.look_at_route());
        }
        if let Err(reason) = outcome {
            self.lose(sink, &reason);
            due.retry = Retry::after_loss(now);
        }
    }

    /// One batch, and the wait for the next.
    fn read(&mut self, sink: &mut impl FrameSink, wake: &Wake, due: &mut Due, now: Instant) {
        let Some(handle) = &mut self.handle else { return };
        match handle.dispatch(sink) {
            // More may be waiting, and a half-read block does not show in `poll`.
            Ok(Dispatched { frames: BATCH, .. }) => return,
            Ok(Dispatched { frames: 0, .. }) => {}
            Ok(_) => due.empty_waits = 0,
            Err(reason) => {
                self.lose(sink, &reason);
                due.retry = Retry::after_loss(now);
                return;
            }
        }
        // A descriptor that is ready but yields nothing must not spin a core.
        let timeout = due.tick.saturating_duration_since(now);
        if due.empty_waits < MOST_EMPTY_WAITS {
            let ready = wait(Some(handle), wake, timeout);
            due.empty_waits = if ready { due.empty_waits + 1 } else { 0 };
        } else {
            wait(None, wake, timeout.min(Duration::from_millis(50)));
        }
    }

    /// The leader tries to open the interface again, now and then; the others look for the handle it opens for them.
    fn wait_for_handle(&mut self, sink: &mut impl FrameSink, wake: &Wake, due: &mut Due, now: Instant) {
        if self.shard > 0 {
            if !self.take_handle(sink) {
                wait(None, wake, LOOK_FOR_HANDLE.min(due.tick.saturating_duration_since(now)));
            }
        } else if now >= due.retry.at {
            self.reopen(sink, &mut due.retry, now);
        } else {
            wait(None, wake, due.retry.at.min(due.tick).saturating_duration_since(now));
        }
    }

    /// Hands over what was captured before now: a tick moves the detector's time, and what it did not see until then counts as
    /// now. After a pause (SIGSTOP, a frozen container) that is a ring full of the past.
    ///
    /// Ends at the first frame that is not of the past, or after as many as the ring holds: however fast they come, those that
    /// waited have been handed over by then.
    fn catch_up(&mut self, sink: &mut impl FrameSink, wake: &Wake) -> Result<(), String> {
        let Some(handle) = &mut self.handle else { return Ok(()) };
        let now = clock::wall();
        for _ in 0..=self.group.options.buffer_bytes / (LEAST_SLOT * BATCH) {
            let Dispatched { frames, latest } = handle.dispatch(sink)?;
            if frames < BATCH || latest >= now || wake.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    /// Hands over what the kernel still holds, and the final numbers.
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

    /// Hands the state of the capture to the sink; an error says why the handle is of no use any more.
    fn tick(&mut self, sink: &mut impl FrameSink) -> Result<(), String> {
        let mut checked = Ok(());
        self.totals.up = false;
        if self.handle.is_none() {
            self.take_interface(sink);
        }
        if let Some(handle) = &mut self.handle {
            handle.account(&mut self.totals);
            checked = handle.check(&self.interface);
            checked = checked.and_then(|()| handle.look_for(&self.interface, self.group.techniques()));
            // The capture goes on by itself when the link is back, but nothing arrives until then.
            self.totals.up = checked.is_ok() && handle.delivers(&self.interface);
            if self.group.options.threads > 1 {
                checked = checked.and_then(|()| self.follow_group());
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
        match self.group.wanted() {
            // A place keeps its interface while that is there.
            Some(wanted) if wanted != self.interface && !self.group.has_place() => {
                Err(format!("the default route leads through {wanted} now"))
            }
            _ => Ok(()),
        }
    }

    /// Does as the others: gives up when one of them has; the leader shares as it is set.
    fn follow_group(&mut self) -> Result<(), String> {
        if let Some(reason) = &self.group.state().lost {
            return Err(reason.clone());
        }
        let prefix = self.group.ipv6_prefix();
        if let Some(handle) = &self.handle
            && self.shard == 0
            && prefix != self.shared_by
        {
            self.group
                .share(handle, prefix)
                .map_err(|error| format!("its packets cannot be shared in another way: {error}"))?;
            self.shared_by = prefix;
        }
        Ok(())
    }

    fn lose(&mut self, sink: &mut impl FrameSink, reason: &str) {
        sink.batch_end();
        if let Some(mut handle) = self.handle.take() {
            handle.account(&mut self.totals);
            // Closed before the others hear of it: two groups never see the same packets.
            drop(handle);
            let mut state = self.group.state();
            state.holding -= 1;
            state.lost.get_or_insert_with(|| reason.to_owned());
        }
        self.totals.up = false;
        // All are lost together: one reports it.
        if self.shard == 0 {
            sink.lost(reason);
        }
        sink.tick(&self.totals);
    }

    /// The leader opens all handles anew, once everyone has given up the old ones.
    fn reopen(&mut self, sink: &mut impl FrameSink, retry: &mut Retry, now: Instant) {
        if self.group.state().holding > 0 {
            // They notice at their next tick.
            retry.at = now + LOOK_FOR_HANDLE;
            return;
        }
        self.shared_by = self.group.ipv6_prefix();
        let wanted = self.group.wanted();
        let is_other = self.group.has_place() && wanted.as_ref() != Some(&self.interface);
        if is_other {
            self.group.begin_with(wanted.clone());
            let is_news = self.take_interface(sink);
            if is_news && self.group.state().awaits {
                sink.lost(NOTHING_MATCHES);
            }
        }
        let Some(interface) = wanted else {
            retry.at = now + LOOK_FOR_INTERFACE;
            return;
        };
        match self.group.open(&interface) {
            Ok(handles) => {
                let mut state = self.group.state();
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
            // It has just been given this interface.
            Err(error) if is_other => {
                sink.lost(&error.reason());
                *retry = Retry::after_loss(now);
            }
            // Still away: the reason was reported when it went.
            Err(_) => retry.later(now),
        }
    }

    /// Takes the interface that its place was given, or that there is none; whether that is news.
    fn take_interface(&mut self, sink: &mut impl FrameSink) -> bool {
        if !self.group.has_place() {
            return false;
        }
        let state = self.group.state();
        let (interface, idle, awaits) = (Arc::clone(&state.interface), state.idle, state.awaits);
        drop(state);
        self.totals.idle = idle;
        let is_news = interface != self.interface;
        if is_news {
            if self.shard == 0 && !idle && !awaits {
                log::info!(interface = &*interface; "capturing on {interface}, which matches --capture.interface");
            }
            self.totals = CaptureStatus { idle, ..CaptureStatus::default() };
            sink.replaced(&interface);
            self.interface = interface;
        }
        is_news
    }

    /// Takes the handle that the leader has opened for this one, if there is one.
    fn take_handle(&mut self, sink: &mut impl FrameSink) -> bool {
        let handle = self.group.state().waiting[self.shard].take();
        let found = handle.is_some();
        if let Some(handle) = handle {
            self.begin(sink, handle);
        }
        found
    }

    fn begin(&mut self, sink: &mut impl FrameSink, handle: Handle) {
        self.take_interface(sink);
        let interface = Arc::clone(&self.group.state().interface);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LiveOptions;
    use crate::packet::Techniques;
    use crate::packet::tunnel::Tunnels;

    #[test]
    fn a_missing_interface_is_named_with_those_that_exist() {
        let options = LiveOptions {
            interface: String::from("missing7"),
            direction: Direction::In,
            promiscuous: false,
            buffer_bytes: 1 << 20,
            threads: 1,
            fragments: Fragments::Reassemble,
            techniques: Techniques::DEFAULT,
            tunnels: Tunnels::Count,
            replies: false,
        };
        let message = Live::open(options).err().expect("it does not exist").to_string();
        let start = "cannot capture on missing7: no such device (interfaces: ";
        assert!(message.starts_with(start) && message.contains("lo"), "{message}");
    }
}
