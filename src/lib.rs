//! portscan_exporter: who scans my hosts?
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod detect;
pub mod filter;
#[cfg(test)]
mod frames;
pub mod logger;
pub mod notify;
pub mod packet;
pub mod pipeline;
pub mod privilege;
pub mod replay;
pub mod report;
pub mod settings;
pub mod snapshot;
pub mod systemd;
pub mod units;
pub mod version;
