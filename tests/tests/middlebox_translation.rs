//! Translations of addresses that went wrong, as both ends tell of them: what was translated is not
//! any more, and two connections have the same addresses and ports.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, kernel, record::is_kind},
    hosts::{
        flow::Flow,
        net::{Host, Routed, routed, two_hosts},
        router::{self, SERVER_LAN},
        side::Ip,
    },
    json,
    peers::peer::{self, AMQP},
    poll,
    truths::expect,
};
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

/// An address that no host has: the router translates it.
const VIRTUAL: [&str; 2] = ["203.0.113.80", "2001:db8:80::1"];

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> LabError {
    move |error| LabError::io(what, error)
}

/// Connects from a port of one's choice. A command that is being started beside this holds what its
/// parent does for a moment, and with it a socket that had that port.
fn connect_from(host: &Host, port: u16, to: SocketAddr) -> Result<TcpStream> {
    host.inside(|| {
        let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        poll::until("a port to be free", Duration::from_secs(5), || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).map_err(io("make a socket"))?;
            socket.set_reuse_address(true).map_err(io("reuse an address"))?;
            socket.bind(&SocketAddr::new(any, port).into()).map_err(io("bind"))?;
            match socket.connect(&to.into()) {
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Ok(None),
                connected => connected.map(|()| Some(socket.into())).map_err(io("connect")),
            }
        })
    })
}

/// Closes a socket as a crash of its host would: nothing is sent (`TCP_REPAIR`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/tcp.h>).
fn forget(stream: TcpStream) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the option takes an integer, and the kernel copies it.
    let failed = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, (&raw const on).cast(), size) };
    if failed != 0 {
        return Err(LabError::io("repair a socket", std::io::Error::last_os_error()));
    }
    drop(stream);
    Ok(())
}

/// How a router stops to translate what comes back.
#[derive(Clone, Copy)]
enum Lets {
    /// Its table was flushed.
    Forget,
    /// It takes what comes back for no segment of the connection (INVALID), and lets it pass.
    Pass,
}

/// A router translates a virtual address and is made to forget it: the broker's next segment comes
/// in under its own address, and the client's kernel, which is innocent, refuses it.
#[test]
fn a_virtual_address_that_is_not_translated_any_more() -> Result<()> {
    untranslated(Lets::Forget)
}

/// The same for one segment alone, as one beyond the window (kubernetes issue 74839).
#[test]
fn a_segment_that_is_let_pass_untranslated() -> Result<()> {
    untranslated(Lets::Pass)
}

fn untranslated(how: Lets) -> Result<()> {
    let Routed { client, router, server } = routed()?;
    // Without reasons a kernel does not trace what it refuses.
    if !kernel::traces_resets_without_socket()? {
        println!("this kernel does not trace RSTs without a socket: nothing to tell");
        return Ok(());
    }
    let nat = [("ip", server.v4()), ("ip6", server.v6())];
    for ((family, to), from) in nat.iter().zip(VIRTUAL) {
        router.nft(&format!(
            "add table {family} lab; add chain {family} lab pre {{ type nat hook prerouting priority -100; }}; \
             add rule {family} lab pre {family} daddr {from} tcp dport {AMQP} dnat to {to}"
        ))?;
    }
    let (at_client, at_server) = (Agent::on(&client).start()?, Agent::on(&server).start()?);
    for ((_, own), from) in nat.iter().zip(VIRTUAL) {
        let own = SocketAddr::new(*own, AMQP);
        let listener = server.listen(own)?;
        let virtual_address = SocketAddr::new(from.parse().map_err(|_| LabError::io("read an address", ErrorKind::InvalidData))?, AMQP);
        let stream = client.connect(virtual_address)?;
        let (accepted, _) = listener.accept().map_err(io("accept"))?;
        peer::send(&mut &stream, b"no AMQP\n")?;
        peer::wait_unread(&accepted, 8)?;
        let flow = peer::flow(&stream)?;

        match how {
            Lets::Forget => router::forget(&router)?,
            Lets::Pass => router.nft(&format!(
                "add table inet past; add chain inet past pre {{ type filter hook prerouting priority raw; }}; \
                 add rule inet past pre iifname {SERVER_LAN} tcp sport {AMQP} notrack"
            ))?,
        }
        peer::send(&mut &accepted, b"an answer")?;
        peer::wait_failure(&accepted)?;
        if matches!(how, Lets::Pass) {
            router.nft("delete table inet past")?;
        }
        let stray = Flow::new(flow.local, own);
        let truth = json!({"origin": {"kind": "local_host"}, "cause": {"id": "nat_bypassed"}, "severity": "warning"});
        let refusal = at_client.reset_of(stray, "sent")?;
        expect::check("the client's host", &refusal, &truth);
        // Whose kernel refused is right; that it is innocent nobody can know there.
        let truth = json!({"origin": {"kind": "remote_peer"}});
        expect::check("the broker's host", &at_server.reset_of(stray.reversed(), "received")?, &truth);

        // Translated anew, its next segment meets nothing.
        peer::send(&mut &stream, b"more")?;
        peer::wait_failure(&stream)?;
        let death = at_client.reset_of(flow, "received")?;
        expect::check("the client's host", &death, &json!({"cause": {"id": "nat_bypassed"}, "severity": "warning"}));
        let id = refusal.get("id").and_then(Value::as_str).unwrap_or("?");
        assert!(death.pointer("/cause/summary").and_then(Value::as_str).is_some_and(|text| text.contains(id)), "{death}");
    }
    at_client.stop()?;
    at_server.stop().map(drop)
}

/// A broker that crashed knows nothing of its connections either; its new kernel's segments are
/// not taken for those of a connection that only has the same port.
#[test]
fn a_stray_segment_of_an_earlier_connection_is_no_lost_translation() -> Result<()> {
    if !kernel::traces_resets_without_socket()? {
        println!("this kernel does not trace RSTs without a socket: nothing to tell");
        return Ok(());
    }
    let net = two_hosts()?;
    let agent = Agent::on(&net.client).start()?;
    for (address, port) in [(net.server.v4(), 41_000), (net.server.v6(), 41_001)] {
        let first = SocketAddr::new(address, AMQP);
        let listener = net.server.listen(first)?;
        let stream = connect_from(&net.client, port, first)?;
        let (accepted, _) = listener.accept().map_err(io("accept"))?;
        let flow = peer::flow(&stream)?;
        forget(stream)?;
        // The same port, to another broker.
        let second = SocketAddr::new(address, 5671);
        let other = net.server.listen(second)?;
        let live = connect_from(&net.client, port, second)?;
        let (_kept, _) = other.accept().map_err(io("accept"))?;
        peer::send(&mut &accepted, b"still there?")?;
        peer::wait_failure(&accepted)?;
        let truth = json!({"origin": {"kind": "local_host"}, "cause": {"id": "stale_connection"}});
        expect::check("the client's host", &agent.reset_of(flow, "sent")?, &truth);
        drop(live);
    }
    agent.stop().map(drop)
}

/// What both ends say of a connection that was in the way of another.
fn collided(at_server: &Agent, at_client: &Agent, old: Flow, new: Flow) -> Result<()> {
    let truth = json!({"cause": {"id": "tuple_collision"}, "origin": {"kind": "remote_peer"}, "effect": "connection_reset"});
    expect::check("the broker's host", &at_server.reset_of(old.reversed(), "received")?, &truth);
    let truth = json!({"cause": {"id": "tuple_collision"}, "origin": {"kind": "local_host"}});
    expect::check("the client's host", &at_client.reset_of(new, "sent")?, &truth);
    Ok(())
}

/// The client was restarted, and its new program got the old port.
#[test]
fn a_client_that_was_restarted_takes_its_old_port() -> Result<()> {
    let net = two_hosts()?;
    let (at_client, at_server) = (Agent::on(&net.client).start()?, Agent::on(&net.server).start()?);
    for (address, port) in [(net.server.v4(), 42_000), (net.server.v6(), 42_001)] {
        let to = SocketAddr::new(address, AMQP);
        let listener = net.server.listen(to)?;
        let stream = connect_from(&net.client, port, to)?;
        let (accepted, _) = listener.accept().map_err(io("accept"))?;
        peer::send(&mut &stream, b"no AMQP\n")?;
        peer::wait_unread(&accepted, 8)?;
        let flow = peer::flow(&stream)?;
        forget(stream)?;
        let again = connect_from(&net.client, port, to)?;
        collided(&at_server, &at_client, flow, flow)?;
        drop(again);
    }
    at_client.stop()?;
    at_server.stop().map(drop)
}

/// A NAT that lost its table gives the port of an open connection to a new one.
#[test]
fn a_nat_gives_one_port_to_two_connections() -> Result<()> {
    let Routed { client, router, server } = routed()?;
    router.nft("add table inet nat; add chain inet nat post { type nat hook postrouting priority 100; }")?;
    router.nft(&format!("add rule inet nat post oifname {SERVER_LAN} meta l4proto tcp masquerade to :40000"))?;
    let (at_client, at_server) = (Agent::on(&client).start()?, Agent::on(&server).start()?);
    for (ip, outside) in [(Ip::V4, "198.51.100.1"), (Ip::V6, "2001:db8:2::1")] {
        let to = SocketAddr::new(ip.of(&server), AMQP);
        let listener = server.listen(to)?;
        let stream = client.connect(to)?;
        let (accepted, from) = listener.accept().map_err(io("accept"))?;
        assert_eq!(from.to_string(), SocketAddr::new(outside.parse().unwrap_or(to.ip()), 40_000).to_string());
        peer::send(&mut &stream, b"no AMQP\n")?;
        peer::wait_unread(&accepted, 8)?;
        router::forget(&router)?;
        let again = client.connect(to)?;
        collided(&at_server, &at_client, Flow::new(from, to), peer::flow(&again)?)?;
        SockRef::from(&again).set_linger(None).map_err(io("set an option"))?;
    }
    at_client.stop()?;
    at_server.stop().map(drop)
}

/// A director (IPVS) hands a virtual address to a broker.
struct Director {
    client: Host,
    router: Host,
    server: Host,
}

impl Director {
    /// `None` where the kernel has no IPVS.
    fn new() -> Result<Option<Self>> {
        let Routed { client, router, server } = routed()?;
        if let Err(error) = router.run(&["ipvsadm", "--list"]) {
            println!("no IPVS here, nothing was tried: {error}");
            return Ok(None);
        }
        for (from, length) in VIRTUAL.iter().zip(["32", "128"]) {
            router.run(&["ip", "address", "add", &format!("{from}/{length}"), "dev", "lo"])?;
        }
        router.run(&["ip", "link", "set", "lo", "up"])?;
        Ok(Some(Self { client, router, server }))
    }

    /// A connection to a virtual address, over which something went both ways: the flow, and both
    /// ends.
    fn connect(&self, from: &str, to: IpAddr) -> Result<(Flow, TcpStream, TcpStream)> {
        let own = SocketAddr::new(to, AMQP);
        let service = SocketAddr::new(from.parse().unwrap_or(to), AMQP);
        self.router.run(&["ipvsadm", "--add-service", "--tcp-service", &service.to_string(), "--scheduler", "rr"])?;
        let real = ["--real-server", &own.to_string(), "--masquerading"];
        self.router.run(&[&["ipvsadm", "--add-server", "--tcp-service", &service.to_string()][..], &real].concat())?;
        let listener = self.server.listen(own)?;
        let stream = self.client.connect(service)?;
        let (accepted, _) = listener.accept().map_err(io("accept"))?;
        for _ in 0..4 {
            peer::send(&mut &stream, b"no AMQP\n")?;
            peer::send(&mut &accepted, b"an answer")?;
        }
        peer::wait_unread(&stream, 36)?;
        Ok((peer::flow(&stream)?, stream, accepted))
    }
}

/// The broker's own reset passes it.
#[test]
fn a_reset_that_passes_a_director() -> Result<()> {
    let Some(director) = Director::new()? else { return Ok(()) };
    let agent = Agent::on(&director.client).start()?;
    for (from, to) in VIRTUAL.iter().zip([director.server.v4(), director.server.v6()]) {
        let (flow, stream, accepted) = director.connect(from, to)?;
        peer::abort(accepted)?;
        peer::wait_failure(&stream)?;
        expect::check("the client's host", &agent.reset_of(flow, "received")?, &json!({"origin": {"kind": "remote_peer"}}));
    }
    agent.stop().map(drop)
}

/// It is told to do so no more: its kernel answers in that name, one hop nearer than the broker.
#[test]
fn a_director_that_lost_its_table() -> Result<()> {
    let Some(director) = Director::new()? else { return Ok(()) };
    let (at_client, at_router) = (Agent::on(&director.client).start()?, Agent::on(&director.router).start()?);
    for (from, to) in VIRTUAL.iter().zip([director.server.v4(), director.server.v6()]) {
        let (flow, stream, _kept) = director.connect(from, to)?;
        director.router.run(&["ipvsadm", "--clear"])?;
        peer::send(&mut &stream, b"more")?;
        peer::wait_failure(&stream)?;
        expect::check("the client's host", &at_client.reset_of(flow, "received")?, &json!({"origin": {"kind": "middlebox"}}));
        if kernel::traces_resets_without_socket()? {
            let truth = json!({"origin": {"kind": "local_host"}, "cause": {"id": "stale_connection"}});
            expect::check("the director", &at_router.reset_of(flow.reversed(), "sent")?, &truth);
        }
    }
    at_client.stop()?;
    at_router.stop().map(drop)
}

/// How many connections a machine may track, all namespaces together.
const TRACKED: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// The size of the table, put back when the test is over.
struct Tracked(String);

impl Tracked {
    fn no_more_than(count: u32) -> Result<Self> {
        let before = fs::read_to_string(TRACKED).map_err(io("read the size of the table"))?;
        fs::write(TRACKED, count.to_string()).map_err(io("set the size of the table"))?;
        Ok(Self(before))
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let _best_effort = fs::write(TRACKED, &self.0);
    }
}

/// A table that is full has no room for new connections, and drops their SYNs without a word; those
/// that are in it go on. Nobody reset anything, and nobody is said to.
#[test]
#[ignore = "the size of the table is that of the whole machine: cargo xtask test vm"]
fn a_table_that_is_full() -> Result<()> {
    let Routed { client, router, server } = routed()?;
    router::masquerade(&router)?;
    client.run(&["sysctl", "--quiet", "--write", "net.ipv4.tcp_syn_retries=1"])?;
    let (at_client, at_server) = (Agent::on(&client).start()?, Agent::on(&server).start()?);
    // What is not read yet would have the kernel reset them.
    let mut kept = Vec::new();
    for ip in [Ip::V4, Ip::V6] {
        let address = SocketAddr::new(ip.of(&server), AMQP);
        let listener = server.listen(address)?;
        let stream = client.connect(address)?;
        let (accepted, _) = listener.accept().map_err(io("accept"))?;
        peer::send(&mut &stream, b"no AMQP\n")?;
        peer::wait_unread(&accepted, 8)?;
        let count = router.run(&["conntrack", "--count"])?;
        let count = count.trim().parse().map_err(|_| LabError::Client(format!("{count:?} is no number")))?;

        let full = Tracked::no_more_than(count)?;
        let refused = client.connect(address).err();
        assert!(refused.is_some_and(|error| error.to_string().contains("timed out")), "no room for another one");
        peer::send(&mut &stream, b"it goes on")?;
        peer::wait_unread(&accepted, 18)?;
        drop(full);

        let given_up = at_client.wait_for("an attempt that was given up", |event| {
            event.get("effect").and_then(Value::as_str) == Some("connect_timed_out")
                && event.pointer("/network/peer/address").and_then(Value::as_str) == Some(&address.ip().to_string())
        })?;
        let truth = json!({"cause": {"id": "timed_out"}, "origin": {"kind": ["local_host", "unknown", "middlebox"]}});
        expect::check("the client's host", &given_up, &truth);
        kept.push((listener, stream, accepted));
    }
    for record in [at_client.stop()?, at_server.stop()?] {
        assert_eq!(record.events().filter(|event| is_kind(event, "rst")).count(), 0, "nobody reset anything while it was open");
    }
    Ok(())
}
