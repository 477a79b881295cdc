//! Tags that the kernel left behind a cooked header. On `any` a kernel of 6.10 or newer names in the header what is behind all tags,
//! and leaves the inner ones where they are: the program must find out whether what was named begins at once.

use super::{SNAPLEN_EXTENDED, Writer};
use crate::packet::bpf::{A_IS, IF_EQUAL, LOAD_HALF, Label, SHIFT_RIGHT};
use crate::packet::link::{IPV4, IPV6, MPLS, MPLS_UPSTREAM, PPPOE_FIRST, PPPOE_SESSION, TAGS, UNNAMED};

/// What named packets begin with: IP with its version.
#[derive(Debug, Clone, Copy)]
enum First {
    Version(u32),
    Byte(u8),
}

/// What may be named, and what it begins with.
const NAMED: [(u16, First); 3] =
    [(IPV4, First::Version(4)), (IPV6, First::Version(6)), (PPPOE_SESSION, First::Byte(PPPOE_FIRST))];

impl Writer {
    /// The ether type is at this place of the header. A becomes it, or a tag's if there are tags where it says that there are none.
    ///
    /// A packet that begins as it was named, and all the same has at the place of a tag's ether type what would lead to just that, is
    /// for `decode` to judge, which sees whether it is whole: an IPv4 packet of 2,048 bytes whose identification begins with a 4, or a
    /// frame of somebody who hides.
    pub(super) fn left_tags(&mut self, at: u32) {
        let (tags, bare, unsure, mpls, several, next) =
            (self.label(), self.label(), self.label(), self.label(), self.label(), self.label());
        let single = NAMED.map(|_| self.label());
        self.half(2);
        for ((ether_type, _), label) in NAMED.into_iter().zip(single) {
            self.when(IF_EQUAL, ether_type, label);
        }
        for ether_type in [MPLS, MPLS_UPSTREAM] {
            self.when(IF_EQUAL, ether_type, mpls);
        }
        for tag in TAGS {
            self.when(IF_EQUAL, tag, several);
        }
        self.code.go(bare);
        for ((ether_type, first), label) in NAMED.into_iter().zip(single) {
            self.place(label);
            self.unless_begins(4, first, bare);
            self.code.put(LOAD_HALF, at);
            self.code.unless(IF_EQUAL, ether_type.into(), bare);
            self.unless_begins(0, first, tags);
            self.code.go(unsure);
        }
        self.place(mpls);
        self.code.put(LOAD_HALF, at);
        for ether_type in [MPLS, MPLS_UPSTREAM] {
            self.when(IF_EQUAL, ether_type, unsure);
        }
        self.code.go(bare);
        self.place(several);
        self.code.put(LOAD_HALF, at);
        let begins = NAMED.map(|_| self.label());
        for ((ether_type, _), label) in NAMED.into_iter().zip(begins) {
            self.when(IF_EQUAL, ether_type, label);
        }
        for ether_type in [MPLS, MPLS_UPSTREAM, UNNAMED] {
            self.when(IF_EQUAL, ether_type, unsure);
        }
        self.code.go(bare);
        for ((_, first), label) in NAMED.into_iter().zip(begins) {
            self.place(label);
            self.unless_begins(0, first, tags);
            self.code.go(next);
        }
        // The second ether type.
        self.place(next);
        self.half(6);
        for ether_type in TAGS.into_iter().chain(NAMED.map(|(ether_type, _)| ether_type)) {
            self.when(IF_EQUAL, ether_type, unsure);
        }
        self.code.go(bare);
        self.place(unsure);
        self.give(SNAPLEN_EXTENDED);
        self.place(tags);
        let known = self.label();
        self.code.put(A_IS, TAGS[0].into());
        self.code.go(known);
        self.place(bare);
        self.code.put(LOAD_HALF, at);
        self.place(known);
    }

    /// Jumps if what is so far behind X does not begin like this.
    fn unless_begins(&mut self, at: u32, first: First, otherwise: Label) {
        self.byte(at);
        match first {
            First::Version(version) => {
                self.code.put(SHIFT_RIGHT, 4);
                self.code.unless(IF_EQUAL, version, otherwise);
            }
            First::Byte(byte) => self.code.unless(IF_EQUAL, byte.into(), otherwise),
        }
    }
}
