//! The kernel side while it runs: programs attached, maps open.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, RingBuf},
};
use rstblame_abi::ABSENT;
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    conversations::Talk,
    decode::{self, Decoder, conversation::Jiffies},
    diagnostics::{Diagnostics, Reader},
    error::{KernelError, explain},
    filter,
    floods::Floods,
    flows,
    hooks::{self, Attached},
    kernel_info::{Knowledge, coverage},
    live::Live,
    liveness::{self, Beat, HookState, Link},
    load::load,
    maps::{Counters, take},
    options::{ArmOptions, Budgets},
    packet_tap::{self, Tap, TapError},
    senders::Senders,
    verify::Verified,
};
use crate::{
    amqp::Conversation,
    flow::{Bypass, LocalSender, Reset, SocketKind, wire::Wire},
    host::{
        neighbours::Neighbours,
        netns::{Handle, NetnsError},
    },
    model::{ConnectionKey, Coverage, CoverageState, Direction, Role, ports::PortSet},
};

/// How long the start waits until it is listened in every namespace. What takes longer goes on
/// apart.
const ARMING: Duration = Duration::from_secs(5);

/// Why a RST that nothing announced may be this kernel's own all the same.
const NOT_ALL_ANNOUNCED: &str = "this kernel does not announce each RST that its TCP makes; Linux 6.10 and later do";

/// Reasons that are kept.
const MAX_REFUSED: usize = 4096;

/// The kernel side: programs attached, maps open. Dropping it detaches everything; nothing is
/// pinned.
pub struct Armed {
    ebpf: Option<Ebpf>,
    ring: AsyncFd<RingBuf<MapData>>,
    counters: PerCpuArray<MapData, u64>,
    attached: Vec<Attached>,
    /// The packet tap, or why there is none.
    tap: Result<Tap, String>,
    talk: Talk,
    senders: Senders,
    live: Live,
    /// The tracepoint of RSTs that are sent fires for each, with or without a socket.
    announces_all: bool,
    /// What was counted instead of being reported.
    pub floods: Floods,
    /// Whether the kernel side can tell one network namespace from another.
    picks_netns: bool,
    /// Whether heartbeats can be written, or why not.
    heartbeat: Result<(), String>,
    ring_size: u64,
    skipped: u64,
    diagnostics: Option<Reader>,
    /// The tables of the namespaces that the tap listens in.
    pub neighbours: Neighbours,
    /// Why it does not listen in some of those it was to listen in.
    refused: Vec<String>,
    pub coverage: BTreeMap<String, Coverage>,
    pub decoder: Decoder,
}

impl Armed {
    /// Loads the programs, sets the filter, attaches every hook.
    ///
    /// # Errors
    ///
    /// When the object cannot be loaded, or neither of the two reset hooks can be attached. Every
    /// other failure is in `coverage`.
    pub fn arm(options: &ArmOptions) -> Result<Self, KernelError> {
        let armed = Self::load_and_attach(options);
        let sees_resets =
            armed.as_ref().is_ok_and(|armed| !armed.attached.iter().any(|hook| hook.program.is_none() && does_main_job(hook)));
        if options.diagnostics == Diagnostics::Off || sees_resets {
            return armed;
        }
        drop(armed);
        tracing::warn!("with their diagnostics the kernel programs are more than this kernel takes: they are loaded without");
        Self::load_and_attach(&ArmOptions { diagnostics: Diagnostics::Off, ..options.clone() })
    }

    fn load_and_attach(options: &ArmOptions) -> Result<Self, KernelError> {
        let ring_size = options.ring_size()?;
        let knowledge = Knowledge::gather(options);
        let picks_netns = knowledge.layout.skc_net != ABSENT && knowledge.layout.net_inum != ABSENT;
        if options.netns.is_some() && !picks_netns {
            return Err(KernelError::NetnsWithoutBtf);
        }
        let table = flows::table(options.max_connections);
        let mut ebpf = load(options, ring_size, &knowledge, &table)?;
        let diagnostics = (options.diagnostics == Diagnostics::On).then(|| Reader::new(&mut ebpf)).flatten();
        filter::set(&mut ebpf, &options.ports, options.netns.as_deref(), options.budgets)?;

        let wanted: Vec<_> = packet_tap::programs(options.extras).chain(hooks::first_rungs(options.ladder, knowledge.btf())).collect();
        let mut verified = Verified::ahead(&mut ebpf, &wanted);
        let mut attached: Vec<Attached> = hooks::ALL
            .into_iter()
            .map(|hook| hooks::attach(&mut ebpf, hook, options.ladder, knowledge.btf(), knowledge.format(hook), &mut verified))
            .collect();
        if !attached.iter().any(|attached| attached.program.is_some() && does_main_job(attached)) {
            let failures: Vec<&str> = attached
                .iter()
                .find(|attached| does_main_job(attached))
                .map_or_else(Vec::new, |attached| attached.failures.iter().map(String::as_str).collect());
            return Err(KernelError::NoHook(failures.join("; ")));
        }

        let links = Link::all();
        for hook in &mut attached {
            hook.link = hook.program.and_then(|program| links.get(&liveness::program_id(&ebpf, program)?).copied());
        }

        let tap = Tap::load(&mut ebpf, options.extras, &mut verified).map_err(|error| explain(&error));
        let talk = Talk::new(&mut ebpf, table)?;
        let senders = Senders::new(&mut ebpf)?;
        let live = Live::new(&mut ebpf)?;
        let floods = Floods::new(&mut ebpf)?;
        let ring = RingBuf::try_from(take(&mut ebpf, "EVENTS")?).map_err(|error| KernelError::map("EVENTS", error))?;
        let counters = PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?).map_err(|error| KernelError::map("COUNTERS", error))?;
        // SAFETY: the ring buffer owns its file descriptor for as long as the AsyncFd lives, and
        // returns the same one throughout.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| KernelError::Ring(std::io::Error::other(error.to_string())))?;
        let coverage = coverage(&attached, &knowledge);
        let announces_all = !knowledge.reasons.is_empty()
            && attached.iter().any(|hook| hook.hook.tracepoint == hooks::SEND_RESET.tracepoint && hook.program.is_some());
        let decoder = Decoder::new(knowledge.reasons, options.ports.clone());
        Ok(Self {
            ebpf: Some(ebpf),
            ring,
            counters,
            attached,
            tap,
            talk,
            senders,
            live,
            announces_all,
            floods,
            picks_netns,
            heartbeat: Err("not asked for".to_owned()),
            ring_size: u64::from(ring_size).next_power_of_two(),
            skipped: 0,
            diagnostics,
            neighbours: Neighbours::default(),
            refused: Vec::new(),
            coverage,
            decoder,
        })
    }

    /// One line for each hook that could not be attached: what the agent does not see without it,
    /// and why.
    pub fn blind_spots(&self) -> impl Iterator<Item = String> {
        self.attached.iter().filter(|attached| attached.program.is_none()).map(|attached| {
            format!(
                "{} is not attached, without it there is no sight of {}: {}",
                attached.hook.tracepoint,
                attached.hook.serves,
                attached.failures.join("; ")
            )
        })
    }

    /// Hands what the kernel programs say about themselves on to the log from now on, if they say
    /// anything.
    pub fn read_diagnostics(&mut self) {
        if let Some(reader) = &mut self.diagnostics {
            reader.start();
        }
    }

    /// Watches other ports and namespaces from now on. What is watched before and after is watched
    /// throughout.
    ///
    /// # Errors
    ///
    /// When a map cannot be written, or this kernel side cannot pick out a namespace.
    pub fn refilter(&mut self, from: &ArmOptions, ports: &PortSet, netns: Option<&[u32]>) -> Result<(), KernelError> {
        if netns.is_some() && !self.picks_netns {
            return Err(KernelError::NetnsWithoutBtf);
        }
        if let Some(ebpf) = &mut self.ebpf {
            filter::change(ebpf, (&from.ports, from.netns.as_deref()), (ports, netns))?;
            self.decoder.set_ports(ports.clone());
        }
        Ok(())
    }

    /// Goes by other budgets from now on.
    ///
    /// # Errors
    ///
    /// When a map cannot be written.
    pub fn set_budgets(&mut self, budgets: Budgets) -> Result<(), KernelError> {
        self.ebpf.as_mut().map_or(Ok(()), |ebpf| filter::set_budgets(ebpf, budgets))
    }

    /// Makes ready for [`Armed::beat`].
    pub fn load_heartbeat(&mut self) {
        if let Some(ebpf) = &mut self.ebpf {
            self.heartbeat = liveness::load(ebpf);
        }
    }

    /// Has the kernel write a heartbeat into the ring buffer.
    ///
    /// # Errors
    ///
    /// Why this kernel, or what it lets the agent do, has no way to.
    pub fn beat(&self) -> Result<Beat, String> {
        self.heartbeat.clone()?;
        self.ebpf.as_ref().map_or_else(|| Err("the programs are detached".to_owned()), liveness::beat)
    }

    /// Whether each hook is still attached, by the name of its tracepoint.
    pub fn hooks(&self) -> impl Iterator<Item = (&'static str, HookState)> {
        self.attached.iter().map(|attached| (attached.hook.tracepoint, attached.state()))
    }

    /// Size of the ring buffer, bytes.
    pub const fn ring_size(&self) -> u64 {
        self.ring_size
    }

    /// Network namespaces whose packets are seen.
    pub fn namespaces(&self) -> usize {
        self.tap.as_ref().map_or(0, Tap::namespaces)
    }

    /// The ring buffer, to be waited on and drained.
    pub const fn ring(&mut self) -> &mut AsyncFd<RingBuf<MapData>> {
        &mut self.ring
    }

    /// Reads the counters.
    ///
    /// # Errors
    ///
    /// When the counters map cannot be read.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        Counters::read(&self.counters)
    }

    /// What was said on the connection of a reset that the tracepoint reported at this time in
    /// jiffies.
    pub fn conversation(&mut self, reset: &Reset, jiffies: u32) -> Option<Conversation> {
        self.talk.of(reset, &Jiffies { now_ns: reset.boottime_ns, now: jiffies, length: self.decoder.jiffy() })
    }

    /// The socket of this host that sent the RST of a reset in another's name.
    pub fn sender(&self, reset: &Reset) -> Option<LocalSender> {
        self.senders.of(reset)
    }

    /// Whether this host's TCP made a RST that went to this end at this time. `None` where not all
    /// that it makes are announced: before Linux 6.10 those of full sockets only are.
    pub fn made_by_tcp(&self, end: SocketAddr, at_ns: u64) -> Option<bool> {
        self.announces_all.then(|| self.senders.made(end, at_ns))
    }

    /// The peer of the open connection whose own end a stray segment met, by the RST that answered
    /// it. `None` where nothing is there, or something of this end has gone to where it came from:
    /// then it is of an earlier connection.
    pub fn bypassed(&self, reset: &Reset) -> Option<Bypass> {
        let stray = reset.socket_kind == SocketKind::None && reset.role == Role::Client && !reset.trigger?.opens();
        if !stray || reset.direction != Direction::Sent || reset.active {
            return None;
        }
        let key = reset.key();
        let other = self.live.peer_of(key.tuple.local, key.netns)?;
        (other != key.tuple.peer && !self.talk.has_left(key)).then_some(Bypass { other, earlier: None })
    }

    /// Completes a RST that left, at this time in jiffies, with what has arrived of its connection:
    /// a firewall answers a segment before the tap has seen it where packet sockets come after the
    /// protocols (Linux 6.15).
    pub fn complete_left(&self, key: ConnectionKey, wire: &mut Wire, jiffies: u32) {
        let clock = Jiffies { now_ns: wire.rst.time_ns, now: jiffies, length: self.decoder.jiffy() };
        if let Some(arrived) = self.talk.arrived(key) {
            wire.receiver = decode::side(&arrived, key.tuple.local.is_ipv4(), &clock);
        }
    }

    /// Handshakes that the tap forgot to make room for others, before their connections began. To
    /// be asked after [`Armed::detach`], when none is added any more.
    ///
    /// The kernel does not tell what it evicts from such maps. Nothing else takes entries out, so
    /// that it is what was put in and is not there any more.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn handshakes_gone(&self) -> Result<u64, KernelError> {
        let counters = self.counters()?;
        Ok(counters.handshakes_begun.saturating_sub(counters.handshakes_taken).saturating_sub(self.talk.waiting_handshakes()?))
    }

    /// Listens for packets in these namespaces, and says in `coverage` how far that went. `failed`
    /// is why others could not even be opened.
    pub fn listen(&mut self, namespaces: Vec<Handle>, failed: &[NetnsError]) {
        let wanted = namespaces.len() + failed.len();
        for netns in namespaces {
            self.follow(netns);
        }
        if let Ok(tap) = &mut self.tap {
            let listened = tap.wait_listened(Instant::now() + ARMING);
            self.take_in(listened);
        }
        let failures: Vec<String> = self.take_refused().into_iter().chain(failed.iter().map(ToString::to_string)).collect();
        let state = |state, reason| Coverage { state, reason };
        let first = failures.first().cloned();
        let coverage = match &self.tap {
            Err(error) => state(CoverageState::Unavailable, Some(error.clone())),
            Ok(_) if failures.is_empty() => state(CoverageState::Active, None),
            Ok(_) if failures.len() >= wanted => state(CoverageState::Unavailable, first),
            Ok(_) => state(
                CoverageState::Degraded,
                Some(format!("not in {} of {} network namespaces: {}", failures.len(), wanted, first.unwrap_or_default())),
            ),
        };
        let sent = match self.tap.as_ref().map(Tap::egress) {
            Ok(Err(error)) => state(CoverageState::Unavailable, Some(error.to_owned())),
            _ => coverage.clone(),
        };
        let amqp = match self.tap.as_ref().map(|tap| (tap.amqp(), tap.egress())) {
            Ok((Err(error), _)) => state(CoverageState::Unavailable, Some(error.to_owned())),
            Ok((Ok(()), Err(error))) => state(CoverageState::Degraded, Some(format!("of this host's own end nothing: {error}"))),
            _ => coverage.clone(),
        };
        let rejects = if self.announces_all { sent.clone() } else { state(CoverageState::Unavailable, Some(NOT_ALL_ANNOUNCED.to_owned())) };
        self.coverage.insert("amqp".to_owned(), amqp);
        self.coverage.insert("netfilter_rejects".to_owned(), rejects);
        self.coverage.insert("packet_headers".to_owned(), coverage);
        self.coverage.insert("packet_headers_sent".to_owned(), sent);
    }

    /// Begins to listen for packets in one more namespace. [`Self::take_refused`] tells where that
    /// fails.
    pub fn follow(&mut self, netns: Handle) {
        if let (Some(ebpf), Ok(tap)) = (&mut self.ebpf, &mut self.tap)
            && let Err(error) = tap.listen(ebpf, netns)
        {
            self.refused.push(error.to_string());
        }
    }

    /// Takes in where it listens by now.
    pub fn listened(&mut self) {
        if let Ok(tap) = &mut self.tap {
            let listened = tap.listened();
            self.take_in(listened);
        }
    }

    fn take_in(&mut self, listened: Vec<(u32, Result<Option<OwnedFd>, TapError>)>) {
        for (netns, tables) in listened {
            match tables {
                Ok(Some(socket)) => self.neighbours.listen(netns, socket),
                // A namespace that is gone needs none.
                Ok(None) | Err(TapError::Netns(NetnsError::Gone { .. })) => {}
                Err(error) => self.refused.push(error.to_string()),
            }
        }
        self.refused.truncate(MAX_REFUSED);
    }

    /// Why it does not listen in namespaces that it was to listen in, since this was asked last.
    pub fn take_refused(&mut self) -> Vec<String> {
        std::mem::take(&mut self.refused)
    }

    /// The namespaces that it listens in.
    pub fn listened_in(&self) -> BTreeSet<u32> {
        self.tap.iter().flat_map(Tap::listened_in).collect()
    }

    /// Whether packets of a namespace are listened to, or cannot be anywhere.
    pub fn listens_in(&self, netns: u32) -> bool {
        self.tap.as_ref().map_or(true, |tap| tap.listens_in(netns))
    }

    /// Stops listening in namespaces that nothing else keeps.
    pub fn retain_namespaces(&mut self, alive: impl Fn(u32) -> bool) {
        self.neighbours.retain(&alive);
        if let Ok(tap) = &mut self.tap {
            tap.retain(alive);
        }
    }

    /// Detaches every program. What is in the ring stays there to be drained.
    pub fn detach(&mut self) {
        if let Ok(tap) = &mut self.tap {
            tap.close();
        }
        if let Some(ebpf) = self.ebpf.take() {
            self.skipped = self.skipped_in(&ebpf);
        }
        if let (Some(reader), Ok(counters)) = (self.diagnostics.take(), self.counters()) {
            let read = reader.finish();
            tracing::debug!(read, lost = counters.diagnosed.saturating_sub(read), "messages of the kernel programs");
        }
    }

    /// Firings of the reset hooks that the kernel skipped so far.
    pub fn skipped(&self) -> u64 {
        self.ebpf.as_ref().map_or(self.skipped, |ebpf| self.skipped_in(ebpf))
    }

    fn skipped_in(&self, ebpf: &Ebpf) -> u64 {
        let hooks = [hooks::SEND_RESET, hooks::RECEIVE_RESET];
        let programs =
            hooks.iter().filter_map(|hook| self.attached.iter().find(|attached| attached.hook.tracepoint == hook.tracepoint)?.program);
        programs.map(|program| hooks::skipped(ebpf, program)).sum()
    }
}

/// Whether a hook is one of the two that resets are seen by.
fn does_main_job(attached: &Attached) -> bool {
    [hooks::SEND_RESET, hooks::RECEIVE_RESET].map(|hook| hook.tracepoint).contains(&attached.hook.tracepoint)
}
