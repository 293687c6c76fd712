//! Where the packet tap listens: packet sockets in each watched network namespace.
//!
//! Two are bound to one protocol each, so that they see what arrives and nothing that leaves, each
//! packet once, and cost nothing on the way out (packet(7)). A third for all protocols sees what
//! leaves; it can be left out. All keep their namespace alive, so those of a namespace that nothing
//! else keeps are closed ([`Tap::retain`]).

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    time::Instant,
};

use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
    programs::{ProgramError, ProgramFd, SocketFilter},
};
use rstblame_abi::called;
use thiserror::Error;

use super::{
    options::Extras,
    verify::{Load, Verified},
};
use crate::{
    host::{
        crew::Crew,
        neighbours::tables_of_this,
        netns::{Handle, NetnsError},
    },
    limits,
};

/// Namespaces listened in at once.
const MAX_NAMESPACES: usize = 4096;

/// Threads that open and close sockets, and jobs that may wait for one: every socket of every
/// namespace.
const THREADS: usize = 16;
const JOBS: usize = 4 * MAX_NAMESPACES;

/// Programs for what arrives, each with its protocol, and for what leaves.
const ARRIVING: [(&str, i32); 2] = [("tap_ipv4", libc::ETH_P_IP), ("tap_ipv6", libc::ETH_P_IPV6)];
const EGRESS: &str = "egress";

/// Programs that all of them call, and the map by which they find them: the one that follows AMQP,
/// and the one that reports a RST.
const FOLLOWER: &str = "amqp";
const REPORTER: &str = "report_rst";
const CALLED: &str = "CALLED";

/// Says `1` on a kernel with `PREEMPT_RT`
/// (<https://github.com/torvalds/linux/blob/v6.12/kernel/ksysfs.c>).
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
    #[error("it takes long to begin to listen there")]
    Slow,
    #[error("{0} network namespaces are listened in, and more open files the agent may not have; raise its limit (LimitNOFILE=)")]
    Files(usize),
}

/// The sockets, by the inode number of their namespace.
pub struct Tap {
    sockets: HashMap<u32, Vec<OwnedFd>>,
    /// Those that it is about to listen in.
    opening: HashSet<u32>,
    opened: (Sender<Opened>, Receiver<Opened>),
    /// Opens and closes.
    crew: Crew,
    programs: Option<Programs>,
    /// Why what leaves is not seen.
    egress: Result<(), String>,
    /// Why AMQP is not followed.
    amqp: Result<(), String>,
    /// The kernel empties this map when nobody in user space holds it any more.
    _called: ProgramArray<MapData>,
}

/// The programs that [`Tap::load`] will load.
pub(super) fn programs<'a>(extras: Extras) -> impl Iterator<Item = (&'static str, Load<'a>)> {
    let follower = (extras.amqp && !preempts_softirqs()).then_some(FOLLOWER);
    // The one that takes longest to verify first.
    let names = follower.into_iter().chain(ARRIVING.map(|(name, _)| name)).chain(extras.egress.then_some(EGRESS)).chain([REPORTER]);
    names.map(|name| (name, Load::SocketFilter))
}

impl Tap {
    /// Name of the program for frames of a type (`ETH_P_*`, host byte order) that arrive, where
    /// there is one.
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
        let mut map = ebpf.take_map(CALLED).ok_or(ProgramError::UnexpectedProgramType).and_then(|map| Ok(ProgramArray::try_from(map)?))?;
        let mut put = |ebpf: &mut Ebpf, name: &str, at: u32| {
            load(ebpf, name)?;
            let fd = program(ebpf, name)?.fd()?.try_clone()?;
            map.set(at, &fd, 0).map_err(ProgramError::from)
        };
        put(ebpf, REPORTER, called::REPORT_RST)?;
        let amqp = if !extras.amqp {
            Err("turned off by --amqp off".to_owned())
        } else if preempts_softirqs() {
            Err("not on a kernel with PREEMPT_RT".to_owned())
        } else {
            put(ebpf, FOLLOWER, called::AMQP).map_err(|error| super::error::explain(&error))
        };
        let egress = if extras.egress {
            load(ebpf, EGRESS).map_err(|error| super::error::explain(&error))
        } else {
            Err("turned off by --egress off".to_owned())
        };
        Ok(Self {
            sockets: HashMap::new(),
            opening: HashSet::new(),
            opened: mpsc::channel(),
            crew: Crew::new("tap", THREADS, JOBS),
            programs: None,
            egress,
            amqp,
            _called: map,
        })
    }

    /// Whether AMQP is followed.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn amqp(&self) -> Result<(), &str> {
        self.amqp.as_ref().copied().map_err(String::as_str)
    }

    /// Whether what leaves is seen.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn egress(&self) -> Result<(), &str> {
        self.egress.as_ref().copied().map_err(String::as_str)
    }

    /// Begins to listen in a namespace, apart: [`Self::listened`] tells what became of it. Does
    /// nothing where it listens already, or is about to.
    ///
    /// # Errors
    ///
    /// When it may listen in no more of them, or a program is missing.
    pub fn listen(&mut self, ebpf: &mut Ebpf, netns: Handle) -> Result<(), TapError> {
        let inode = netns.inode();
        if self.listens_in(inode) {
            return Ok(());
        }
        let others = self.sockets.len() + self.opening.len();
        if others >= MAX_NAMESPACES {
            return Err(TapError::TooMany);
        }
        // One socket for each program, one to ask the tables by, and one while it is entered.
        let taken = (others as u64 + 1).saturating_mul(ARRIVING.len() as u64 + 3);
        if limits::files().is_some_and(|limit| taken.saturating_add(limits::RESERVED_FILES) > limit) {
            return Err(TapError::Files(others));
        }
        // Before the first packet from there.
        let only = if others == 0 { inode } else { 0 };
        super::filter::set_only_netns(ebpf, only).map_err(|error| TapError::Attach(super::error::first_line(&error)))?;
        let programs = self.programs(ebpf)?;
        let tell = self.opened.0.clone();
        if self.crew.run(move || drop(tell.send((netns.inode(), open_all(&netns, &programs))))) {
            self.opening.insert(inode);
        }
        Ok(())
    }

    /// The programs, each with its protocol.
    fn programs(&mut self, ebpf: &mut Ebpf) -> Result<Programs, TapError> {
        if let Some(programs) = &self.programs {
            return Ok(Arc::clone(programs));
        }
        let mut programs = Vec::new();
        let leaving = self.egress.is_ok().then_some((EGRESS, libc::ETH_P_ALL));
        for (name, protocol) in ARRIVING.into_iter().chain(leaving) {
            let attach = |error: ProgramError| TapError::Attach(super::error::first_line(&error));
            let fd = program(ebpf, name).and_then(|program| program.fd()).map_err(attach)?;
            programs.push((fd.try_clone().map_err(TapError::Socket)?, protocol));
        }
        let programs = Arc::new(programs);
        self.programs = Some(Arc::clone(&programs));
        Ok(programs)
    }

    /// What became of namespaces that it was to listen in, those that are known by now: the socket
    /// by which the tables of each are asked, or why it does not listen there.
    pub fn listened(&mut self) -> Vec<(u32, Result<Option<OwnedFd>, TapError>)> {
        let mut all = Vec::new();
        while let Ok(opened) = self.opened.1.try_recv() {
            all.push(self.take_in(opened));
        }
        all
    }

    /// As [`Self::listened`], once all are known, or at `deadline`: those of which nothing is known
    /// then are told of, too, and go on.
    pub fn wait_listened(&mut self, deadline: Instant) -> Vec<(u32, Result<Option<OwnedFd>, TapError>)> {
        let mut all = Vec::new();
        while !self.opening.is_empty()
            && let Ok(opened) = self.opened.1.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            all.push(self.take_in(opened));
        }
        // The agent is about to give privileges up, and a thread keeps its own.
        if !self.crew.dismiss(deadline) {
            tracing::warn!("a thread is stuck where it opens a packet socket, and keeps the privileges that the agent had");
        }
        all.extend(self.opening.iter().map(|netns| (*netns, Err(TapError::Slow))));
        all
    }

    fn take_in(&mut self, (netns, opened): Opened) -> (u32, Result<Option<OwnedFd>, TapError>) {
        self.opening.remove(&netns);
        let tables = opened.map(|(sockets, tables)| {
            self.sockets.insert(netns, sockets);
            tables
        });
        (netns, tables)
    }

    /// Whether the tap listens in a namespace, or is about to.
    pub fn listens_in(&self, netns: u32) -> bool {
        self.sockets.contains_key(&netns) || self.opening.contains(&netns)
    }

    /// The namespaces that it listens in, or is about to.
    pub fn listened_in(&self) -> impl Iterator<Item = u32> {
        self.sockets.keys().chain(&self.opening).copied()
    }

    /// Namespaces that it listens in.
    pub fn namespaces(&self) -> usize {
        self.sockets.len()
    }

    /// Stops listening in all namespaces but those that `alive` says are still used.
    pub fn retain(&mut self, alive: impl Fn(u32) -> bool) {
        let gone = self.sockets.extract_if(|netns, _| !alive(*netns)).flat_map(|(_, sockets)| sockets).collect();
        self.close_all(gone);
    }

    /// Stops listening.
    pub fn close(&mut self) {
        let all = self.sockets.drain().flat_map(|(_, sockets)| sockets).collect();
        self.close_all(all);
    }

    /// Closes sockets apart. Each waits until every processor is through with it
    /// (`synchronize_net()` in
    /// <https://github.com/torvalds/linux/blob/v6.12/net/packet/af_packet.c>, `packet_release()`),
    /// some 45 ms; those that wait at the same time wait together.
    fn close_all(&self, sockets: Vec<OwnedFd>) {
        for socket in sockets {
            // It sees nothing more from here on, whenever it is closed.
            detach(&socket);
            // Where there is no thread to do it, it is done when this returns.
            let _closed_here = self.crew.run(move || drop(socket));
        }
    }
}

/// What a namespace is listened in by: packet sockets, and one that its tables are asked by.
type Opened = (u32, Result<(Vec<OwnedFd>, Option<OwnedFd>), TapError>);

/// Programs, each with the protocol of its socket.
type Programs = Arc<Vec<(ProgramFd, i32)>>;

/// Opens the sockets of a namespace.
fn open_all(netns: &Handle, programs: &[(ProgramFd, i32)]) -> Result<(Vec<OwnedFd>, Option<OwnedFd>), TapError> {
    let open = || (programs.iter().map(|_| open()).collect::<io::Result<Vec<_>>>(), tables_of_this());
    let (sockets, tables) = netns.enter(open)?;
    let sockets = sockets.map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => TapError::Denied(error),
        _ => TapError::Socket(error),
    })?;
    for (socket, (program, protocol)) in sockets.iter().zip(programs) {
        // The filter first: a bound socket without one would collect packets.
        attach(socket, program).map_err(|error| TapError::Attach(error.to_string()))?;
        bind(socket, *protocol).map_err(TapError::Socket)?;
    }
    Ok((sockets, tables))
}

/// Segments are handed over by a map of this CPU's own, and with `PREEMPT_RT` one socket filter may
/// run in the midst of another.
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

/// Has a program see what comes to a socket (socket(7), `SO_ATTACH_BPF`).
fn attach(socket: &OwnedFd, program: &ProgramFd) -> io::Result<()> {
    set(socket, libc::SO_ATTACH_BPF, program.as_fd().as_raw_fd())
}

/// Takes the program off again, and lets the socket collect nothing instead.
fn detach(socket: &OwnedFd) {
    // A socket without a program would queue packets: it gets no room for any first. Whatever fails
    // here, the socket is about to be closed.
    let _about_to_be_closed = set(socket, libc::SO_RCVBUF, 0).and_then(|()| set(socket, libc::SO_DETACH_BPF, 0));
}

fn set(socket: &OwnedFd, option: i32, value: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    // SAFETY: the value is valid for the length given, and the kernel copies it.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length) };
    if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
