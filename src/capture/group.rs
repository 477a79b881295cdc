//! The captures of one interface, one for each thread: opened, shared and lost as one. The first of them, the leader, opens
//! all handles and hands them out.

use super::fanout::{self, HashKeys, Mode};
use super::handle::Handle;
use super::interfaces::default_interface;
use super::places::Places;
use super::{CaptureError, CaptureStatus, Fragments, FrameSink, LiveOptions};
use crate::packet::{LinkType, Techniques, Timestamp};
use crate::system::clock;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long it takes until the kernel has handed over whatever it held: twice the block timeout, since its timer looks
/// at each block twice, and then some.
const LAST_BLOCKS: Duration = Duration::from_millis(300);

/// Here every packet leaves and arrives, and the kernel's reassembly takes each piece for its own repetition.
pub(super) const LOOPBACK: &str = "lo";

/// What the captures of one interface have in common.
pub(super) struct Group {
    pub(super) options: LiveOptions,
    keys: HashKeys,
    ipv6_prefix: AtomicU8,
    techniques: Mutex<Techniques>,
    /// Whether it captures wherever the default route leads.
    follows: AtomicBool,
    /// The place that it has, if it is for an interface that a pattern means.
    place: Option<(Arc<Places>, usize)>,
    /// Whether it was logged that the kernel does not reassemble.
    logged: AtomicBool,
    state: Mutex<State>,
}

pub(super) struct State {
    /// The interface that all of them capture on.
    pub(super) interface: Arc<str>,
    /// Why one of them lost its handle: then all of them must give theirs up.
    pub(super) lost: Option<String>,
    /// Whether there is no interface for it: nothing is wrong, and nothing to see.
    pub(super) idle: bool,
    /// Whether there is none for anybody, and it is the one that says so.
    pub(super) awaits: bool,
    /// Those who have a handle, or one waiting.
    pub(super) holding: usize,
    /// Handles for those who wait, by thread.
    pub(super) waiting: Vec<Option<Handle>>,
}

impl Group {
    /// A group without handles, for this reason.
    pub(super) fn new(options: LiveOptions, ipv6_prefix: u8, reason: &str) -> Self {
        let state = State {
            interface: Arc::from(options.interface.as_str()),
            lost: Some(reason.to_owned()),
            idle: false,
            awaits: false,
            holding: 0,
            waiting: (0..options.threads).map(|_| None).collect(),
        };
        Self {
            keys: HashKeys::random(),
            ipv6_prefix: AtomicU8::new(ipv6_prefix),
            techniques: Mutex::new(options.techniques),
            follows: AtomicBool::new(false),
            place: None,
            logged: AtomicBool::new(false),
            state: Mutex::new(state),
            options,
        }
    }

    /// The same for the interfaces that this place is given.
    pub(super) fn at(self, places: Arc<Places>, place: usize) -> Self {
        Self { place: Some((places, place)), ..self }
    }

    /// This is its interface from now on, or there is none for it.
    pub(super) fn begin_with(&self, interface: Option<Arc<str>>) {
        let awaited = match (&interface, &self.place) {
            (None, Some((places, place))) => places.awaited(*place),
            _ => None,
        };
        let mut state = self.state();
        state.awaits = awaited.is_some();
        state.idle = interface.is_none() && awaited.is_none();
        state.interface = interface.or(awaited).unwrap_or_else(|| Arc::from(""));
    }

    /// Whether it is given its interfaces, one after the other.
    pub(super) fn has_place(&self) -> bool {
        self.place.is_some()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it captures where the default route leads.
    pub(super) fn follow_default_route(&self) {
        self.follows.store(true, Ordering::Relaxed);
    }

    /// The prefix by which IPv6 sources are shared, from the leader's next tick on.
    pub(super) fn ipv6_prefix(&self) -> u8 {
        self.ipv6_prefix.load(Ordering::Relaxed)
    }

    /// What the kernel looks for, from each capture's next tick on.
    pub(super) fn techniques(&self) -> Techniques {
        *self.techniques.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interface to open: where the default route leads, if that is followed and there is one; or that of its place, `None`
    /// while there is none for it.
    pub(super) fn wanted(&self) -> Option<Arc<str>> {
        if let Some((places, place)) = &self.place {
            return places.look(*place);
        }
        let followed = self.follows.load(Ordering::Relaxed).then(default_interface).flatten();
        Some(followed.map_or_else(|| Arc::clone(&self.state().interface), Arc::from))
    }

    /// Opens a handle for each; nothing is delivered to one alone that another would get as well.
    pub(super) fn open(&self, interface: &str) -> Result<Vec<Handle>, CaptureError> {
        let options = &self.options;
        let mut handles =
            (0..options.threads).map(|_| Handle::open(interface, options)).collect::<Result<Vec<_>, _>>()?;
        let reassemble = options.fragments == Fragments::Reassemble && interface != LOOPBACK;
        match &mut handles[..] {
            [handle] => self.set_up_one(handle, interface, reassemble)?,
            several => self.set_up_several(several, interface, reassemble)?,
        }
        Ok(handles)
    }

    fn set_up_one(&self, handle: &mut Handle, interface: &str, reassemble: bool) -> Result<(), CaptureError> {
        handle.set_filter(interface, self.techniques())?;
        // A group of one is for the sake of reassembly, and not needed without.
        if reassemble && let Err(error) = fanout::create(handle, Mode::One, true) {
            self.log_no_reassembly(interface, error);
        }
        Ok(())
    }

    fn set_up_several(
        &self,
        handles: &mut [Handle],
        interface: &str,
        reassemble: bool,
    ) -> Result<(), CaptureError> {
        let refused = |error: Errno| CaptureError::Interface {
            interface: interface.to_owned(),
            reason: format!("its packets cannot be shared among threads ({error}); try --capture.threads=1"),
        };
        // Since it was opened every socket got every packet, and would until it has joined: let nothing more in, and
        // throw away what is there.
        for handle in &*handles {
            fanout::drop_all(handle).map_err(refused)?;
        }
        discard_waiting(handles)
            .map_err(|reason| CaptureError::Interface { interface: interface.to_owned(), reason })?;
        let create = |reassemble| fanout::create(&handles[0], Mode::BySource, reassemble);
        let group = match create(reassemble) {
            Err(error) if reassemble => {
                self.log_no_reassembly(interface, error);
                create(false)
            }
            answer => answer,
        };
        let group = group.map_err(refused)?;
        self.share(&handles[0], self.ipv6_prefix()).map_err(refused)?;
        for handle in &handles[1..] {
            fanout::join(handle, group).map_err(refused)?;
        }
        for handle in handles {
            handle.set_filter(interface, self.techniques())?;
            // What was thrown away counts nowhere.
            handle.account(&mut CaptureStatus::default());
        }
        Ok(())
    }

    /// Shares the packets of the group of this handle by source, IPv6 by networks of this prefix.
    pub(super) fn share(&self, handle: &Handle, ipv6_prefix: u8) -> Result<(), Errno> {
        fanout::share_by_source(handle, &self.keys, ipv6_prefix)
    }

    fn log_no_reassembly(&self, interface: &str, error: Errno) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            log::info!("{interface}: the kernel does not reassemble IPv4 fragments ({error})");
        }
    }
}

/// Reads what came before anyone was to see it, until the kernel has nothing more of it.
fn discard_waiting(handles: &mut [Handle]) -> Result<(), String> {
    let end = clock::steady() + LAST_BLOCKS;
    while clock::steady() < end {
        std::thread::sleep(LAST_BLOCKS / 10);
        for handle in &mut *handles {
            while handle.dispatch(&mut Discard)?.frames > 0 {}
        }
    }
    Ok(())
}

struct Discard;

impl FrameSink for Discard {
    fn opened(&mut self, _link: LinkType) {}
    fn frame(&mut self, _time: Timestamp, _bytes: &[u8]) {}
    fn batch_end(&mut self) {}
    fn tick(&mut self, _status: &CaptureStatus) {}
}

/// Sets by what the captures of an interface share its packets, and what they look for, from any thread.
#[derive(Clone)]
pub(crate) struct Fanout(pub(super) Arc<Group>);

impl Fanout {
    /// IPv6 sources are aggregated to this many bits: what counts for one of them goes to one thread, from the leader's next
    /// tick on.
    pub(crate) fn aggregate_ipv6(&self, prefix: u8) {
        self.0.ipv6_prefix.store(prefix, Ordering::Relaxed);
    }

    /// The kernel looks for these, from each capture's next tick on.
    pub(crate) fn look_for(&self, techniques: Techniques) {
        *self.0.techniques.lock().unwrap_or_else(PoisonError::into_inner) = techniques;
    }
}
