//! One capture, from arming to the last line.

mod monitor;
mod session;
mod state;
mod stop;
mod tally;

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use monitor::AttendError;
use rustix::thread::CapabilitySet;
use thiserror::Error;
use tokio::{runtime, sync::oneshot};

pub use crate::join::owner_filter::OwnerFilter;
use crate::{
    cli::{self, BtfSource, CaptureArgs, ConfigArgs, FloodArgs, KernelArgs, Switch},
    config::Config,
    event::{Event, Filter, Host, Kernel, SCHEMA, Started},
    flow::configured::KnownMiddlebox,
    host::{
        self,
        command_line::Detail,
        netns::{self, NetnsError, NetnsFilter},
    },
    join::owners::Snapshot,
    kernel::{ArmOptions, Armed, Budgets, KernelError, diagnostics::Diagnostics, options::Extras},
    limits, log,
    model::{Privileges, Severity, ports::PortSet},
    output::{
        Format, OutputError,
        sink::{Fsync, Opened, Sinks, Target},
    },
    privileges::{self, Confine, PrivilegesError, capabilities},
    systemd,
};
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
    #[error(transparent)]
    Attend(#[from] AttendError),
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
    #[error(transparent)]
    Privileges(#[from] PrivilegesError),
    #[error("{count} events of severity {severity} or worse were seen (--fail-on {severity})")]
    Found { severity: &'static str, count: u64 },
    #[error("missing {}: run with sudo, or see `rstblame check`", .0.join(" and "))]
    NotPrivileged(Vec<&'static str>),
}

impl CaptureError {
    /// Whether the command line, and not the machine, is at fault.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Kernel(KernelError::Ports(_) | KernelError::RingSize(_)))
    }
}

/// The exit code of a run. What went wrong goes to standard error, in one line.
pub fn exit_code(ended: &Result<(), CaptureError>) -> ExitCode {
    log::finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::failed(error);
            ExitCode::from(match error {
                CaptureError::Found { .. } => cli::FOUND,
                error if error.is_usage() => cli::USAGE,
                _ => 1,
            })
        }
    }
}

/// What one run needs to know, worked out from the command line or the configuration.
pub struct Plan {
    pub arm: ArmOptions,
    pub host: Host,
    pub kernel: Kernel,
    /// How much of command lines is kept.
    pub command_line: Detail,
    /// Processes whose facts are kept after their end.
    pub max_processes: usize,
    pub owners: OwnerFilter,
    pub middleboxes: Vec<KnownMiddlebox>,
    /// How long resets are held back.
    pub settle: Duration,
    /// Whether RSTs without effect are reported.
    pub ignored: bool,
    /// Whether ends of connections without a RST are reported.
    pub endings: bool,
    /// What makes the run a failure.
    pub fail_on: Option<Severity>,
    pub flood: FloodArgs,
    /// Where what is learnt is kept.
    pub state: Option<StateDir>,
    /// What was given up; nothing in a capture with a command.
    pub privileges: Option<Privileges>,
}

impl Plan {
    fn new(mut arm: ArmOptions, flood: FloodArgs, max_processes: usize, settle: Duration, state_dir: Option<&Path>) -> Self {
        arm.budgets = flood.budgets();
        let (node, release, machine) = host::uname();
        Self {
            arm,
            host: Host { name: node },
            kernel: Kernel { release, machine },
            command_line: Detail::default(),
            max_processes,
            owners: OwnerFilter::default(),
            middleboxes: Vec::new(),
            settle,
            ignored: false,
            endings: true,
            fail_on: None,
            flood,
            state: state_dir.and_then(|path| StateDir::open(path).map_err(|error| tracing::warn!("{error}")).ok()),
            privileges: None,
        }
    }

    /// Whether namespaces other than the agent's own are watched, or may come to be.
    pub fn follows_namespaces(&self) -> bool {
        match (self.arm.netns.as_deref(), netns::self_inode()) {
            (Some([only]), Ok(own)) => *only != own,
            _ => true,
        }
    }
}

/// Why the agent could not be armed; in the words of capabilities where it has too few.
fn not_armed(error: KernelError) -> CaptureError {
    let essential = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let missing = capabilities::held().map(|held| capabilities::missing(essential, held)).unwrap_or_default();
    if missing.is_empty() || !matches!(error, KernelError::Denied { .. } | KernelError::NoHook(_)) {
        return error.into();
    }
    CaptureError::NotPrivileged(missing)
}

/// One run of the agent.
struct Run {
    plan: Plan,
    netns: NetnsFilter,
    kind: Kind,
    duration: Option<Duration>,
    count: Option<u64>,
    command: Option<String>,
}

/// What there is before the agent is armed.
enum Kind {
    /// Its thread, too, starts once the agent is confined.
    Capture { sinks: Opened, leaves_root: bool },
    /// Where SIGHUP reads the configuration again, and the one that is running. Its sinks start
    /// once the agent is confined: each has a thread.
    Daemon(ConfigArgs, Box<Config>),
}

/// Runs a capture to its end.
///
/// # Errors
///
/// When it cannot be armed, or something it needs dies. A reader that closes its pipe is a clean
/// end.
pub fn run(args: &CaptureArgs) -> Result<(), CaptureError> {
    let standard = args.output == Path::new("-");
    let terminal = standard && io::stdout().is_terminal();
    let format = args.format.unwrap_or(if terminal { Format::Pretty } else { Format::Json });
    let target = if standard {
        Target::Stdout { format, style: args.pretty.style() }
    } else {
        Target::File { path: args.output.clone(), format, fsync: Fsync::Never }
    };
    let arm = arm_options(&args.kernel, PortSet::new(args.ports.clone()).map_err(KernelError::from)?, args.netns.inode()?);
    // Opened before anything is attached: a file that cannot be written is known at once.
    let sinks = Opened::new(target)?;
    let plan = Plan {
        command_line: args.command_line,
        middleboxes: args.middleboxes.clone(),
        ignored: args.ignored,
        endings: args.endings == Switch::On,
        fail_on: args.fail_on.map(Into::into),
        owners: OwnerFilter { pids: args.pids.clone(), comms: args.comms.clone(), containers: args.containers.clone() },
        ..Plan::new(arm, args.flood, args.kernel.max_processes, args.settle, args.state_dir.as_deref())
    };
    let ended = run_to_end(Run {
        plan,
        netns: args.netns.clone(),
        kind: Kind::Capture { sinks, leaves_root: standard && args.state_dir.is_none() && args.command.is_none() },
        duration: args.duration,
        count: args.count,
        command: args.command.clone(),
    });
    match ended {
        Err(CaptureError::Output(OutputError::Closed(_))) => Ok(()),
        other => other,
    }
}

/// Runs by a configuration until told to stop.
///
/// # Errors
///
/// When it cannot be armed, or something it needs dies.
pub fn run_daemon(args: ConfigArgs, config: Config) -> Result<(), CaptureError> {
    match &config.privileges.user {
        Some(user) => privileges::become_user(user)?,
        None if rustix::process::geteuid().is_root() && config.privileges.confine != Confine::Off => tracing::warn!(
            "the agent runs as root, and whoever took it over would own what root owns: name a user in [privileges] \
             (user = \"rstblame\", or --user), or start it by the packed unit"
        ),
        None => {}
    }
    let arm = arm_options(&config.kernel, config.ports.clone(), config.netns.inode()?);
    let plan = Plan {
        command_line: config.command_line,
        middleboxes: config.middleboxes.clone(),
        ignored: config.ignored,
        endings: config.endings,
        owners: config.owners.clone(),
        ..Plan::new(arm, config.flood, config.kernel.max_processes, config.settle, config.state_dir.as_deref())
    };
    let netns = config.netns.clone();
    run_to_end(Run { plan, netns, kind: Kind::Daemon(args, Box::new(config)), duration: None, count: None, command: None })
}

fn run_to_end(run: Run) -> Result<(), CaptureError> {
    limits::raise_files();
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(CaptureError::Runtime)?;
    let ended = runtime.block_on(watch(run));
    // Not awaited: what is stuck must not keep the agent from ending.
    runtime.shutdown_background();
    ended
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
        diagnostics: Diagnostics::as_logged(),
        // Whoever asks for bounds sets them.
        budgets: Budgets::default(),
        ladder: args.hooks,
        btf: match &args.btf {
            BtfSource::File(path) => Some(path.clone()),
            BtfSource::None => None,
        },
    }
}

async fn watch(run: Run) -> Result<(), CaptureError> {
    let Run { mut plan, netns, kind, duration, count, command } = run;
    let settle = plan.settle;
    // Before arming: from here on a signal ends the capture properly.
    let mut stops = Stops::new(duration, matches!(kind, Kind::Daemon(..))).map_err(CaptureError::Signals)?;
    let mut armed = Armed::arm(&plan.arm).map_err(not_armed)?;
    let (handles, failed) = netns.handles();
    armed.listen(handles, &failed);
    let follows = plan.follows_namespaces();
    armed.coverage.extend(privileges::coverage(capabilities::held().unwrap_or(CapabilitySet::empty()), follows));
    let (sinks, mut config) = match kind {
        Kind::Capture { sinks, leaves_root } => {
            // A command is to have the rights of whoever asked for it.
            if command.is_none() {
                // A file that was moved away is made anew, and the state is written at the end:
                // both may lie where root alone may write.
                let left = if leaves_root { privileges::leave_root() } else { Ok(()) };
                let mut privileges = privileges::confine(Confine::BestEffort, follows, || armed.counters().is_ok())?;
                privileges.failed.extend(left.err().map(|error| error.to_string()));
                plan.privileges = Some(privileges);
            }
            (Sinks::capture(sinks)?, None)
        }
        Kind::Daemon(args, config) => {
            if monitor::is_wanted(&config.metrics) {
                armed.load_heartbeat();
            }
            let privileges = privileges::confine(config.privileges.confine, follows, || armed.counters().is_ok())?;
            privileges.failed.iter().for_each(|failed| tracing::warn!("{failed}"));
            plan.privileges = Some(privileges);
            (Sinks::daemon(&config.sinks)?, Some((args, config)))
        }
    };
    armed.read_diagnostics();
    for hook in armed.blind_spots() {
        tracing::warn!("{hook}");
    }
    let started = started(&plan, &armed);
    if config.is_some() {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), ports = %plan.arm.ports.names().join(","), "watching");
    }
    let snapshot = snapshot(&plan);
    let mut session = Session::new(plan, count, armed, snapshot, sinks);
    // Its thread may do no more than the session, which has given up by now what it does not need.
    if let Some((_, config)) = config.as_ref().filter(|(_, config)| monitor::is_wanted(&config.metrics)) {
        session.attend(monitor::start(&config.metrics)?);
    }
    session.queue(Event::AgentStarted(Box::new(started)));
    if config.is_some() {
        systemd::ready();
    }
    if let Some(command) = &command {
        // The command may make its resets at once: the first line has to be out.
        session.flush().await?;
        stops.run(command).map_err(|source| CaptureError::Command { command: command.clone(), source })?;
    }
    loop {
        match (session.run_until(&mut stops).await?, &mut config) {
            (Stop::CommandEnded, _) => stops.settle(settle),
            (Stop::Reload, Some((args, running))) => session.reload(args, running),
            _ => {
                if config.is_some() {
                    systemd::stopping();
                }
                return session.finish().await;
            }
        }
    }
}

/// The first line of a stream.
fn started(plan: &Plan, armed: &Armed) -> Started {
    Started {
        schema: SCHEMA.to_owned(),
        timestamp: jiff::Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: plan.host.clone(),
        kernel: plan.kernel.clone(),
        filter: filter_names(&plan.arm),
        coverage: armed.coverage.clone(),
        privileges: plan.privileges.clone(),
    }
}

/// What is watched, in the words of the contract.
fn filter_names(arm: &ArmOptions) -> Filter {
    let netns = arm.netns.as_ref();
    Filter {
        ports: arm.ports.names(),
        netns: netns.map_or_else(|| vec!["all".to_owned()], |chosen| chosen.iter().map(ToString::to_string).collect()),
    }
}

/// Takes a snapshot of what is there already, beside the capture: it takes as long as the host has
/// descriptors.
fn snapshot(plan: &Plan) -> oneshot::Receiver<Snapshot> {
    let (send, receive) = oneshot::channel();
    let (ports, netns, detail) = (plan.arm.ports.clone(), plan.arm.netns.clone(), plan.command_line);
    std::thread::spawn(move || {
        let watched = |local, peer| ports.contains(local) || ports.contains(peer);
        // A capture that is over already needs none.
        let _unneeded = send.send(Snapshot::take(Path::new("/proc"), netns.as_deref(), detail, watched));
    });
    receive
}
