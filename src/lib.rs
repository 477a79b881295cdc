//! portscan_exporter: who scans my hosts? (map to come)
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod detect;
pub mod packet;
pub mod report;
pub mod settings;
pub mod snapshot;
pub mod units;
pub mod version;
