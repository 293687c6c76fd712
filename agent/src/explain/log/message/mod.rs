//! What RabbitMQ says about connections (`rabbit_reader.erl`, `rabbit_amqp_reader.erl`,
//! `rabbit_mqtt_reader.erl`, `rabbit_stomp_reader.erl` and `rabbit_stream_reader.erl` of
//! <https://github.com/rabbitmq/rabbitmq-server>, v3.6 to v4.3).
//!
//! Names of connections, virtual hosts and users are the client's choice and may hold anything. So
//! addresses are looked for in one place, right after the opening bracket, and the reason in
//! another, after the bracket that closes it.

use std::net::{IpAddr, SocketAddr};

use super::reason::Reason;
use crate::model::Tuple;

/// Longest name of a host with its port.
const LONGEST_END: usize = 300;

/// What a connection spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Amqp,
    Amqp10,
    Mqtt,
    Stomp,
    Stream,
}

impl Protocol {
    /// A stable token.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Amqp => "amqp",
            Self::Amqp10 => "amqp-1.0",
            Self::Mqtt => "mqtt",
            Self::Stomp => "stomp",
            Self::Stream => "stream",
        }
    }
}

/// One end as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// `None` where it is a host name (`reverse_dns_lookups`), or was made unreadable.
    pub address: Option<IpAddr>,
    pub port: u16,
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub client: Named,
    pub broker: Named,
}

impl Ends {
    /// The connection seen from the broker, where both addresses are known.
    pub fn tuple(&self) -> Option<Tuple> {
        let whole = |end: Named| Some(SocketAddr::new(end.address?, end.port));
        Some(Tuple::new(whole(self.broker)?, whole(self.client)?))
    }

    /// Those of the client and the broker.
    pub const fn ports(&self) -> (u16, u16) {
        (self.client.port, self.broker.port)
    }
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a text says or does not say")]
pub struct End<'a> {
    pub protocol: Protocol,
    /// The process that the text names.
    pub pid: Option<&'a str>,
    pub ends: Option<Ends>,
    /// As far as this line says it.
    pub reason: Option<Reason>,
    /// A reason is to follow, says the text.
    pub to_follow: bool,
    /// The text ends within its brackets: the line was wrapped or cut.
    pub torn: bool,
    /// The connection is still to be closed: another report will follow.
    pub still_open: bool,
    /// Says again what another line has said with more words.
    pub echo: bool,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    End(End<'a>),
    /// A connection was accepted, or named later on: whose process it is.
    Opened {
        pid: Option<&'a str>,
        ends: Ends,
    },
    /// About connections, and no end.
    Other,
}

/// How each message begins, what it is about, and how the rest of it is to be read.
const BEGINNINGS: [(&str, Protocol, Form); 43] = [
    ("closing AMQP connection", Protocol::Amqp, Form::Closing),
    ("Closing AMQP connection", Protocol::Amqp, Form::Closing),
    ("closing AMQP 1.0 connection", Protocol::Amqp10, Form::Closing),
    ("Closing AMQP 1.0 connection", Protocol::Amqp10, Form::Closing),
    ("Error on AMQP connection", Protocol::Amqp, Form::Error),
    ("Error on AMQP 1.0 connection", Protocol::Amqp10, Form::Error),
    ("accepting AMQP connection", Protocol::Amqp, Form::Opened),
    ("accepting AMQP 1.0 connection", Protocol::Amqp10, Form::Opened),
    ("connection <", Protocol::Amqp, Form::Opened),
    ("Connection from AMQP 1.0 container", Protocol::Amqp10, Form::Other),
    ("Channel error on connection", Protocol::Amqp, Form::Other),
    ("closing MQTT connection", Protocol::Mqtt, Form::Echo),
    ("Closing MQTT connection", Protocol::Mqtt, Form::Echo),
    ("closing Web MQTT connection", Protocol::Mqtt, Form::Echo),
    ("Web MQTT closing connection", Protocol::Mqtt, Form::Echo),
    ("MQTT closing connection", Protocol::Mqtt, Form::Echo),
    ("MQTT connection", Protocol::Mqtt, Form::Failed),
    ("MQTT detected network error", Protocol::Mqtt, Form::Failed),
    ("MQTT: detected network error", Protocol::Mqtt, Form::Failed),
    ("MQTT detected TLS upgrade error", Protocol::Mqtt, Form::Failed),
    ("MQTT detected a packet error", Protocol::Mqtt, Form::Failed),
    ("MQTT protocol error", Protocol::Mqtt, Form::Failed),
    ("accepting MQTT connection", Protocol::Mqtt, Form::Opened),
    ("Accepted MQTT connection", Protocol::Mqtt, Form::Opened),
    ("Accepting Web MQTT connection", Protocol::Mqtt, Form::Opened),
    ("Accepted Web MQTT connection", Protocol::Mqtt, Form::Opened),
    ("MQTT accepting TCP connection", Protocol::Mqtt, Form::Opened),
    ("closing STOMP connection", Protocol::Stomp, Form::Echo),
    ("Closing STOMP connection", Protocol::Stomp, Form::Echo),
    ("STOMP connection", Protocol::Stomp, Form::Failed),
    ("STOMP detected network error", Protocol::Stomp, Form::Failed),
    ("STOMP detected TLS upgrade error", Protocol::Stomp, Form::Failed),
    ("STOMP detected missed client heartbeat(s)", Protocol::Stomp, Form::Failed),
    ("accepting STOMP connection", Protocol::Stomp, Form::Opened),
    ("accepting stream connection", Protocol::Stream, Form::Opened),
    ("closing stream connection", Protocol::Stream, Form::Echo),
    ("Closing stream connection", Protocol::Stream, Form::Failed),
    ("Force closing stream connection", Protocol::Stream, Form::Failed),
    ("Forcing stream connection", Protocol::Stream, Form::Failed),
    ("Stream reader socket", Protocol::Stream, Form::Failed),
    ("Stream protocol connection socket error", Protocol::Stream, Form::Failed),
    ("Closing connection because of timeout in state", Protocol::Stream, Form::Failed),
    ("Stream connection", Protocol::Stream, Form::Failed),
];

/// How the rest of a message is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Closing,
    Error,
    /// One line with its reason, in words of its own.
    Failed,
    /// As [`Form::Failed`], and often after another line that said why.
    Echo,
    Opened,
    Other,
}

/// Whether a text begins as a message about connections does.
pub fn begins(text: &str) -> bool {
    beginning(text).is_some() || named(text).is_some()
}

/// Where in a text the first message about connections may begin.
pub fn first_in(text: &str) -> Option<usize> {
    BEGINNINGS.iter().filter_map(|(beginning, ..)| text.find(beginning)).min()
}

/// Whether a level is that of ordinary events, or has not been given.
pub fn is_quiet(level: &str) -> bool {
    matches!(level, "" | "info" | "notice" | "debug")
}

/// What a text says; `None` where it is not about connections. `quiet`: [`is_quiet`].
pub fn read(text: &str, quiet: bool) -> Option<Message<'_>> {
    let text = text.trim_end();
    if let Some(ends) = named(text) {
        return Some(Message::Opened { pid: None, ends });
    }
    let (protocol, form, rest) = beginning(text)?;
    let message = match form {
        Form::Closing => Message::End(closing(protocol, rest, quiet, false)?),
        Form::Error => Message::End(closing(protocol, rest, false, true)?),
        Form::Failed | Form::Echo => Message::End(failed(protocol, text, rest, form == Form::Echo)),
        Form::Opened => {
            let (pid, rest) = about(rest);
            match ends(rest) {
                Some((ends, _)) => Message::Opened { pid, ends },
                None => Message::Other,
            }
        }
        Form::Other => Message::Other,
    };
    Some(message)
}

fn beginning(text: &str) -> Option<(Protocol, Form, &str)> {
    // All begin with one of few letters, and most lines with none of them.
    let first = text.bytes().next()?;
    if !matches!(first, b'a' | b'c' | b'A' | b'C' | b'E' | b'F' | b'M' | b'S' | b'W') {
        return None;
    }
    let mut longest: Option<(&str, Protocol, Form)> = None;
    for (beginning, protocol, form) in BEGINNINGS {
        if beginning.as_bytes().first() == Some(&first)
            && text.starts_with(beginning)
            && longest.is_none_or(|(before, ..)| before.len() < beginning.len())
        {
            longest = Some((beginning, protocol, form));
        }
    }
    let (beginning, protocol, form) = longest?;
    let rest = text.get(beginning.len()..)?;
    // `connection <` keeps its bracket, which begins the name of a process.
    let rest = if beginning.ends_with('<') { text.get(beginning.len() - 1..)? } else { rest };
    Some((protocol, form, rest))
}

/// `connection 192.0.2.2:40122 -> 192.0.2.1:5672: user ...`, as 4.x has it.
fn named(text: &str) -> Option<Ends> {
    let (ends, rest) = ends(text.strip_prefix("connection ")?)?;
    rest.starts_with([':', ' ']).then_some(ends)
}

fn closing(protocol: Protocol, rest: &str, quiet: bool, error: bool) -> Option<End<'_>> {
    let mut end = End { protocol, pid: None, ends: None, reason: None, to_follow: false, torn: false, still_open: false, echo: false };
    let mut rest = rest.trim_start();
    if let Some((pid, after)) = pid(rest) {
        end.pid = Some(pid);
        rest = after.trim_start();
    }
    let bracket = rest.starts_with('(');
    // The line was cut before it named the connection.
    end.torn = rest.is_empty() || (end.pid.is_none() && rest.starts_with('<') && rest.len() < 40 && !rest.contains('>'));
    if end.torn {
        return Some(end);
    }
    if bracket {
        rest = rest.get(1..)?;
    } else if end.pid.is_none() && ends(rest).is_none() {
        // Prose.
        return None;
    }
    let mut after_ends = rest;
    if let Some((found, after)) = ends(rest) {
        end.ends = Some(found);
        after_ends = after;
    }
    let tail = if bracket {
        closed(after_ends)
    } else if end.ends.is_some() {
        // `A -> B (duration: '3ms'): ...` and `A -> B of user 'app': ...`
        let quoted =
            || after_ends.starts_with(" of user '").then(|| after_ends.rfind("': ").and_then(|at| after_ends.get(at + 1..))).flatten();
        match after_ends.trim_start().strip_prefix('(') {
            Some(inner) => closed(inner),
            None => quoted().or(Some(after_ends)),
        }
    } else {
        Some(after_ends)
    };
    end.still_open = error && end.ends.is_some();
    let Some(tail) = tail else {
        end.torn = true;
        return Some(end);
    };
    let tail = tail.trim();
    if tail.is_empty() {
        end.torn = bracket && end.ends.is_none() && rest.contains("->");
        end.reason = quiet.then_some(Reason::Orderly);
        end.to_follow = !quiet;
        return Some(end);
    }
    // `, channel 0:` and what follows it.
    let said = match tail.strip_prefix(", channel") {
        Some(channel) => channel.split_once(':').map_or("", |(_, said)| said),
        None => tail.strip_prefix(':').unwrap_or(tail),
    };
    let said = said.trim_start_matches([' ', ',', '\t']);
    if said.is_empty() {
        end.to_follow = true;
    } else {
        end.reason = Some(Reason::of(said));
    }
    Some(end)
}

/// What follows the bracket that closes a connection's description.
fn closed(text: &str) -> Option<&str> {
    let mut last = None;
    let mut sure = None;
    for (at, _) in text.match_indices(')') {
        let (before, after) = (text.get(..at)?, text.get(at + 1..)?);
        if !(after.is_empty() || after.starts_with(':') || after.starts_with(", channel")) {
            continue;
        }
        last = Some(after);
        if before.is_empty() || ends_described(before) {
            sure = Some(after);
        }
    }
    sure.or(last)
}

/// Whether a description ends here as RabbitMQ ends it: by the user, the duration, or the state.
fn ends_described(before: &str) -> bool {
    if let Some(open) = before.strip_suffix('\'') {
        return [", user: '", "duration: '"].into_iter().any(|key| open.rsplit_once(key).is_some_and(|(_, value)| !value.contains('\'')));
    }
    before.rsplit_once("state: ").is_some_and(|(_, state)| !state.is_empty() && state.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
}

fn failed<'a>(protocol: Protocol, text: &'a str, rest: &'a str, echo: bool) -> End<'a> {
    let skip = ["error on ", "error for ", " on connection ", " on ", " for "];
    let rest = skip.into_iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest);
    let (named, after) = about(rest);
    let found = ends(after);
    let pid = named.or_else(|| {
        // The stream reader puts its process in brackets at the end.
        let (_, pid) = text.rsplit_once("[<")?;
        let (inner, _) = pid.split_once(">]")?;
        let at = text.len() - pid.len() - 1;
        text.get(at..at + inner.len() + 2)
    });
    let said = found.as_ref().map_or(rest, |(_, said)| said).trim_start_matches(['"', '\'', '>', ')', ':', ',', ' ']);
    let to_follow = text.ends_with(':');
    // The name of the connection is no reason, and neither is a client's identifier, in quotes.
    let reason = match Reason::known(said).or_else(|| Reason::known(text.get(..text.len() - rest.len()).unwrap_or_default())) {
        Some(reason) => Some(reason),
        None if to_follow => None,
        None if protocol == Protocol::Stream && text.starts_with("Stream reader socket") && text.contains("closed") => {
            Some(Reason::ClientClosedTcp)
        }
        None if echo && said.trim_matches([')', ' ', '"', '>']).is_empty() => Some(Reason::Orderly),
        None => Some(Reason::Other),
    };
    End { protocol, pid, ends: found.map(|(ends, _)| ends), reason, to_follow, torn: false, still_open: false, echo }
}

/// The process, and the text after it and after the bracket or the quotes that begin a description.
fn about(text: &str) -> (Option<&str>, &str) {
    let text = text.trim_start();
    let (pid, text) = pid(text).map_or((None, text), |(pid, after)| (Some(pid), after.trim_start()));
    let text = text.strip_prefix("<<").unwrap_or(text);
    (pid, text.trim_start_matches(['(', '"', '\'']))
}

/// An Erlang process, such as `<0.1234.0>`, at the beginning of a text, and what follows it.
pub fn pid(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let length = inner.bytes().take(40).take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let digits = inner.get(..length)?;
    let three = digits.split('.').count() == 3 && digits.split('.').all(|number| !number.is_empty());
    (three && inner.as_bytes().get(length) == Some(&b'>')).then(|| text.split_at(length + 2))
}

/// `CLIENT:PORT -> BROKER:PORT` at the beginning of a text, and what follows it.
fn ends(text: &str) -> Option<(Ends, &str)> {
    let arrow =
        memchr::memchr_iter(b'>', text.as_bytes()).find_map(|at| at.checked_sub(1).filter(|at| text.as_bytes().get(*at) == Some(&b'-')))?;
    let client = end(text.get(..arrow)?.trim_end())?;
    let after = text.get(arrow + 2..)?;
    let broker_text = after.trim_start();
    let length = broker_text.find([' ', ',', ')', '"', '\'', ';', '>']).unwrap_or(broker_text.len());
    let broker_text = broker_text.get(..length)?;
    let broker_text = broker_text.strip_suffix(':').unwrap_or(broker_text);
    let broker = end(broker_text)?;
    let consumed = text.len() - after.trim_start().len() + broker_text.len();
    Some((Ends { client, broker }, text.get(consumed..)?))
}

/// `ADDRESS:PORT`; IPv6 addresses stand in brackets, in old versions without.
fn end(text: &str) -> Option<Named> {
    if text.len() > LONGEST_END || text.bytes().any(|byte| matches!(byte, b' ' | b'\'' | b'"' | b'(' | b')' | b'<' | b'=')) {
        return None;
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.split_once('%').map_or(host, |(host, _)| host);
    (!host.is_empty()).then(|| Named { address: host.parse::<IpAddr>().ok().map(|address| address.to_canonical()), port })
}

#[cfg(test)]
mod tests;
