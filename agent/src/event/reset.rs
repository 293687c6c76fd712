//! The `rst` line.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amqp, Host, Tls};
use crate::model::{CauseId, Direction, Effect, Evidence, KnownFrom, OriginKind, Pattern, Severity, Text};

/// One reset: who sent it, why, how sure, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResetEvent {
    pub schema: Text,
    /// Unique for this host and boot, and the same whenever the line is read again.
    pub id: String,
    /// When the tracepoint fired.
    pub timestamp: Timestamp,
    pub severity: Severity,
    /// One sentence for a person.
    pub message: String,
    /// Absent for captures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    pub direction: Direction,
    pub effect: Effect,
    pub network: Network,
    pub origin: Origin,
    pub cause: Cause,
    /// Every signal that had something to say, strongest first.
    pub evidence: Vec<Evidence>,
    /// What this reset has in common with others before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pattern: Vec<Pattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<Box<Packet>>,
    /// The process that ended the connection, where one of this host did; else the one that owned
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Box<Process>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s: Option<Kubernetes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd: Option<Systemd>,
    /// The conversation, where AMQP was spoken in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amqp: Option<Box<Amqp>>,
    /// Where it was TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The owner of the other end, where that is on this host too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_process: Option<ProcessName>,
    /// Who ended the connection first, where that was another act than the RST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_act: Option<Box<FirstAct>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
}

/// `network.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkType {
    Ipv4,
    Ipv6,
}

/// `network.transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
}

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// IPv4-mapped IPv6 counts as IPv4.
    #[serde(rename = "type")]
    pub kind: NetworkType,
    pub transport: Transport,
    /// What the client speaks, by its first bytes; the broker, where those were not seen. Absent
    /// where they are none that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<NetworkProtocol>,
    /// Community ID 1, seed 0: the same on both ends and in other tools.
    pub community_id: String,
    /// Inode number of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// Its name, where iproute2 or a CNI plugin gave it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns_name: Option<String>,
    /// This host's side, whichever side sent the RST.
    pub local: Endpoint,
    /// The other side.
    pub peer: Endpoint,
    /// What this host makes of the connection's addresses, where it translates them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<Box<Nat>>,
}

/// Both directions of a connection whose addresses are translated, as conntrack(8) has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nat {
    /// As the packets of whoever opened it left.
    pub original: NatDirection,
    /// As those of the other end leave.
    pub reply: NatDirection,
}

/// One direction of a translated connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatDirection {
    pub source: NatEnd,
    pub destination: NatEnd,
}

/// An end of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatEnd {
    pub address: IpAddr,
    pub port: u16,
}

/// `network.protocol` of OpenTelemetry. `amqp` and `tls` of the line tell what was seen of those
/// two; this is where a filter finds what else was spoken on a port of AMQP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkProtocol {
    /// `amqp`, `tls`, `http`, `proxy`, `mqtt` or `stomp`.
    pub name: Text,
    /// Of `amqp` `0-9-1` or `1.0`, of `proxy` `1` or `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    /// Name given to this address by the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Who tore the connection down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    pub kind: OriginKind,
    /// Probability that `kind` is right, 0 to 1. Absent when `kind` is `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Address of the sender, where that can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its name from the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Estimated distance in hops, from the return path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hops: Option<u8>,
    /// What the evidence has not excluded. One entry: it is settled.
    pub possible: Vec<OriginKind>,
}

/// Why the connection was torn down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    pub id: CauseId,
    /// Probability that `id` is right, 0 to 1. Absent when `id` is `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// One sentence.
    pub summary: Text,
    /// What to do, where the evidence stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<Text>,
    /// Where the cause is described: how it looks, how to confirm it, how to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<Text>,
}

/// What the socket knew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tcp {
    /// State before the reset, in the words of RFC 9293.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Text>,
    /// Name of the running kernel's `enum sk_rst_reason`, without its prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_reason: Option<String>,
    /// Its number, which differs between kernels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_reason_code: Option<u32>,
    /// Since the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Silence of the peer: since its last payload or acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Since the last payload received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_received_ms: Option<u64>,
    /// Since the last payload sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sent_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtt_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt_us: Option<u32>,
    /// Payload received in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Payload sent, each byte counted once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// Received and not read by the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_bytes: Option<u32>,
    /// Written by the owner and not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent_bytes: Option<u32>,
    /// `SO_LINGER` with a timeout of zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger_zero: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fin_received: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fin_sent: Option<bool>,
}

/// The RST as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packet {
    pub seq: u32,
    pub ack: u32,
    /// tcpdump's letters.
    pub flags: String,
    pub window: u16,
    pub ttl: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dont_fragment: Option<bool>,
    /// TCP options by name, in order.
    pub options: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Number of the frame in the capture, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
}

/// What the peer's other packets looked like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// Most frequent TTL or hop limit.
    pub ttl: u8,
    /// Packets it rests on.
    pub packets: u64,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Executable {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    pub uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// In the agent's pid namespace.
    pub pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    pub executable: Executable,
    /// Arguments, credentials removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    pub known_from: KnownFrom,
    /// In its own pid namespace, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_dumped: Option<bool>,
    /// Killed by the out-of-memory killer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_by: Option<Signaller>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_rst_ms: Option<i64>,
}

/// Who sent a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signaller {
    pub pid: u32,
    pub name: String,
}

/// A process in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessName {
    pub pid: u32,
    pub executable: Executable,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Text>,
}

/// Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kubernetes {
    pub pod: Pod,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pod {
    pub uid: String,
}

/// systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Systemd {
    pub unit: String,
}

/// Other events that belong to this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Related {
    /// More RSTs of the same reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u32>,
    /// The same reset at the other end, on this host too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The `connection_ended` line that has told of this connection already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// The end of the other connection of the same process: it is a proxy, and the two are its
    /// legs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_leg: Option<String>,
}

/// Who ended a connection first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirstAct {
    pub by: FirstActBy,
    pub how: FirstActHow,
    pub timestamp: Timestamp,
    /// How long before the RST; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_rst_ms: Option<u64>,
    /// Since the last payload of either end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_ms: Option<u64>,
    /// The error that the owner got, by the name of its errno.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// The process that acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
}

/// Who acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstActBy {
    /// A process of this host.
    LocalProcess,
    /// This host's kernel.
    LocalHost,
    /// The other end, or something in its name.
    Peer,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstActHow {
    /// close(2).
    Close,
    /// shutdown(2) of the sending side.
    Shutdown,
    /// The process exited.
    Exit,
    /// The process was ended by a signal.
    Signal,
    /// A FIN arrived.
    Fin,
    /// Nothing answered any more.
    Timeout,
}

/// The capture a reset was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capture {
    pub file: String,
}
