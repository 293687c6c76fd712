//! One event in one row.

use std::net::SocketAddr;

use crate::{
    event::{Endpoint, Event, ResetEvent, Suppressed},
    output::pretty::{
        Paint, Style,
        columns::{elide_middle, width},
        token,
    },
    story::words,
};

/// Columns of a table: what they are called, and how wide they are at most.
const TABLE: [(&str, usize); 5] = [("time", 19), ("severity", 8), ("cause", 22), ("by", 13), ("peer", 21)];

/// Columns for a spreadsheet.
const CSV: [&str; 22] = [
    "timestamp",
    "event",
    "id",
    "host",
    "severity",
    "direction",
    "effect",
    "origin",
    "origin_confidence",
    "cause",
    "cause_confidence",
    "local_address",
    "local_port",
    "peer_address",
    "peer_port",
    "process",
    "pid",
    "silence_ms",
    "heartbeat_s",
    "count",
    "summary",
    "advice",
];

/// The names of a table's columns.
pub(super) fn heading(style: Style) -> String {
    let row = cells(&TABLE.map(|(name, _)| name.to_owned()), "process", style);
    format!("{}\n", style.paint(row.trim_end(), Paint::Strong))
}

/// One row of a table.
pub(super) fn row(event: &Event, style: Style) -> String {
    let row = match event {
        Event::Rst(reset) | Event::RstRevised(reset) | Event::ConnectionEnded(reset) => {
            let process = reset.process.as_ref().map(|process| process.executable.name.clone()).unwrap_or_default();
            let cells =
                [second(reset.timestamp), token(reset.severity), token(reset.cause.id), token(reset.origin.kind), end(&reset.network.peer)];
            self::cells(&cells, &process, style)
        }
        Event::RstSuppressed(folded) | Event::EndingsSuppressed(folded) => {
            let severity = folded.sample.as_ref().map(|sample| token(sample.severity)).unwrap_or_default();
            let cells = [second(folded.first), severity, token(folded.key.cause), token(folded.key.origin), folded_peer(folded)];
            self::cells(&cells, &format!("{} times", folded.count), style)
        }
        Event::AgentStarted(started) => other(started.timestamp, "agent started", style),
        Event::AgentReloaded(reloaded) => other(reloaded.timestamp, "configuration read again", style),
        Event::EventsLost(lost) => other(lost.timestamp, &format!("{} lost so far", words::count(lost.lost.total(), "event")), style),
        Event::AgentStopped(stopped) => {
            other(stopped.timestamp, &format!("agent stopped; {} lost", words::count(stopped.lost, "event")), style)
        }
    };
    format!("{}\n", row.trim_end())
}

fn other(at: jiff::Timestamp, what: &str, style: Style) -> String {
    let mut row: [String; 5] = Default::default();
    if let Some(time) = row.first_mut() {
        *time = second(at);
    }
    cells(&row, what, style)
}

/// Cells side by side; the last takes what is left of the line.
fn cells(cells: &[String; 5], last: &str, style: Style) -> String {
    let mut row = String::new();
    for (cell, (_, wide)) in cells.iter().zip(TABLE) {
        let cell = elide_middle(cell, wide);
        row.push_str(&cell);
        row.push_str(&" ".repeat(wide + 1 - width(&cell)));
    }
    row.push_str(last);
    elide_end(&row, style.columns)
}

fn elide_end(row: &str, columns: usize) -> String {
    if width(row) <= columns {
        return row.to_owned();
    }
    let mut short = String::new();
    for character in row.chars() {
        short.push(character);
        if width(&short) >= columns {
            short.pop();
            short.push('…');
            break;
        }
    }
    short
}

/// The names of the columns for a spreadsheet.
pub(super) fn csv_heading() -> String {
    line(&CSV.map(str::to_owned))
}

/// One row for a spreadsheet.
pub(super) fn csv(event: &Event) -> String {
    match event {
        Event::Rst(reset) => line(&reset_cells(reset, "rst", 1)),
        Event::RstRevised(reset) => line(&reset_cells(reset, "rst_revised", 1)),
        Event::ConnectionEnded(reset) => line(&reset_cells(reset, "connection_ended", 1)),
        Event::RstSuppressed(folded) => line(&folded_cells(folded, "rst_suppressed")),
        Event::EndingsSuppressed(folded) => line(&folded_cells(folded, "endings_suppressed")),
        Event::AgentStarted(started) => line(&agent_cells(started.timestamp, "agent_started", &started.host.name, "")),
        Event::AgentReloaded(reloaded) => line(&agent_cells(reloaded.timestamp, "agent_reloaded", &reloaded.host.name, "")),
        Event::EventsLost(lost) => line(&agent_cells(lost.timestamp, "events_lost", &lost.host.name, &lost.lost.total().to_string())),
        Event::AgentStopped(stopped) => line(&agent_cells(stopped.timestamp, "agent_stopped", &stopped.host.name, "")),
    }
}

fn reset_cells(reset: &ResetEvent, kind: &str, count: u64) -> [String; 22] {
    let shown = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let process = reset.process.as_ref();
    [
        reset.timestamp.to_string(),
        kind.to_owned(),
        reset.id.clone(),
        reset.host.as_ref().map(|host| host.name.clone()).unwrap_or_default(),
        token(reset.severity),
        token(reset.direction),
        token(reset.effect),
        token(reset.origin.kind),
        shown(reset.origin.confidence),
        token(reset.cause.id),
        shown(reset.cause.confidence),
        reset.network.local.address.to_string(),
        reset.network.local.port.to_string(),
        reset.network.peer.address.to_string(),
        reset.network.peer.port.to_string(),
        process.map(|process| process.executable.name.clone()).unwrap_or_default(),
        process.map(|process| process.pid.to_string()).unwrap_or_default(),
        words::silence_ms(reset).map(|silence| silence.to_string()).unwrap_or_default(),
        words::heartbeat_s(reset).map(|heartbeat| heartbeat.to_string()).unwrap_or_default(),
        count.to_string(),
        reset.cause.summary.to_string(),
        reset.cause.advice.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

fn folded_cells(folded: &Suppressed, kind: &str) -> [String; 22] {
    let mut cells = agent_cells(folded.first, kind, &folded.host.name, &folded.count.to_string());
    let key = &folded.key;
    let parts = [
        (7, token(key.origin)),
        (9, token(key.cause)),
        (12, key.local.map(|local| local.port.to_string()).unwrap_or_default()),
        (13, key.peer.map(|peer| peer.address.to_string()).unwrap_or_default()),
        (14, key.peer.and_then(|peer| peer.port).map(|port| port.to_string()).unwrap_or_default()),
        (20, folded.message.clone()),
    ];
    for (index, part) in parts {
        if let Some(cell) = cells.get_mut(index) {
            *cell = part;
        }
    }
    cells
}

fn agent_cells(at: jiff::Timestamp, kind: &str, host: &str, count: &str) -> [String; 22] {
    let mut cells: [String; 22] = Default::default();
    for (index, cell) in cells.iter_mut().enumerate() {
        *cell = match index {
            0 => at.to_string(),
            1 => kind.to_owned(),
            3 => host.to_owned(),
            19 => count.to_owned(),
            _ => String::new(),
        };
    }
    cells
}

/// RFC 4180, with an apostrophe before what a spreadsheet would calculate: names are chosen by
/// others.
fn line(cells: &[String]) -> String {
    let cells = cells.iter().map(|cell| {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let cell = if formula { format!("'{cell}") } else { cell.clone() };
        if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    });
    format!("{}\r\n", cells.collect::<Vec<_>>().join(","))
}

fn second(at: jiff::Timestamp) -> String {
    at.strftime("%F %T").to_string()
}

fn end(end: &Endpoint) -> String {
    end.name.as_ref().map_or_else(|| SocketAddr::new(end.address, end.port).to_string(), |name| format!("{name}:{}", end.port))
}

fn folded_peer(folded: &Suppressed) -> String {
    folded.key.peer.map_or_else(String::new, |peer| peer.address.to_string())
}
