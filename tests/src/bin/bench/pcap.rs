//! How fast captures are read, in how much memory, beside tcpdump and tshark on the same file.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rstblame_lab::{LabError, Result, command::spawn, workspace};

use super::figures::Figures;

/// The files: one that every reader is given, and one that shows whether memory grows with the
/// file.
const SMALL: u64 = 256 << 20;
const LARGE: u64 = 4 << 30;

/// What tshark is given: it takes some hundred times as long.
const TINY: u64 = 16 << 20;

/// Packets a second of processor time.
const AT_LEAST: f64 = 2_000_000.0;

/// How much more memory the large file may take than the small one, KiB. The index of the
/// connections, full of places that were given up, doubles once: 9 MiB.
const GROWTH_KIB: i64 = 12 * 1024;

/// Connections at once, messages of each before it ends, and which of them end with a RST. Short
/// ones, so that the smaller file has more of them than are remembered (32768): what grows after
/// that is a leak.
const CONNECTIONS: usize = 2000;
const MESSAGES: u32 = 20;
const RESET_EACH: u64 = 20;

pub fn bench(figures: &mut Figures) -> Result<()> {
    let directory = workspace::root().join("target/bench");
    fs::create_dir_all(&directory).map_err(|error| LabError::io(format!("create {}", directory.display()), error))?;
    figures.table(
        "reading a capture of AMQP connections, some of which end with a RST",
        &["reader", "MiB", "packets", "wall s", "cpu s", "packets/cpu s", "memory KiB", "RSTs"],
    );
    let (mut slowest, mut memory) = (f64::MAX, Vec::new());
    for (size, readers) in [(TINY, &[RSTBLAME, TCPDUMP, TSHARK] as &[Reader]), (SMALL, &[RSTBLAME, TCPDUMP]), (LARGE, &[RSTBLAME, TCPDUMP])]
    {
        let file = Capture::write(&directory, size)?;
        for reader in readers {
            let Some(run) = reader.run(&file)? else {
                figures.note(format!("{} is not installed", reader.name));
                continue;
            };
            let rate = file.packets_f64() / run.cpu.as_secs_f64();
            let [wall, cpu] = [run.wall, run.cpu].map(|time| format!("{:.2}", time.as_secs_f64()));
            let (mib, packets) = ((size >> 20).to_string(), file.packets.to_string());
            figures.row(reader.name, [mib, packets, wall, cpu, format!("{rate:.0}"), run.memory_kib.to_string(), run.lines.to_string()]);
            if run.lines != file.resets {
                figures.limit(format!("{} RSTs, which were written", file.resets), false);
            }
            if reader.name == RSTBLAME.name && size > TINY {
                slowest = slowest.min(rate);
                memory.push(run.memory_kib);
            }
        }
    }
    let grown = memory.last().zip(memory.first()).map_or(0, |(large, small)| large - small);
    figures.note(format!("memory grows by {grown} KiB from {} to {} MiB", SMALL >> 20, LARGE >> 20));
    figures.limit(format!("{AT_LEAST:.0} packets a second of one processor"), slowest >= AT_LEAST);
    figures.limit(format!("{GROWTH_KIB} KiB more"), grown <= GROWTH_KIB);
    Ok(())
}

/// A program that finds RSTs in a capture and writes a line for each.
struct Reader {
    name: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const RSTBLAME: Reader = Reader { name: "rstblame", before: &["pcap", "--format", "json"], after: &[] };
const TCPDUMP: Reader = Reader { name: "tcpdump", before: &["-n", "-r"], after: &["tcp port 5672 and tcp[tcpflags] & tcp-rst != 0"] };
const TSHARK: Reader = Reader { name: "tshark", before: &["-n", "-r"], after: &["-Y", "tcp.port == 5672 and tcp.flags.reset == 1"] };

struct Run {
    wall: Duration,
    cpu: Duration,
    memory_kib: i64,
    lines: u64,
}

impl Reader {
    /// `None` where it is not installed.
    fn run(&self, file: &Capture) -> Result<Option<Run>> {
        let mut command = if self.name == RSTBLAME.name { Command::new(workspace::agent_binary()) } else { Command::new(self.name) };
        let output = file.path.with_extension("out");
        let out = File::create(&output).map_err(|error| LabError::io(format!("create {}", output.display()), error))?;
        command.args(self.before).arg(&file.path).args(self.after).stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
        let began = Instant::now();
        let child = match spawn(&mut command) {
            Ok(child) => child,
            Err(LabError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let usage = wait(child.id()).map_err(|error| LabError::io(format!("wait for {}", self.name), error))?;
        let wall = began.elapsed();
        let text = fs::read(&output).map_err(|error| LabError::io(format!("read {}", output.display()), error))?;
        let _ = fs::remove_file(&output);
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
        Ok(Some(Run { wall, cpu: time(usage.ru_utime) + time(usage.ru_stime), memory_kib: usage.ru_maxrss, lines }))
    }
}

/// Waits for a child, and asks what it took (wait4(2)).
fn wait(pid: u32) -> std::io::Result<libc::rusage> {
    let mut status = 0;
    // SAFETY: integers, of which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places outlive the call.
    let waited = unsafe { libc::wait4(libc::pid_t::try_from(pid).unwrap_or(-1), &raw mut status, 0, &raw mut usage) };
    if waited < 0 { Err(std::io::Error::last_os_error()) } else { Ok(usage) }
}

fn time(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
}

/// A file that is gone when dropped.
struct Capture {
    path: PathBuf,
    packets: u64,
    resets: u64,
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("bench: {} is left behind: {error}", self.path.display());
        }
    }
}

impl Capture {
    /// Writes connections that publish in turn, each message confirmed, and that end and make room
    /// for others, until the file has its size.
    fn write(directory: &Path, size: u64) -> Result<Self> {
        let mut capture = Self { path: directory.join(format!("{}.pcap", size >> 20)), packets: 0, resets: 0 };
        let failed = |error| LabError::io(format!("write {}", capture.path.display()), error);
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&capture.path).map_err(failed)?);
        // Little endian, version 2.4, Ethernet (draft-ietf-opsawg-pcap).
        let mut written = 24;
        let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 1 << 18, 1];
        file.write_all(header.map(u32::to_le_bytes).as_flattened()).map_err(failed)?;
        let mut connections: Vec<Connection> = (0..CONNECTIONS as u64).map(Connection::new).collect();
        let (mut opened, mut ended) = (CONNECTIONS as u64, 0_u64);
        let (mut packets, mut resets) = (0, 0);
        let mut frame = Vec::with_capacity(512);
        'all: loop {
            for connection in &mut connections {
                if written >= size {
                    break 'all;
                }
                frame.clear();
                match connection.next(packets, ended.is_multiple_of(RESET_EACH), &mut frame) {
                    Step::Goes => {}
                    step @ (Step::Reset | Step::Closed) => {
                        resets += u64::from(step == Step::Reset);
                        ended += 1;
                        *connection = Connection::new(opened);
                        opened += 1;
                    }
                }
                file.write_all(&frame).map_err(failed)?;
                written += frame.len() as u64;
                packets += 1;
            }
        }
        file.flush().map_err(failed)?;
        (capture.packets, capture.resets) = (packets, resets);
        Ok(capture)
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    const fn packets_f64(&self) -> f64 {
        self.packets as f64
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Goes,
    Reset,
    Closed,
}

/// One connection: which packet is next, and the sequence numbers of both ends.
struct Connection {
    number: u64,
    step: u32,
    client_seq: u32,
    broker_seq: u32,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;

impl Connection {
    const fn new(number: u64) -> Self {
        Self { number, step: 0, client_seq: 1000, broker_seq: 5000 }
    }

    /// Puts the next packet into a record of the file.
    fn next(&mut self, packets: u64, ends_by_reset: bool, frame: &mut Vec<u8>) -> Step {
        const PUBLISH: usize = 150;
        const CONFIRM: usize = 21;
        let step = self.step;
        self.step += 1;
        let last = 3 + 2 * MESSAGES;
        let (from_client, flags, payload) = match step {
            0 => (true, SYN, 0),
            1 => (false, SYN | ACK, 0),
            2 => (true, ACK, 0),
            _ if step < last => {
                if step % 2 == 1 {
                    (true, PSH_ACK, PUBLISH)
                } else {
                    (false, PSH_ACK, CONFIRM)
                }
            }
            _ if ends_by_reset => (false, RST | ACK, 0),
            _ if step == last => (true, FIN | ACK, 0),
            _ => (false, FIN | ACK, 0),
        };
        self.put(packets, from_client, flags, payload, frame);
        match (step >= last, flags & RST != 0) {
            (true, true) => Step::Reset,
            (true, false) if step > last => Step::Closed,
            _ => Step::Goes,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "halves and bytes of counters are taken on purpose")]
    fn put(&mut self, packets: u64, from_client: bool, flags: u8, payload: usize, frame: &mut Vec<u8>) {
        let length = 14 + 20 + 32 + payload;
        // Five microseconds from one packet to the next.
        let at = 1_700_000_000_000_000 + packets * 5;
        for word in [(at / 1_000_000) as u32, (at % 1_000_000) as u32, length as u32, length as u32] {
            frame.extend(word.to_le_bytes());
        }
        let [_, high, middle, low] = (self.number as u32 / 20_000).to_be_bytes();
        let (client, broker) = ([10, high, middle, low], [192, 0, 2, 1]);
        let port = (self.number % 20_000) as u16 + 30_000;
        let (source, destination, ports, ttl) =
            if from_client { (client, broker, [port, 5672], 61) } else { (broker, client, [5672, port], 64) };
        let (own, other) =
            if from_client { (&mut self.client_seq, &mut self.broker_seq) } else { (&mut self.broker_seq, &mut self.client_seq) };
        let (seq, ack) = (*own, if flags & ACK == 0 { 0 } else { *other });
        *own = own.wrapping_add(payload as u32 + u32::from(flags & (SYN | FIN) != 0));
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        frame.extend([0x45, 0]);
        frame.extend((length as u16 - 14).to_be_bytes());
        frame.extend((self.step as u16).to_be_bytes());
        frame.extend([0x40, 0, ttl, 6, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend(ports.map(u16::to_be_bytes).as_flattened());
        frame.extend(seq.to_be_bytes());
        frame.extend(ack.to_be_bytes());
        frame.extend([0x80, flags, 1, 0xf5, 0, 0, 0, 0, 1, 1, 8, 10]);
        frame.extend(((at / 1000) as u32).to_be_bytes());
        frame.extend(((at / 1000) as u32 - 1).to_be_bytes());
        // A body frame.
        frame.extend([3, 0, 1, 0, 0, 0].iter().take(payload));
        frame.resize(16 + length, b'x');
    }
}
