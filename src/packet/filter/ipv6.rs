//! IPv6, behind its extension headers, and first pieces of it.

use super::{OWN_EXTENSIONS, SNAPLEN, SNAPLEN_EXTENDED, Writer};
use crate::packet::Technique;
use crate::packet::bpf::{
    A_TO_X, ADD, ADD_X, AND, IF_ANY_BIT, IF_EQUAL, LOAD_MEMORY, Label, SHIFT_LEFT, STORE, X_TO_A,
};
use crate::packet::ip::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, LEAD_TO_TCP, ROUTING, SCTP, TCP};

impl Writer {
    /// X is at an IPv6 header.
    pub(super) fn ipv6(&mut self) {
        let (plain, tcp, piece) = (self.label(), self.label(), self.label());
        self.byte(6);
        self.when(IF_EQUAL, TCP, plain);
        self.step_with(40);
        let other = self.label();
        for level in 0..OWN_EXTENSIONS {
            self.extension(level == 0, (tcp, piece, other));
        }
        // A longer chain.
        self.give(SNAPLEN_EXTENDED);

        // A is what the fragment header at X says is next.
        self.place(piece);
        let (wanted, later) = (self.label(), self.label());
        for next in LEAD_TO_TCP {
            self.when(IF_EQUAL, next, wanted);
        }
        if self.techniques.contains(Technique::Sctp) {
            // What a first piece asks may be in another one.
            self.when(IF_EQUAL, SCTP, wanted);
        }
        self.code.put(STORE, 0);
        self.half(2);
        self.when(IF_ANY_BIT, 0xfff8_u32, later);
        self.step(8);
        self.code.put(LOAD_MEMORY, 0);
        self.code.go(other);
        self.place(later);
        self.drop();
        self.place(wanted);
        self.give(SNAPLEN_EXTENDED);

        self.place(tcp);
        self.flags(0, SNAPLEN_EXTENDED);
        self.place(plain);
        self.flags(40, SNAPLEN);
        self.place(other);
        self.datagrams_of_ipv6(SNAPLEN_EXTENDED);
    }

    /// A is the kind of the header at X. Goes on with the next one's.
    fn extension(&mut self, first: bool, (tcp, piece, other): (Label, Label, Label)) {
        let (options, authentication, fragment, next) =
            (self.label(), self.label(), self.label(), self.label());
        self.when(IF_EQUAL, TCP, tcp);
        if first {
            self.when(IF_EQUAL, HOP_BY_HOP, options);
        }
        self.when(IF_EQUAL, DESTINATION, options);
        self.when(IF_EQUAL, ROUTING, options);
        self.when(IF_EQUAL, FRAGMENT, fragment);
        self.when(IF_EQUAL, AUTHENTICATION, authentication);
        self.code.go(other);

        self.place(fragment);
        self.half(2);
        let whole = self.label();
        // Nothing of reserved bits: an offset, or more to follow.
        self.code.put(AND, 0xfff9);
        self.when(IF_EQUAL, 0_u32, whole);
        self.byte(0);
        self.code.go(piece);
        self.place(whole);
        self.byte(0);
        self.code.put(STORE, 0);
        self.code.put(X_TO_A, 0);
        self.code.put(ADD, 8);
        self.code.go(next);

        self.place(authentication);
        self.length(2, 2);
        self.code.go(next);

        self.place(options);
        self.length(1, 3);
        self.place(next);
        self.code.put(A_TO_X, 0);
        self.code.put(LOAD_MEMORY, 0);
    }

    /// Keeps the kind of the next header; A is where it begins. A header gives its length less `first` units of 2^`shift` bytes.
    fn length(&mut self, first: u32, shift: u32) {
        self.byte(0);
        self.code.put(STORE, 0);
        self.byte(1);
        self.code.put(ADD, first);
        self.code.put(SHIFT_LEFT, shift);
        self.code.put(ADD_X, 0);
    }
}
