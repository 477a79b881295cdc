//! portscan_exporter: who scans my hosts? (map to come)
pub mod capture;
pub mod clock;
pub mod decode;
pub mod detect;
pub mod logger;
pub mod notify;
pub mod packet;
pub mod snapshot;
pub mod systemd;
