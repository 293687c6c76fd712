//! One capture, from arming to the last line.

mod owner_filter;
mod session;
mod state;
mod stop;
mod tally;

use std::{io, path::Path, time::Duration};

use thiserror::Error;
use tokio::{runtime, sync::oneshot};

use crate::{
    cli::{BtfSource, CaptureArgs, KernelArgs, Switch},
    event::{Event, Filter, Host, Kernel, SCHEMA, Started},
    flow::known::KnownMiddlebox,
    host::{self, netns::NetnsError, owners::Snapshot},
    kernel::{ArmOptions, Armed, KernelError, ports::PortSet, tap::Extras},
    output::{
        Format,
        pretty::Style,
        writer::{OutputError, Queue, Target, Writer},
    },
};
pub use owner_filter::OwnerFilter;
use session::Session;
use state::StateDir;
use stop::{Stop, Stops};

/// Why a capture could not run, or broke off.
#[derive(Debug, Error)]
pub enum CaptureError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("cannot run {command:?}: {source}; it is given to sh -c")]
    Command {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot wait on the ring buffer: {0}")]
    Ring(#[source] io::Error),
    #[error("not root, and without CAP_BPF and CAP_PERFMON: run with sudo, or see `rstblame check`")]
    NotPrivileged,
}

impl CaptureError {
    /// Whether the command line, and not the machine, is at fault.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Kernel(KernelError::Ports(_) | KernelError::RingSize(_)))
    }
}

/// What one run needs to know, worked out from the command line.
pub struct Plan {
    pub arm: ArmOptions,
    pub host: Host,
    pub format: Format,
    pub style: Style,
    /// Processes whose facts are kept after their end.
    pub max_processes: usize,
    pub owners: OwnerFilter,
    pub middleboxes: Vec<KnownMiddlebox>,
    /// How long resets are held back.
    pub settle: Duration,
    /// Whether RSTs without effect are reported.
    pub ignored: bool,
    /// Where what is learnt is kept.
    pub state: Option<StateDir>,
}

/// Runs a capture to its end.
///
/// # Errors
///
/// When it cannot be armed, or something it needs dies. A reader that closes its pipe is a clean end.
pub fn run(args: &CaptureArgs) -> Result<(), CaptureError> {
    let target = Target::parse(&args.output);
    let arm = arm_options(&args.kernel, PortSet::new(args.ports.clone()).map_err(KernelError::from)?, args.netns.inode()?);
    // Opened before anything is attached: a file that cannot be written is known at once.
    let writer = Writer::start(&target)?;
    let (node, release, machine) = host::uname();
    let plan = Plan {
        arm,
        host: Host { name: node },
        format: args.format.unwrap_or(if target.is_terminal() { Format::Pretty } else { Format::Json }),
        style: Style { colour: target.is_terminal() },
        max_processes: args.kernel.max_processes,
        middleboxes: args.middleboxes.clone(),
        settle: args.settle,
        ignored: args.ignored,
        state: args.state_dir.as_deref().and_then(|path| StateDir::open(path).map_err(|error| eprintln!("rstblame: {error}")).ok()),
        owners: OwnerFilter { pids: args.pids.clone(), comms: args.comms.clone(), containers: args.containers.clone() },
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(CaptureError::Runtime)?;
    let ended = runtime.block_on(capture(args, &plan, Kernel { release, machine }, writer));
    // Not awaited: a writer that is stuck on its reader must not keep the agent from ending.
    runtime.shutdown_background();
    match ended {
        Err(CaptureError::Output(OutputError::Closed(_))) => Ok(()),
        other => other,
    }
}

/// What to tell the kernel side.
pub fn arm_options(args: &KernelArgs, ports: PortSet, netns: Option<u32>) -> ArmOptions {
    ArmOptions {
        ports,
        netns: netns.map(|inode| vec![inode]),
        ring_size: args.ring_size,
        max_connections: args.max_connections,
        max_conversations: args.max_conversations,
        extras: Extras { egress: args.egress == Switch::On, amqp: args.amqp == Switch::On },
        ladder: args.hooks,
        btf: match &args.btf {
            BtfSource::File(path) => Some(path.clone()),
            BtfSource::None => None,
        },
    }
}

async fn capture(args: &CaptureArgs, plan: &Plan, kernel: Kernel, writer: (Writer, Queue)) -> Result<(), CaptureError> {
    // Before arming: from here on a signal ends the capture properly.
    let mut stops = Stops::new(args.duration).map_err(CaptureError::Signals)?;
    let mut armed = Armed::arm(&plan.arm).map_err(|error| {
        let unprivileged = !rustix::process::geteuid().is_root() && matches!(error, KernelError::Denied { .. } | KernelError::NoHook(_));
        if unprivileged { CaptureError::NotPrivileged } else { error.into() }
    })?;
    armed.listen(&args.netns.handles());
    for hook in armed.blind_spots() {
        eprintln!("rstblame: {hook}");
    }
    let started = Started {
        schema: SCHEMA.to_owned(),
        timestamp: jiff::Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: plan.host.clone(),
        kernel,
        filter: Filter {
            ports: plan.arm.ports.names(),
            netns: plan
                .arm
                .netns
                .as_ref()
                .map_or_else(|| vec!["all".to_owned()], |chosen| chosen.iter().map(ToString::to_string).collect()),
        },
        coverage: armed.coverage.clone(),
    };
    let mut session = Session::new(plan, args.count, armed, snapshot(&plan.arm), writer);
    session.queue(&Event::AgentStarted(Box::new(started)));
    if let Some(command) = &args.command {
        // The command may make its resets at once: the first line has to be out.
        session.flush().await?;
        stops.run(command).map_err(|source| CaptureError::Command { command: command.clone(), source })?;
    }
    while session.run_until(&mut stops).await? == Stop::CommandEnded {
        stops.settle(args.settle);
    }
    session.finish().await
}

/// Takes a snapshot of what is there already, beside the capture: it takes as long as the host has descriptors.
fn snapshot(arm: &ArmOptions) -> oneshot::Receiver<Snapshot> {
    let (send, receive) = oneshot::channel();
    let (ports, netns) = (arm.ports.clone(), arm.netns.clone());
    std::thread::spawn(move || {
        let watched = |local, peer| ports.contains(local) || ports.contains(peer);
        // A capture that is over already needs none.
        let _unneeded = send.send(Snapshot::take(Path::new("/proc"), netns.as_deref(), watched));
    });
    receive
}
