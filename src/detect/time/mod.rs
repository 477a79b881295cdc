//! Time as the core keeps it: it never runs back, and the tables keep it in quanta.

pub(super) mod present;
pub(super) mod quantum;
pub(super) mod timeline;
