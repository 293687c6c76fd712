//! The command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;

use crate::{
    flow::configured::KnownMiddlebox,
    host::{command_line::Detail, netns::NetnsFilter},
    kernel::{Budgets, floods, options::Ladder},
    log::LogArgs,
    model::{Severity, ports::PortRange},
    output::{Format, pretty::Style},
    units::{duration, size},
};

/// The port of AMQP 0-9-1 and 1.0 (IANA).
const AMQP: &str = "5672";

/// Exit code for a command line or a configuration that makes no sense.
pub const USAGE: u8 = 2;

/// Exit code of a capture that saw what it was not to see (`--fail-on`).
pub const FOUND: u8 = 3;

/// Where a package puts the configuration.
pub const CONFIG: &str = "/etc/rstblame/rstblame.toml";

/// Tells who sent the TCP RST that killed an AMQP connection.
#[derive(Debug, Parser)]
#[command(name = "rstblame", version, about, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch resets until told to stop, and tell what they came to.
    #[command(after_help = CAPTURE_EXAMPLES)]
    Capture(Box<CaptureArgs>),
    /// Run as a service, by a configuration file, until told to stop. SIGHUP reads the file again.
    Daemon(DaemonArgs),
    /// Print the configuration a daemon would run by, defaults included, as TOML.
    Config(ConfigArgs),
    /// Test everything a capture needs on this machine, one line each; exit 1 when the main job
    /// cannot run.
    Check(KernelArgs),
    /// Read captures (pcap or pcapng, also compressed) and say of every RST in them who sent it.
    Pcap(PcapArgs),
    /// Put the verdict under each line of RabbitMQ's log about a connection that ended; or tell the
    /// whole reasoning about one event.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Watch events as they come: totals, the rate, and each with its evidence.
    #[command(after_help = TOP_EXAMPLES)]
    Top(TopArgs),
    /// Make of event files one page for a browser, which can be mailed: what happened, when, who
    /// against whom, and every event with its evidence.
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Tell what files of events come to: incidents with their numbers, what to do, what was not
    /// seen.
    #[command(after_help = SUMMARY_EXAMPLES)]
    Summary(SummaryArgs),
    /// List the events of files that answer a question.
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// Print the JSON Schema of the events.
    Schema,
}

const CAPTURE_EXAMPLES: &str = "Examples:
  rstblame capture
  rstblame capture --format json --output events.json --duration 1h
  rstblame capture --cmd 'make test' --fail-on warning";

/// What to watch and how to write it.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Watch this port, or range of ports, on either side of a connection; may be given up to 64
    /// times.
    #[arg(long = "port", value_name = "PORT|FIRST-LAST", default_value = AMQP, value_delimiter = ',')]
    pub ports: Vec<PortRange>,
    /// Watch the sockets of one network namespace: the agent's own, all, that of a file such as
    /// /run/netns/NAME or /proc/PID/ns/net, or that with an inode number.
    #[arg(long, value_name = "self|all|PATH|INODE", default_value = "all")]
    pub netns: NetnsFilter,
    /// Stop after this time.
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    pub duration: Option<Duration>,
    /// Stop after this many resets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How to write; pretty on a terminal, json otherwise.
    #[arg(long)]
    pub format: Option<Format>,
    /// Append to a file, or write to standard output.
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    pub output: PathBuf,
    /// Hold resets back this long, for what follows to testify and for their owners to be searched
    /// for; with 0 nothing waits.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub settle: Duration,
    /// Run a shell command once armed, and stop when it has ended and its resets have settled. Its
    /// output goes to standard error.
    #[arg(long = "cmd", value_name = "COMMAND")]
    pub command: Option<String>,
    /// Also report RSTs that arrived and that the kernel did not act on: stale, inexact, or for a
    /// connection that was over.
    #[arg(long)]
    pub ignored: bool,
    /// Also tell of AMQP connections that died without a RST: a FIN while AMQP was open, a peer
    /// that no longer answered.
    #[arg(long, value_enum, default_value_t)]
    pub endings: Switch,
    /// How much of the command lines of processes to keep. `minimal` is what cannot be a secret:
    /// program, script or class, subcommand, names of flags. `redacted` is all but what looks like
    /// a secret, and will show one that does not; `full` is all of it.
    #[arg(long, value_enum, default_value_t, value_name = "minimal|redacted|full")]
    pub command_line: Detail,
    /// Keep what is learnt of idle timeouts in this directory, so that it survives a restart.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name a load balancer or proxy by its address or network; resets from it are its own. May be
    /// given several times.
    #[arg(long = "middlebox", value_name = "CIDR=NAME")]
    pub middleboxes: Vec<KnownMiddlebox>,
    /// Show only resets of connections that this process owned; may be given several times.
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    /// Show only resets of connections owned by a process or executable of this name; may be given
    /// several times.
    #[arg(long = "comm", value_name = "NAME")]
    pub comms: Vec<String>,
    /// Show only resets of connections owned by a container whose id begins so; may be given
    /// several times.
    #[arg(long = "container", value_name = "ID-PREFIX")]
    pub containers: Vec<String>,
    /// Exit with 3 if anything of this severity or worse was seen: for scripts.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<FailOn>,
    #[command(flatten)]
    pub pretty: PrettyArgs,
    #[command(flatten)]
    pub flood: FloodArgs,
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// A severity of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Any reset, those of normal operation included.
    Info,
    /// A lost connection.
    Warning,
    /// A process that was killed or crashed, or losses that repeat.
    Error,
}

impl From<FailOn> for Severity {
    fn from(severity: FailOn) -> Self {
        match severity {
            FailOn::Info => Self::Info,
            FailOn::Warning => Self::Warning,
            FailOn::Error => Self::Error,
        }
    }
}

/// How much lines for people say.
#[derive(Clone, Copy, Debug, Args)]
pub struct PrettyArgs {
    /// Also list resets that belong to normal operation, which are counted otherwise. Of the format
    /// pretty.
    #[arg(long)]
    pub all: bool,
    /// Say on what a verdict rests; twice: the packet and what the socket knew, too. Of the format
    /// pretty.
    #[arg(short = 'v', long = "verbose", action = clap::ArgAction::Count)]
    pub detail: u8,
}

impl PrettyArgs {
    /// As standard output can show it.
    pub fn style(self) -> Style {
        Style::of_stdout(self.detail, self.all)
    }
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration. Without the flag the default's absence means that every setting has its
    /// default.
    #[arg(long = "config", value_name = "FILE", default_value = CONFIG)]
    pub file: PathBuf,
}

/// How to run as a service.
#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Become this user before anything else is done, whatever [privileges] says: a name, or
    /// UID[:GID].
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only say whether the configuration is valid: exit 0, or 2 with one line that names what is
    /// wrong and where.
    #[arg(long)]
    pub check_config: bool,
}

/// Which captures to read and what to look for in them.
#[derive(Debug, Args)]
pub struct PcapArgs {
    /// A capture; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Look at connections with this port, or range of ports, on either side.
    #[arg(long = "port", value_name = "PORT|FIRST-LAST", default_value = AMQP, value_delimiter = ',')]
    pub ports: Vec<PortRange>,
    /// Look at all connections.
    #[arg(long, conflicts_with = "ports")]
    pub all_ports: bool,
    /// Address of the host that the captures were taken on; worked out where possible.
    #[arg(long, value_name = "ADDRESS")]
    pub local: Option<IpAddr>,
    /// Name a load balancer or proxy by its address or network; resets from it are its own. May be
    /// given several times.
    #[arg(long = "middlebox", value_name = "CIDR=NAME")]
    pub middleboxes: Vec<KnownMiddlebox>,
    /// How to write; pretty on a terminal, json otherwise.
    #[arg(long)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub pretty: PrettyArgs,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExplainFormat {
    /// One object a report.
    Json,
    /// The log's lines with the answer under them.
    Pretty,
    /// One row a report, for spreadsheets; the first names the columns.
    Csv,
}

const EXPLAIN_EXAMPLES: &str = "Examples:
  rstblame explain --rabbitmq-log rabbit@broker-1.log --events events.json
  journalctl -fu rabbitmq-server | rstblame explain --rabbitmq-log - --events events.json
  rstblame explain 7f3a9c-1042 --events events.json";

/// The broker's log, and the events of the agent that ran at the time; or the id of one of these.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Tell the whole reasoning about the event of this id: its numbers, and what would have
    /// changed the verdict.
    #[arg(value_name = "ID", required_unless_present = "rabbitmq_logs", conflicts_with_all = ["rabbitmq_logs", "format"])]
    pub id: Option<String>,
    /// RabbitMQ's log (3.6 to 4.x): its own file, also rotated and compressed, or what journalctl,
    /// syslog, docker, kubectl, Loki, CloudWatch and their like made of it, as text or JSON; may be
    /// given several times. - is standard input, answered while it is written. Times without an
    /// offset are those of TZ, or of this host's time zone.
    #[arg(long = "rabbitmq-log", value_name = "FILE|-")]
    pub rabbitmq_logs: Vec<String>,
    /// What `rstblame capture --format json --output FILE` has written, or is writing, on the
    /// broker's host, on the client's, or on both; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    pub events: Vec<PathBuf>,
    /// How to write; pretty on a terminal, json otherwise.
    #[arg(long)]
    pub format: Option<ExplainFormat>,
}

const TOP_EXAMPLES: &str = "Examples:
  rstblame top
  rstblame top --port 5671,5672 --netns all
  rstblame top /var/log/rstblame/events.json
  ssh broker-1 rstblame capture --format json | rstblame top -";

/// What to watch.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// What `rstblame capture --format json --output FILE` or a daemon has written and may still be
    /// writing; - is standard input. Without one, what happens on this host is watched, which takes
    /// root.
    #[arg(value_name = "FILE|-")]
    pub file: Option<PathBuf>,
    /// As `rstblame capture`: the ports that are watched.
    #[arg(long = "port", value_name = "PORT|FIRST-LAST", default_value = AMQP, value_delimiter = ',', conflicts_with = "file")]
    pub ports: Vec<PortRange>,
    /// As `rstblame capture`: the network namespaces that are watched.
    #[arg(long, value_name = "self|all|PATH|INODE", default_value = "all", conflicts_with = "file")]
    pub netns: String,
    /// Show at first the events that answer this question (docs/asking.md).
    #[arg(long = "where", value_name = "QUESTION")]
    pub question: Option<String>,
}

const REPORT_EXAMPLES: &str = "Examples:
  rstblame report events.json -o report.html
  rstblame report events.json.2.gz events.json.1 events.json -o week.html
  journalctl -u rstblame -o cat | rstblame report - -o report.html";

/// Events to report of, and where the page goes.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// What `rstblame capture --format json` or the daemon has written, also compressed; - is
    /// standard input.
    #[arg(value_name = "FILE|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the page goes; - is standard output.
    #[arg(short, long, value_name = "FILE|-")]
    pub output: PathBuf,
    /// List no more events than this one by one. The story at its beginning is of all.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lines: u32,
}

const SUMMARY_EXAMPLES: &str = "Examples:
  rstblame summary /var/log/rstblame/events.json
  rstblame summary events.json.2.gz events.json.1 events.json
  journalctl -u rstblame -o cat | rstblame summary -";

/// What to tell of.
#[derive(Debug, Args)]
pub struct SummaryArgs {
    /// What `rstblame capture --format json --output FILE` or a daemon has written, also rotated
    /// and compressed by gzip or zstd; - is standard input.
    #[arg(required = true, value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// How to write: paragraphs, or one JSON object for each.
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// How a summary is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SummaryFormat {
    #[default]
    Pretty,
    Json,
}

const EVENTS_EXAMPLES: &str = "Examples:
  rstblame events events.json --where 'cause = idle_timeout and peer in 10.0.6.0/24' --since 1h
  rstblame events events.json --where 'severity != info and process = beam.smp' --format table
  rstblame events events.json.1.gz events.json --where 'idle > 5m and not heartbeat = 0' --format csv";

/// What to list.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// What `rstblame capture --format json --output FILE` or a daemon has written, also rotated
    /// and compressed by gzip or zstd; - is standard input.
    #[arg(required = true, value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// Which events: members of the contract with =, !=, <, >, contains and in, joined by and, or
    /// and not (docs/asking.md).
    #[arg(long = "where", value_name = "QUESTION")]
    pub question: Option<String>,
    /// Since when: a time such as 2026-06-29T02:10:00Z, or so long ago, such as 1h.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
    /// How to write; a table on a terminal, json otherwise.
    #[arg(long, value_enum)]
    pub format: Option<EventsFormat>,
}

/// How events are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EventsFormat {
    /// One row a line, for people.
    Table,
    /// The lines as they were written.
    Json,
    /// One row a line, for spreadsheets; the first names the columns.
    Csv,
}

/// A time, or how long ago.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago = duration(text).map_err(|_| "give a time such as 2026-06-29T02:10:00Z, or how long ago: 30m, 1h".to_owned())?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

/// What to do when there are too many resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct FloodArgs {
    /// Of resets that are alike (same origin, cause, peer and watched port) write this many a
    /// second one by one, and fold the others into one `rst_suppressed` line; 0 folds none.
    #[arg(long, value_name = "N", default_value_t = FloodArgs::DEFAULT.fold_above)]
    pub fold_above: u32,
    /// Let the kernel programs report this many resets of connections a second, and a fifth of that
    /// of others; what is beyond is counted and folded. 0 lets them report all.
    #[arg(long, value_name = "N", default_value_t = FloodArgs::DEFAULT.kernel_budget)]
    pub kernel_budget: u32,
}

impl FloodArgs {
    pub const DEFAULT: Self = Self { fold_above: 100, kernel_budget: 10_000 };

    /// What the kernel programs are told.
    pub fn budgets(self) -> Budgets {
        floods::budgets(self.kernel_budget, self.fold_above)
    }
}

/// How to use the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct KernelArgs {
    /// Size of the ring buffer between kernel and agent; rounded up to a power of two of pages.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = size)]
    pub ring_size: u64,
    /// Connections remembered at once.
    #[arg(long, value_name = "N", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub max_connections: u32,
    /// Processes whose facts are kept, so that one that ended is still named.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub max_processes: usize,
    /// Watch packets that leave, too: what this host said itself testifies about the resets it
    /// gets.
    #[arg(long, value_enum, default_value_t)]
    pub egress: Switch,
    /// Follow AMQP on plain connections: heartbeat, vhost, close and the like, never credentials or
    /// content.
    #[arg(long, value_enum, default_value_t)]
    pub amqp: Switch,
    /// Connections at once of which is remembered what AMQP said.
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_conversations: u32,
    /// How to attach to tracepoints.
    #[arg(long, value_enum, default_value_t)]
    pub hooks: Ladder,
    /// The kernel's type information; `none` does without, as on kernels that have none.
    #[arg(long, value_name = "FILE|none", default_value = "/sys/kernel/btf/vmlinux", value_parser = btf)]
    pub btf: BtfSource,
}

/// Something to be had or left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    #[default]
    On,
    Off,
}

/// Where struct layouts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfSource {
    File(PathBuf),
    None,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature clap calls")]
fn btf(text: &str) -> Result<BtfSource, std::convert::Infallible> {
    Ok(if text == "none" { BtfSource::None } else { BtfSource::File(text.into()) })
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a capture of no length sees nothing; give a time such as 30s or 10m".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::{Cli, positive_duration};

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_capture_has_a_length() {
        assert_eq!(positive_duration("10m"), Ok(Duration::from_mins(10)));
        assert!(positive_duration("0s").is_err());
    }
}
