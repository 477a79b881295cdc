//! What the process may do: it needs CAP_NET_RAW to capture, and nothing else.

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// Whether packet sockets can be opened. If the kernel will not say, trying tells.
pub fn may_capture() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_RAW))
}

/// Gives up every privilege but CAP_NET_RAW, for good: a flaw in the decoder or the web server is then no way to root.
///
/// Call it before the first thread is started, since capabilities belong to threads, and after whatever needs more
/// (a web port below 1024). Without any privilege it does nothing but forbid new ones.
pub fn confine() -> io::Result<()> {
    set_no_new_privs(true)?;
    // An old kernel has no ambient set; then there is nothing in it.
    let _ = clear_ambient_capability_set();
    let kept = capabilities(None)?.permitted & CapabilitySet::NET_RAW;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}
