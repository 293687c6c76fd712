//! Connections whose first bytes are not what the service behind the port takes, or whose service
//! is no broker.
//!
//! RabbitMQ answers what it does not take with the protocol header of what it speaks, and closes
//! (AMQP 0-9-1, section 4.2.2; `rabbit_reader:refuse_connection`): that header, behind anything but
//! an AMQP client's, proves it.

use super::{Candidate, Facts, Source, amqp::points_to};
use crate::{
    amqp::Protocol,
    attribution::{evidence::evidence, kernel_path::Path},
    model::{CauseId, OriginKind, Role, Strength},
};

/// The broker's own header says that it was not AMQP, or not this version of it.
const BY_HEADER: f64 = 0.98;

/// TLS refuses by an alert what is no TLS.
const BY_ALERT: f64 = 0.97;

/// HTTP came back from where a broker was expected.
const BY_HTTP: f64 = 0.95;

/// No answer, or one that is not known: what began the connection is no AMQP, and the port may be
/// watched for something else.
const BY_FIRST_BYTES: f64 = 0.96;
const BY_STRANGE_ANSWER: f64 = 0.9;

/// What was spoken is not what is spoken there.
pub fn wrong(facts: &Facts) -> Option<Candidate> {
    let conversation = facts.conversation()?;
    if facts.origin.kind == OriginKind::Middlebox
        || matches!(facts.source, Source::Kernel { path: Path::Destroyed | Path::Keepalive | Path::Memory, .. })
    {
        return None;
    }
    let (spoken, answer) = (conversation.protocol, conversation.answer);
    let (confidence, what) = match answer {
        Some(answer) => (confidence(spoken, answer)?, format!("{} where the other end speaks {}", name(spoken), name(answer))),
        None => (by_first_bytes(facts, spoken)?, format!("{}, and the other end closed without a byte", name(spoken))),
    };
    let client = facts.broker().other();
    let first = evidence("first_bytes", points_to(client), Strength::Strong, format!("the client's first bytes are {}", described(spoken)));
    let refusal = answer.map(|answer| {
        let strength = if is_amqp(answer) || answer == Protocol::Tls { Strength::Proof } else { Strength::Strong };
        let detail = format!("the other end's first bytes are {}", if answer == Protocol::Tls { "a TLS alert" } else { described(answer) });
        evidence("protocol_answer", points_to(facts.broker()), strength, detail)
    });
    let candidate = Candidate::reason(CauseId::WrongProtocol, confidence, format!("the client spoke {what}"));
    Some(candidate.advise(advice(spoken, answer)).because([first]).because(refusal))
}

/// By what the other end answered; `None` where that may be right.
fn confidence(spoken: Protocol, answer: Protocol) -> Option<f64> {
    // Behind a PROXY header there may be anything, if the other end takes one.
    let wrapped = matches!(spoken, Protocol::Proxy1 | Protocol::Proxy2);
    let of_a_broker = matches!(spoken, Protocol::Amqp091 | Protocol::Amqp10 | Protocol::Tls);
    match answer {
        answer if answer == spoken && spoken != Protocol::AmqpOther => None,
        answer if is_amqp(answer) => Some(BY_HEADER),
        Protocol::Tls => (!wrapped).then_some(BY_ALERT),
        Protocol::Http => of_a_broker.then_some(BY_HTTP),
        _ => of_a_broker.then_some(BY_STRANGE_ANSWER),
    }
}

/// By what the client said, where nothing came back. A check may send no more than a PROXY header,
/// to an end that takes it.
fn by_first_bytes(facts: &Facts, spoken: Protocol) -> Option<f64> {
    let unmistakable = matches!(spoken, Protocol::Http | Protocol::Mqtt | Protocol::Stomp);
    let last = facts.conversation()?.last_payload;
    // What leaves this host may go by unseen, but for the socket.
    let (heard, sent) = match facts.reset.role {
        Role::Client => (last.peer, 0),
        Role::Broker => (last.local, facts.reset.tcp.as_ref().map_or(0, |tcp| tcp.bytes_sent)),
    };
    (unmistakable && heard.is_none() && sent == 0).then_some(BY_FIRST_BYTES)
}

const fn is_amqp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Amqp091 | Protocol::Amqp10 | Protocol::AmqpOther)
}

/// In a sentence.
const fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Amqp091 => "AMQP 0-9-1",
        Protocol::Amqp10 => "AMQP 1.0",
        Protocol::AmqpOther => "a version of AMQP that is neither 0-9-1 nor 1.0",
        Protocol::Tls => "TLS",
        Protocol::Http => "HTTP",
        Protocol::Proxy1 => "the PROXY protocol (version 1)",
        Protocol::Proxy2 => "the PROXY protocol (version 2)",
        Protocol::Mqtt => "MQTT",
        Protocol::Stomp => "STOMP",
        Protocol::Other => "something that is no AMQP",
    }
}

/// What such first bytes are.
const fn described(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Amqp091 => "the protocol header of AMQP 0-9-1",
        Protocol::Amqp10 => "a protocol header of AMQP 1.0",
        Protocol::AmqpOther => "the protocol header of another version of AMQP",
        Protocol::Tls => "the hello of TLS",
        Protocol::Http => "HTTP",
        Protocol::Proxy1 => "a PROXY header, version 1",
        Protocol::Proxy2 => "a PROXY header, version 2",
        Protocol::Mqtt => "CONNECT of MQTT",
        Protocol::Stomp => "the first frame of STOMP",
        Protocol::Other => "of no protocol that is known here",
    }
}

/// What to do about it.
const fn advice(spoken: Protocol, answer: Option<Protocol>) -> &'static str {
    match (spoken, answer) {
        (_, Some(Protocol::Tls)) => {
            "use TLS on this port (amqps:// in the client's URI, its ssl options), or the port for plain AMQP (5672)"
        }
        (_, Some(Protocol::Http | Protocol::Mqtt | Protocol::Stomp | Protocol::Proxy1 | Protocol::Proxy2 | Protocol::Other)) => {
            "look at what listens there: it is no AMQP broker; correct the host or the port that the client uses"
        }
        (Protocol::Amqp091, Some(Protocol::Amqp10)) => "that broker takes AMQP 1.0 only: use a client library for AMQP 1.0",
        (Protocol::Tls, _) => {
            "connect to the broker's port for TLS (amqps, 5671 by default), or turn TLS off in the client or health check"
        }
        (Protocol::Http, _) => {
            "HTTP belongs to the management port (15672): make a health check on this port a TCP check, or correct the URL"
        }
        (Protocol::Proxy1 | Protocol::Proxy2, _) => {
            "set proxy_protocol = true in rabbitmq.conf, or turn the PROXY header off at the proxy (HAProxy: send-proxy, send-proxy-v2)"
        }
        (Protocol::Mqtt, _) => "connect to the MQTT listener (1883, or 8883 with TLS; plugin rabbitmq_mqtt)",
        (Protocol::Stomp, _) => "connect to the STOMP listener (61613, or 61614 with TLS; plugin rabbitmq_stomp)",
        (Protocol::Amqp10, _) => {
            "enable the plugin rabbitmq_amqp1_0 (RabbitMQ 4 speaks AMQP 1.0 without it), or use a client library for AMQP 0-9-1"
        }
        _ => "look at the program that connects: it is no AMQP client, or one of another version",
    }
}
