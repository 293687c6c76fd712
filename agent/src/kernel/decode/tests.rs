#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use rstblame_ebpf::{ResetRecord, Task, hook, sock_bit, valid};

use super::{DecodeError, Decoder};
use crate::{
    event::Direction,
    flow::{Role, SocketKind, TcpState},
    kernel::{ports::PortSet, reasons::Reasons},
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
        hook: hook::SEND_RESET,
        valid: valid::TUPLE | valid::STATE | valid::HAS_SOCK,
        family: 2,
        local_port: 5672,
        peer_port: 40000,
        state: 7,
        ..ResetRecord::default()
    }
}

#[test]
fn an_aborting_socket_has_the_state_it_had_before() {
    let mut record = record();
    record.valid |= valid::CONNECTION;
    record.connection.previous_state = 1;
    let reset = decoder().decode(&bytes(&record)).unwrap().reset;
    assert_eq!(reset.state, Some(TcpState::Established));
    assert!(reset.closed_first && reset.active);
    assert_eq!((reset.role, reset.direction), (Role::Broker, Direction::Sent));
}

#[test]
fn close_is_never_given_out_as_the_state_before() {
    assert_eq!(decoder().decode(&bytes(&record())).unwrap().reset.state, None);
}

#[test]
fn a_fin_is_not_unread_data() {
    let mut record = record();
    record.valid |= valid::SOCK | valid::TCP;
    record.sock_bits = sock_bit::FIN_RECEIVED;
    record.rcv_nxt = 1001;
    record.copied_seq = 1000;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap().reset.tcp.unwrap().unread_bytes, 0);
    record.sock_bits = 0;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap().reset.tcp.unwrap().unread_bytes, 1);
}

#[test]
fn the_idle_task_and_kernel_threads_are_nobody() {
    let mut record = record();
    record.valid |= valid::CURRENT;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap().reset.actor, None);
    record.current = Task { tgid: 20, flags: super::PF_KTHREAD, ..Task::default() };
    assert_eq!(decoder().decode(&bytes(&record)).unwrap().reset.actor, None);
    record.current = Task { tgid: 20, comm: *b"beam.smp\0garbage", ..Task::default() };
    assert_eq!(decoder().decode(&bytes(&record)).unwrap().reset.actor.unwrap().comm, "beam.smp");
}

#[test]
fn what_cannot_be_a_record_is_refused() {
    let mut record = record();
    assert_eq!(decoder().decode(&[0; 3]).unwrap_err(), DecodeError::Length(3, size_of::<ResetRecord>()));
    record.hook = 9;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap_err(), DecodeError::Hook(9));
    record.hook = hook::RECEIVE_RESET;
    record.valid = 0;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap_err(), DecodeError::NoTuple);
    record.valid = valid::TUPLE;
    record.family = 99;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap_err(), DecodeError::NoTuple);
}

#[test]
fn a_socket_that_was_not_read_is_not_said_to_be_missing() {
    let mut record = record();
    record.valid = valid::TUPLE | valid::HAS_SOCK;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap().reset.socket_kind, SocketKind::Unseen);
    record.valid = valid::TUPLE;
    assert_eq!(decoder().decode(&bytes(&record)).unwrap().reset.socket_kind, SocketKind::None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), size_of::<ResetRecord>())) {
        let _decoded = decoder().decode(&bytes);
    }
}
