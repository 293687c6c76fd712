use super::{SocketFacts, Tuple};
use crate::{
    flow::Reset,
    model::{KnownFrom, Task},
    testing,
};

#[test]
fn a_mapped_address_is_ipv4() -> Result<(), std::net::AddrParseError> {
    let tuple = Tuple::new("[::ffff:10.0.0.1]:5672".parse()?, "[::ffff:10.0.0.2]:40000".parse()?);
    assert_eq!(tuple.local.to_string(), "10.0.0.1:5672");
    assert_eq!(tuple.reversed().local.to_string(), "10.0.0.2:40000");
    Ok(())
}

#[test]
fn who_shut_a_socket_down_held_it_only_if_nobody_does_now() {
    let task = Task { pid: 7, start_boottime_ns: None, comm: "parent".to_owned(), uid: 0, end: None };
    let reset = |orphan| Reset {
        actor: None,
        socket: Some(SocketFacts { orphan, ..SocketFacts::default() }),
        remembered: Some((task.clone(), KnownFrom::Close)),
        ..testing::reset()
    };
    assert_eq!(reset(true).holder(), Some(&task));
    assert_eq!(reset(false).holder(), None);
}
