//! The event contract, `rstblame/1`: what goes out, one JSON object a line.
//!
//! Names follow the OpenTelemetry semantic conventions where one exists. A field that is not known
//! is absent: never zeroed, never guessed. Adding a field is fine; renaming, removing or retyping
//! one raises the number in [`SCHEMA`]. `rstblame schema` prints the JSON Schema of these types,
//! and a test fails when the copy in the repository drifts.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::model::{CauseId, Coverage, OriginKind, Privileges};

mod amqp;
pub mod build;
mod reset;
mod schema;
mod suppressed;

pub use amqp::{Amqp, AmqpChannelClose, AmqpClose, AmqpPhase, AmqpRole, Tls, TlsStage};
pub use reset::{
    Baseline, Capture, Cause, Container, Endpoint, Executable, Exit, FirstAct, FirstActBy, FirstActHow, Kubernetes, Nat, NatDirection,
    NatEnd, Network, NetworkProtocol, NetworkType, Origin, Owner, Packet, Pod, Process, ProcessName, Related, ResetEvent, Signaller,
    Systemd, Tcp, Transport,
};
pub use schema::schema;
pub use suppressed::{LocalEnd, PeerEnd, Suppressed, SuppressedKey};

/// Version of the contract, in every line.
pub const SCHEMA: &str = "rstblame/1";

/// One line of output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line of every stream, once every hook is armed.
    AgentStarted(Box<Started>),
    /// One reset.
    Rst(Box<ResetEvent>),
    /// A reset anew, with the `id` of its line: what came later says otherwise, and this holds.
    RstRevised(Box<ResetEvent>),
    /// Resets that were alike and too many.
    RstSuppressed(Box<Suppressed>),
    /// An AMQP connection died without a RST.
    ConnectionEnded(Box<ResetEvent>),
    /// Ends of connections without a RST that were alike and too many.
    EndingsSuppressed(Box<Suppressed>),
    /// The configuration was read again; from here on another filter holds.
    AgentReloaded(Reloaded),
    /// Something was lost since the last line.
    EventsLost(EventsLost),
    /// Last line.
    AgentStopped(Box<Stopped>),
}

/// The host the agent runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Node name, as `uname -n` prints it.
    pub name: String,
}

/// The running kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// Release, as `uname -r` prints it.
    pub release: String,
    /// Machine, as `uname -m` prints it.
    pub machine: String,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filter {
    /// Ports and port ranges; a connection is watched when either side has one.
    pub ports: Vec<String>,
    /// `all`, or the inode numbers of the watched network namespaces.
    pub netns: Vec<String>,
}

/// First line of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    pub schema: String,
    pub timestamp: Timestamp,
    /// Version of the agent.
    pub version: String,
    pub host: Host,
    pub kernel: Kernel,
    pub filter: Filter,
    /// By hook or source of evidence.
    pub coverage: BTreeMap<String, Coverage>,
    /// What the agent may still do; absent for a capture, which has what it was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileges: Option<Privileges>,
}

/// What is watched from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    pub schema: String,
    pub timestamp: Timestamp,
    pub host: Host,
    pub filter: Filter,
    /// By hook or source of evidence.
    pub coverage: BTreeMap<String, Coverage>,
}

/// Something was lost. Totals since the start, by place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventsLost {
    pub schema: String,
    pub timestamp: Timestamp,
    pub host: Host,
    /// Lost to every reader.
    pub lost: Lost,
    /// Lost to the readers of one sink, by its name; sinks that lost nothing are absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, SinkLost>,
}

/// What one sink lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkLost {
    /// Resets that are missing from this sink, folded ones included: its queue was full, or they
    /// could not be written before the agent ended.
    pub lost: u64,
    /// The same of ends of connections without a RST.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endings: u64,
}

/// What became of the resets that were handed to one sink, whole or folded: all that are part of
/// `emitted` or `suppressed`, or, where the sink was added or removed meanwhile, those of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkTotals {
    /// Resets written. For TCP that means acknowledged by the other kernel, for other sockets taken
    /// over by the own.
    pub written: u64,
    /// Resets that are not known to be written.
    pub lost: u64,
    /// Ends of connections without a RST that were written, whole or folded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endings_written: u64,
    /// Those that are not known to be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endings_lost: u64,
}

/// Where resets were lost. A place where nothing was lost is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// The ring buffer had no room: raise `--ring-size`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ring_full: u64,
    /// The same by CPU, for those that lost any.
    #[serde(default, deserialize_with = "by_cpu", skip_serializing_if = "BTreeMap::is_empty")]
    pub ring_full_by_cpu: BTreeMap<u32, u64>,
    /// Records the agent could not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decode: u64,
    /// Seen after `--count` was reached.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count_limit: u64,
    /// The output could not be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output: u64,
}

impl Lost {
    /// Resets lost in all places together.
    pub fn total(&self) -> u64 {
        self.ring_full.saturating_add(self.decode).saturating_add(self.count_limit).saturating_add(self.output)
    }
}

/// Last line of a stream. `seen = emitted + suppressed + lost` holds exactly, and so does
/// `emitted + suppressed = written + lost` for each sink that was there all the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stopped {
    pub schema: String,
    pub timestamp: Timestamp,
    pub host: Host,
    pub uptime_s: f64,
    /// Resets that passed the filter in the kernel.
    pub seen: u64,
    /// Resets written out; where there are several sinks, handed to them.
    pub emitted: u64,
    /// Resets folded into `rst_suppressed`.
    pub suppressed: u64,
    /// Resets lost, in all places together.
    pub lost: u64,
    /// Where.
    pub lost_by: Lost,
    /// What became of both, by the name of the sink; absent for a capture, which has one reader.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, SinkTotals>,
    /// Firings the kernel skipped because the same program was already running on that CPU. Whether
    /// they were watched cannot be known, so they are not part of `seen`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_by_kernel: u64,
    /// What had to make room, or found none: the resets were reported all the same, with less known
    /// of them.
    #[serde(default, skip_serializing_if = "FellOut::is_empty")]
    pub fell_out: FellOut,
    /// Of the emitted and the suppressed ones.
    pub by_origin: BTreeMap<OriginKind, u64>,
    /// Of the emitted and the suppressed ones.
    pub by_cause: BTreeMap<CauseId, u64>,
    /// Ends of connections without a RST. Absent from agents that did not tell of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endings: Option<EndingTotals>,
}

/// Books of the ends of connections without a RST: `seen = emitted + suppressed + lost` holds
/// exactly. Of an end that was lost on its way out of the kernel it is not known whether it would
/// have had a line; it counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndingTotals {
    /// Ends that were to be told.
    pub seen: u64,
    /// Lines written out; where there are several sinks, handed to them.
    pub emitted: u64,
    /// Folded into `endings_suppressed`.
    pub suppressed: u64,
    /// Lost: no room in the ring buffer, or not readable, or not written.
    pub lost: u64,
    /// Beside those: ends in order, and such of which it is not known that they were not.
    pub ordinary: u64,
    /// Beside those: ends that the line of a RST told of.
    pub told_by_rst: u64,
}

/// What bounded memory could not hold. A place where nothing fell out is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FellOut {
    /// Connections the kernel side had no room to remember: raise `--max-connections`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections: u64,
    /// Processes whose facts were forgotten: raise `--max-processes`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub processes: u64,
    /// Records of processes the ring buffer had no room for: raise `--ring-size`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub process_records: u64,
    /// Packets of the tap the ring buffer had no room for, or that were beyond `--kernel-budget`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub packets: u64,
    /// Directions of connections whose packets were forgotten: a reset of theirs has less evidence.
    /// Raise `--max-connections`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flows: u64,
    /// Handshakes that were forgotten before the first packet after them, most of them of a scan: a
    /// reset of such a connection has less evidence.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handshakes: u64,
    /// Directions of connections of which what AMQP had said was forgotten before they ended: raise
    /// `--max-conversations`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conversations: u64,
    /// RSTs that were forgotten before their reset was known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rsts: u64,
    /// First acts that were forgotten before their time: what met the dead end later is told
    /// without them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endings: u64,
    /// Peers whose earlier resets were forgotten, and with them what repeats.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peers: u64,
    /// Questions to `/proc` and to tables of network namespaces that were not answered in time, as
    /// those about a process that lets its readers wait: events went out without what they ask for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lookups: u64,
}

impl FellOut {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// JSON has only text for keys, and inside a tagged enum serde does not turn it back into numbers.
fn by_cpu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u32, u64>, D::Error> {
    let text = BTreeMap::<String, u64>::deserialize(deserializer)?;
    text.into_iter().map(|(cpu, count)| Ok((cpu.parse().map_err(de::Error::custom)?, count))).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Type of an address, in the words of OpenTelemetry's `network.type`.
impl From<IpAddr> for NetworkType {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}
