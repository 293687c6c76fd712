//! Where the packet tap listens: packet sockets in each watched network namespace.
//!
//! Two are bound to one protocol each, so that they see what arrives and nothing that leaves, each packet once, and cost nothing on the way
//! out (packet(7)). A third for all protocols sees what leaves; it can be left out. All keep their namespace alive, so those of a namespace
//! that nothing else keeps are closed ([`Tap::retain`]).

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
    programs::{ProgramError, SocketFilter},
};
use thiserror::Error;

use super::verified::{Load, Verified};
use crate::host::netns::{Handle, NetnsError};

/// Namespaces listened in at once.
const MAX_NAMESPACES: usize = 4096;

/// Programs for what arrives, each with its protocol, and for what leaves.
const ARRIVING: [(&str, i32); 2] = [("tap_ipv4", libc::ETH_P_IP), ("tap_ipv6", libc::ETH_P_IPV6)];
const EGRESS: &str = "egress";

/// The program that both of them hand segments to that AMQP is followed in, and the map by which they find it.
const FOLLOWER: &str = "amqp";
const FOLLOWERS: &str = "FOLLOWERS";

/// Says `1` on a kernel with `PREEMPT_RT` (<https://github.com/torvalds/linux/blob/v6.12/kernel/ksysfs.c>).
const REALTIME: &str = "/sys/kernel/realtime";

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
pub struct Tap {
    sockets: HashMap<u32, Vec<OwnedFd>>,
    /// Why what leaves is not seen.
    egress: Result<(), String>,
    /// The kernel empties this map when nobody in user space holds it any more.
    followers: Result<ProgramArray<MapData>, String>,
}

/// The programs that [`Tap::load`] will load.
pub(super) fn programs<'a>(extras: Extras) -> impl Iterator<Item = (&'static str, Load<'a>)> {
    let follower = (extras.amqp && !preempts_softirqs()).then_some(FOLLOWER);
    // The one that takes longest to verify first.
    let names = follower.into_iter().chain(ARRIVING.map(|(name, _)| name)).chain(extras.egress.then_some(EGRESS));
    names.map(|name| (name, Load::SocketFilter))
}

/// Which programs are wanted beside that for what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extras {
    /// What leaves.
    pub egress: bool,
    /// What AMQP says.
    pub amqp: bool,
}

impl Tap {
    /// Name of the program for frames of a type (`ETH_P_*`, host byte order) that arrive, where there is one.
    pub(super) fn arriving(ethertype: u16) -> Option<&'static str> {
        ARRIVING.iter().find(|(_, protocol)| *protocol == i32::from(ethertype)).map(|(name, _)| *name)
    }

    /// Loads the programs.
    ///
    /// # Errors
    ///
    /// What the verifier said of the one for what arrives.
    pub(super) fn load(ebpf: &mut Ebpf, extras: Extras, verified: &mut Verified) -> Result<Self, ProgramError> {
        let mut load = |ebpf: &mut Ebpf, name: &str| verified.load(ebpf, name, Load::SocketFilter);
        ARRIVING.iter().try_for_each(|(name, _)| load(ebpf, name))?;
        let followers = if extras.amqp { follow(ebpf, &mut load) } else { Err("turned off by --amqp off".to_owned()) };
        let egress = if extras.egress {
            load(ebpf, EGRESS).map_err(|error| super::hooks::explain(&error))
        } else {
            Err("turned off by --egress off".to_owned())
        };
        Ok(Self { sockets: HashMap::new(), egress, followers })
    }

    /// Whether AMQP is followed.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn amqp(&self) -> Result<(), &str> {
        self.followers.as_ref().map(|_| ()).map_err(String::as_str)
    }

    /// Whether what leaves is seen.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn egress(&self) -> Result<(), &str> {
        self.egress.as_ref().copied().map_err(String::as_str)
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
        let mut wanted = ARRIVING.to_vec();
        if self.egress.is_ok() {
            wanted.push((EGRESS, libc::ETH_P_ALL));
        }
        let opened = netns.enter(|| wanted.iter().map(|_| open()).collect::<io::Result<Vec<_>>>())?;
        let sockets = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => TapError::Denied(error),
            _ => TapError::Socket(error),
        })?;
        // Before the first packet from there.
        let only = if self.sockets.is_empty() { netns.inode() } else { 0 };
        super::filter::set_only_netns(ebpf, only).map_err(|error| TapError::Attach(super::error::first_line(&error)))?;
        for (socket, (name, protocol)) in sockets.iter().zip(wanted) {
            let attach = |error: &ProgramError| TapError::Attach(super::error::first_line(error));
            // The filter first: a bound socket without one would collect packets.
            program(ebpf, name).map_err(|error| attach(&error))?.attach(socket).map_err(|error| attach(&error))?;
            bind(socket, protocol).map_err(TapError::Socket)?;
        }
        self.sockets.insert(netns.inode(), sockets);
        Ok(())
    }

    /// Whether the tap listens in a namespace.
    pub fn listens_in(&self, netns: u32) -> bool {
        self.sockets.contains_key(&netns)
    }

    /// Namespaces that it listens in.
    pub fn namespaces(&self) -> usize {
        self.sockets.len()
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

/// Loads the program that follows AMQP, and puts it where it is found.
fn follow(ebpf: &mut Ebpf, load: &mut impl FnMut(&mut Ebpf, &str) -> Result<(), ProgramError>) -> Result<ProgramArray<MapData>, String> {
    if preempts_softirqs() {
        return Err("not on a kernel with PREEMPT_RT".to_owned());
    }
    let explain = |error: &ProgramError| super::hooks::explain(error);
    load(ebpf, FOLLOWER).map_err(|error| explain(&error))?;
    let follower = program(ebpf, FOLLOWER).map_err(|error| explain(&error))?;
    let fd = follower.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::from)).map_err(|error| explain(&error))?;
    let map = ebpf.take_map(FOLLOWERS).ok_or_else(|| format!("the object has no map {FOLLOWERS}"))?;
    let mut followers = ProgramArray::try_from(map).map_err(|error| super::error::first_line(&error))?;
    followers.set(0, &fd, 0).map_err(|error| super::error::first_line(&error))?;
    Ok(followers)
}

/// Segments are handed over by a map of this CPU's own, and with `PREEMPT_RT` one socket filter may run in the midst of another.
fn preempts_softirqs() -> bool {
    std::fs::read_to_string(REALTIME).is_ok_and(|text| text.trim() == "1")
}

pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SocketFilter, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
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
