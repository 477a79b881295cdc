//! What hostile clients and scanners do, over and over, until it is dropped.

use crate::http::{connect, connect_from, scrape};
use crate::support::{PATIENCE, PROMPT};
use lab::{Lab, eventually};
use portscan_exporter::system::clock;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

/// Something that goes on in the network of `srv` until it is dropped.
pub struct Attack {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    rounds: Arc<AtomicU32>,
}

impl Attack {
    /// Runs `round` over and over; what it keeps open stays open until the attack is over.
    pub fn start(mut round: impl FnMut(SocketAddr, &mut Vec<TcpStream>) + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = lab::inside("lab-srv", move || {
            let mut open = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                round("192.0.2.10:10220".parse().unwrap(), &mut open);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, thread: Some(thread), rounds }
    }

    pub fn rounds(&self) -> u32 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the attack failed, not the exporter");
        }
    }
}

/// Keeps so many connections open.
pub fn fill(open: &mut Vec<TcpStream>, most: usize, to: SocketAddr) {
    for _ in open.len()..most {
        match connect(to) {
            Ok(stream) => open.push(stream),
            Err(_) => return,
        }
    }
}

/// Scrapes while an attack goes on; tells how long they took.
pub fn scraped_during(lab: &Lab, what: &str, attack: &Attack) {
    eventually("the attack to begin", PATIENCE, || (attack.rounds() > 0).then_some(()));
    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            thread::sleep(Duration::from_millis(50));
            scrape(lab, "127.0.0.1")
        })
        .collect();
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{what}: a scrape took {median:?} (median), {most:?} (most); {} rounds", attack.rounds());
    assert!(most < PROMPT, "{what}: {took:?}");
}

/// Fills up to so many connections with requests, and reads no answer.
pub fn never_read(open: &mut Vec<TcpStream>, most: usize, from: &str, to: SocketAddr) {
    let many = "GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n".repeat(300);
    for _ in open.len()..most {
        let Ok(stream) = connect_from(from, to) else { break };
        stream.set_nonblocking(true).unwrap();
        open.push(stream);
    }
    open.retain_mut(|stream| match stream.write(many.as_bytes()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    });
    thread::sleep(Duration::from_millis(20));
}

/// Keeps so many connections that pipeline requests and read what they are answered.
pub fn pipeline(open: &mut Vec<TcpStream>, most: usize, from: &str, to: SocketAddr) {
    let many = "GET /metrics HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\n\r\n".repeat(50);
    for _ in open.len()..most {
        let Ok(stream) = connect_from(from, to) else { break };
        stream.set_nonblocking(true).unwrap();
        open.push(stream);
    }
    let mut bytes = vec![0; 256 << 10];
    let would_block = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    open.retain_mut(|stream| {
        let written = stream.write(many.as_bytes()).map_or_else(would_block, |_| true);
        written && stream.read(&mut bytes).map_or_else(would_block, |read| read > 0)
    });
}

/// SYNs at 100,000 a second, each from a new source, until it is dropped.
pub fn flood() -> Attack {
    let address = |n: u32| Ipv4Addr::from(0xc612_0000 + n);
    let frames: Vec<Vec<u8>> = (0..100_000).map(|n| lab::frames::syn(address(n), &[], 80)).collect();
    let mut out = None;
    let (start, mut sent) = (clock::steady(), 0_usize);
    Attack::start(move |_, _| {
        let out = out.get_or_insert_with(|| pcap::Capture::from_device("eth0").unwrap().open().unwrap());
        let due = usize::try_from(start.elapsed().as_micros() / 10).unwrap();
        // What a busy machine kept from being sent is not made up for at once.
        sent = sent.max(due.saturating_sub(5_000));
        while sent < due {
            let _ = out.sendpacket(&*frames[sent % frames.len()]);
            sent += 1;
        }
        thread::sleep(Duration::from_millis(2));
    })
}
