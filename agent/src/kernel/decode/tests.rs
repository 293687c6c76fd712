#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use proptest::prelude::*;
use rstblame_abi::{Header, PF_EXITING, ResetRecord, Signal, Task, kind, signal_flag, sock_bit, valid};

use super::{DecodeError, Decoder, Record};
use crate::{
    flow::{Reset, SocketKind},
    kernel::reasons::Reasons,
    model::{Direction, Role, TcpState, ports::PortSet},
};

fn decoder() -> Decoder {
    Decoder::new(Reasons::default(), PortSet::new(vec!["5672".parse().unwrap()]).unwrap())
}

fn bytes(record: &ResetRecord) -> Vec<u8> {
    // SAFETY: a record is integers without padding; reading its bytes is always defined.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<ResetRecord>()) }.to_vec()
}

fn record() -> ResetRecord {
    ResetRecord {
        header: Header { kind: kind::SEND_RESET, ..Header::default() },
        valid: valid::TUPLE | valid::STATE | valid::HAS_SOCK,
        family: 2,
        local_port: 5672,
        peer_port: 40000,
        state: 7,
        ..ResetRecord::default()
    }
}

fn reset(record: &ResetRecord) -> Reset {
    match decoder().decode(&bytes(record)) {
        Ok(Record::Reset(reset, _)) => *reset,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn an_aborting_socket_has_the_state_it_had_before() {
    let mut record = record();
    record.valid |= valid::CONNECTION;
    record.connection.previous_state = 1;
    let reset = reset(&record);
    assert_eq!(reset.state, Some(TcpState::Established));
    assert!(reset.closed_first && reset.active);
    assert_eq!((reset.role, reset.direction), (Role::Broker, Direction::Sent));
}

#[test]
fn close_is_never_given_out_as_the_state_before() {
    assert_eq!(reset(&record()).state, None);
}

#[test]
fn a_fin_is_not_unread_data() {
    let mut record = record();
    record.valid |= valid::SOCK | valid::TCP;
    record.sock_bits = sock_bit::FIN_RECEIVED;
    record.rcv_nxt = 1001;
    record.copied_seq = 1000;
    assert_eq!(reset(&record).tcp.unwrap().unread_bytes, 0);
    record.sock_bits = 0;
    assert_eq!(reset(&record).tcp.unwrap().unread_bytes, 1);
}

#[test]
fn the_idle_task_and_kernel_threads_are_nobody() {
    let mut record = record();
    record.valid |= valid::CURRENT;
    assert_eq!(reset(&record).actor, None);
    record.current = Task { tgid: 20, flags: super::PF_KTHREAD, ..Task::default() };
    assert_eq!(reset(&record).actor, None);
    record.current = Task { tgid: 20, comm: *b"beam.smp\0garbage", ..Task::default() };
    assert_eq!(reset(&record).actor.unwrap().comm, "beam.smp");
}

#[test]
fn what_cannot_be_a_record_is_refused() {
    let refused = |bytes: &[u8]| decoder().decode(bytes).unwrap_err();
    let mut record = record();
    assert_eq!(refused(&[0; 3]), DecodeError::Length(3));
    assert_eq!(refused(&bytes(&record)[..100]), DecodeError::Length(100));
    record.header.kind = 10;
    assert_eq!(refused(&bytes(&record)), DecodeError::Kind(10));
    record.header.kind = kind::RECEIVE_RESET;
    record.valid = 0;
    assert_eq!(refused(&bytes(&record)), DecodeError::NoTuple);
    record.valid = valid::TUPLE;
    record.family = 99;
    assert_eq!(refused(&bytes(&record)), DecodeError::NoTuple);
}

#[test]
fn the_end_of_a_process_is_that_of_wait_2() {
    let mut record = record();
    record.valid |= valid::CURRENT;
    record.current = Task { tgid: 20, flags: PF_EXITING, exit_code: 3 << 8, start_boottime_ns: 5, ..Task::default() };
    let end = |record: &ResetRecord| reset(record).actor.unwrap().end.unwrap();
    assert_eq!((end(&record).code, end(&record).signal), (Some(3), None));

    record.current.exit_code = 0x80 | 0xb;
    assert_eq!((end(&record).code, end(&record).signal, end(&record).core_dumped), (None, Some(11), true));

    record.current.exit_code = 9;
    record.signal = Signal { at_ns: 6, number: 9, sender_tgid: 1, sender_comm: *b"systemd\0\0\0\0\0\0\0\0\0", ..Signal::default() };
    assert_eq!(end(&record).sent_by, Some((1, "systemd".to_owned())));
    // A name is whatever prctl(2) was given.
    let hostile = Signal { sender_comm: *b"\x1b[2J\nx\xe2\x80\xae\0\0\0\0\0\0\0", ..record.signal };
    let cleaned = Some((1, "\u{fffd}[2J\u{fffd}x\u{fffd}".to_owned()));
    assert_eq!(end(&ResetRecord { signal: hostile, ..record }).sent_by, cleaned);
    // Another signal, one from before the process began, and the kernel's own are nobody's doing.
    record.signal.number = 15;
    assert_eq!(end(&record).sent_by, None);
    record.signal = Signal { at_ns: 4, number: 9, ..record.signal };
    assert_eq!(end(&record).sent_by, None);
    record.signal = Signal { at_ns: 6, flags: signal_flag::FROM_KERNEL | signal_flag::OOM, ..record.signal };
    assert_eq!((end(&record).sent_by, end(&record).oom), (None, true));
}

#[test]
fn a_socket_that_was_not_read_is_not_said_to_be_missing() {
    let mut record = record();
    record.valid = valid::TUPLE | valid::HAS_SOCK;
    assert_eq!(reset(&record).socket_kind, SocketKind::Unseen);
    record.valid = valid::TUPLE;
    assert_eq!(reset(&record).socket_kind, SocketKind::None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), size_of::<ResetRecord>())) {
        let _decoded = decoder().decode(&bytes);
    }
}
