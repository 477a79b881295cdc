//! The distinct ports of a source: few in line, many in a compact exact form, all 65,536 countable.
//!
//! A source starts with a short list. When that is full its ports move to a block, and to larger blocks as they grow in
//! number. While a scan is open, ports that left the window are kept too, so that its union is a count. When no block is left, a
//! set stops growing where it is ("saturated"): its numbers are lower bounds from then on, and say so. An attacker
//! who opens many wide scans makes others' counts stop above the threshold, and nobody's hit late: a short list holds half as
//! many ports again as the threshold. Only thresholds above `LIST_THRESHOLD` need a block for the hit itself.

// Many, one cell each; few, in a list; and whose they are.
mod answers;
pub(super) mod block;
mod header;
mod list;
mod named;
mod plan;
mod port_set;
mod ports;
mod store;

// What else is kept of them: the hosts that were asked, and the greatest counts.
pub(super) mod hosts;
pub(super) mod peaks;

// The hosts of a source, for rules that count them.
pub(super) mod peers;

pub(crate) use answers::Answer;
pub(crate) use plan::Plan;
pub(crate) use ports::Ports;
pub(crate) use store::PortStore;
