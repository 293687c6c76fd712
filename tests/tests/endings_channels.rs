//! What the broker had to say about a channel before the connection ended is why it ended: the last
//! `channel.close`, with its code and text, belongs to the story on both hosts.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rstblame_lab::{
    Result, Value,
    agents::agent::Agent,
    brokers::broker::Broker,
    command,
    hosts::{
        net::{TwoHosts, two_hosts},
        side::Ip,
    },
    json,
    peers::{
        peer::{self, AMQP},
        pika::{Login, Pika},
        speech,
    },
    truths::endings::{Said, Scenario, Truth, Watch, by_process},
};

/// How long the broker waits for an acknowledgement, and how often it looks, in milliseconds: 30
/// minutes and a minute as it comes.
const CONSUMER_TIMEOUT: &str =
    "application:set_env(rabbit, consumer_timeout, 2000), application:set_env(rabbit, channel_tick_interval, 500).";

/// How long anything of this may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two hosts with a broker, and an agent on each.
struct Stage {
    watch: Watch,
    broker: Broker,
    hosts: TwoHosts,
}

impl Stage {
    fn new(name: &'static str) -> Result<Self> {
        let hosts = two_hosts()?;
        let broker = Broker::start_furnished(&hosts.server)?;
        broker.control(&hosts.server, &["eval", CONSUMER_TIMEOUT])?;
        let views = vec![("client", Agent::on(&hosts.client)), ("broker", Agent::on(&hosts.server))];
        Ok(Self { watch: Watch::start(name, views)?, broker, hosts })
    }

    /// An AMQP connection by hand, with a channel.
    fn open(&self, ip: Ip) -> Result<TcpStream> {
        let mut stream = self.hosts.client.connect(SocketAddr::new(ip.of(&self.hosts.server), AMQP))?;
        speech::handshake(&mut stream, "/", 60)?;
        speech::open_channel(&mut stream)?;
        Ok(stream)
    }

    /// The client uses a channel that the broker has closed. The broker closes the connection for
    /// that (504), and resets it, because the client leaves that to it.
    fn uses_a_closed_channel(&self, scenario: &str, mut stream: TcpStream, text: &'static str, advice: &[&str]) -> Result<()> {
        let flow = peer::flow(&stream)?;
        speech::expect(&mut stream, speech::CHANNEL_CLOSE)?;
        speech::say(&mut stream, &speech::channel_close_ok())?;
        speech::say(&mut stream, &speech::message("nowhere", b"bendnote"))?;
        speech::expect(&mut stream, speech::CLOSE)?;
        speech::say(&mut stream, &speech::close_ok())?;
        // The end of the stream or an error, whichever the kernel makes of the RST.
        let _ = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.read_to_end(&mut Vec::new()));
        command::while_nothing_starts(|| drop(stream));
        let close = json!({"from": "broker", "code": 504});
        let truth = Truth::new(json!({"severity": ["warning", "error"], "cause": {"id": "forced_close"}, "amqp": {"close": close}}))
            .and(channel_closed())
            .mentions("/amqp/channel_close/text", &[text])
            .mentions("/cause", &["406"])
            .mentions("/cause", advice);
        let at_client = truth.clone().and(json!({"origin": {"kind": ["remote_peer", "unknown"]}}));
        let at_broker = truth.and(json!({"origin": {"kind": "local_process"}, "process": {"pid": self.broker.pid()}}));
        self.watch.told(scenario, "client", flow, Said::Reset(at_client));
        self.watch.told(scenario, "broker", flow.reversed(), Said::Reset(at_broker));
        Ok(())
    }
}

/// `amqp.channel_close` of a channel that the broker closed with 406.
fn channel_closed() -> Value {
    json!({"amqp": {"version": "0-9-1", "channel_close": {"from": "broker", "code": 406}}})
}

/// The text and the advice of a consumer that took too long.
fn of_a_slow_consumer(truth: Truth) -> Truth {
    truth.and(channel_closed()).mentions("/amqp/channel_close/text", &["timed out"]).mentions("/cause/advice", &["consumer_timeout"])
}

/// An acknowledgement of nothing: 406, `unknown delivery tag`. The 504 that follows is only a
/// symptom.
fn channel_is_used_after_an_unknown_tag(stage: &Stage, ip: Ip) -> Result<()> {
    let mut stream = stage.open(ip)?;
    speech::say(&mut stream, &speech::ack(1))?;
    stage.uses_a_closed_channel(
        &format!("504 after 406 unknown tag, {ip:?}"),
        stream,
        "unknown delivery tag",
        &["unknown delivery tag", "acknowledge"],
    )
}

/// A delivery that is not acknowledged in time: 406, `delivery acknowledgement on channel 1 timed
/// out`.
fn channel_is_used_after_a_consumer_timeout(stage: &Stage, ip: Ip) -> Result<()> {
    let mut stream = stage.open(ip)?;
    speech::consume_one(&mut stream, &format!("slow-{ip:?}"))?;
    stage.uses_a_closed_channel(&format!("504 after a consumer timeout, {ip:?}"), stream, "timed out", &["consumer_timeout"])
}

/// pika raises an exception, and the application ends with it: as most do. It left, and it left
/// because of the timeout.
fn application_ends_by_a_consumer_timeout(stage: &Stage, ip: Ip) -> Result<()> {
    let mut pika = Pika::start(&stage.hosts.client)?;
    let flow = pika.connect(&Login::at(ip.of(&stage.hosts.server)))?;
    pika.ask(&json!({"do": "hold", "queue": format!("held-{ip:?}")}))?;
    pika.act("channel_lost")?;
    pika.end("exit")?;
    let scenario = format!("exit after a consumer timeout, {ip:?}");
    let at_client = of_a_slow_consumer(by_process("process_exited", pika.pid));
    let broker_saw = |kinds: Value| {
        let truth = json!({"severity": ["warning", "error"], "cause": {"id": "peer_gone"}, "origin": {"kind": kinds}});
        of_a_slow_consumer(Truth::new(truth))
    };
    // RabbitMQ answers the FIN with a RST.
    let at_broker = broker_saw(json!(["remote_peer", "unknown"])).or(broker_saw(json!("local_process")).and(json!({"direction": "sent"})));
    stage.watch.told(&scenario, "client", flow, Said::Died(at_client));
    stage.watch.told(&scenario, "broker", flow.reversed(), Said::Died(at_broker));
    Ok(())
}

/// A channel error that nobody minds: the connection is closed as it should be.
fn connection_is_closed_in_order_after_a_channel_error(stage: &Stage, ip: Ip) -> Result<()> {
    let mut stream = stage.open(ip)?;
    let flow = peer::flow(&stream)?;
    speech::say(&mut stream, &speech::ack(1))?;
    speech::expect(&mut stream, speech::CHANNEL_CLOSE)?;
    speech::say(&mut stream, &speech::channel_close_ok())?;
    speech::open_channel(&mut stream)?;
    speech::say(&mut stream, &speech::close(200, "done"))?;
    speech::expect(&mut stream, speech::CLOSE_OK)?;
    command::while_nothing_starts(|| drop(stream));
    let scenario = format!("an ordinary close after 406, {ip:?}");
    stage.watch.told(&scenario, "client", flow, Said::Nothing);
    stage.watch.told(&scenario, "broker", flow.reversed(), Said::Nothing);
    Ok(())
}

const SCENARIOS: [Scenario<Stage>; 8] = [
    ("unknown tag, IPv4", |stage| channel_is_used_after_an_unknown_tag(stage, Ip::V4)),
    ("unknown tag, IPv6", |stage| channel_is_used_after_an_unknown_tag(stage, Ip::V6)),
    ("consumer timeout, IPv4", |stage| channel_is_used_after_a_consumer_timeout(stage, Ip::V4)),
    ("consumer timeout, IPv6", |stage| channel_is_used_after_a_consumer_timeout(stage, Ip::V6)),
    ("application ends, IPv4", |stage| application_ends_by_a_consumer_timeout(stage, Ip::V4)),
    ("application ends, IPv6", |stage| application_ends_by_a_consumer_timeout(stage, Ip::V6)),
    ("ordinary close, IPv4", |stage| connection_is_closed_in_order_after_a_channel_error(stage, Ip::V4)),
    ("ordinary close, IPv6", |stage| connection_is_closed_in_order_after_a_channel_error(stage, Ip::V6)),
];

#[test]
fn channel_errors_are_why_connections_end() -> Result<()> {
    let stage = Stage::new("channel errors")?;
    stage.watch.play(&stage, &SCENARIOS);
    let Stage { watch, broker, hosts } = stage;
    let finished = watch.finish();
    drop((broker, hosts));
    finished
}
