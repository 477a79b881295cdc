//! An interface whose other end is the test: what is written to it arrives, and it calls itself of any kind.

use crate::spaces::inside;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

/// `TUNSETIFF` and `TUNSETLINK` of linux/if_tun.h.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca_u32 as libc::Ioctl;
const TUNSETLINK: libc::Ioctl = 0x4004_54cd_u32 as libc::Ioctl;

/// A tun device, until it is dropped. Nobody reads what leaves: its queue takes 500 packets and drops the others.
pub struct Tun(File);

impl Tun {
    /// In a namespace, down, of this kind (`ARPHRD_*` of linux/if_arp.h).
    ///
    /// # Panics
    /// If the kernel has no tun, or refuses.
    pub fn new(space: &str, name: &str, kind: u16) -> Self {
        let name = name.to_owned();
        let made = inside(space, move || {
            let device =
                File::options().read(true).write(true).open("/dev/net/tun").expect("a kernel with tun");
            let mut request = [0_u8; 40];
            request[..name.len()].copy_from_slice(name.as_bytes());
            let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
            request[16..18].copy_from_slice(&flags.to_ne_bytes());
            // SAFETY: the request is as long as `struct ifreq`; the second call takes a number.
            #[allow(unsafe_code, reason = "tun has no safe wrapper")]
            let refused = unsafe {
                libc::ioctl(device.as_raw_fd(), TUNSETIFF, request.as_mut_ptr())
                    | libc::ioctl(device.as_raw_fd(), TUNSETLINK, libc::c_ulong::from(kind))
            };
            assert_eq!(refused, 0, "{}", std::io::Error::last_os_error());
            device
        });
        Self(made.join().unwrap())
    }

    /// These packets arrive.
    pub fn inject(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) {
        for packet in packets {
            self.0.write_all(&packet).unwrap();
        }
    }
}
