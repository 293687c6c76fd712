//! What `explain` keeps of a line. Of a verdict it keeps the words as they are written, those of a
//! later version too; kinds, causes and members that were added since are no reason to leave a line
//! out.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::{Event, EventsLost, Host, Reloaded, Started, Stopped, Suppressed},
    model::Tuple,
};

use super::event;

/// What is read of one line.
#[derive(Debug)]
pub enum Record {
    Started(Box<Started>),
    Reloaded(Box<Reloaded>),
    Lost(Box<EventsLost>),
    Stopped(Box<Stopped>),
    Suppressed(Box<Suppressed>),
    /// A reset, or the end of a connection without one.
    Ended(Box<Ended>),
    /// A reset anew: it takes the place of the one with its `id`.
    Revised(Box<Ended>),
    /// Another line of the agent's, with its time.
    Other {
        host: Option<String>,
        timestamp: Option<Timestamp>,
    },
}

/// What is kept of a `rst`, `rst_revised` or `connection_ended` line.
#[derive(Debug)]
pub struct Ended {
    pub found: Found,
    /// How its connection looks before and after translation on that host (`network.nat`), either
    /// way around.
    pub translated: Vec<Tuple>,
}

/// What is kept of a line.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Its `id` among the events.
    pub id: String,
    /// `rst` or `connection_ended`.
    #[serde(skip)]
    pub kind: Kind,
    pub timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    pub severity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    pub effect: String,
    pub origin: Value,
    pub cause: Value,
    /// The connection as that host sees it.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Initial sequence numbers of client and broker: the same wherever the connection is seen,
    /// also across NAT.
    #[serde(skip)]
    pub isn: Option<(u32, u32)>,
}

/// Which line it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Reset,
    /// It ended without a reset.
    Ending,
}

impl Found {
    /// Whether it took a connection down.
    pub fn ended(&self) -> bool {
        !matches!(self.effect.as_str(), "ignored" | "answered")
    }

    pub fn tuple(&self) -> Tuple {
        Tuple::new(self.local, self.peer)
    }

    /// A text of the verdict.
    pub fn text<'a>(part: &'a Value, name: &str) -> &'a str {
        part.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Head {
    event: String,
    #[serde(default)]
    host: Option<Host>,
    #[serde(default)]
    timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
struct EndedLine {
    #[serde(default)]
    id: String,
    timestamp: Timestamp,
    #[serde(default)]
    host: Option<Host>,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    direction: Option<String>,
    #[serde(default)]
    effect: String,
    network: Network,
    #[serde(default)]
    origin: Value,
    #[serde(default)]
    cause: Value,
    #[serde(default)]
    tcp: Option<Tcp>,
}

#[derive(Deserialize)]
struct Network {
    local: End,
    peer: End,
    #[serde(default)]
    nat: Option<Value>,
}

#[derive(Deserialize)]
struct End {
    address: IpAddr,
    port: u16,
}

#[derive(Deserialize)]
struct Tcp {
    #[serde(default)]
    isn_client: Option<u32>,
    #[serde(default)]
    isn_server: Option<u32>,
}

/// Reads one line; `None` if it is none of the agent's.
pub fn read(line: &[u8]) -> Option<Record> {
    let head: Head = serde_json::from_slice(line).ok()?;
    let other = Record::Other { host: head.host.map(|host| host.name), timestamp: head.timestamp };
    // A line of a known kind without what it must hold cannot be used.
    match head.event.as_str() {
        "rst" => ended(line, Kind::Reset).map(Record::Ended),
        "rst_revised" => ended(line, Kind::Reset).map(Record::Revised),
        "connection_ended" => ended(line, Kind::Ending).map(Record::Ended),
        "agent_started" | "agent_reloaded" | "events_lost" | "agent_stopped" | "rst_suppressed" | "endings_suppressed" => {
            match event::read(line).ok()? {
                Event::AgentStarted(started) => Some(Record::Started(started)),
                Event::AgentReloaded(reloaded) => Some(Record::Reloaded(Box::new(reloaded))),
                Event::EventsLost(lost) => Some(Record::Lost(Box::new(lost))),
                Event::AgentStopped(stopped) => Some(Record::Stopped(stopped)),
                Event::RstSuppressed(suppressed) | Event::EndingsSuppressed(suppressed) => Some(Record::Suppressed(suppressed)),
                Event::Rst(_) | Event::RstRevised(_) | Event::ConnectionEnded(_) => None,
            }
        }
        _ => Some(other),
    }
}

fn ended(line: &[u8], kind: Kind) -> Option<Box<Ended>> {
    let line: EndedLine = serde_json::from_slice(line).ok()?;
    let end = |end: &End| SocketAddr::new(end.address, end.port);
    let Tuple { local, peer } = Tuple::new(end(&line.network.local), end(&line.network.peer));
    let isn = line.tcp.and_then(|tcp| Some((tcp.isn_client?, tcp.isn_server?)));
    let mut translated = Vec::new();
    for direction in ["original", "reply"] {
        translated.extend(line.network.nat.as_ref().and_then(|nat| tuple(nat.get(direction)?)));
    }
    let found = Found {
        id: line.id,
        kind,
        timestamp: line.timestamp,
        host: line.host,
        severity: line.severity,
        direction: line.direction,
        effect: line.effect,
        origin: line.origin,
        cause: line.cause,
        local,
        peer,
        isn,
    };
    Some(Box::new(Ended { found, translated }))
}

/// A direction of a translated connection: two ends with `address` and `port`, as objects, as texts
/// or in a list, or `source_address` and the like.
fn tuple(value: &Value) -> Option<Tuple> {
    let mut ends: Vec<SocketAddr> = match value {
        Value::Array(ends) => ends.iter().filter_map(socket).collect(),
        Value::Object(object) => object.values().filter_map(socket).collect(),
        _ => return None,
    };
    if ends.len() < 2 {
        let object = value.as_object()?;
        let end = |names: [&str; 3], ports: [&str; 4]| {
            let of = |name: &str, what: &str| object.get(name).or_else(|| object.get(&format!("{name}{what}")));
            let parts = ["", "_address", ".address", "_ip"];
            let address =
                names.into_iter().find_map(|name| parts.into_iter().find_map(|part| of(name, part)?.as_str()?.parse::<IpAddr>().ok()))?;
            let port =
                ports.into_iter().find_map(|name| of(name, "").or_else(|| of(name, "_port")).or_else(|| of(name, ".port"))?.as_u64())?;
            Some(SocketAddr::new(address, u16::try_from(port).ok()?))
        };
        ends = [
            end(["source", "src", "local"], ["source", "src", "local", "sport"])?,
            end(["destination", "dst", "peer"], ["destination", "dst", "peer", "dport"])?,
        ]
        .into();
    }
    match ends.as_slice() {
        [first, second, ..] => Some(Tuple::new(*first, *second)),
        _ => None,
    }
}

fn socket(value: &Value) -> Option<SocketAddr> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Object(end) => {
            let address = end.get("address")?.as_str()?.parse::<IpAddr>().ok()?;
            Some(SocketAddr::new(address, u16::try_from(end.get("port")?.as_u64()?).ok()?))
        }
        _ => None,
    }
}
