//! portscan_exporter: who scans my hosts? (map to come)
pub mod board;
pub mod capture;
pub mod clock;
pub mod decode;
pub mod detect;
pub mod metrics;
pub mod packet;
pub mod snapshot;
pub mod web;
