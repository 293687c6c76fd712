//! Captures as input: the same verdicts by the same engine, so that a tcpdump of somebody else's
//! incident is enough.
//!
//! Frames stream through; what is remembered is bounded ([`table`], [`held`]).

mod amqp;
mod error;
mod held;
mod key;
mod local;
mod packet;
mod reader;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IsTerminal as _, Write},
    net::IpAddr,
    path::Path,
    process::ExitCode,
};

pub use error::PcapError;
use held::{Case, Held};
use jiff::Timestamp;
use key::Key;
use local::Addresses;
pub use packet::{Packet, Skip, parse};
use reader::Reader;
pub use reader::{Frame, FrameDirection};
use source::Source;
use table::Table;

use crate::{
    attribution::{Memory, fresh},
    cli::PcapArgs,
    event::{Event, ResetEvent, build},
    flow::{
        CapturePosition, Connection, LocalKnown, Reset, Trigger,
        configured::{self, KnownMiddlebox},
        idle::{Destination, IdleMemory},
        machines::Machines,
        wire::{End, VendorText, Wire},
    },
    log,
    model::{Direction, Flags, OriginKind, Role, TcpState, Tuple, ports::PortSet},
    output::{
        self, Format,
        pretty::{self, Style},
    },
    text::clean_bytes,
};

/// Connections remembered at once.
const CONNECTIONS: usize = 32_768;

/// Runs `rstblame pcap`.
pub fn run(args: &PcapArgs) -> ExitCode {
    match read_all(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(PcapError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        // What is missing was said for each file.
        Err(PcapError::Incomplete) => ExitCode::FAILURE,
        Err(error) => {
            log::failed(error);
            ExitCode::FAILURE
        }
    }
}

fn read_all(args: &PcapArgs) -> Result<(), PcapError> {
    let ports = match (args.all_ports, PortSet::new(args.ports.clone())) {
        (true, _) => None,
        (false, Ok(ports)) => Some(ports),
        (false, Err(error)) => {
            log::failed(error);
            return Err(PcapError::Incomplete);
        }
    };
    let mut printer = Printer {
        out: BufWriter::with_capacity(1 << 16, io::stdout()),
        format: args.format.unwrap_or(if io::stdout().is_terminal() { Format::Pretty } else { Format::Json }),
        style: args.pretty.style(),
        routine: 0,
        by_origin: BTreeMap::new(),
        failed: None,
    };
    let mut memory = IdleMemory::default();
    let mut whole = true;
    let mut totals = Counts::default();
    for path in &args.files {
        // A name is bytes, and chosen by whoever sent the file.
        let name = clean_bytes(path.as_os_str().as_encoded_bytes());
        let mut scan = Scan::new(ports.as_ref(), args.local, &args.middleboxes, &name, &mut memory);
        let ended = scan.file(path, |event| printer.event(event));
        totals.add(&scan.counts);
        if let Some(error) = printer.failed.take() {
            return Err(PcapError::Write(error));
        }
        if let Err(error) = ended {
            whole = false;
            log::failed(error);
        }
    }
    printer.summary(&totals).and_then(|()| printer.out.flush()).map_err(PcapError::Write)?;
    if totals.evicted > 0 {
        tracing::warn!(connections = totals.evicted, "connections were forgotten, since more than {CONNECTIONS} were open at once");
    }
    if whole { Ok(()) } else { Err(PcapError::Incomplete) }
}

/// Reads a capture, compressed or not, and hands on what is to be said of each reset in it,
/// whatever its ports. `name` is for messages.
///
/// # Errors
///
/// When it is no capture, is damaged or breaks off; what came before has been handed on.
pub fn read(stream: impl io::Read + Send + 'static, name: &str, mut emit: impl FnMut(ResetEvent)) -> Result<(), PcapError> {
    let source = Source::new(stream).map_err(|source| PcapError::Open { file: name.to_owned(), source })?;
    Scan::new(None, None, &[], name, &mut IdleMemory::default()).source(source, &mut emit)
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    frames: u64,
    segments: u64,
    resets: u64,
    fragments: u64,
    short: u64,
    evicted: u64,
}

impl Counts {
    const fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.segments += other.segments;
        self.resets += other.resets;
        self.fragments += other.fragments;
        self.short += other.short;
        self.evicted += other.evicted;
    }
}

struct Printer<W: Write> {
    out: W,
    format: Format,
    style: Style,
    /// Routine resets since the last line.
    routine: u64,
    by_origin: BTreeMap<OriginKind, u64>,
    failed: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn event(&mut self, event: ResetEvent) {
        *self.by_origin.entry(event.origin.kind).or_default() += 1;
        let event = Event::Rst(Box::new(event));
        let line = match self.format {
            Format::Json => output::json_line(&event),
            Format::Pretty => self.pretty(&event).into(),
        };
        if self.failed.is_none() {
            self.failed = self.out.write_all(&line).err();
        }
    }

    fn pretty(&mut self, event: &Event) -> String {
        let style = Style { live: false, ..self.style };
        let routine = if pretty::is_routine(event) { self.routine + 1 } else { self.routine };
        self.routine = if pretty::is_routine(event) { routine } else { 0 };
        pretty::item(event, routine, &[], style)
    }

    fn summary(&mut self, counts: &Counts) -> io::Result<()> {
        if self.format == Format::Json {
            return Ok(());
        }
        if self.routine > 0 && !self.style.all {
            writeln!(self.out, "{}", pretty::routine(self.routine, self.style))?;
        }
        let Counts { frames, segments, resets, fragments, short, .. } = counts;
        write!(self.out, "{resets} resets in {segments} TCP segments of {frames} frames")?;
        if fragments + short > 0 {
            write!(self.out, "; not read: {fragments} fragments, {short} frames captured too short")?;
        }
        writeln!(self.out)?;
        for (origin, count) in &self.by_origin {
            writeln!(self.out, "  sent by  {:<24} {count:>8}", pretty::token(*origin))?;
        }
        Ok(())
    }
}

/// One file on its way through.
struct Scan<'a> {
    ports: Option<&'a PortSet>,
    local: Option<IpAddr>,
    middleboxes: &'a [KnownMiddlebox],
    file: &'a str,
    memory: &'a mut IdleMemory,
    history: Memory,
    table: Table,
    held: Held,
    addresses: Addresses,
    machines: Machines,
    counts: Counts,
    first_ns: Option<u64>,
    unknown_link: Option<u32>,
}

impl<'a> Scan<'a> {
    fn new(
        ports: Option<&'a PortSet>,
        local: Option<IpAddr>,
        middleboxes: &'a [KnownMiddlebox],
        file: &'a str,
        memory: &'a mut IdleMemory,
    ) -> Self {
        Self {
            ports,
            local: local.map(|local| local.to_canonical()),
            middleboxes,
            file,
            memory,
            history: Memory::default(),
            table: Table::new(CONNECTIONS),
            held: Held::default(),
            addresses: Addresses::default(),
            machines: Machines::default(),
            counts: Counts::default(),
            first_ns: None,
            unknown_link: None,
        }
    }

    /// Reads the file to its end, or as far as it goes.
    fn file(&mut self, path: &Path, mut emit: impl FnMut(ResetEvent)) -> Result<(), PcapError> {
        let source = Source::open(path, self.file)?;
        self.source(source, &mut emit)
    }

    fn source(&mut self, source: Source, emit: &mut impl FnMut(ResetEvent)) -> Result<(), PcapError> {
        let mut reader = Reader::new(source, self.file)?;
        let ended = loop {
            match reader.next(|frame| self.frame(&frame, emit)) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        while let Some(case) = self.held.pop() {
            self.decide(case, emit);
        }
        self.counts.evicted = self.table.evicted();
        match self.unknown_link {
            Some(linktype) if self.counts.segments == 0 => {
                // Frames that cannot be understood were not read.
                self.counts.frames = 0;
                Err(PcapError::LinkType { file: self.file.to_owned(), linktype })
            }
            _ => ended,
        }
    }

    fn frame(&mut self, frame: &Frame, emit: &mut impl FnMut(ResetEvent)) {
        self.counts.frames += 1;
        self.first_ns = self.first_ns.or(Some(frame.time_ns));
        while let Some(case) = self.held.pop_due(frame.time_ns) {
            self.decide(case, emit);
        }
        match parse(frame) {
            Ok(packet) => {
                self.counts.segments += 1;
                let watched = |ports: &PortSet| ports.contains(packet.source.port()) || ports.contains(packet.destination.port());
                if self.ports.is_none_or(watched) {
                    self.packet(&packet, frame.number);
                }
            }
            Err(Skip::Fragment) => self.counts.fragments += 1,
            Err(Skip::Short) => self.counts.short += 1,
            Err(Skip::LinkType) => self.unknown_link = Some(frame.linktype),
            Err(Skip::Other) => {}
        }
    }

    fn packet(&mut self, packet: &Packet, frame: u64) {
        let segment = &packet.segment;
        let (key, from) = Key::of(packet.source, packet.destination);
        let Some(entry) = self.table.entry(key) else {
            return;
        };
        entry.votes.count(packet.direction, from);
        let credible = segment.flags.syn() || entry.flow.can_be_of(segment, from);
        if credible {
            self.addresses.see(packet.source.ip(), packet.destination.ip(), segment.ttl);
        }
        for number in entry.watching.iter() {
            self.held.follow(*number, segment, from);
        }
        if segment.flags.rst() {
            self.counts.resets += 1;
            let text = VendorText::recognise(packet.payload);
            let mut wire = Box::new(entry.flow.reset(segment, from, text));
            wire.readable = readable(packet.payload);
            let counter = fresh(segment.ttl).then(|| self.machines.see(segment, packet.source.ip(), packet.destination.ip())).flatten();
            let client = entry.spoken.client();
            let amqp = [End::First, End::Second].map(|local| entry.spoken.conversation(segment.time_ns, local));
            let number = self.held.push(Case { key, from, votes: entry.votes, frame, wire, client, amqp, counter, credible });
            // What others make up shall not end the watch over the one that counts.
            if credible {
                entry.watching.push(number);
            }
        } else {
            let serves = if serves_first(&key, self.ports) { End::First } else { End::Second };
            entry.spoken.observe(segment, from, serves, packet.payload);
        }
        entry.flow.observe(segment, from);
    }

    fn decide(&mut self, mut case: Case, emit: &mut impl FnMut(ResetEvent)) {
        case.wire.one_machine = case.counter.and_then(|counter| self.machines.answers_for(counter));
        // What may be anybody's teaches nothing, and of one connection only the first RST.
        let teaches = case.credible && case.wire.others.iter().all(|other| other.time_ns >= case.wire.rst.time_ns);
        let (local, local_known) = local::local_end(&case.key, self.local, case.votes, &case.wire, case.from, &self.addresses);
        let mut reset = reset(case, local, local_known, self.file, self.ports, self.first_ns.unwrap_or_default());
        if reset.direction == Direction::Received
            && teaches
            && let Some(wire) = &reset.wire
        {
            reset.learnt_idle = self
                .memory
                .learn(Destination::new(reset.tuple.peer, reset.service_port()), wire.silence, wire.longest_survived)
                .map(Box::new);
        }
        reset.known_middlebox = configured::name_of(self.middleboxes, reset.tuple.peer.ip()).map(ToOwned::to_owned);
        let verdict = self.history.attribute(&mut reset);
        emit(build::captured_event(&reset, verdict));
    }
}

/// The reset of a case, without host or process.
fn reset(case: Case, end: End, local_known: LocalKnown, file: &str, ports: Option<&PortSet>, first_ns: u64) -> Reset {
    let tuple = Tuple::new(case.key.address(end), case.key.address(end.other()));
    let direction = if case.from == end { Direction::Sent } else { Direction::Received };
    let wire = &case.wire;
    let watched = |port| ports.is_some_and(|ports| ports.contains(port));
    let local_serves = match (watched(tuple.local.port()), watched(tuple.peer.port()), case.client) {
        (true, false, _) => true,
        (false, true, _) => false,
        (_, _, Some(client)) => client != end,
        (_, _, None) => tuple.local.port() <= tuple.peer.port(),
    };
    let (local, peer) = if direction == Direction::Sent { (&wire.sender, &wire.receiver) } else { (&wire.receiver, &wire.sender) };
    let opened_ns = local.times.first_ns.filter(|_| local.initial_seq.is_some() && peer.initial_seq.is_some());
    let opens = wire.receiver.packets == 1 && wire.sender.packets == 0;
    let id = format!("{first_ns:x}-{}", case.frame);
    let timestamp = Timestamp::from_nanosecond(i128::from(wire.rst.time_ns)).unwrap_or_default();
    let [first, second] = case.amqp;
    let amqp = if end == End::First { first } else { second };
    let role = if local_serves { Role::Broker } else { Role::Client };
    Reset {
        state: (direction == Direction::Received).then(|| state(wire)).flatten(),
        trigger: wire.receiver.initial_seq.filter(|_| opens).map(|seq| Trigger { seq, ack: 0, flags: Flags(Flags::SYN) }),
        connection: Some(Connection {
            age: opened_ns.map(|opened| std::time::Duration::from_nanos(wire.rst.time_ns.saturating_sub(opened))),
            active_open: local.handshake_rtt_ns.is_none() && peer.handshake_rtt_ns.is_some(),
        }),
        wire: Some(case.wire),
        amqp,
        capture: Some(Box::new(CapturePosition { file: file.to_owned(), frame: case.frame, local_known })),
        ..Reset::bare(id, timestamp, direction, tuple, role)
    }
}

/// Whether the first end is the service's, by the ports: the watched one, else that of AMQP, else
/// the lower.
fn serves_first(key: &Key, ports: Option<&PortSet>) -> bool {
    let (first, second) = (key.first.port(), key.second.port());
    let amqp = |port| matches!(port, 5671 | 5672);
    let watched = |port| ports.is_some_and(|ports| ports.contains(port));
    match (watched(first), watched(second), amqp(first), amqp(second)) {
        (true, false, ..) | (_, _, true, false) => true,
        (false, true, ..) | (_, _, false, true) => false,
        _ => first <= second,
    }
}

/// Whether it is text, as RFC 1122, section 4.2.2.12, allows the payload of a RST to be.
fn readable(payload: &[u8]) -> bool {
    payload.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte == 0)
}

/// State of the end that the RST was sent to, by its segments (RFC 9293, section 3.3.2).
fn state(wire: &Wire) -> Option<TcpState> {
    let (peer, own) = (&wire.sender, &wire.receiver);
    if own.packets == 0 && peer.packets == 0 {
        return None;
    }
    Some(match (own.initial_seq.is_some(), peer.packets) {
        (true, 0) if own.ttl.count == 0 => TcpState::SynSent,
        (true, _) if own.last_ack.is_some() && peer.ttl.count == 0 && own.ttl.count == 0 => TcpState::SynRecv,
        _ => match (own.fin, peer.fin) {
            (false, false) => TcpState::Established,
            (true, false) => TcpState::FinWait1,
            (false, true) => TcpState::CloseWait,
            (true, true) => TcpState::LastAck,
        },
    })
}
