//! Records of the kernel programs: each is of its kind's length or refused, and each reset becomes
//! a line that reads back as itself.

use std::sync::LazyLock;

use rstblame::{
    attribution::Memory,
    event::{Event, Host, build},
    flow::{Reset, wire::Wire},
    kernel::{
        decode::{DecodeError, Decoder, Record, time_of},
        reasons::Reasons,
    },
    model::{
        Direction,
        ports::{PortRange, PortSet},
    },
    output,
};
use rstblame_abi::{
    Heartbeat, ResetRecord, TaskRecord,
    flow::{Followed, WireRst},
    kind,
};

use super::input::Input;

/// Kinds and their lengths.
const KINDS: [(u32, usize); 9] = [
    (kind::SEND_RESET, size_of::<ResetRecord>()),
    (kind::RECEIVE_RESET, size_of::<ResetRecord>()),
    (kind::PROCESS, size_of::<TaskRecord>()),
    (kind::CLOSED, size_of::<TaskRecord>()),
    (kind::ARRIVED_RST, size_of::<WireRst>()),
    (kind::LEFT_RST, size_of::<WireRst>()),
    (kind::FOLLOWED, size_of::<Followed>()),
    (kind::HEARTBEAT, size_of::<Heartbeat>()),
    (kind::ENDING, size_of::<ResetRecord>()),
];

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new(Reasons::default(), PortSet::from(PortRange::AMQP)));

pub fn holds(data: &[u8]) {
    // As it came: of a known kind and its length, or refused.
    match DECODER.decode(data) {
        Ok(_) => assert!(KINDS.iter().any(|(_, length)| *length == data.len())),
        Err(DecodeError::Length(length)) => assert_eq!(length, data.len()),
        Err(DecodeError::Kind(kind)) => assert!(KINDS.iter().all(|(known, _)| *known != kind)),
        Err(DecodeError::NoTuple) => {}
    }
    let mut input = Input::new(data);
    let mut memory = Memory::default();
    let mut wire: Option<Box<Wire>> = None;
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let (kind, length) = KINDS[usize::from(input.byte()) % KINDS.len()];
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(input.take(length - bytes.len()));
        bytes.resize(length, 0);
        let decoded = DECODER.decode(&bytes);
        let at = u64::from_ne_bytes(bytes[8..16].try_into().expect("eight bytes"));
        assert_eq!(time_of(&bytes), Some(at));
        match decoded {
            Ok(Record::Reset(mut reset, _)) => {
                assert_eq!(reset.boottime_ns, at);
                assert_eq!(reset.direction == Direction::Sent, kind == kind::SEND_RESET);
                reset.wire = wire.take();
                line(&mut memory, *reset);
            }
            Ok(Record::Arrived(place, arrived)) => {
                line(&mut memory, DECODER.ignored(place, arrived.clone()));
                wire = Some(arrived);
            }
            Ok(Record::Left(place, left, _)) => {
                assert_eq!(kind, kind::LEFT_RST);
                let reset = DECODER.unannounced(place, left.clone());
                assert_eq!(reset.direction, Direction::Sent);
                line(&mut memory, reset);
                wire = Some(left);
            }
            Ok(Record::Ending(ending, _)) => {
                assert_eq!((ending.boottime_ns, kind), (at, kind::ENDING));
                assert!(ending.ended && ending.act().is_some());
                line(&mut memory, *ending);
            }
            Ok(Record::Process(..) | Record::Closed(..) | Record::Followed(..) | Record::Heartbeat(_)) => {}
            Err(error) => assert_eq!(error, DecodeError::NoTuple, "of the right kind and length"),
        }
    }
}

/// A verdict on the reset, as its line says it.
fn line(memory: &mut Memory, mut reset: Reset) {
    let verdict = memory.attribute(&mut reset);
    for confidence in [verdict.origin.confidence, verdict.cause.confidence].into_iter().flatten() {
        assert!((0.0..=1.0).contains(&confidence), "confidence {confidence}");
    }
    let event = Event::Rst(Box::new(build::event(&reset, verdict, &Host { name: "fuzz".to_owned() })));
    let line = output::json_line(&event);
    assert!(line.ends_with(b"\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1);
    let again: Event = serde_json::from_slice(&line).expect("a line of the contract");
    assert_eq!(output::json_line(&again), line);
}
