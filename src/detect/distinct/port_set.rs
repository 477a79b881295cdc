//! A set of ports as bits: what puts those of a block in order.

/// Bits of a word.
const BITS: usize = 64;

/// Any ports, a bit each.
pub(super) struct PortSet([u64; 65_536 / BITS]);

impl PortSet {
    /// No port.
    pub(super) const EMPTY: PortSet = PortSet([0; 65_536 / BITS]);

    /// Takes a port in.
    #[inline]
    pub(super) fn insert(&mut self, port: u16) {
        self.0[usize::from(port) / BITS] |= 1 << (usize::from(port) % BITS);
    }

    /// Whether a port is in it.
    #[inline]
    pub(super) fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port) / BITS] >> (usize::from(port) % BITS) & 1 == 1
    }

    /// Hands over its ports in ascending order.
    pub(super) fn each_ascending(&self, mut take: impl FnMut(u16)) {
        for (at, &word) in self.0.iter().enumerate() {
            let mut left = word;
            while left != 0 {
                take((at * BITS) as u16 + left.trailing_zeros() as u16);
                left &= left - 1;
            }
        }
    }
}
