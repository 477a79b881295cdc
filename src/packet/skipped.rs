//! Why a frame is no probe.

/// Why a frame did not become a packet. A malformed packet is a fact to count, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Neither IPv4 nor IPv6 (ARP, LLDP, …).
    NotIp,
    /// IP, but not TCP.
    NotTcp,
    /// TCP, but no probe: established traffic and backscatter.
    NotProbe,
    /// A piece of a fragmented datagram whose TCP flags another piece holds: a router on the way made it, or an attacker.
    Fragment,
    /// A piece cut so that no piece holds the TCP header whole (RFC 1858, RFC 7112): no honest sender does that.
    TinyFragment,
    /// The capture cut it before the end of the TCP header.
    Truncated,
    /// IPv6 extension headers that go on beyond what was captured: live, no honest sender has so many.
    ExtensionHeaders,
    /// Behind more tags or labels than `decode` steps over.
    Tags,
    /// It carries another packet, which is not looked at (`--capture.tunnels`).
    Tunnel,
    /// Its headers contradict themselves.
    Malformed,
    /// A probe of a file that does not say when it was (never live).
    NoTime,
    /// A piece of a datagram that was put together here (live, the kernel does most of it unseen); its last piece counts as the
    /// packet.
    Reassembled,
}

impl Skipped {
    /// Every reason.
    pub const ALL: [Skipped; 12] = [
        Skipped::NotIp,
        Skipped::NotTcp,
        Skipped::NotProbe,
        Skipped::Fragment,
        Skipped::TinyFragment,
        Skipped::Truncated,
        Skipped::ExtensionHeaders,
        Skipped::Tags,
        Skipped::Tunnel,
        Skipped::Malformed,
        Skipped::NoTime,
        Skipped::Reassembled,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Skipped::NotIp => "not_ip",
            Skipped::NotTcp => "not_tcp",
            Skipped::NotProbe => "not_probe",
            Skipped::Fragment => "fragment",
            Skipped::TinyFragment => "tiny_fragment",
            Skipped::Truncated => "truncated",
            Skipped::ExtensionHeaders => "extension_headers",
            Skipped::Tags => "tags",
            Skipped::Tunnel => "tunnel",
            Skipped::Malformed => "malformed",
            Skipped::NoTime => "no_time",
            Skipped::Reassembled => "reassembled",
        }
    }
}
