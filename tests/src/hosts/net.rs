//! Hosts: network namespaces joined by veth pairs, gone with everything in them when dropped.

use std::{
    fs::{self, File},
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, geteuid, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::wiretap::Wiretap;
use crate::{
    LabError, Result,
    command::{run, run_command},
    poll,
};

/// Set when hosts are to stay after their scenario, for somebody to look around in: until they are
/// removed by hand.
const KEEP: &str = "RSTBLAME_LAB_KEEP";

/// Where iproute2 keeps its named network namespaces.
const NAMESPACES: &str = "/run/netns";

/// Two hosts on one wire.
#[derive(Debug)]
pub struct TwoHosts {
    /// The side that connects.
    pub client: Host,
    /// The side that listens.
    pub server: Host,
}

/// Two hosts with a forwarding host between them.
#[derive(Debug)]
pub struct Routed {
    /// The side that connects.
    pub client: Host,
    /// The router, at the first address of each network.
    pub router: Host,
    /// The side that listens.
    pub server: Host,
}

/// One network namespace, with the addresses the others reach it at.
#[derive(Debug)]
pub struct Host {
    name: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    wiretap: Option<Wiretap>,
}

/// Two hosts on one wire, addresses from the documentation ranges (RFC 5737, RFC 3849).
///
/// # Errors
///
/// [`LabError::NotRoot`], or the `ip` command that failed.
pub fn two_hosts() -> Result<TwoHosts> {
    let [client_name, server_name] = names(["client", "server"])?;
    let client = Host::new(client_name, 1, 1)?;
    let server = Host::new(server_name, 1, 2)?;
    client.join("eth0", &server, "eth0")?;
    client.address("eth0", 1, 1)?;
    server.address("eth0", 1, 2)?;
    Ok(TwoHosts { client, server })
}

/// Two hosts in different networks, with a router between them that forwards IPv4 and IPv6.
///
/// # Errors
///
/// As [`two_hosts`].
pub fn routed() -> Result<Routed> {
    let [client_name, router_name, server_name] = names(["client", "router", "server"])?;
    let client = Host::new(client_name, 1, 2)?;
    let router = Host::new(router_name, 1, 1)?;
    let server = Host::new(server_name, 2, 2)?;
    client.join("eth0", &router, "eth0")?;
    server.join("eth0", &router, "eth1")?;
    client.address("eth0", 1, 2)?;
    router.address("eth0", 1, 1)?;
    router.address("eth1", 2, 1)?;
    server.address("eth0", 2, 2)?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    client.default_route(1)?;
    server.default_route(2)?;
    Ok(Routed { client, router, server })
}

/// One host with nothing but a loopback interface.
///
/// # Errors
///
/// As [`two_hosts`].
pub fn lone_host() -> Result<Host> {
    let [name] = names(["host"])?;
    let mut host = Host::new(name, 1, 1)?;
    host.v4 = Ipv4Addr::LOCALHOST;
    host.v6 = Ipv6Addr::LOCALHOST;
    Ok(host)
}

impl Host {
    fn new(name: String, network: u8, number: u8) -> Result<Self> {
        run(&["ip", "netns", "add", &name])?;
        let mut host = Self { name, v4: v4(network, number), v6: v6(network, number), wiretap: None };
        host.ip(&["link", "set", "lo", "up"])?;
        host.wiretap = Wiretap::on(&host.name)?;
        Ok(host)
    }

    /// The name of the namespace, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, as the agent's `--netns` takes it.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// The host's IPv4 address.
    pub fn v4(&self) -> IpAddr {
        IpAddr::V4(self.v4)
    }

    /// The host's IPv6 address.
    pub fn v6(&self) -> IpAddr {
        IpAddr::V6(self.v6)
    }

    /// The host's IPv4 address, written as an IPv6 address (`::ffff:a.b.c.d`, RFC 4291 section
    /// 2.5.5.2).
    pub fn v4_mapped(&self) -> IpAddr {
        IpAddr::V6(self.v4.to_ipv6_mapped())
    }

    /// A command that will run on this host.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs a command line on this host to its end and returns its standard output.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words);
        run_command(command, Duration::from_secs(20))
    }

    /// Loads an nftables ruleset, as `nft -f` takes it.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        self.run(&["nft", ruleset]).map(drop)
    }

    /// Destroys the sockets a filter selects, as an operator would: `ss -K`.
    ///
    /// # Errors
    ///
    /// As [`run`]; also when no socket was destroyed.
    pub fn destroy_sockets(&self, filter: &str) -> Result<()> {
        let killed = self.run(&["ss", "--no-header", "--kill", "--tcp", filter])?;
        if killed.trim().is_empty() {
            return Err(LabError::Command {
                command: format!("ss --kill --tcp '{filter}'"),
                status: "no socket destroyed (CONFIG_INET_DIAG_DESTROY?)".to_owned(),
                output: self.run(&["ss", "--all", "--tcp", "--numeric"])?,
            });
        }
        Ok(())
    }

    /// Runs `work` on a thread of its own that has moved to this host. A socket made there stays
    /// there.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the thread cannot move, or the error of `work`.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        let namespace = File::open(&path).map_err(|error| LabError::io(format!("open {}", path.display()), error))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|error| LabError::io(format!("move to {}", path.display()), error))?;
                work()
            });
            // A failed assertion inside is a failed assertion of the test.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Listens on this host.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`], and [`LabError::Timeout`] when another listens there.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        // A listener that is closed may be open for a moment still in a child that another test has
        // forked and that has not become its program yet: descriptors are closed at that, not
        // before.
        poll::until(&format!("{address} to be free"), Duration::from_secs(5), || {
            self.inside(|| match TcpListener::bind(address) {
                Ok(listener) => Ok(Some(listener)),
                Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
                Err(error) => Err(LabError::io(format!("listen on {address}"), error)),
            })
        })
    }

    /// Connects from this host, giving up after 10 s.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        self.inside(|| {
            TcpStream::connect_timeout(&address, Duration::from_secs(10))
                .map_err(|error| LabError::io(format!("connect to {address}"), error))
        })
    }

    /// `TcpOutRsts` of `/proc/net/snmp`: the resets this host's kernel has sent (RFC 4022,
    /// `tcpOutRsts`).
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the counter cannot be read.
    pub fn resets_sent(&self) -> Result<u64> {
        self.inside(|| {
            // `/proc/net` is the view of the main thread, and only this one has moved.
            let path = "/proc/thread-self/net/snmp";
            let text = fs::read_to_string(path).map_err(|error| LabError::io(format!("read {path}"), error))?;
            let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
            let column = rows.next().and_then(|header| header.split(' ').position(|name| name == "OutRsts"));
            let value = column.and_then(|column| rows.next()?.split(' ').nth(column)?.parse().ok());
            value.ok_or_else(|| LabError::io(format!("find OutRsts in {path}"), ErrorKind::InvalidData))
        })
    }

    /// The processes whose main thread is on this host.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn processes(&self) -> Result<Vec<u32>> {
        let text = run(&["ip", "netns", "pids", &self.name])?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn ip(&self, words: &[&str]) -> Result<String> {
        let mut line = vec!["ip", "-netns", &self.name];
        line.extend(words);
        run(&line)
    }

    fn join(&self, interface: &str, other: &Self, other_interface: &str) -> Result<()> {
        let (own, others) = (self.name.as_str(), other.name.as_str());
        run(&["ip", "link", "add", interface, "netns", own, "type", "veth", "peer", "name", other_interface, "netns", others])?;
        self.ip(&["link", "set", interface, "up"])?;
        other.ip(&["link", "set", other_interface, "up"])?;
        Ok(())
    }

    fn address(&self, interface: &str, network: u8, number: u8) -> Result<()> {
        let v4 = format!("{}/24", v4(network, number));
        let v6 = format!("{}/64", v6(network, number));
        self.ip(&["address", "add", &v4, "dev", interface])?;
        // No duplicate address detection: the address has to be usable at once.
        self.ip(&["address", "add", &v6, "dev", interface, "nodad"])?;
        Ok(())
    }

    fn default_route(&self, network: u8) -> Result<()> {
        let v4 = v4(network, 1).to_string();
        let v6 = v6(network, 1).to_string();
        self.ip(&["route", "add", "default", "via", &v4])?;
        self.ip(&["-6", "route", "add", "default", "via", &v6])?;
        Ok(())
    }

    fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let setting = format!("{name}={value}");
        self.run(&["sysctl", "--quiet", "--write", &setting]).map(drop)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.wiretap.take());
        let name = &self.name;
        if std::env::var_os(KEEP).is_some() {
            println!("kept\t{name}\t{}\t{}\tenter: ip netns exec {name} bash\tremove: ip netns delete {name}", self.v4, self.v6);
            return;
        }
        if let Err(error) = remove(&self.name) {
            eprintln!("lab: {} is left behind: {error}", self.name);
        }
    }
}

/// Kills what runs in a namespace and deletes it.
fn remove(name: &str) -> Result<()> {
    poll::until(&format!("the processes in {name} to end"), Duration::from_secs(10), || {
        let text = run(&["ip", "netns", "pids", name])?;
        let pids = text.lines().filter_map(|line| line.parse::<i32>().ok());
        let mut left = false;
        for pid in pids.filter_map(Pid::from_raw) {
            left = true;
            // It may have ended by itself meanwhile, and the next look finds that out.
            let _ = kill_process(pid, Signal::KILL);
        }
        Ok((!left).then_some(()))
    })?;
    run(&["ip", "netns", "delete", name]).map(drop)
}

/// Names no other test of this or another run uses: process, then a number.
fn names<const N: usize>(roles: [&str; N]) -> Result<[String; N]> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SWEPT: Once = Once::new();
    if !geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    SWEPT.call_once(sweep);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    // What is kept bears another name, so that `sweep` of a later run lets it be.
    let prefix = if std::env::var_os(KEEP).is_some() { "kept" } else { "rb" };
    Ok(roles.map(|role| format!("{prefix}{process}-{number}-{role}")))
}

/// Removes what a run that was killed has left behind: namespaces of ours whose process is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(NAMESPACES) else {
        return;
    };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let maker = name.strip_prefix("rb").and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
            && let Err(error) = remove(&name)
        {
            eprintln!("lab: cannot remove {name}, left by an earlier run: {error}");
        }
    }
}

fn v4(network: u8, number: u8) -> Ipv4Addr {
    match network {
        1 => Ipv4Addr::new(192, 0, 2, number),
        _ => Ipv4Addr::new(198, 51, 100, number),
    }
}

fn v6(network: u8, number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network.into(), 0, 0, 0, 0, number.into())
}
