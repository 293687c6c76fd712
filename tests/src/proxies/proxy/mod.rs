//! Real proxies: programs that end the client's connection and open one of their own to the server.

mod configuration;

use std::{
    fmt::Display,
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use configuration::{API, BASE_ID, Configuration, ENVOY, HAPROXY, OWN, words};
use rustix::process::Signal;

use crate::{
    LabError, Result,
    command::{self, spawn},
    hosts::{net::Host, side::Side},
    peers::peer::AMQP,
    poll,
};

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `HAProxy` in TCP mode, which gives a connection up after a silence, and closes it with a RST
    /// (`option nolinger`).
    HaproxyAborting,
    /// The same, but as it comes: it closes with a FIN.
    Haproxy,
    /// `HAProxy` as it comes, which tells the server the client's addresses in text (PROXY
    /// protocol, version 1).
    HaproxyNaming,
    /// The same in binary (version 2).
    HaproxyNamingInBinary,
    /// nginx with its stream module, which gives a connection up after a silence.
    Nginx,
    /// Envoy with its TCP proxy, which gives a connection up after a silence (`idle_timeout`).
    Envoy,
    /// Traefik with a TCP router. It does not end what is silent.
    Traefik,
}

/// Where a proxy stands, and how long it waits.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The address at which clients find it.
    pub front: IpAddr,
    /// The server behind it.
    pub server: IpAddr,
    /// The address from which it connects to the server, where the kernel is not to choose.
    pub from: Option<IpAddr>,
    /// How long it keeps a silent connection: whole seconds.
    pub patience: Duration,
    /// Whose silence counts, where it is not that of either: `HAProxy` alone tells them apart.
    pub only: Option<Side>,
    /// It takes connections to any address (`IP_TRANSPARENT`), as TPROXY hands them over: `HAProxy`
    /// alone.
    pub transparent: bool,
}

impl Place {
    /// Between these, as a proxy stands of itself, with the patience of a second.
    pub const fn new(front: IpAddr, server: IpAddr) -> Self {
        Self { front, server, from: None, patience: Duration::from_secs(1), only: None, transparent: false }
    }
}

/// A running proxy, on port 5672 of one host.
#[derive(Debug)]
pub struct Proxy {
    kind: Kind,
    child: Child,
    directory: PathBuf,
    /// After a reload, the process that was there before, where it is another one.
    old: Option<Child>,
}

impl Proxy {
    /// Starts a proxy on `host` for what arrives at `front`, which waits for a second, and waits
    /// until it listens.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be started, [`LabError::Timeout`] when it does not listen.
    pub fn start(kind: Kind, host: &Host, front: IpAddr, server: IpAddr) -> Result<Self> {
        Self::start_at(kind, host, &Place::new(front, server))
    }

    /// The same, with more to say in it.
    ///
    /// # Errors
    ///
    /// As [`Proxy::start`].
    pub fn start_at(kind: Kind, host: &Host, place: &Place) -> Result<Self> {
        let configuration = Configuration::of(kind, place);
        let program = configuration.program;
        let mut proxy = Self::launch(kind, host, &program, &configuration.arguments, configuration.text)?;
        proxy.wait_until_listening(host, place.front)?;
        Ok(proxy)
    }

    fn wait_until_listening(&mut self, host: &Host, front: IpAddr) -> Result<()> {
        let kind = self.kind;
        let address = if front.is_ipv6() { format!("[{front}]") } else { front.to_string() };
        let filter = format!("sport = :{AMQP} and src {address}");
        poll::until("a proxy to listen", Duration::from_secs(15), || {
            if let Some(status) = self.child.try_wait().map_err(|error| LabError::io("look after a proxy", error))? {
                return Err(LabError::Client(format!("{kind:?} ended at once: {status}")));
            }
            let listening = host.run(&["ss", "--no-header", "--listening", "--tcp", "--numeric", &filter])?;
            Ok((!listening.trim().is_empty()).then_some(()))
        })?;
        if kind == Kind::Traefik { wait_for_route(host, front) } else { Ok(()) }
    }

    /// Starts `HAProxy` on `host`, which looks every 100 ms whether something listens at `server`,
    /// from one of these ports of `from`.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be started.
    pub fn check(host: &Host, from: IpAddr, ports: RangeInclusive<u16>, server: SocketAddr) -> Result<Self> {
        let (first, last) = ports.into_inner();
        let arguments = words(&HAPROXY);
        Self::launch(Kind::Haproxy, host, Path::new("haproxy"), &arguments, |place| {
            format!(
                "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
                 listen amqp\n  bind unix@{place}/front\n  server broker {server} check inter 100ms source {from}:{first}-{last}\n"
            )
        })
    }

    /// Starts a program with the configuration of this text, which may name files of the proxy's
    /// own directory, and so may the arguments, by [`OWN`].
    fn launch(kind: Kind, host: &Host, program: &Path, arguments: &[String], text: impl FnOnce(&dyn Display) -> String) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("rstblame-lab-proxy-{}-{number}", std::process::id()));
        let configuration = directory.join("configuration.yaml");
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(&configuration, text(&directory.display())))
            .map_err(|error| LabError::io(format!("prepare {}", directory.display()), error))?;
        let child = start(host, program, arguments, &directory)?;
        Ok(Self { kind, child, directory, old: None })
    }

    /// Has it read its configuration again, as an operator does, or ends it where it knows no such
    /// thing. What it had open is ended by the old process, or the old worker, after a while.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`], [`LabError::Timeout`] when the new one does not listen.
    pub fn reload(&mut self, host: &Host, place: &Place) -> Result<()> {
        let configuration = Configuration::of(self.kind, place);
        let new = match self.kind {
            Kind::Nginx => return command::signal(self.pid(), Signal::HUP),
            // Its routes can change while it runs, and its entry points only with it.
            Kind::Traefik => return command::signal(self.pid(), Signal::TERM),
            Kind::Haproxy | Kind::HaproxyAborting | Kind::HaproxyNaming | Kind::HaproxyNamingInBinary => {
                let mut arguments = vec!["-sf".to_owned(), self.pid().to_string()];
                arguments.extend(words(&HAPROXY));
                start(host, &configuration.program, &arguments, &self.directory)?
            }
            Kind::Envoy => {
                let path = self.directory.join(BASE_ID);
                let id = fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {}", path.display()), error))?;
                let mut arguments = ["--base-id", id.trim(), "--restart-epoch", "1"].map(str::to_owned).to_vec();
                arguments.extend(words(&ENVOY));
                start(host, &configuration.program, &arguments, &self.directory)?
            }
        };
        self.old = Some(std::mem::replace(&mut self.child, new));
        self.wait_until_listening(host, place.front)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        // `ip netns exec` becomes the program.
        self.child.id()
    }

    /// The process that has the connections: of nginx a worker, and of the others the one there is.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] when there is none.
    pub fn owner(&self) -> Result<u32> {
        match self.kind {
            Kind::Nginx => self.workers().first().copied().ok_or_else(|| LabError::Client("nginx has no worker".to_owned())),
            _ => Ok(self.pid()),
        }
    }

    /// The children of the process, those of a master (proc_pid_stat(5): the fields after the
    /// name).
    fn workers(&self) -> Vec<u32> {
        let parent = self.pid().to_string();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&parent)
        })
        .collect()
    }

    /// Kills it, with no time to say goodbye.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn kill(&mut self) -> Result<()> {
        let workers = self.workers();
        for child in self.old.iter_mut().chain([&mut self.child]) {
            let killed = child.kill().and_then(|()| child.wait());
            killed.map(drop).map_err(|error| LabError::io("kill a proxy", error))?;
        }
        for worker in workers {
            // Without its master it may have ended already.
            let _ = command::signal(worker, Signal::KILL);
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may be dead already, and the directory is nobody's loss.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts a program, which is then the child itself, with its configuration as the last argument.
fn start(host: &Host, program: &Path, arguments: &[String], directory: &Path) -> Result<Child> {
    let own = directory.display().to_string();
    let mut command = host.command(program);
    command.args(arguments.iter().map(|word| word.replace(OWN, &own))).arg(directory.join("configuration.yaml"));
    // Envoy logs a lot, and nobody reads it.
    spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Waits until Traefik knows where to send what arrives: what comes before that, it keeps waiting.
fn wait_for_route(host: &Host, front: IpAddr) -> Result<()> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::new(front, API))?;
        stream.write_all(b"GET /api/tcp/routers/amqp@file HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    poll::until("Traefik to have its route", Duration::from_secs(15), || {
        host.inside(|| Ok(ask().is_ok_and(|answer| answer.contains("\"enabled\"")).then_some(())))
    })
}
