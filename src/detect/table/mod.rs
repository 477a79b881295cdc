//! Who holds a place: a directory of guests and residents.
//!
//! The adversary spoofs a new source with every packet, or gives each a few ports, to push a scanner out. So while
//! the table is crowded a new source is only a *guest*: eight bytes in the directory, with up to two ports in them.
//! A further port earns it an entry, whose order of leaving `eviction` knows.

mod directory;
mod door;
pub(super) mod eviction;
pub(super) mod set;

pub use directory::{Directory, Displaced, Place, Spot};
pub use door::{Asked, Guest};
