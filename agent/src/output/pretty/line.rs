//! One reset: a headline, and a line that says what to do. With `-v` the evidence, with `-vv` the
//! packet and the socket.

use std::{fmt::Write as _, net::SocketAddr};

use super::{
    columns::{cut_clause, elide_middle, width, wrap},
    style::{Paint, Style},
    token,
};
use crate::{
    event::{Endpoint, Packet, ProcessName, ResetEvent, Tcp},
    model::{Role, Severity},
    story::words::{self, Outcome},
};

/// Columns of the time and the word before the connection.
const BEFORE: usize = 20;

/// Where what belongs to a headline begins.
const INDENT: usize = 10;

/// A terminal of fewer columns gets as many lines as it takes.
const TWO_LINES: usize = 100;

/// Columns that a connection needs at least to be told from others.
const CONNECTION: usize = 26;

/// Renders one reset, or end without one.
pub(super) fn line(event: &ResetEvent, style: Style) -> String {
    let mut text = head(event, style);
    let connection = connection(event);
    let (sender, cause) = (words::sender(event), words::cause(event));
    let both = format!("{sender}: {cause}");
    let room = style.columns.saturating_sub(BEFORE);
    if style.columns < TWO_LINES {
        wrap(&mut text, &connection.whole(), BEFORE, INDENT, style.columns);
        indented(&mut text, &both, style);
        if let Some(advice) = &event.cause.advice {
            indented(&mut text, advice, style);
        }
    } else if room >= width(&both) + 2 + connection.width().min(CONNECTION) {
        beside(&mut text, &connection.within(room - width(&both) - 2), &both);
        if let Some(advice) = &event.cause.advice {
            under(&mut text, "", advice, style);
        }
    } else {
        let sender = elide_middle(&sender, room.saturating_sub(CONNECTION + 2));
        beside(&mut text, &connection.within(room - width(&sender) - 2), &sender);
        match &event.cause.advice {
            Some(advice) => under(&mut text, &format!("{cause}: "), advice, style),
            None => under(&mut text, "", &cause, style),
        }
    }
    text.push('\n');
    if style.detail > 0 {
        evidence(&mut text, event, style);
    }
    if style.detail > 1 {
        facts(&mut text, event, style);
    }
    text
}

/// Time, mark and word.
fn head(event: &ResetEvent, style: Style) -> String {
    let (mark, paint) = match event.severity {
        Severity::Info => (' ', Paint::Quiet),
        Severity::Warning => (' ', Paint::Warning),
        Severity::Error => ('!', Paint::Error),
    };
    let word = match (event.severity, Outcome::of(event.effect)) {
        (Severity::Info, _) => "routine",
        (_, Outcome::Lost) => "LOST",
        (_, Outcome::Refused) => "REFUSED",
        (_, Outcome::Aborted) => "ABORTED",
        (_, Outcome::Unanswered) => "NO REPLY",
        (_, Outcome::Harmless) => "harmless",
    };
    let time = event.timestamp.strftime("%H:%M:%S");
    format!("{time} {mark}{}  ", style.paint(&format!("{word:<8}"), paint))
}

/// Client and broker, as briefly as they can be told apart.
struct Connection {
    client: String,
    broker: String,
}

fn connection(event: &ResetEvent) -> Connection {
    let process = event.process.as_ref().map(|process| format!("{} ({})", process.executable.name, process.pid));
    let other = event.peer_process.as_ref().map(|ProcessName { pid, executable }| format!("{} ({pid})", executable.name));
    let local = process.unwrap_or_else(|| end(&event.network.local));
    let peer = other.unwrap_or_else(|| end(&event.network.peer));
    match words::role(event) {
        Role::Client => Connection { client: local, broker: peer },
        Role::Broker => Connection { client: peer, broker: local },
    }
}

impl Connection {
    fn whole(&self) -> String {
        format!("{} -> {}", self.client, self.broker)
    }

    fn width(&self) -> usize {
        width(&self.client) + 4 + width(&self.broker)
    }

    /// In at most so many columns; the longer end gives way.
    fn within(&self, columns: usize) -> String {
        let room = columns.saturating_sub(4);
        let (client, broker) = (width(&self.client), width(&self.broker));
        let half = room / 2;
        let (client, broker) = match (client <= half, broker <= half) {
            _ if client + broker <= room => (client, broker),
            (true, _) => (client, room - client),
            (_, true) => (room - broker, broker),
            _ => (room - half, half),
        };
        format!("{} -> {}", elide_middle(&self.client, client), elide_middle(&self.broker, broker))
    }
}

fn end(end: &Endpoint) -> String {
    let address = SocketAddr::new(end.address, end.port);
    end.name.as_ref().map_or_else(|| address.to_string(), |name| format!("{name}:{}", end.port))
}

/// A connection, and what became of it.
fn beside(text: &mut String, connection: &str, verdict: &str) {
    let _infallible = write!(text, "{connection}  {verdict}");
}

/// A line of its own. Of what is to be done the first clause is kept, as long as it fits.
fn under(text: &mut String, why: &str, what: &str, style: Style) {
    let room = style.columns.saturating_sub(INDENT + width(why));
    let _infallible = write!(text, "\n{}{why}{}", " ".repeat(INDENT), cut_clause(what, room));
}

/// Lines of their own, as many as it takes.
fn indented(text: &mut String, what: &str, style: Style) {
    let indent = INDENT.min(style.columns / 4);
    text.push('\n');
    text.push_str(&" ".repeat(indent));
    wrap(text, what, indent, indent + 2, style.columns);
}

/// Why, in full: what the two lines had no room for, and each signal with its numbers.
fn evidence(text: &mut String, event: &ResetEvent, style: Style) {
    let mut lines = vec![format!("{}: {}", token(event.cause.id), event.cause.summary)];
    lines.extend(event.cause.advice.as_ref().map(|advice| format!("do: {advice}")));
    lines.extend(event.pattern.iter().map(|pattern| format!("{}: {}", token(pattern.id), pattern.detail)));
    for evidence in &event.evidence {
        let points_to = token(evidence.points_to);
        lines.push(format!("{} {} for {points_to}: {}", token(evidence.strength), evidence.signal, evidence.detail));
    }
    let more = event.cause.more.as_ref().map_or_else(String::new, |more| format!("{more}, "));
    lines.push(format!("more: {more}rstblame explain {} --events FILE", event.id));
    body(text, &lines, style);
}

fn body(text: &mut String, lines: &[String], style: Style) {
    for line in lines {
        text.push_str(&" ".repeat(INDENT.min(style.columns / 4)));
        wrap(text, line, INDENT.min(style.columns / 4), INDENT + 2, style.columns);
        text.push('\n');
    }
}

/// The packet, and what the socket knew.
fn facts(text: &mut String, event: &ResetEvent, style: Style) {
    let mut lines = vec![format!("id {}, {}", event.id, event.network.community_id)];
    lines.extend(event.packet.as_deref().map(packet));
    lines.extend(event.tcp.as_ref().map(socket));
    body(text, &lines, style);
}

fn packet(packet: &Packet) -> String {
    let Packet { seq, ack, flags, window, ttl, .. } = packet;
    let mut text = format!("packet: flags [{flags}], seq {seq}, ack {ack}, window {window}, ttl {ttl}");
    if let Some(baseline) = &packet.baseline {
        let _infallible = write!(text, " (usually {}, of {})", baseline.ttl, words::count(baseline.packets, "packet"));
    }
    if let Some(ip_id) = packet.ip_id {
        let _infallible = write!(text, ", id {ip_id}");
    }
    if packet.dont_fragment == Some(true) {
        text.push_str(", DF");
    }
    if !packet.options.is_empty() {
        let _infallible = write!(text, ", options {}", packet.options.join(" "));
    }
    if let Some(mac) = &packet.source_mac {
        let _infallible = write!(text, ", from {mac}");
    }
    if let Some(interface) = &packet.interface {
        let _infallible = write!(text, " on {interface}");
    }
    if let Some(frame) = packet.frame {
        let _infallible = write!(text, ", frame {frame}");
    }
    text
}

fn socket(tcp: &Tcp) -> String {
    let mut parts = Vec::new();
    parts.extend(tcp.state.as_ref().map(ToString::to_string));
    parts.extend(tcp.kernel_reason.as_ref().map(|reason| format!("kernel's reason {reason}")));
    let times = [("age", tcp.age_ms), ("silent", tcp.idle_ms), ("last received", tcp.last_received_ms), ("last sent", tcp.last_sent_ms)];
    parts.extend(times.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", words::length(value?)))));
    let numbers = [
        ("bytes received", tcp.bytes_received),
        ("bytes sent", tcp.bytes_sent),
        ("unread", tcp.unread_bytes.map(u64::from)),
        ("unsent", tcp.unsent_bytes.map(u64::from)),
        ("retransmits", tcp.retransmits.map(u64::from)),
        ("srtt us", tcp.srtt_us.map(u64::from)),
    ];
    parts.extend(numbers.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))));
    format!("socket: {}", parts.join(", "))
}
