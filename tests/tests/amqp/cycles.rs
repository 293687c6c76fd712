//! Ten thousand connections that are opened, used and closed as they should be.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::{agent::Agent, record::is_kind},
    brokers::broker::Broker,
    hosts::net::{TwoHosts, two_hosts},
    peers::{client, peer, speech},
};

/// How many there are unless `RSTBLAME_LAB_CYCLES` says otherwise.
const CYCLES: usize = 10_000;

/// How many of them pika and lapin do at most. They take several times as long as the broker does,
/// and the rest is done by hand.
const BY_PIKA: usize = 1_000;
const BY_LAPIN: usize = 200;

/// Clients of each kind side by side.
const CLIENTS: usize = 4;

/// Each end resets about half of them, and not one of these resets is worth a look. None of these
/// connections ended without a word of AMQP, so that no `connection_ended` tells of one.
#[test]
fn ordinary_cycles_are_quiet() -> Result<()> {
    let count = env::var("RSTBLAME_LAB_CYCLES").ok().and_then(|count| count.parse().ok()).unwrap_or(CYCLES);
    let net = two_hosts()?;
    let _broker = Broker::start(&net.server)?;
    let (client, server) = (Agent::on(&net.client).start()?, Agent::on(&net.server).start()?);
    let began = std::time::Instant::now();
    cycle(&net, count)?;
    let seconds = began.elapsed().as_secs_f64();
    for (view, agent) in [("client", client), ("broker", server)] {
        let record = agent.stop()?;
        let totals = record.totals().ok_or_else(|| LabError::Client(format!("no totals of the {view}")))?;
        println!("{view}: {count} cycles in {seconds:.1} s, {totals:?}");
        let loud: Vec<Value> = record.events().filter_map(reset).filter(|event| event.get("severity") != Some(&"info".into())).collect();
        assert!(loud.is_empty(), "{view}: {} of {} resets above info, the first: {:?}", loud.len(), totals.seen, loud.first());
        let ended: Vec<Value> = record.events().filter(|event| is_kind(event, "connection_ended")).collect();
        assert!(ended.is_empty(), "{view}: {} of {count} connections ended without a close, the first: {:?}", ended.len(), ended.first());
        assert!(view == "client" || totals.seen > 0, "the broker reset none of {count} connections");
        assert_eq!(totals.lost, 0, "{view}");
    }
    Ok(())
}

/// A reset, or the sample of many that were folded into one line.
fn reset(mut event: Value) -> Option<Value> {
    match event.get("event")?.as_str()? {
        "rst" => Some(event),
        "rst_suppressed" => event.get_mut("sample").map(Value::take),
        _ => None,
    }
}

fn cycle(net: &TwoHosts, count: usize) -> Result<()> {
    let broker = net.server.v4();
    let by_pika = BY_PIKA.min(count / 10);
    let by_lapin = BY_LAPIN.min(count / 10);
    let begun = [AtomicUsize::new(by_pika + by_lapin), AtomicUsize::new(0)];
    let [by_hand, lapin] = &begun;
    std::thread::scope(|scope| {
        let pika = scope.spawn(|| client::pika_cycles(&net.client, broker, u32::try_from(by_pika).unwrap_or(u32::MAX)));
        let mut clients = vec![pika];
        for _ in 0..CLIENTS {
            clients.push(scope.spawn(|| {
                net.client.inside(|| {
                    while by_hand.fetch_add(1, Ordering::Relaxed) < count {
                        one(SocketAddr::new(broker, peer::AMQP))?;
                    }
                    Ok(())
                })
            }));
            clients.push(scope.spawn(|| client::lapin_cycles(&net.client, broker, || lapin.fetch_add(1, Ordering::Relaxed) < by_lapin)));
        }
        clients.into_iter().try_for_each(|client| client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn one(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).map_err(|error| LabError::io("connect", error))?;
    speech::handshake(&mut stream, "/", 60)?;
    speech::publish(&mut stream, b"bendnote")?;
    speech::say(&mut stream, &speech::close(200, "done"))?;
    speech::expect(&mut stream, speech::CLOSE_OK)
}
