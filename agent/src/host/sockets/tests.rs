//! Real sockets of this process, in its own network namespace and in another one.

use std::collections::HashSet;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use proptest::prelude::*;
use rustix::net::sockopt::socket_cookie;

use super::owners::socket_inode;
use super::*;

const TCP_ESTABLISHED: u8 = 1;
const PROC: &str = "/proc";

fn inode(socket: &impl AsRawFd) -> u64 {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
    socket_inode(link.as_os_str().as_encoded_bytes()).unwrap()
}

fn dump_port(port: u16) -> Vec<DiagSocket> {
    dump_own(|local, peer| local == port || peer == port).unwrap()
}

/// What a dump should say of a socket that is held open.
fn told(socket: &(impl AsFd + AsRawFd), local: SocketAddr, peer: SocketAddr, state: u8) -> DiagSocket {
    DiagSocket {
        local,
        peer,
        state,
        inode: Some(inode(socket)),
        uid: rustix::process::geteuid().as_raw(),
        cookie: socket_cookie(socket).unwrap(),
        netns: netns::self_inode().unwrap(),
    }
}

#[test]
fn listener_and_both_ends_are_listed() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(bind).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let client_address = client.local_addr().unwrap();
        let unspecified = SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() }, 0);
        let listening = told(&listener, address, unspecified, TCP_LISTEN);
        let connected = told(&client, client_address, address, TCP_ESTABLISHED);

        // Nobody has accepted it yet: a connection without a file descriptor.
        let sockets = dump_port(address.port());
        assert_eq!(sockets.len(), 3);
        assert!(sockets.contains(&listening) && sockets.contains(&connected), "{sockets:?}");
        let waiting = sockets.iter().find(|socket| socket.inode.is_none()).unwrap();
        assert_eq!((waiting.local, waiting.peer, waiting.state), (address, client_address, TCP_ESTABLISHED));

        let (accepted, _) = listener.accept().unwrap();
        let sockets = dump_port(address.port());
        let accepted = told(&accepted, address, client_address, TCP_ESTABLISHED);
        assert_eq!(accepted.cookie, waiting.cookie);
        assert_eq!(sockets.len(), 3);
        assert!(sockets.contains(&accepted), "{sockets:?}");
    }
}

#[test]
fn mapped_addresses_are_ipv4() {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let sockets = dump_port(port);
    let found = sockets.iter().find(|socket| socket.inode == Some(inode(&accepted))).unwrap();
    assert_eq!(found.local, SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(found.peer, client.local_addr().unwrap());
}

#[test]
fn owners_are_found_by_inode() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let shared = inode(&listener);
    let duplicate = listener.try_clone().unwrap();
    let unknown = u64::MAX;
    let pid = std::process::id();
    let owners = fd_owners(Path::new(PROC), &HashSet::from([shared, unknown]));
    // Another test's child may have it too, between its fork and its exec; no process is named
    // twice.
    let mut pids = owners.get(&shared).unwrap().clone();
    pids.sort_unstable();
    assert!(pids.contains(&pid) && pids.is_sorted_by(|a, b| a < b), "{pids:?}");
    assert_eq!(owners.len(), 1);
    assert_eq!(holds(Path::new(PROC), pid, shared, usize::MAX), Holds::Yes);
    assert_eq!(holds(Path::new(PROC), pid, unknown, usize::MAX), Holds::No);
    assert_eq!(holds(Path::new(PROC), pid, shared, 0), Holds::Unknown);
    drop(duplicate);

    // A child that has it as its standard input holds it too, until it ends.
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::from(OwnedFd::from(listener))).spawn().unwrap();
    assert_eq!(holds(Path::new(PROC), child.id(), shared, 16), Holds::Yes);
    assert_eq!(holds(Path::new(PROC), child.id(), unknown, 16), Holds::No);
    let owners = fd_owners(Path::new(PROC), &HashSet::from([shared]));
    assert!(owners.get(&shared).unwrap().contains(&child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(holds(Path::new(PROC), child.id(), shared, 16), Holds::Unknown);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN to make and enter a network namespace"]
fn sockets_of_another_namespace_are_listed_there_only() {
    let (listener, netns) = thread::spawn(|| {
        // SAFETY: no file descriptor table is unshared.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let netns = File::open("/proc/thread-self/ns/net").unwrap();
        (TcpListener::bind("0.0.0.0:0").unwrap(), netns)
    })
    .join()
    .unwrap();
    let port = listener.local_addr().unwrap().port();
    let path = PathBuf::from(format!("/proc/self/fd/{}", netns.as_raw_fd()));
    let handle = Handle::at(&path).unwrap();
    let sockets = dump(&handle, |local, _| local == port).unwrap();
    let found = sockets.first().unwrap();
    assert_eq!(sockets.len(), 1);
    assert_eq!((found.inode, found.state, found.netns), (Some(inode(&listener)), TCP_LISTEN, handle.inode()));
    assert_eq!(found.cookie, socket_cookie(&listener).unwrap());
    assert!(dump_port(port).iter().all(|socket| socket.inode != found.inode));
}

#[test]
fn closed_connections_are_not_asked_for() {
    let asked = |state: u32| STATES & (1 << state) != 0;
    assert!((1..=13).all(|state| asked(state) != matches!(state, 6 | 12)));
    assert!(!asked(0) && !asked(14));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    // The side that closes first goes to TIME_WAIT once the other has closed too.
    drop(client);
    drop(accepted);
    assert!(dump_port(port).iter().all(|socket| socket.state != 6));
}

/// A message as the kernel frames it.
fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = netlink::request(kind, 0, sequence, payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Reads the messages of one datagram; whether they were the last.
fn read_answer(bytes: &[u8], netns: u32, mut keep: impl FnMut(DiagSocket)) -> Result<bool, NetlinkError> {
    netlink::read(bytes, 1, |kind, payload| read_message(kind, payload, netns, &mut keep))
}

#[test]
fn answers_end_as_they_say() {
    let (error, done, overrun) = (2, 3, 4);
    let read = |bytes: &[u8]| read_answer(bytes, 0, |_| {});
    assert_eq!(read(&message(done, 1, &0_i32.to_ne_bytes())), Ok(true));
    assert_eq!(read(&message(error, 1, &(-2_i32).to_ne_bytes())), Err(NetlinkError::Refused(Errno::NOENT)));
    assert_eq!(read(&message(overrun, 1, &[])), Err(NetlinkError::Refused(Errno::NOBUFS)));
    // What is left of an earlier dump.
    assert_eq!(read(&message(done, 9, &0_i32.to_ne_bytes())), Ok(false));
    assert_eq!(read(&message(SOCK_DIAG_BY_FAMILY, 1, &[AF_INET; 71])), Err(NetlinkError::Malformed));
    assert_eq!(read(&message(done, 1, &[])), Err(NetlinkError::Malformed));
    // A length shorter than its own header must not be taken for progress.
    assert_eq!(read(&[0; 32]), Err(NetlinkError::Malformed));
    let mut long = message(done, 1, &[0; 4]);
    long.splice(..4, 4096_u32.to_ne_bytes());
    assert_eq!(read(&long), Err(NetlinkError::Malformed));
}

proptest! {
    #[test]
    fn any_answer_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0_u16..24) {
        let _ = read_answer(&bytes, 0, |_| {});
        let _ = read_answer(&message(kind, 1, &bytes), 0, |_| {});
    }

    /// A socket is read back as it was written, whatever follows it as attributes.
    #[test]
    fn fields_are_where_the_kernel_puts_them(
        ports: (u16, u16), addresses: (u32, u32), uid: u32, inode: u32, cookie: u64, attributes in 0_usize..40,
    ) {
        let mut bytes = vec![AF_INET, TCP_ESTABLISHED, 0, 0];
        bytes.extend(ports.0.to_be_bytes());
        bytes.extend(ports.1.to_be_bytes());
        bytes.extend(addresses.0.to_be_bytes());
        bytes.extend([0; 12]);
        bytes.extend(addresses.1.to_be_bytes());
        bytes.extend([0; 16]);
        bytes.extend(u32::try_from(cookie & u64::from(u32::MAX)).unwrap().to_ne_bytes());
        bytes.extend(u32::try_from(cookie >> 32).unwrap().to_ne_bytes());
        bytes.extend([0; 12]);
        bytes.extend(uid.to_ne_bytes());
        bytes.extend(inode.to_ne_bytes());
        prop_assert_eq!(bytes.len(), 72);
        bytes.resize(72 + attributes, 0xff);
        let mut found = Vec::new();
        let answer = read_answer(&message(SOCK_DIAG_BY_FAMILY, 1, &bytes), 5, |socket| found.push(socket));
        prop_assert_eq!(answer, Ok(false));
        prop_assert_eq!(found, [DiagSocket {
            local: SocketAddr::new(Ipv4Addr::from(addresses.0).into(), ports.0),
            peer: SocketAddr::new(Ipv4Addr::from(addresses.1).into(), ports.1),
            state: TCP_ESTABLISHED,
            inode: (inode != 0).then_some(inode.into()),
            uid,
            cookie,
            netns: 5,
        }]);
    }

    #[test]
    fn link_text_gives_its_number(inode: u64) {
        prop_assert_eq!(socket_inode(format!("socket:[{inode}]").as_bytes()), Some(inode));
        prop_assert_eq!(socket_inode(format!("pipe:[{inode}]").as_bytes()), None);
        prop_assert_eq!(socket_inode(format!("/tmp/socket:[{inode}]").as_bytes()), None);
    }
}
