//! What is no AMQP sent to a port of AMQP, and AMQP sent to a port of TLS: both hosts name what was
//! spoken. A connection without a byte is a health check, and nobody's loss.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::agent::Agent,
    brokers::broker::Broker,
    command,
    hosts::{
        net::{TwoHosts, two_hosts},
        side::Ip,
    },
    json,
    peers::{
        peer::{self, AMQP, AMQPS},
        speech,
    },
    truths::endings::{Said, Truth, Watch},
};

/// Both ports of the broker.
const PORTS: [&str; 2] = ["--port", "5671-5672"];

/// How long the broker may take to refuse: it waits 10 s for the rest of a header.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client's first bytes, and by which of these words the agent names them.
struct Speech {
    name: &'static str,
    bytes: &'static [u8],
    port: u16,
    words: &'static [&'static str],
}

/// A TLS 1.2 record with the beginning of a ClientHello (RFC 8446, sections 4.1.2 and 5.1).
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03\
    0123456789abcdef0123456789abcdef\x00\x00\x04\x13\x01\x13\x02\x01\x00";

/// PROXY protocol version 2: signature, PROXY over TCP and IPv4, 12 bytes of addresses.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xd4\x31\x16\x28";

/// MQTT 3.1.1 CONNECT with a client identifier.
const MQTT: &[u8] = b"\x10\x13\x00\x04MQTT\x04\x02\x00\x3c\x00\x07bendnot";

const SPEECHES: [Speech; 10] = [
    Speech { name: "TLS to 5672", bytes: CLIENT_HELLO, port: AMQP, words: &["TLS"] },
    Speech { name: "HTTP GET", bytes: b"GET /api/overview HTTP/1.1\r\nHost: broker\r\n\r\n", port: AMQP, words: &["HTTP"] },
    Speech { name: "HTTP POST", bytes: b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", port: AMQP, words: &["HTTP"] },
    Speech { name: "PROXY v1", bytes: b"PROXY TCP4 192.0.2.1 192.0.2.2 54321 5672\r\n", port: AMQP, words: &["PROXY"] },
    Speech { name: "PROXY v2", bytes: PROXY_V2, port: AMQP, words: &["PROXY"] },
    Speech { name: "MQTT", bytes: MQTT, port: AMQP, words: &["MQTT"] },
    Speech { name: "STOMP", bytes: b"CONNECT\naccept-version:1.2\nhost:/\n\n\0", port: AMQP, words: &["STOMP"] },
    Speech { name: "AMQP 1.0", bytes: b"AMQP\0\x01\0\0", port: AMQP, words: &["AMQP 1.0"] },
    Speech { name: "AMQP 1.0 with SASL", bytes: b"AMQP\x03\x01\0\0", port: AMQP, words: &["AMQP 1.0"] },
    Speech { name: "AMQP to a port of TLS", bytes: &speech::HEADER_0_9_1, port: AMQPS, words: &["AMQP"] },
];

/// What either host has to say. The broker logs an error of its own, so that this is no ordinary
/// close.
fn wrong_protocol(speech: &Speech) -> Truth {
    Truth::new(json!({"severity": ["warning", "error"], "cause": {"id": "wrong_protocol"}})).mentions("/cause/summary", speech.words)
}

/// On the client's host nobody but the broker has ended it, as far as that one can know.
fn seen_by_the_client(speech: &Speech) -> Truth {
    wrong_protocol(speech).and(json!({"origin": {"kind": ["remote_peer", "unknown", "local_process"]}}))
}

/// On the broker's host its process has, because of what the client said.
fn seen_by_the_broker(speech: &Speech, pid: u32) -> Truth {
    wrong_protocol(speech).and(json!({"origin": {"kind": ["local_process", "remote_peer"]}, "process": {"pid": pid}}))
}

/// The broker resets, or closes and is answered: what it says is read, and then the client closes.
fn refused(hosts: &TwoHosts, watch: &Watch, broker: &Broker, speech: &Speech, ip: Ip) -> Result<()> {
    let mut stream = connect(hosts, ip, speech.port)?;
    let flow = peer::flow(&stream)?;
    speech::say(&mut stream, speech.bytes)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| LabError::io("set a timeout", error))?;
    // To the end of the stream, or to an error: which of the two is the broker's affair.
    let end = stream.read_to_end(&mut Vec::new());
    if let Err(error) = &end
        && error.kind() == std::io::ErrorKind::WouldBlock
    {
        return Err(LabError::Client(format!("the broker does not mind {}", speech.name)));
    }
    command::while_nothing_starts(|| drop(stream));
    let scenario = format!("{}, {ip:?}", speech.name);
    watch.told(&scenario, "client", flow, Said::Died(seen_by_the_client(speech)));
    watch.told(&scenario, "broker", flow.reversed(), Said::Died(seen_by_the_broker(speech, broker.pid())));
    Ok(())
}

fn connect(hosts: &TwoHosts, ip: Ip, port: u16) -> Result<TcpStream> {
    hosts.client.connect(SocketAddr::new(ip.of(&hosts.server), port))
}

#[test]
fn wrong_protocols_are_named() -> Result<()> {
    let hosts = two_hosts()?;
    let broker = Broker::start_furnished(&hosts.server)?;
    let views = vec![("client", Agent::on(&hosts.client).args(&PORTS)), ("broker", Agent::on(&hosts.server).args(&PORTS))];
    let watch = Watch::start("wrong protocols", views)?;
    for speech in &SPEECHES {
        for ip in [Ip::V4, Ip::V6] {
            refused(&hosts, &watch, &broker, speech, ip)?;
        }
    }
    watch.finish()
}

/// Load balancers look whether a port is open, and end that with a FIN or a RST.
#[test]
fn connections_without_a_byte_are_health_checks() -> Result<()> {
    let hosts = two_hosts()?;
    let _broker = Broker::start_furnished(&hosts.server)?;
    let views = vec![("client", Agent::on(&hosts.client).args(&PORTS)), ("broker", Agent::on(&hosts.server).args(&PORTS))];
    let watch = Watch::start("health checks", views)?;
    for (ip, port) in [(Ip::V4, AMQP), (Ip::V6, AMQP), (Ip::V4, AMQPS), (Ip::V6, AMQPS)] {
        for aborts in [false, true] {
            let stream = connect(&hosts, ip, port)?;
            let flow = peer::flow(&stream)?;
            if aborts {
                peer::abort(stream)?;
            } else {
                command::while_nothing_starts(|| drop(stream));
            }
            let scenario = format!("health check of {port} that {}, {ip:?}", if aborts { "aborts" } else { "closes" });
            watch.told(&scenario, "client", flow, Said::Nothing);
            watch.told(&scenario, "broker", flow.reversed(), Said::Nothing);
        }
    }
    // The broker is slower than its clients: an ordinary connection behind them all is seen to its
    // end.
    let mut last = connect(&hosts, Ip::V4, AMQP)?;
    let flow = peer::flow(&last)?;
    speech::handshake(&mut last, "/", 60)?;
    speech::say(&mut last, &speech::close(200, "done"))?;
    speech::expect(&mut last, speech::CLOSE_OK)?;
    watch.told("an ordinary close", "client", flow, Said::Nothing);
    watch.told("an ordinary close", "broker", flow.reversed(), Said::Nothing);
    command::while_nothing_starts(|| drop(last));
    watch.finish()
}
