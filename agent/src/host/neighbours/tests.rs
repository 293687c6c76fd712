//! The tables of this process's own namespace, and messages as the kernel writes them.

use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::*;
use crate::host::netns::self_inode;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn question(netns: u32) -> Question {
    let loopback = Ipv4Addr::LOCALHOST.into();
    Question { netns, local: loopback, peer: loopback, interface: 1, source_mac: Some(MAC) }
}

/// This process's own namespace, which takes no privileges, and its tables.
fn own() -> (u32, Neighbours) {
    let inode = self_inode().unwrap();
    (inode, Neighbours { sockets: HashMap::from([(inode, Arc::new(netlink::open(None).unwrap()))]), ..Neighbours::default() })
}

#[test]
fn the_own_tables_answer() {
    let (own, mut neighbours) = own();
    let now = Instant::now();
    assert_eq!(neighbours.ask(question(own.wrapping_add(1)), now), None);
    // Index 1 is the loopback interface of every namespace (`init_net`'s and
    // `loopback_net_init()`).
    let there = Route { interface: Some("lo".to_owned()), peer_is_local: true, ..Route::default() };
    assert_eq!(neighbours.ask(question(own), now), Some(there.clone()));
    // Until it grows old the answer holds, even when there is nobody to ask any more.
    neighbours.retain(|_| false);
    assert_eq!(neighbours.ask(question(own), now + HOLDS / 2), Some(there));
    assert_eq!(neighbours.ask(question(own), now + HOLDS), None);
}

/// A kernel that does not answer, as one whose tables somebody keeps locked: the other end of a
/// pair of sockets, which reads nothing.
#[test]
fn tables_that_do_not_answer_hold_nobody_up() {
    let (own, mut neighbours) = own();
    let (silent, _other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    let stalled = own.wrapping_add(1);
    neighbours.listen(stalled, silent);
    let (began, now) = (Instant::now(), Instant::now());
    for interface in 0..QUESTIONS / 2 {
        assert_eq!(neighbours.ask(Question { interface, ..question(stalled) }, now), None);
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(neighbours.missed(), u64::from(QUESTIONS / 2));
    assert!(neighbours.ask(question(own), now).is_some(), "others are answered");
}

#[test]
fn questions_are_counted() {
    let (own, mut neighbours) = own();
    let now = Instant::now();
    let ask = |neighbours: &mut Neighbours, number: u32, now| {
        neighbours.ask(Question { source_mac: None, interface: number, ..question(own) }, now)
    };
    let answered = (0..2 * QUESTIONS).filter(|number| ask(&mut neighbours, *number, now).is_some()).count();
    assert_eq!(answered, usize::try_from(QUESTIONS).unwrap());
    assert!(ask(&mut neighbours, 1, now + HOLDS).is_some());
}

/// A `struct ndmsg` with its attributes.
fn neighbour(interface: u32, state: u16, of: IpAddr, mac: [u8; 6]) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    bytes.splice(4..8, interface.to_ne_bytes());
    bytes.splice(8..10, state.to_ne_bytes());
    push_address(&mut bytes, NDA_DST, of);
    push_attribute(&mut bytes, NDA_LLADDR, &mac);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_neighbour_is_known_by_its_interface_and_mac() {
    let reachable = 0x02;
    for of in [IpAddr::from([192, 0, 2, 3]), "2001:db8:1::3".parse().unwrap()] {
        assert_eq!(read_neighbour(&neighbour(4, reachable, of, MAC), 4, MAC), Some(of));
        assert_eq!(read_neighbour(&neighbour(4, reachable, of, MAC), 5, MAC), None);
        assert_eq!(read_neighbour(&neighbour(4, reachable, of, [0; 6]), 4, MAC), None);
        assert_eq!(read_neighbour(&neighbour(4, 0x20, of, MAC), 4, MAC), None);
    }
}

#[test]
fn a_gateway_may_be_of_the_other_family() {
    let gateway: IpAddr = "fe80::1".parse().unwrap();
    let head = vec![0; HEAD_BYTES];
    assert_eq!(read_gateway(&head), None);
    let mut same = head.clone();
    push_address(&mut same, RTA_GATEWAY, gateway);
    let IpAddr::V6(v6) = gateway else { unreachable!() };
    let mut other = head;
    push_attribute(&mut other, RTA_VIA, &[&[10, 0][..], &v6.octets()].concat());
    assert_eq!((read_gateway(&same), read_gateway(&other)), (Some(gateway), Some(gateway)));
}

proptest! {
    #[test]
    fn any_message_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_gateway(&bytes);
        let _ = read_neighbour(&bytes, 1, MAC);
    }
}
