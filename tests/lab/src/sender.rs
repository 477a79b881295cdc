//! A sender of many frames: a packet socket that takes several a system call, faster than what hears it.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// Frames a system call. More gain nothing, and would come in clumps at low rates.
pub const CLUMP: usize = 64;

/// The shortest Ethernet frame, without its checksum.
pub const FRAME: usize = 60;

/// A packet socket on eth0 that only sends.
pub struct Out(OwnedFd);

impl Out {
    pub fn open() -> io::Result<Self> {
        let failed = |what| io::Error::other(format!("{what}: {}", io::Error::last_os_error()));
        // SAFETY: no pointer is passed. Protocol 0: it receives nothing.
        #[allow(unsafe_code, reason = "rustix binds no packet sockets")]
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(failed("a packet socket"));
        }
        // SAFETY: it was just opened and has no other owner.
        #[allow(unsafe_code, reason = "from here on it closes itself")]
        let out = Self(unsafe { OwnedFd::from_raw_fd(socket) });
        let index = rustix::net::netdevice::name_to_index(&out.0, "eth0")?;
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the descriptor is open, the address has the size that is told, and is only read.
        #[allow(unsafe_code, reason = "rustix binds no packet sockets")]
        let refused = unsafe {
            let size = size_of_val(&address) as libc::socklen_t;
            libc::bind(out.0.as_raw_fd(), (&raw const address).cast(), size)
        };
        if refused != 0 {
            return Err(failed("eth0"));
        }
        // SAFETY: as above, an int. A queue of the sender's interface would only cost time.
        #[allow(unsafe_code, reason = "rustix has no options of packet sockets")]
        let refused = unsafe {
            let (yes, size) = (1_i32, size_of::<i32>() as libc::socklen_t);
            let option = libc::PACKET_QDISC_BYPASS;
            libc::setsockopt(out.0.as_raw_fd(), libc::SOL_PACKET, option, (&raw const yes).cast(), size)
        };
        if refused == 0 { Ok(out) } else { Err(failed("PACKET_QDISC_BYPASS")) }
    }

    /// Sends all of at most `CLUMP` frames. One that the kernel had no room for is sent again: every frame arrives.
    pub fn send(&self, frames: &[[u8; FRAME]]) -> io::Result<()> {
        let mut done = 0;
        while done < frames.len() {
            let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: FRAME }; CLUMP];
            // SAFETY: a header of null pointers and zero lengths is one of an empty message.
            #[allow(unsafe_code, reason = "libc's headers have private padding on some systems")]
            let mut headers: [libc::mmsghdr; CLUMP] = unsafe { std::mem::zeroed() };
            let left = frames[done..].iter().take(CLUMP);
            for ((frame, part), header) in left.zip(&mut parts).zip(&mut headers) {
                part.iov_base = frame.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
            }
            let count = (frames.len() - done).min(CLUMP) as libc::c_uint;
            // SAFETY: `count` headers point at one part each, the parts at frames of the length told; all outlive the
            // call, which reads the frames and writes only the lengths in the headers.
            #[allow(unsafe_code, reason = "one call for many frames has no safe wrapper")]
            let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
            match usize::try_from(sent) {
                Ok(sent) => done += sent,
                Err(_) => match io::Error::last_os_error() {
                    error
                        if matches!(
                            error.raw_os_error(),
                            Some(libc::ENOBUFS | libc::EINTR | libc::EAGAIN)
                        ) => {}
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }
}
