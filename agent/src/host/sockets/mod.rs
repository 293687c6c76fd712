//! The TCP sockets that are there already when the agent starts, and the processes that hold them.
//!
//! The sockets come from the kernel by `NETLINK_SOCK_DIAG` (`sock_diag(7)`), one namespace at a
//! time. The few messages that this takes are read here by hand, with every length checked; the
//! structures are those of
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h>, in host byte
//! order except for ports and addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;
use thiserror::Error;

mod owners;

pub use owners::{Holds, fd_owners, fd_owners_told, held_by, holds};

use super::netlink::{self, AF_INET, AF_INET6, HEADER_BYTES, NetlinkError, bytes_at, u32_at};
use super::netns::{self, Handle, NetnsError};

/// `TCP_LISTEN` of <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>.
pub const TCP_LISTEN: u8 = 10;

/// The states that are asked for, as bits of
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>: all but `TCP_TIME_WAIT`
/// (6) and `TCP_NEW_SYN_RECV` (12), of which there can be very many and which have no owner.
const STATES: u32 = 0b10_1111_1011_1110;

const IPPROTO_TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_BYTES: usize = 72;

/// One TCP socket of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagSocket {
    /// This host's side. IPv4-mapped IPv6 addresses are given as IPv4.
    pub local: SocketAddr,
    /// The other side; port 0 for a listener.
    pub peer: SocketAddr,
    /// The number of the state in
    /// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>; [`TCP_LISTEN`] for
    /// a listener.
    pub state: u8,
    /// The inode number that `/proc/PID/fd` shows. Absent when no file descriptor leads to the
    /// socket: a connection that still waits to be accepted, or one that was closed and sends its
    /// last data.
    pub inode: Option<u64>,
    /// The user who made the socket, in the user namespace of the agent.
    pub uid: u32,
    /// The socket cookie, the number that `bpf_get_socket_cookie` gives: the same for the life of
    /// the socket, and not given twice in a network namespace.
    pub cookie: u64,
    /// The inode number of the network namespace.
    pub netns: u32,
}

/// Why the sockets of a namespace could not be listed.
#[derive(Debug, Error)]
pub enum SocketsError {
    /// The namespace could not be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel has no socket diagnosis for TCP.
    #[error("this kernel cannot list TCP sockets; load its module (`modprobe tcp_diag`) or build it with CONFIG_INET_DIAG")]
    Unsupported,
    /// The kernel refused, or did not answer in time.
    #[error("cannot list the TCP sockets of network namespace {netns}: {source}; connections made earlier have no owner there")]
    Netlink {
        /// The inode number of the namespace.
        netns: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer is not in the form of `sock_diag(7)`.
    #[error("the list of TCP sockets of network namespace {netns} is malformed; connections made earlier have no owner there")]
    Malformed {
        /// The inode number of the namespace.
        netns: u32,
    },
}

/// The TCP sockets of a network namespace whose ports (local, peer) `wanted` accepts.
///
/// The list is no snapshot: the kernel goes on opening and closing sockets while it is written.
///
/// # Errors
///
/// When the namespace cannot be entered, or the kernel does not list its sockets.
pub fn dump(netns: &Handle, wanted: impl Fn(u16, u16) -> bool) -> Result<Vec<DiagSocket>, SocketsError> {
    // A netlink socket speaks of the namespace it was made in, wherever it is used.
    let inode = netns.inode();
    let socket = netns.enter(|| netlink::open(Some(SOCK_DIAG)))?.map_err(|errno| failed(inode, errno))?;
    dump_from(&socket, inode, wanted)
}

/// The TCP sockets of the calling thread's own network namespace, as [`dump`]; this takes no
/// privileges.
///
/// # Errors
///
/// When the kernel does not list the sockets.
pub fn dump_own(wanted: impl Fn(u16, u16) -> bool) -> Result<Vec<DiagSocket>, SocketsError> {
    let inode = netns::self_inode()?;
    let socket = netlink::open(Some(SOCK_DIAG)).map_err(|errno| failed(inode, errno))?;
    dump_from(&socket, inode, wanted)
}

fn failed(netns: u32, errno: Errno) -> SocketsError {
    match errno {
        Errno::NOENT | Errno::PROTONOSUPPORT => SocketsError::Unsupported,
        _ => SocketsError::Netlink { netns, source: errno.into() },
    }
}

fn dump_from(socket: &OwnedFd, netns: u32, wanted: impl Fn(u16, u16) -> bool) -> Result<Vec<DiagSocket>, SocketsError> {
    let mut found = Vec::new();
    for (sequence, family) in [(1, AF_INET), (2, AF_INET6)] {
        let keep = |kind: u16, payload: &[u8]| {
            read_message(kind, payload, netns, |socket| {
                if wanted(socket.local.port(), socket.peer.port()) {
                    found.push(socket);
                }
            })
        };
        netlink::ask(socket, &request(family, sequence), sequence, keep).map_err(|error| match error {
            NetlinkError::Refused(errno) => failed(netns, errno),
            NetlinkError::Malformed => SocketsError::Malformed { netns },
        })?;
    }
    Ok(found)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`: all TCP sockets of a family in one of
/// [`STATES`].
fn request(family: u8, sequence: u32) -> Vec<u8> {
    // Family, protocol, no extensions, padding.
    let mut body = vec![family, IPPROTO_TCP, 0, 0];
    body.extend(STATES.to_ne_bytes());
    // The socket id is not looked at in a dump.
    body.resize(REQUEST_BYTES - HEADER_BYTES, 0);
    netlink::request(SOCK_DIAG_BY_FAMILY, netlink::DUMP, sequence, &body)
}

/// Reads one message of an answer and hands its socket to `keep`; whether it is well-formed.
fn read_message(kind: u16, payload: &[u8], netns: u32, mut keep: impl FnMut(DiagSocket)) -> bool {
    if kind == SOCK_DIAG_BY_FAMILY {
        let socket = read_socket(payload, netns);
        let well_formed = socket.is_some();
        socket.into_iter().for_each(&mut keep);
        return well_formed;
    }
    true
}

/// Reads a `struct inet_diag_msg`.
fn read_socket(bytes: &[u8], netns: u32) -> Option<DiagSocket> {
    let family = *bytes.first()?;
    let address = |at: usize| -> Option<IpAddr> {
        match family {
            AF_INET => Some(Ipv4Addr::from(bytes_at::<4>(bytes, at)?).into()),
            AF_INET6 => Some(Ipv6Addr::from(bytes_at::<16>(bytes, at)?).to_canonical()),
            _ => None,
        }
    };
    let port = |at: usize| bytes_at(bytes, at).map(u16::from_be_bytes);
    Some(DiagSocket {
        local: SocketAddr::new(address(8)?, port(4)?),
        peer: SocketAddr::new(address(24)?, port(6)?),
        state: *bytes.get(1)?,
        inode: Some(u32_at(bytes, 68)?.into()).filter(|&inode: &u64| inode != 0),
        uid: u32_at(bytes, 64)?,
        // Two words, the lower first, on machines of either byte order (sock_diag_save_cookie).
        cookie: u64::from(u32_at(bytes, 44)?) | u64::from(u32_at(bytes, 48)?) << 32,
        netns,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]
mod tests;
