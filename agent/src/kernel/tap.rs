//! Where the packet tap listens: a pair of packet sockets in each watched network namespace.
//!
//! The sockets are bound to one protocol each, so that they see what arrives and nothing that leaves, and cost nothing on the way out
//! (packet(7)). They keep their namespace alive, so those of a namespace that nothing else keeps are closed ([`Tap::retain`]).

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    programs::{ProgramError, SocketFilter},
};
use thiserror::Error;

use crate::host::netns::{Handle, NetnsError};

/// Namespaces listened in at once.
const MAX_NAMESPACES: usize = 4096;

/// Name of the program.
const PROGRAM: &str = "tap";

/// Why the tap does not listen in a namespace.
#[derive(Debug, Error)]
pub enum TapError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("missing CAP_NET_RAW: no packet socket can be opened ({0})")]
    Denied(#[source] io::Error),
    #[error("no packet socket can be opened: {0}")]
    Socket(#[source] io::Error),
    #[error("the tap cannot be attached to a packet socket: {0}")]
    Attach(String),
    #[error("{MAX_NAMESPACES} network namespaces are listened in already")]
    TooMany,
}

/// The sockets, by the inode number of their namespace.
#[derive(Debug, Default)]
pub struct Tap {
    sockets: HashMap<u32, [OwnedFd; 2]>,
}

impl Tap {
    /// Loads the program.
    ///
    /// # Errors
    ///
    /// What the verifier said.
    pub fn load(ebpf: &mut Ebpf) -> Result<Self, ProgramError> {
        program(ebpf)?.load()?;
        Ok(Self::default())
    }

    /// Listens in a namespace. Does nothing where it does so already.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, or no socket opened there.
    pub fn listen(&mut self, ebpf: &mut Ebpf, netns: &Handle) -> Result<(), TapError> {
        if self.sockets.contains_key(&netns.inode()) {
            return Ok(());
        }
        if self.sockets.len() >= MAX_NAMESPACES {
            return Err(TapError::TooMany);
        }
        let sockets = netns.enter(|| Ok([open()?, open()?]))?.map_err(|error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM) => TapError::Denied(error),
            _ => TapError::Socket(error),
        })?;
        let program = program(ebpf).map_err(|error| TapError::Attach(super::error::first_line(&error)))?;
        for (socket, protocol) in sockets.iter().zip([libc::ETH_P_IP, libc::ETH_P_IPV6]) {
            // The filter first: a bound socket without one would collect packets.
            program.attach(socket).map_err(|error| TapError::Attach(super::error::first_line(&error)))?;
            bind(socket, protocol).map_err(TapError::Socket)?;
        }
        self.sockets.insert(netns.inode(), sockets);
        Ok(())
    }

    /// Whether the tap listens in a namespace.
    pub fn listens_in(&self, netns: u32) -> bool {
        self.sockets.contains_key(&netns)
    }

    /// Stops listening in all namespaces but those that `alive` says are still used.
    pub fn retain(&mut self, alive: impl Fn(u32) -> bool) {
        self.sockets.retain(|netns, _| alive(*netns));
    }

    /// Stops listening.
    pub fn close(&mut self) {
        self.sockets.clear();
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SocketFilter, ProgramError> {
    ebpf.program_mut(PROGRAM).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
}

/// A packet socket that is bound to no protocol yet, in the namespace of the calling thread.
fn open() -> io::Result<OwnedFd> {
    // SAFETY: no memory is handed over.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds to one protocol on all interfaces.
fn bind(socket: &OwnedFd, protocol: i32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: u16::try_from(protocol).unwrap_or_default().to_be(),
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the address is valid for the length given, and the kernel copies it.
    let failed = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
