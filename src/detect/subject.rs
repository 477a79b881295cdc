//! Whose counts a rule judges.

/// Who is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A source: an IPv4 address, or an IPv6 network of `Policy::parties` bits.
    Source,
    /// An IPv6 network of this many bits: who changes his /64 with each probe is one there. It takes many sources in it: what one
    /// of them does alone is for the rules of sources.
    Network(u8),
    /// A host that is asked: many sources that each ask for a few ports of it are one scan. It takes what no rule about sources has
    /// found.
    Target,
}

impl Subject {
    /// The word in answers.
    pub const fn label(self) -> &'static str {
        match self {
            Subject::Source => "source",
            Subject::Network(_) => "network",
            Subject::Target => "target",
        }
    }

    /// Its part of the memory that the slower rules have together. Networks that hop are few, and so are hosts.
    pub(super) const fn weight(self) -> usize {
        match self {
            Subject::Source => 7,
            Subject::Network(_) | Subject::Target => 1,
        }
    }
}
