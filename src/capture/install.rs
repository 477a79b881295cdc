//! Gives libpcap a filter that we wrote: the pcap crate takes only expressions.

#![allow(unsafe_code, reason = "two calls of libpcap that the pcap crate keeps to itself")]

use crate::packet::filter::Instruction;
use pcap::{Active, Capture};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// `struct bpf_program` of pcap/bpf.h.
#[repr(C)]
struct Program {
    length: c_uint,
    instructions: *const Instruction,
}

unsafe extern "C" {
    fn pcap_setfilter(handle: *mut c_void, program: *const Program) -> c_int;
    fn pcap_geterr(handle: *mut c_void) -> *const c_char;
}

/// Puts the filter in force, or says in libpcap's words why not.
pub(super) fn filter(capture: &mut Capture<Active>, instructions: &[Instruction]) -> Result<(), String> {
    let handle = capture.as_ptr().cast();
    let length = c_uint::try_from(instructions.len()).map_err(|error| error.to_string())?;
    let program = Program { length, instructions: instructions.as_ptr() };
    // SAFETY: the handle is open and ours alone as long as it is borrowed. libpcap checks the program and copies it before
    // it returns (pcap_setfilter(3PCAP)).
    if unsafe { pcap_setfilter(handle, &raw const program) } == 0 {
        return Ok(());
    }
    // SAFETY: the text belongs to the handle, ends with a NUL, and is copied before the next call.
    Err(unsafe { CStr::from_ptr(pcap_geterr(handle)) }.to_string_lossy().trim().to_owned())
}
