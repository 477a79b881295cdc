//! How live captures are made: of one interface, of one that is not there yet, of those that patterns mean.

use super::group::Group;
use super::interfaces::names;
use super::live::Live;
use super::places::{Patterns, Places};
use super::{CaptureError, CaptureStatus, LiveOptions, NOTHING_MATCHES};
use std::sync::Arc;

/// Why a capture that was just made does not capture.
const NOT_YET: &str = "it is not open yet";

impl Live {
    /// Opens the interface for one thread, or says what is in the way and what to try.
    pub fn open(options: LiveOptions) -> Result<Self, CaptureError> {
        let mut all = Self::open_all(LiveOptions { threads: 1, ..options }, 64)?;
        Ok(all.remove(0))
    }

    /// Opens the interface, once for each thread; IPv6 is shared by networks of this prefix (or by /64, if it is longer).
    pub fn open_all(options: LiveOptions, ipv6_prefix: u8) -> Result<Vec<Self>, CaptureError> {
        let mut lives = Self::waiting(options, ipv6_prefix, NOT_YET);
        Self::open_group(&mut lives)?;
        Ok(lives)
    }

    /// Opens the interface of these captures of one group, once for each.
    fn open_group(lives: &mut [Self]) -> Result<(), CaptureError> {
        let group = Arc::clone(&lives[0].group);
        let handles = group.open(&lives[0].interface)?;
        let mut state = group.state();
        (state.lost, state.holding) = (None, handles.len());
        drop(state);
        for (live, handle) in lives.iter_mut().zip(handles) {
            live.handle = Some(handle);
        }
        Ok(())
    }

    /// The same for an interface that cannot be captured now, for this reason: it is tried again until it can.
    pub fn waiting(options: LiveOptions, ipv6_prefix: u8, reason: &str) -> Vec<Self> {
        let options = LiveOptions { threads: options.threads.max(1), ..options };
        Self::of(Group::new(options, ipv6_prefix, reason))
    }

    /// Captures on those interfaces that patterns mean, at most so many at a time: the places of those that are not there yet
    /// wait. With each what is in the way of opening it, if something is; it is tried again.
    pub(crate) fn places(
        options: &LiveOptions,
        ipv6_prefix: u8,
        patterns: Patterns,
        places: usize,
    ) -> Vec<(Vec<Self>, Option<CaptureError>)> {
        let missing = CaptureError::NoSuchInterface { interface: patterns.write(), known: names() };
        let all = Arc::new(Places::new(patterns, places));
        let place = |place| {
            let options = LiveOptions { threads: options.threads.max(1), ..options.clone() };
            let group = Group::new(options, ipv6_prefix, NOT_YET).at(Arc::clone(&all), place);
            let interface = group.wanted();
            group.begin_with(interface.clone());
            let mut lives = Self::of(group);
            let error = match interface {
                Some(_) => Self::open_group(&mut lives).err(),
                // Said if there is nothing else to capture.
                None => (place == 0).then(|| missing.clone()),
            };
            if let Some(error) = &error {
                let reason = match error {
                    CaptureError::NoSuchInterface { .. } => String::from(NOTHING_MATCHES),
                    _ => error.reason(),
                };
                lives[0].group.state().lost = Some(reason);
            }
            (lives, error)
        };
        (0..places).map(place).collect()
    }

    /// One for each thread of a group; none has a handle.
    fn of(group: Group) -> Vec<Self> {
        let interface = Arc::clone(&group.state().interface);
        let (threads, ipv6_prefix) = (group.options.threads, group.ipv6_prefix());
        let group = Arc::new(group);
        let live = |shard| Self {
            interface: Arc::clone(&interface),
            shard,
            group: Arc::clone(&group),
            handle: None,
            totals: CaptureStatus::default(),
            shared_by: ipv6_prefix,
        };
        (0..threads).map(live).collect()
    }
}
