//! What watching takes of a machine whose connections are busy and none of which is reset.

use std::time::{Duration, Instant};

use rstblame_lab::{
    Result,
    agents::status,
    hosts::net::{Host, lone_host},
    peers::actor::{Actor, Stage},
};

use super::{
    bpf::Statistics,
    cost::{loopback, open, run_time},
    figures::Figures,
    watchers::Watcher,
};

/// Connections, and how many exchanges a second all of them have together: a message of 100 bytes
/// and its confirmation, or two heartbeats, in turn.
const CONNECTIONS: usize = 5000;
const EXCHANGES: u32 = 2500;

/// How long.
const SECONDS: u32 = 10;

/// What the agent may take of one processor.
const AT_MOST: f64 = 0.01;

const WATCHERS: [(&str, Watcher); 4] = [
    ("rstblame", Watcher::Agent(&[])),
    ("rstblame --amqp off", Watcher::Agent(&["--amqp", "off"])),
    ("tcpdump, RSTs of the port", Watcher::Tcpdump),
    ("bpftrace, both tracepoints", Watcher::Bpftrace),
];

/// Which of [`WATCHERS`] has the limit.
const RSTBLAME: &str = "rstblame";

pub fn bench(figures: &mut Figures) -> Result<()> {
    let statistics = Statistics::on()?;
    let host = lone_host()?;
    let stage = Stage::new(&super::actor()?)?;
    figures.table(
        format!("{CONNECTIONS} AMQP connections over loopback, {EXCHANGES} exchanges a second for {SECONDS} s, no RST"),
        &["watcher", "cpu %", "eBPF %", "resident KiB"],
    );
    let mut of_agent = f64::NAN;
    for (name, watcher) in WATCHERS {
        let watching = match watcher.on(&host) {
            Ok(watching) => watching,
            Err(error) if watcher == Watcher::Bpftrace => {
                figures.note(format!("{name}: does not work here: {error}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        // Opened under the watcher's eyes, so that it knows what it may know of them.
        let mut talk = Talk::open(&stage, &host)?;
        let pid = watching.pid().unwrap_or_default();
        // tcpdump has a classic filter, of which the kernel keeps no statistics.
        let in_kernel = || if watcher == Watcher::Tcpdump { None } else { run_time(pid).ok() };
        let (began, before, before_in_kernel) = (Instant::now(), status::processor_time(pid)?, in_kernel());
        talk.go_on()?;
        let took = began.elapsed().as_secs_f64();
        let share = status::processor_time(pid)?.saturating_sub(before).as_secs_f64() / took;
        let kernel = before_in_kernel.zip(in_kernel()).map(|(before, after)| Duration::from_nanos(after.saturating_sub(before)));
        let kernel = kernel.map_or_else(|| "-".to_owned(), |time| format!("{:.3}", time.as_secs_f64() / took * 100.0));
        figures.row(name, [format!("{:.3}", share * 100.0), kernel, status::number(pid, "VmRSS:")?.to_string()]);
        if name == RSTBLAME {
            of_agent = share;
        }
        // Ended first: what the connections end with is none of its business.
        watching.stop()?;
    }
    drop(statistics);
    figures.note("cpu: the threads of the process; eBPF: its programs on whatever processor, with the kernel's accounting of them (about 80 ns a run)");
    figures.limit(format!("{} % of one processor for rstblame", AT_MOST * 100.0), of_agent < AT_MOST);
    Ok(())
}

/// Both ends of the connections.
struct Talk {
    client: Actor,
    server: Actor,
}

impl Talk {
    fn open(stage: &Stage, host: &Host) -> Result<Self> {
        let (mut client, mut server) = (stage.actor(host)?, stage.actor(host)?);
        let address = loopback(0);
        server.ask(&format!("listen {address}"))?;
        open(&mut client, &mut server, address, CONNECTIONS)?;
        server.tell(&format!("welcome 0 {CONNECTIONS}"))?;
        client.ask(&format!("open 0 {CONNECTIONS}"))?;
        server.answer()?;
        Ok(Self { client, server })
    }

    fn go_on(&mut self) -> Result<()> {
        self.server.tell(&format!("reply 0 {CONNECTIONS} {EXCHANGES} {SECONDS}"))?;
        self.client.ask(&format!("talk 0 {CONNECTIONS} {EXCHANGES} {SECONDS}"))?;
        self.server.answer().map(drop)
    }
}
