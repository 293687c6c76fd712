//! The kernel side while it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, VerifierLogLevel,
    maps::{MapData, PerCpuArray, RingBuf},
};
use rstblame_abi::{
    ABSENT, counter,
    flow_table::Table,
    rate_limit::{Budget, class},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    conversations::Talk,
    decode::{Decoder, conversation::Jiffies},
    diagnostics::{self, Diagnostics, Reader},
    error::KernelError,
    filter,
    floods::Floods,
    flows,
    hooks::{self, Attached, Ladder},
    kernel_info::{Knowledge, coverage},
    liveness::{self, Beat, HookState, Link},
    loader, memlock,
    packet_tap::{self, Extras, Tap, TapError},
    verify::Verified,
};
use crate::{
    amqp::Conversation,
    clock,
    flow::Reset,
    host::{
        neighbours::Neighbours,
        netns::{Handle, NetnsError},
    },
    model::{Coverage, CoverageState, ports::PortSet},
};

/// The kernel programs, one object for all kernels.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rstblame.bpf.o"));

/// Smallest and largest ring buffer, bytes.
const RING_SIZES: std::ops::RangeInclusive<u64> = 4096..=1 << 30;

/// How long the start waits until it is listened in every namespace. What takes longer goes on
/// apart.
const ARMING: Duration = Duration::from_secs(5);

/// Reasons that are kept.
const MAX_REFUSED: usize = 4096;

/// Bounds on what the kernel programs report, by [`class`].
pub type Budgets = [Budget; class::COUNT as usize];

/// How to arm.
#[derive(Clone, Debug)]
pub struct ArmOptions {
    pub ports: PortSet,
    /// Inode numbers of the watched network namespaces; `None` for all.
    pub netns: Option<Vec<u32>>,
    /// Size of the ring buffer in bytes, rounded up by the kernel to a power of two of pages.
    pub ring_size: u64,
    /// Connections remembered at once.
    pub max_connections: u32,
    /// Connections at once of which is remembered what was said.
    pub max_conversations: u32,
    /// What the tap watches beside what arrives.
    pub extras: Extras,
    /// Whether the kernel programs say what goes wrong in them.
    pub diagnostics: Diagnostics,
    /// Records a second, by [`rstblame_abi::rate_limit::class`].
    pub budgets: Budgets,
    pub ladder: Ladder,
    /// The kernel's type information; `None` to do without.
    pub btf: Option<PathBuf>,
}

/// What the kernel side has counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Resets that passed the filter.
    pub seen: u64,
    /// Those for which the ring buffer had no room, by CPU.
    pub ring_full: BTreeMap<u32, u64>,
    /// Connections that could not be remembered.
    pub connections_full: u64,
    /// Records of processes that found no room.
    pub tasks_lost: u64,
    /// Packets of the tap that found no room.
    pub packets_lost: u64,
    /// Directions of connections that the tap forgot, to make room for others.
    pub flows_gone: u64,
    /// Handshakes that were put down to wait for their connection.
    pub handshakes_begun: u64,
    /// Those of them that a connection was begun with.
    pub handshakes_taken: u64,
    /// Directions of connections of which what was said was forgotten before they ended.
    pub conversations_gone: u64,
    /// Messages that the kernel programs had for the log.
    pub diagnosed: u64,
    /// Resets that were counted by their key and not reported.
    pub folded: u64,
    /// Ends of connections that were to be reported.
    pub endings: u64,
    /// Those of them for which the ring buffer had no room to spare.
    pub endings_lost: u64,
}

impl Counters {
    /// Resets lost to a full ring buffer on all CPUs.
    pub fn ring_full_total(&self) -> u64 {
        self.ring_full.values().sum()
    }
}

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
        let ring_size = ring_size(options)?;
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

        let tap = Tap::load(&mut ebpf, options.extras, &mut verified).map_err(|error| hooks::explain(&error));
        let talk = Talk::new(&mut ebpf, table)?;
        let floods = Floods::new(&mut ebpf)?;
        let ring = RingBuf::try_from(take(&mut ebpf, "EVENTS")?).map_err(|error| KernelError::map("EVENTS", error))?;
        let counters = PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?).map_err(|error| KernelError::map("COUNTERS", error))?;
        // SAFETY: the ring buffer owns its file descriptor for as long as the AsyncFd lives, and
        // returns the same one throughout.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| KernelError::Ring(std::io::Error::other(error.to_string())))?;
        let coverage = coverage(&attached, &knowledge);
        let decoder = Decoder::new(knowledge.reasons, options.ports.clone());
        Ok(Self {
            ebpf: Some(ebpf),
            ring,
            counters,
            attached,
            tap,
            talk,
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
        let read = |index| self.counters.get(&index, 0).map_err(|error| KernelError::map("COUNTERS", error));
        let ring_full = read(counter::RING_FULL)?;
        Ok(Counters {
            seen: read(counter::SEEN)?.iter().sum(),
            ring_full: ring_full
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .filter_map(|(cpu, count)| Some((u32::try_from(cpu).ok()?, *count)))
                .collect(),
            connections_full: read(counter::CONNECTIONS_FULL)?.iter().sum(),
            tasks_lost: read(counter::TASKS_LOST)?.iter().sum(),
            packets_lost: read(counter::PACKETS_LOST)?.iter().sum(),
            flows_gone: read(counter::FLOWS_GONE)?.iter().sum(),
            handshakes_begun: read(counter::HANDSHAKES_BEGUN)?.iter().sum(),
            handshakes_taken: read(counter::HANDSHAKES_TAKEN)?.iter().sum(),
            conversations_gone: read(counter::CONVERSATIONS_GONE)?.iter().sum(),
            diagnosed: read(counter::DIAGNOSED)?.iter().sum(),
            folded: read(counter::FOLDED)?.iter().sum(),
            endings: read(counter::ENDINGS)?.iter().sum(),
            endings_lost: read(counter::ENDINGS_LOST)?.iter().sum(),
        })
    }

    /// What was said on the connection of a reset that the tracepoint reported at this time in
    /// jiffies.
    pub fn conversation(&mut self, reset: &Reset, jiffies: u32) -> Option<Conversation> {
        self.talk.of(reset, &Jiffies { now_ns: reset.boottime_ns, now: jiffies, length: self.decoder.jiffy() })
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
        self.coverage.insert("amqp".to_owned(), amqp);
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
            self.skipped = [hooks::SEND_RESET, hooks::RECEIVE_RESET]
                .iter()
                .filter_map(|hook| self.attached.iter().find(|attached| attached.hook.tracepoint == hook.tracepoint)?.program)
                .map(|program| hooks::skipped(&ebpf, program))
                .sum();
        }
        if let (Some(reader), Ok(counters)) = (self.diagnostics.take(), self.counters()) {
            let read = reader.finish();
            tracing::debug!(read, lost = counters.diagnosed.saturating_sub(read), "messages of the kernel programs");
        }
    }

    /// Firings of the reset hooks that the kernel skipped, known once detached.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// Whether a hook is one of the two that resets are seen by.
fn does_main_job(attached: &Attached) -> bool {
    [hooks::SEND_RESET, hooks::RECEIVE_RESET].map(|hook| hook.tracepoint).contains(&attached.hook.tracepoint)
}

/// The size of the ring buffer as the kernel takes it.
pub(super) fn ring_size(options: &ArmOptions) -> Result<u32, KernelError> {
    u32::try_from(options.ring_size)
        .ok()
        .filter(|size| RING_SIZES.contains(&u64::from(*size)))
        .ok_or(KernelError::RingSize(options.ring_size))
}

pub(super) fn load(options: &ArmOptions, ring_size: u32, knowledge: &Knowledge, table: &Table) -> Result<Ebpf, KernelError> {
    let (second, level) = (clock::jiffies_a_second(), options.diagnostics.level());
    let formats = hooks::ALL.map(|hook| (hook.format_global, knowledge.record_format(hook)));
    let mut loader = loader::without_types();
    loader
        // A refused program is verified anew for its log, which with every instruction in it takes
        // long and is not read.
        .verifier_log_level(VerifierLogLevel::STATS)
        .map_max_entries("EVENTS", ring_size)
        .map_max_entries("CONNECTIONS", options.max_connections.max(1))
        .map_max_entries("FLOWS", table.slots())
        .map_max_entries("SETS", table.sets)
        .override_global("TABLE", table, true)
        .map_max_entries("SPOKEN", if options.extras.amqp { options.max_conversations.saturating_mul(2).max(1) } else { 1 })
        .override_global("LAYOUT", &knowledge.layout, true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries(diagnostics::MAP, options.diagnostics.buffer())
        .override_global("SECOND", &second, true)
        .override_global("SEND_REASON_ARG", &knowledge.reason_argument, true)
        .override_global("OOM_HAS_TASK", &knowledge.oom_has_task, true);
    for (name, format) in &formats {
        loader.override_global(name, format, true);
    }
    let loaded = match loader.load(OBJECT) {
        // The error does not tell whether it was the limit, so the limit is lifted only after a
        // failure, and it is tried once more.
        Err(_) if memlock::lift() => loader.load(OBJECT),
        loaded => loaded,
    };
    loaded.map_err(|source| {
        let denied = super::error::errno(&source) == Some(libc::EPERM);
        let source = Box::new(source);
        if denied { KernelError::Denied { source } } else { KernelError::Load { source } }
    })
}

pub(super) fn open<'a, M>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<&'a mut aya::maps::Map, Error = aya::maps::MapError>,
{
    M::try_from(ebpf.map_mut(name).ok_or(KernelError::NoMap { name })?).map_err(|error| KernelError::map(name, error))
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::NoMap { name })
}
