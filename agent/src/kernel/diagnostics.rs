//! What the kernel programs say about themselves (aya-log), on its way into the agent's log at
//! level debug.
//!
//! A thread of its own reads it: aya-log reads until there is nothing left and gives up with a
//! panic on what it cannot read, and neither may hold up or end the agent. What finds no room in
//! the buffer is lost, and counted.

use std::{
    os::fd::AsFd as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use aya::Ebpf;
use aya_log::{EbpfLogger, Level};
use log::{Log, Metadata, Record};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::CapabilitySet,
};

use crate::{log as agent_log, privileges::capabilities};

/// The map that aya-log writes into, by its name in the object.
pub const MAP: &str = "AYA_LOGS";

/// How long the thread may sleep before it looks whether it is still wanted.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Whether the kernel programs say what goes wrong in them. Settled when they are loaded: without
/// it the verifier removes the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Diagnostics {
    #[default]
    Off,
    On,
}

impl Diagnostics {
    /// On where the log would show it.
    pub fn as_logged() -> Self {
        if agent_log::is_on(agent_log::Level::Debug) { Self::On } else { Self::Off }
    }

    /// The frozen global [`aya_log::LEVEL`].
    pub(super) const fn level(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => Level::Debug as u8,
        }
    }

    /// Size of the buffer, bytes. One cannot be left out, so it is as small as one can be.
    pub(super) fn buffer(self) -> u32 {
        match self {
            Self::Off => u32::try_from(rustix::param::page_size()).unwrap_or(1 << 16),
            Self::On => 1 << 18,
        }
    }
}

/// What reads the messages: at first only the buffer, then a thread.
pub struct Reader {
    waiting: Option<EbpfLogger<Forward>>,
    ends: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Takes the buffer. `None` where that is not possible, which the log tells.
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        let read = Arc::new(AtomicU64::new(0));
        match EbpfLogger::init_with_logger(ebpf, Forward(Arc::clone(&read))) {
            Ok(logger) => Some(Self { waiting: Some(logger), ends: Arc::default(), read, thread: None }),
            Err(error) => {
                tracing::warn!(%error, "what the kernel programs say cannot be read");
                None
            }
        }
    }

    /// Begins to read, on a thread that has no more privileges than the caller has by now.
    pub(super) fn start(&mut self) {
        if let Some(logger) = self.waiting.take() {
            let ends = Arc::clone(&self.ends);
            self.thread = Some(std::thread::spawn(move || run(logger, &ends)));
        }
    }

    /// Reads the rest, and says how many messages came. To be called when no program runs any more.
    pub(super) fn finish(self) -> u64 {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread {
            // It catches its own panics.
            let _ended = thread.join();
        }
        self.read.load(Ordering::Relaxed)
    }
}

fn run(mut logger: EbpfLogger<Forward>, ends: &AtomicBool) {
    // This thread is there before the agent gives up what it no longer needs, and would keep it.
    // Reading mapped memory takes none of it.
    if let Err(error) = capabilities::drop_to(CapabilitySet::empty()) {
        tracing::warn!(%error, "the thread that reads what the kernel programs say keeps its capabilities");
    }
    loop {
        let last = ends.load(Ordering::Acquire);
        if catch_unwind(AssertUnwindSafe(|| logger.flush())).is_err() {
            tracing::warn!("a message of the kernel programs makes no sense; the rest of them is not read");
            return;
        }
        if last {
            return;
        }
        // An interrupted wait is only a shorter one.
        let _woken = poll(&mut [PollFd::from_borrowed_fd(logger.as_fd(), PollFlags::IN)], Some(&NAP));
    }
}

/// Hands messages on to the agent's log.
struct Forward(Arc<AtomicU64>);

impl Log for Forward {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        agent_log::from_kernel(&record.args().to_string());
    }

    fn flush(&self) {}
}
