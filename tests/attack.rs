//! Law 5: a flood hides nobody. 200 scanners of 25 to 60 ports over 8 s, among spoofed sources at a million packets a
//! second of packet time.

mod traffic;

use portscan_exporter::detect::{Evicted, Limits};
use traffic::{Attack, Flood, Outcome, Pace, SECOND, Space};

fn show(name: &str, outcome: &Outcome) {
    let evicted = outcome.snapshot.tally.evicted;
    println!(
        "{name:44} found {:3} others {:2} tracked {:6} evicted door {:8} table {:8} scan {:4}",
        outcome.found,
        outcome.others,
        outcome.snapshot.tracked_sources,
        evicted[Evicted::Doorkeeper as usize],
        evicted[Evicted::Table as usize],
        evicted[Evicted::Scan as usize],
    );
}

/// All are found, nobody else is told of, and nothing is lost from the totals.
fn all_found(name: &str, attack: Attack) {
    let outcome = attack.run(Limits::default());
    show(name, &outcome);
    assert_eq!((outcome.found, outcome.others), (attack.scanners, 0), "{name}");
    assert_eq!(outcome.snapshot.tally.probes.iter().flatten().sum::<u64>(), outcome.sent, "{name}");
    assert!(outcome.snapshot.tracked_sources <= outcome.snapshot.tracked_sources_limit);
}

macro_rules! attacks {
    ($($name:ident: $space:ident, $ports:literal, $pace:ident;)*) => {$(
        #[test]
        fn $name() {
            let attack = Attack {
                space: Space::$space,
                pace: Pace::$pace,
                ..Attack::of(Flood::Burst($ports))
            };
            all_found(stringify!($name), attack);
        }
    )*};
}

attacks! {
    one_port_each: Ipv4, 1, Even;
    one_port_each_and_irregular_scanners: Ipv4, 1, Random;
    bursts_of_two_ports: Ipv4, 2, Even;
    bursts_of_two_ports_and_irregular_scanners: Ipv4, 2, Random;
    bursts_of_five_ports: Ipv4, 5, Even;
    bursts_of_five_ports_and_irregular_scanners: Ipv4, 5, Random;
    bursts_of_fifteen_ports: Ipv4, 15, Even;
    bursts_of_fifteen_ports_and_irregular_scanners: Ipv4, 15, Random;
    ipv6_networks_of_one_port: Ipv6, 1, Even;
    ipv6_networks_of_two_ports: Ipv6, 2, Even;
    ipv6_networks_of_five_ports: Ipv6, 5, Even;
    ipv6_networks_of_fifteen_ports: Ipv6, 15, Random;
}
