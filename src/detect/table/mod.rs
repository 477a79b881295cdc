//! The table of a rule: which sources have a row, which are on probation, which rows are given up.
//!
//! The adversary spoofs a new source with every packet, or gives each a few ports, to push a scanner out. So while
//! the table is crowded a new source is only on *probation*: eight bytes in the directory, with up to two ports in them.
//! A further port earns it a row, which the eviction queue gives up when others need it more.

mod keys;
mod moving;
mod directory;
mod hints;
mod probation;
mod room;
pub(super) mod eviction;
pub(super) mod set;

pub(super) use directory::{Directory, Found};
pub(super) use keys::Spot;
pub(super) use probation::{Probation, Ruling};
pub(super) use room::Vacated;
