//! Law 4: memory is fixed at start, whatever arrives. An allocator that counts is the witness.

use lab::traffic::{Attack, Flood, SECOND, START, Space};
use portscan_exporter::detect::{BATCH, Detector, Limits, MOST_SLOW_RULES, Origin, Policy, Probe, Rule};
use portscan_exporter::packet::Timestamp;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static BYTES: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: hands everything to the system's allocator and only counts.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and bytes of an action. The tests of this file share one function, so nobody else allocates meanwhile.
fn allocated(action: impl FnOnce()) -> (u64, u64) {
    let before = (CALLS.load(Relaxed), BYTES.load(Relaxed));
    action();
    (CALLS.load(Relaxed) - before.0, BYTES.load(Relaxed) - before.1)
}

#[test]
fn memory_is_fixed_at_start() {
    for mebibytes in [4, 48, 192] {
        let memory_bytes = mebibytes << 20;
        let limits = Limits { memory_bytes, ..Limits::default() };
        let mut detector = None;
        let (_, bytes) = allocated(|| {
            detector = Some(Detector::new(Policy::default(), limits, 1, Origin::File));
        });
        println!(
            "{mebibytes} MiB: {bytes} bytes at start, {:.3} of the limit",
            bytes as f64 / memory_bytes as f64
        );
        // Which ports scanners want is kept beside the limit: as much for any.
        let wanted = 3 << 19;
        let most = memory_bytes / 100 * 103 + (1 << 20) + wanted;
        assert!(bytes as usize <= most, "{bytes} bytes of {memory_bytes}");
    }

    // The others have a third as much beside it, however many slow rules there are and whatever their thresholds.
    for (mebibytes, ports) in
        [4, 48].into_iter().flat_map(|mebibytes| [60, 200, 65_536].map(|ports| (mebibytes, ports)))
    {
        let hour = Rule::SLOW.window_nanos;
        let slow = (1..=MOST_SLOW_RULES as u64).map(|n| Rule::of_ports(ports, n * hour, hour));
        let slower = [Rule::SWEEP, Rule::HOP].into_iter().chain(slow).collect();
        let policy = Policy { slower, ..Policy::standard() };
        let limits = Limits { memory_bytes: mebibytes << 20, ..Limits::default() };
        let (_, bytes) = allocated(|| drop(Detector::new(policy.clone(), limits, 1, Origin::File)));
        println!("{mebibytes} MiB and three slow rules of {ports} ports: {bytes} bytes at start");
        // Beside the limit: which ports scanners want, and half a MiB for each rule.
        let beside = (3 << 19) + (policy.rules().count() << 19);
        let most = limits.total_bytes(&policy) / 100 * 103 + beside;
        assert!(bytes as usize <= most, "{bytes} bytes of {}", limits.total_bytes(&policy));
    }

    let mut detector = Detector::new(Policy::default(), Limits::default(), 1, Origin::File);
    let mut told = 0_u64;
    let mut run = |what: &str, probes: &[Probe]| {
        let (calls, bytes) = allocated(|| {
            for batch in probes.chunks(BATCH) {
                detector.observe(batch, &mut |_| told += 1);
            }
        });
        println!("{what}: {} probes, {calls} allocations, {bytes} bytes", probes.len());
        assert_eq!(calls, 0, "{what}");
    };

    // Within one window, so that no sweep comes between (a sweep gathers the scans that end in a list).
    let flood = Attack { rate: 1_000_000, packets: 2_000_000, ..Attack::of(Flood::Burst(1)) };
    let probes: Vec<Probe> = (0..flood.packets).map(|n| flood.spoofed(n)).collect();
    run("spoofed sources of one packet", &probes);

    let at = |probe: Probe, nanos: u64| Probe { time: Timestamp(START + 3 * SECOND + nanos), ..probe };
    let scans: Vec<Probe> = flood.scans().iter().zip(0..).map(|(probe, n)| at(*probe, n * 1_000)).collect();
    run("200 ordinary scans", &scans);

    let one = |n: u64, port: u16| {
        at(Probe { source: Space::Ipv6.spoofed(n), port, ..scans[0] }, 100_000_000 + u64::from(port))
    };
    let wide: Vec<Probe> = (0..=u16::MAX).map(|port| one(0, port)).collect();
    run("one scan of all ports", &wide);
    let crowd: Vec<Probe> = (0..20_000)
        .flat_map(|n| (0..100).map(move |port| (n, port)))
        .map(|(n, port)| Probe { time: Timestamp(START + 4 * SECOND), ..one(n + 1, port) })
        .collect();
    run("20,000 scans of 100 ports", &crowd);

    // A tick may gather what ended, and gives it back.
    let (_, bytes) = allocated(|| detector.advance(Timestamp(START + 200 * SECOND), &mut |_| told += 1));
    println!("a tick that ends every scan: {bytes} bytes");
    assert!(told > 0 && bytes < 4 << 20, "{bytes}");
}
