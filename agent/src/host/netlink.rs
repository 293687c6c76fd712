//! The frame that all netlink messages have in common (netlink(7)), read and written by hand with
//! every length checked. Host byte order.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use thiserror::Error;

/// `AF_INET` and `AF_INET6` as the messages have them.
pub const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;

/// `NLM_F_ACK`: the end of the answer is marked, as that of a dump is.
pub const ACK: u16 = 0x4;

/// `NLM_F_DUMP`: all there is.
pub const DUMP: u16 = 0x300;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;

/// Length of a `struct nlmsghdr`.
pub const HEADER_BYTES: usize = 16;

/// Length of the head of a `struct nlattr` or `struct rtattr`.
const ATTRIBUTE_BYTES: usize = 4;

/// The kernel writes no more than 32 KiB of a dump at once
/// (<https://github.com/torvalds/linux/blob/v6.12/net/netlink/af_netlink.c>, `netlink_recvmsg`).
const BUFFER_BYTES: usize = 32 * 1024;

/// How long one answer may take: the kernel makes it up in the call that asks for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a question had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NetlinkError {
    /// The kernel refused, or did not answer in time.
    #[error("the kernel refused a netlink request: {0}; check the agent's capabilities")]
    Refused(Errno),
    /// The answer is not in the form of netlink(7).
    #[error("a netlink answer is malformed; please report this with the version of the kernel")]
    Malformed,
}

impl From<Errno> for NetlinkError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// A netlink socket of a protocol (`None`: `NETLINK_ROUTE`, which is number 0) in the namespace of
/// the calling thread; it goes on to speak of that one wherever it is used.
///
/// # Errors
///
/// When the kernel makes none.
pub fn open(protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// A request with its header.
pub fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + body.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or_default().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The port of the kernel.
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// Adds an attribute whose length is a multiple of four.
pub fn push_attribute(body: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = ATTRIBUTE_BYTES + payload.len();
    body.extend(u16::try_from(length).unwrap_or_default().to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(payload);
}

/// The attributes in `bytes`, up to one that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let payload = bytes.get(ATTRIBUTE_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// Sends a request and hands the kind and payload of each message of the answer to `keep`, which
/// says whether it is well-formed.
///
/// # Errors
///
/// [`NetlinkError`].
pub fn ask(socket: &OwnedFd, request: &[u8], sequence: u32, mut keep: impl FnMut(u16, &[u8]) -> bool) -> Result<(), NetlinkError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    rustix::net::send(socket, request, SendFlags::empty())?;
    loop {
        let received = rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut buffer[..], RecvFlags::TRUNC));
        let (filled, sent) = received?;
        let answer = buffer.get(..filled).filter(|_| sent == filled).ok_or(NetlinkError::Malformed)?;
        if read(answer, sequence, &mut keep)? {
            return Ok(());
        }
    }
}

/// Reads the messages of one datagram; whether they were the last.
///
/// # Errors
///
/// [`NetlinkError`].
pub fn read(mut bytes: &[u8], sequence: u32, mut keep: impl FnMut(u16, &[u8]) -> bool) -> Result<bool, NetlinkError> {
    while !bytes.is_empty() {
        let (Some(length), Some(kind), Some(number)) = (u32_at(bytes, 0), u16_at(bytes, 4), u32_at(bytes, 8)) else {
            return Err(NetlinkError::Malformed);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let payload = bytes.get(HEADER_BYTES..length).ok_or(NetlinkError::Malformed)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        if number != sequence {
            continue;
        }
        match kind {
            NLMSG_DONE | NLMSG_ERROR => {
                // Both begin with an error number, negated; 0 is none.
                return match u32_at(payload, 0).ok_or(NetlinkError::Malformed)?.wrapping_neg() {
                    0 => Ok(true),
                    // `MAX_ERRNO` of
                    // <https://github.com/torvalds/linux/blob/v6.12/include/linux/err.h>; rustix
                    // panics at a number that is none.
                    errno @ 1..=4095 => Err(Errno::from_raw_os_error(errno.cast_signed()).into()),
                    _ => Err(NetlinkError::Malformed),
                };
            }
            NLMSG_OVERRUN => return Err(Errno::NOBUFS.into()),
            kind if keep(kind, payload) => {}
            _ => return Err(NetlinkError::Malformed),
        }
    }
    Ok(false)
}

/// `N` bytes at `at`.
pub fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A number of 32 bits at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_ne_bytes)
}

/// A number of 16 bits at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::{attributes, push_attribute};

    #[test]
    fn attributes_are_read_up_to_one_that_does_not_fit() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 1, &[1, 2, 3, 4]);
        push_attribute(&mut bytes, 7, &[]);
        // Length 5: three bytes of padding follow.
        bytes.extend(5_u16.to_ne_bytes());
        bytes.extend(9_u16.to_ne_bytes());
        bytes.extend([5, 0, 0, 0]);
        let whole: [(u16, &[u8]); 3] = [(1, &[1, 2, 3, 4]), (7, &[]), (9, &[5])];
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), whole);
        for cut in 0..bytes.len() {
            assert!(attributes(bytes.get(..cut).unwrap_or_default()).count() <= 3, "cut at {cut}");
        }
        // Shorter than its own head.
        assert_eq!(attributes(&[3, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
    }
}
