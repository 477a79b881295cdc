//! Records: of scans, and of what is not seen.

pub mod record;
mod flood;
pub mod notify;
mod losses;
mod outages;
pub mod blindness;

pub use flood::{BURST, RATE};
pub use losses::{DROPPED_ID, EVICTED_ID, LOST_ID};
pub use outages::{DOWN_ID, UP_ID};
