//! portscan_exporter: who scans my hosts? (map to come)
pub mod capture;
pub mod clock;
pub mod decode;
pub mod detect;
pub mod filter;
#[cfg(test)]
mod frames;
pub mod packet;
pub mod privilege;
pub mod snapshot;
