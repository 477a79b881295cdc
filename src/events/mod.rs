//! Records: of scans, and of what is not seen.

pub mod record;
mod flood;
mod storm;
pub mod notify;
mod losses;
mod outages;
pub(crate) mod blindness;

pub use flood::{BURST, RATE};
