//! The core: probes in, scan events and snapshots out. Pure and deterministic: no clock, no I/O, no
//! logging, no allocation per packet. What every number means is in the README, section "What counts as a scan".
//!
//! # Who owns what
//!
//! ```text
//! probes ─▶ detector: the timeline, what is ignored ─▶ tracker, one for each rule ─▶ events, and a snapshot at each tick
//!                                                          │ what is no scan by it is handed down to the next slower one,
//!                                                          ▼ and at last to targets: hosts that many ask for a few ports each
//!             batch: while probes wait, the              table: who has a row, who waits, who must go
//!             cache fetches their rows                   rows: each source's counts (distinct) and episode, by the verdict
//!                                                        retired: peaks that outlive their rows
//! ```
//!
//! # Laws
//!
//! | law | held by |
//! |---|---|
//! | 1. *Deterministic*: the same packets, policy, limits and seed give the same events and snapshots. | `tests/laws.rs::told_is_the_truth_or_a_lower_bound_that_says_so` |
//! | 2. *Tick-invariant*: more ticks change when events are handed out, never what they say. | `tests/laws.rs::told_is_the_truth_or_a_lower_bound_that_says_so`, `tests/rules.rs::the_ports_of_scans_are_exact_whenever_ticks_come` |
//! | 3. *Exact*: while there is room, counts, peaks, hits and scans equal the oracle's, within a sixtieth of the window. | `tests/laws.rs::told_is_the_truth_or_a_lower_bound_that_says_so`, `tests/laws.rs::exact_however_full_the_table_is_or_the_doubt_is_counted`, `tests/laws.rs::any_threshold_hits_at_its_own_port_and_counts_on`, `tests/laws.rs::classes_do_not_add_up`; of the other rules `tests/rules.rs::a_slower_rule_is_exact`, `tests/rules.rs::a_rule_that_counts_hosts_is_exact`, `tests/rules.rs::a_rule_about_networks_is_exact`, `tests/distributed.rs::what_many_do_is_told_exactly` |
//! | 4. *Bounded*: memory is fixed at start, whatever arrives; where it is spent, numbers are lower bounds and say so. | `tests/bounded.rs::memory_is_fixed_at_start`, `tests/laws.rs::told_is_the_truth_or_a_lower_bound_that_says_so` |
//! | 5. *A flood hides nobody* while its rate times the window fits the doorkeeper; beyond that evictions are counted. | `tests/attack.rs::all_are_found_whatever_the_seed`, `tests/attack.rs::silence_among_noise_hides_nobody`, `tests/attack.rs::the_slowest_scanners_are_found_or_the_loss_is_counted`, `tests/rules_attack.rs::scanners_are_found_or_the_loss_is_counted` |
//! | 6. *Time never runs back*, and a step of the clock makes neither a hit nor blindness. | `src/detect/detector.rs::a_clock_that_is_set_back_neither_hits_nor_blinds`, `tests/laws.rs::told_is_the_truth_or_a_lower_bound_that_says_so` |
//! | 7. *Silence is silence*: captures of ordinary traffic yield nothing. | `tests/cases.rs::every_case_gives_what_it_must` |
//! | 8. *Keys come from the wire*, so the hash has a seed that nobody knows, and who knows it all the same hides nobody. | `src/detect/tracker/mod.rs::chosen_neighbours_hide_nobody` |
//! | 9. *Isolation*: another rule changes no event and no count of the others. Each has a tracker of its own, and slower ones get what the faster hand down. | `tests/rules.rs::a_slower_rule_changes_nothing_of_a_faster_one` |
//! | 10. *One gate*: goldens and laws stay the same while the code changes; `cargo bench --bench micro` is the gate of speed. | `tests/goldens.rs::text_and_json_are_as_reviewed` |

// What a probe is, and who sent it.
mod probe;
mod ranges;
mod scan;

// By which rule it is judged.
mod ignore;
mod names;
mod party;
mod provenance;
mod networks;
mod subject;
mod rule;
mod ground;
mod tuning;
mod verdict;

// What is kept of a source, and where.
mod memory;
mod time;
mod distinct;
mod episode;
mod majority;
mod row;
mod rows;
mod table;
mod worth;
mod retired;

// Who is tracked, and what is shown of it.
mod batch;
mod sink;
mod wanted;
mod tracker;
mod targets;
mod explain;
mod snapshot;
mod merge;
mod detector;

pub use detector::Detector;
pub use explain::{ByRule, Explanation, Tracked};
pub use ignore::{Pair, PairTo, Pairs};
pub use majority::Confidence;
pub use memory::OutOfMemory;
pub use names::{Alerts, ByName, Name, Names};
pub use networks::Networks;
pub use party::{Parties, Prefixes};
pub(crate) use probe::Ipv4Probe;
pub use probe::{Class, Family, Probe, Reply, Signature, Technique, Techniques, Tool};
pub use provenance::{Country, Databases, Provenance};
pub use ranges::PortRanges;
pub use rule::{Limits, MOST_RULES, MOST_SLOW_RULES, Policy, Rule, Subject};
pub use scan::{EventKind, Grade, Kind, PortSample, Replies, Scan, ScanEvent, ScanId, Source, SourceSample};
pub use snapshot::{Counters, Evicted, Ignored, PublishedSource, Snapshot, Withdrawn};
pub use time::timeline::Origin;
pub use tuning::{BATCH, BURST_BOUNDS, MOST_SLOTS, NAMED_RANGES, SAMPLE_PORTS, WANTED_EPOCHS};
pub use wanted::PortSources;

#[cfg(test)]
mod world;
