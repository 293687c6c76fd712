//! The command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    flow::known::KnownMiddlebox,
    host::netns::NetnsFilter,
    kernel::{hooks::Ladder, ports::PortRange},
    output::Format,
};

/// The port of AMQP 0-9-1 and 1.0 (IANA).
const AMQP: &str = "5672";

/// Tells who sent the TCP RST that killed an AMQP connection.
#[derive(Debug, Parser)]
#[command(name = "rstblame", version, about, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch resets until told to stop.
    Capture(Box<CaptureArgs>),
    /// Test everything a capture needs on this machine, one line each; exit 1 when the main job cannot run.
    Check(KernelArgs),
    /// Read captures (pcap or pcapng, also compressed) and say of every RST in them who sent it.
    Pcap(PcapArgs),
    /// Put the verdict under each line of RabbitMQ's log about a connection that ended.
    Explain(ExplainArgs),
    /// Print the JSON Schema of the events.
    Schema,
}

/// What to watch and how to write it.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Watch this port, or range of ports, on either side of a connection; may be given up to 64 times.
    #[arg(long = "port", value_name = "PORT|FIRST-LAST", default_value = AMQP, value_delimiter = ',')]
    pub ports: Vec<PortRange>,
    /// Watch the sockets of one network namespace: the agent's own, all, that of a file such as /run/netns/NAME or /proc/PID/ns/net, or
    /// that with an inode number.
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
    pub output: String,
    /// Hold resets back this long, for what follows to testify and for their owners to be searched for; with 0 nothing waits.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub settle: Duration,
    /// Run a shell command once armed, and stop when it has ended and its resets have settled. Its output goes to standard error.
    #[arg(long = "cmd", value_name = "COMMAND")]
    pub command: Option<String>,
    /// Also report RSTs that arrived and that the kernel did not act on: stale, inexact, or for a connection that was over.
    #[arg(long)]
    pub ignored: bool,
    /// Keep what is learnt of idle timeouts in this directory, so that it survives a restart.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name a load balancer or proxy by its address or network; resets from it are its own. May be given several times.
    #[arg(long = "middlebox", value_name = "CIDR=NAME")]
    pub middleboxes: Vec<KnownMiddlebox>,
    /// Show only resets of connections that this process owned; may be given several times.
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    /// Show only resets of connections owned by a process or executable of this name; may be given several times.
    #[arg(long = "comm", value_name = "NAME")]
    pub comms: Vec<String>,
    /// Show only resets of connections owned by a container whose id begins so; may be given several times.
    #[arg(long = "container", value_name = "ID-PREFIX")]
    pub containers: Vec<String>,
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Which captures to read and what to look for in them.
#[derive(Debug, Args)]
pub struct PcapArgs {
    /// A capture; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Look at connections with this port, or range of ports, on either side.
    #[arg(long = "port", value_name = "PORT|FIRST-LAST", default_value = AMQP, value_delimiter = ',')]
    pub ports: Vec<PortRange>,
    /// Look at all connections.
    #[arg(long, conflicts_with = "ports")]
    pub all_ports: bool,
    /// Address of the host that the captures were taken on; worked out where possible.
    #[arg(long, value_name = "ADDRESS")]
    pub local: Option<IpAddr>,
    /// Name a load balancer or proxy by its address or network; resets from it are its own. May be given several times.
    #[arg(long = "middlebox", value_name = "CIDR=NAME")]
    pub middleboxes: Vec<KnownMiddlebox>,
    /// How to write; pretty on a terminal, json otherwise.
    #[arg(long)]
    pub format: Option<Format>,
}

/// The broker's log, and the events of the agent that ran at the time.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// RabbitMQ's log (3.8 to 4.x, text or JSON); - is standard input, answered while it is written. Times without an offset are those of TZ,
    /// or of this host's time zone.
    #[arg(long, value_name = "FILE|-")]
    pub rabbitmq_log: String,
    /// What `rstblame capture --format json --output FILE` has written, or is writing, on the broker's host or on the client's.
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// How to write; pretty on a terminal, json otherwise.
    #[arg(long)]
    pub format: Option<Format>,
}

/// How to use the kernel.
#[derive(Clone, Debug, Args)]
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
    /// Watch packets that leave, too: what this host said itself testifies about the resets it gets.
    #[arg(long, value_enum, default_value_t)]
    pub egress: Switch,
    /// Follow AMQP on plain connections: heartbeat, vhost, close and the like, never credentials or content.
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

/// A number with a unit: `250ms`, `30s`, `10m`, `2h`; `0` needs none.
fn duration(text: &str) -> Result<Duration, String> {
    const HINT: &str = "give a number and a unit: 250ms, 30s, 10m, 2h";
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| HINT.to_owned())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "" if number == 0 => Some(0),
        _ => return Err(HINT.to_owned()),
    };
    // A year: beyond it the sum with the present overflows clocks, and no capture lasts that long.
    milliseconds
        .filter(|milliseconds| *milliseconds <= 31_536_000_000)
        .map(Duration::from_millis)
        .ok_or_else(|| "longer than a year; leave the flag out to run until stopped".to_owned())
}

/// A number of bytes, `KiB` or `MiB`.
fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "give a size such as 256KiB or 4MiB".to_owned())?;
    let bytes = match unit {
        "" | "B" => Some(number),
        "K" | "KiB" => number.checked_mul(1 << 10),
        "M" | "MiB" => number.checked_mul(1 << 20),
        "G" | "GiB" => number.checked_mul(1 << 30),
        _ => return Err("give a size such as 256KiB or 4MiB".to_owned()),
    };
    bytes.filter(|bytes| (4096..=1 << 30).contains(bytes)).ok_or_else(|| "out of range; give a size from 4KiB to 1GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;
    use proptest::prelude::*;

    use super::{Cli, duration, positive_duration, size};

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(positive_duration("0s").is_err());
        for bad in ["", "s", "5", "1.5s", "-1s", "5 s", "99999999h", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(size("64KiB"), Ok(65536));
        for bad in ["", "0", "1KiB", "2GiB", "KiB", "18446744073709551615G"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            let _ = (duration(&text), size(&text));
        }
    }
}
