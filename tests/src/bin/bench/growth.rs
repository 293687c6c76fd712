//! What grows with the number of connections and of resets.

use std::{hint::black_box, io, net::Ipv4Addr, time::Duration};

use rstblame::{
    attribution::Memory,
    event::{Event, Host, build},
    kernel::{
        decode::{Decoder, Record},
        reasons::Reasons,
    },
    model::ports::{PortRange, PortSet},
    output,
};
use rstblame_abi::{Header, ResetRecord, kind, valid};
use rstblame_lab::{LabError, Result, agents::status, hosts::net::lone_host, peers::actor::Stage, poll};
use rustix::time::{ClockId, clock_gettime};

use super::{
    cost::{fill, maps_kib},
    figures::Figures,
    latency::Timed,
};

/// Connections that are open before the agent starts.
const CONNECTIONS: [usize; 6] = [1, 10, 100, 1000, 10_000, 100_000];

/// Resets of one run.
const RESETS: [u32; 6] = [10, 100, 1000, 10_000, 100_000, 1_000_000];

/// How often a time is taken; the median counts.
const TIMES: usize = 3;

/// Resident memory with the most connections, and the time from exec to armed.
const RESIDENT_AT_MOST_KIB: u64 = 64 * 1024;
const ARMED_WITHIN: Duration = Duration::from_millis(150);

/// Resets a second of one processor, from the bytes of the ring buffer to the line.
const RESETS_AT_LEAST: f64 = 500_000.0;

/// How long resident memory has to stay as it is to be taken for what the agent keeps, and how long
/// that may take.
const STEADY: u32 = 10;
const STEADY_WITHIN: Duration = Duration::from_secs(30);

pub fn bench(figures: &mut Figures) -> Result<()> {
    connections(figures)?;
    resets(figures)
}

fn connections(figures: &mut Figures) -> Result<()> {
    figures.table(
        "an agent that is started while so many connections are open, both ends of them on this host",
        &["connections", "armed ms", "resident KiB", "maps KiB"],
    );
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    for count in CONNECTIONS {
        let host = lone_host()?;
        let stage = Stage::new(&super::actor()?)?;
        let _actors = fill(&stage, &host, count)?;
        let mut starts = Vec::with_capacity(TIMES);
        for _ in 1..TIMES {
            starts.push(Timed::start(&host)?.armed_after);
        }
        let agent = Timed::start(&host)?;
        let (resident, maps) = (steady(agent.pid())?, maps_kib(agent.pid())?);
        starts.push(agent.armed_after);
        let armed = middle(starts);
        figures.row(count.to_string(), [format!("{:.1}", armed.as_secs_f64() * 1e3), resident.to_string(), maps.to_string()]);
        (slowest, most) = (slowest.max(armed), most.max(resident));
    }
    figures.plot("armed ms");
    figures.plot("resident KiB");
    figures.limit(format!("{} ms until armed", ARMED_WITHIN.as_millis()), slowest <= ARMED_WITHIN);
    figures.limit(format!("{RESIDENT_AT_MOST_KIB} KiB resident"), most <= RESIDENT_AT_MOST_KIB);
    Ok(())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(Duration::MAX)
}

/// Resident memory once it has not changed for a while: the snapshot of the host goes on after the
/// agent is armed.
fn steady(pid: u32) -> Result<u64> {
    let (mut last, mut times) = (0, 0);
    poll::until("memory to be steady", STEADY_WITHIN, || {
        let now = status::number(pid, "VmRSS:")?;
        times = if now == last { times + 1 } else { 0 };
        last = now;
        Ok((times >= STEADY).then_some(now))
    })
}

fn resets(figures: &mut Figures) -> Result<()> {
    figures.table(
        "resets from the bytes of the ring buffer to the JSON line, in one thread and by its processor time: decoded, judged, rendered",
        &["resets", "resets/s", "us each"],
    );
    let mut last = 0.0;
    for count in RESETS {
        let took = middle((0..TIMES).map(|_| lines(count)).collect::<Result<Vec<_>>>()?).as_secs_f64();
        last = f64::from(count) / took;
        figures.row(count.to_string(), [format!("{last:.0}"), format!("{:.2}", took / f64::from(count) * 1e6)]);
    }
    figures.plot("resets/s");
    figures.limit(format!("{RESETS_AT_LEAST:.0} resets a second of one processor, at the most of them"), last >= RESETS_AT_LEAST);
    Ok(())
}

/// Processor time that so many resets take, each of another connection, half of which were sent
/// from here.
fn lines(count: u32) -> Result<Duration> {
    let decoder = Decoder::new(Reasons::default(), PortSet::from(PortRange::AMQP));
    let (mut memory, host) = (Memory::default(), Host { name: "bench".to_owned() });
    let began = worked()?;
    for number in 0..count {
        let record = record(number);
        let Ok(Record::Reset(mut reset, _)) = decoder.decode(bytes(&record)) else {
            return Err(LabError::io("decode a record of the benchmark's own", io::ErrorKind::InvalidData));
        };
        let verdict = memory.attribute(&mut reset);
        let event = Event::Rst(Box::new(build::event(&reset, verdict, &host)));
        black_box(output::json_line(&event));
    }
    Ok(worked()?.saturating_sub(began))
}

/// Processor time of this thread: the limit is one of a processor, and this machine has other
/// things to do.
fn worked() -> Result<Duration> {
    let time = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    time.map_err(|_| LabError::io("read the processor time of a thread", io::ErrorKind::InvalidData))
}

/// A reset of an established connection, as the kernel programs tell it.
fn record(number: u32) -> ResetRecord {
    let mut record = ResetRecord {
        header: Header {
            kind: if number.is_multiple_of(2) { kind::SEND_RESET } else { kind::RECEIVE_RESET },
            boottime_ns: 1_000_000_000 + u64::from(number) * 1000,
            ..Header::default()
        },
        sock: u64::from(number) + 1,
        bytes_received: 4096,
        bytes_sent: 512,
        valid: valid::TUPLE | valid::STATE | valid::HAS_SOCK | valid::SOCK | valid::TCP,
        family: 2,
        local_port: 5672,
        // Ports and addresses in turn.
        peer_port: 32_768 + u16::try_from(number % 28_000).unwrap_or(0),
        state: 1,
        rcv_nxt: number.wrapping_mul(7919),
        copied_seq: number.wrapping_mul(7919),
        srtt_us8: 8 * 350,
        ..ResetRecord::default()
    };
    let peer = Ipv4Addr::from(0x0a00_0001 + number / 28_000).octets();
    for (room, byte) in record.local.iter_mut().zip([192, 0, 2, 1]) {
        *room = byte;
    }
    for (room, byte) in record.peer.iter_mut().zip(peer) {
        *room = byte;
    }
    record
}

fn bytes(record: &ResetRecord) -> &[u8] {
    // SAFETY: a record is integers without padding; reading its bytes is always defined, and they
    // live as long as it does.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<ResetRecord>()) }
}
