//! A service manager: what the exporter tells systemd, and when.

use crate::support::PATIENCE;
use lab::eventually;
use portscan_exporter::system::clock;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What an exporter tells systemd, and when.
pub struct ServiceManager {
    pub path: std::path::PathBuf,
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl ServiceManager {
    /// In the room's own /run, for any user, as systemd's is.
    pub fn listen(name: &str) -> Self {
        let path = std::path::Path::new("/run").join(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                told.lock().unwrap().push((clock::steady(), text));
            }
        });
        Self { path, heard }
    }

    /// Waits until it is told that all is ready; before that it must hear of no reload.
    pub fn until_ready(&self) {
        eventually("READY=1", PATIENCE, || {
            let heard = self.heard.lock().unwrap();
            for (_, message) in heard.iter() {
                if message.starts_with("READY=1\n") {
                    return Some(());
                }
                assert!(message == "WATCHDOG=1\n" || message.starts_with("STATUS="), "{message}");
            }
            None
        });
    }

    /// The latest status.
    pub fn status(&self) -> Option<String> {
        let heard = self.heard.lock().unwrap();
        let lines = heard.iter().flat_map(|(_, text)| text.lines());
        lines.filter_map(|line| line.strip_prefix("STATUS=")).next_back().map(str::to_owned)
    }

    /// The longest time without a beat, from the first to the last.
    pub fn longest_silence(&self) -> Duration {
        let heard = self.heard.lock().unwrap();
        let beats: Vec<Instant> =
            heard.iter().filter(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| *at).collect();
        assert!(beats.len() > 2, "{heard:?}");
        beats.windows(2).map(|two| two[1] - two[0]).max().unwrap()
    }
}
