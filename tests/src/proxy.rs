//! Real proxies: programs that end the client's connection and open one of their own to the server.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Display, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{LabError, Result, command::spawn, net::Host, peer::AMQP, poll, workspace};

/// How `HAProxy` is told to stay in the foreground and to read a configuration.
const HAPROXY: [&str; 2] = ["-db", "-f"];

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `HAProxy` in TCP mode, which gives a connection up after a silence, and closes it with a RST (`option nolinger`).
    HaproxyAborting,
    /// The same, but as it comes: it closes with a FIN.
    Haproxy,
    /// nginx with its stream module, which gives a connection up after a silence.
    Nginx,
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
}

/// A running proxy, on port 5672 of one host.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    directory: PathBuf,
}

impl Proxy {
    /// Starts a proxy on `host` for what arrives at `front`, which waits for a second, and waits until it listens.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be started, [`LabError::Timeout`] when it does not listen.
    pub fn start(kind: Kind, host: &Host, front: IpAddr, server: IpAddr) -> Result<Self> {
        Self::start_at(kind, host, &Place { front, server, from: None, patience: Duration::from_secs(1) })
    }

    /// The same, with more to say in it.
    ///
    /// # Errors
    ///
    /// As [`Proxy::start`].
    pub fn start_at(kind: Kind, host: &Host, place: &Place) -> Result<Self> {
        let (front, server) = (SocketAddr::new(place.front, AMQP), SocketAddr::new(place.server, AMQP));
        let seconds = place.patience.as_secs();
        let from = |word: &str, end: &str| place.from.map_or_else(String::new, |from| format!("{word} {from}{end}"));
        let proxy = match kind {
            Kind::Haproxy | Kind::HaproxyAborting => Self::launch(host, "haproxy", &HAPROXY, |_| {
                let option = if kind == Kind::HaproxyAborting { "option nolinger" } else { "" };
                let source = from("source", "");
                format!(
                    "global\n  maxconn 64\n\
                     defaults\n  mode tcp\n  timeout connect 5s\n  timeout client {seconds}s\n  timeout server {seconds}s\n  {option}\n\
                     listen amqp\n  bind {front}\n  server broker {server} {source}\n"
                )
            }),
            Kind::Nginx => Self::launch(host, "nginx", &["-e", "stderr", "-c"], |directory| {
                let bind = from("proxy_bind", ";");
                format!(
                    "load_module {modules}/ngx_stream_module.so;
                     daemon off; master_process off; pid {directory}/pid; error_log stderr;
                     events {{ worker_connections 64; }}
                     stream {{ server {{ listen {front}; proxy_pass {server}; {bind} proxy_timeout {seconds}s; }} }}\n",
                    modules = workspace::nginx_modules().display()
                )
            }),
        };
        let mut proxy = proxy?;
        let address = if place.front.is_ipv6() { format!("[{}]", place.front) } else { place.front.to_string() };
        let filter = format!("sport = :{AMQP} and src {address}");
        poll::until("a proxy to listen", Duration::from_secs(15), || {
            if let Some(status) = proxy.child.try_wait().map_err(|error| LabError::io("look after a proxy", error))? {
                return Err(LabError::Client(format!("{kind:?} ended at once: {status}")));
            }
            let listening = host.run(&["ss", "--no-header", "--listening", "--tcp", "--numeric", &filter])?;
            Ok((!listening.trim().is_empty()).then_some(()))
        })?;
        Ok(proxy)
    }

    /// Starts `HAProxy` on `host`, which looks every 100 ms whether something listens at `server`, from one of these ports of `from`.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be started.
    pub fn check(host: &Host, from: IpAddr, ports: RangeInclusive<u16>, server: SocketAddr) -> Result<Self> {
        let (first, last) = ports.into_inner();
        Self::launch(host, "haproxy", &HAPROXY, |place| {
            format!(
                "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
                 listen amqp\n  bind unix@{place}/front\n  server broker {server} check inter 100ms source {from}:{first}-{last}\n"
            )
        })
    }

    /// Starts a program with the configuration of this text, which may name files of the proxy's own directory.
    fn launch(host: &Host, program: &str, arguments: &[&str], text: impl FnOnce(Display<'_>) -> String) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("rstblame-lab-proxy-{}-{number}", std::process::id()));
        let configuration = directory.join("configuration");
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(&configuration, text(directory.display())))
            .map_err(|error| LabError::io(format!("prepare {}", directory.display()), error))?;
        let mut command = host.command(program);
        command.args(arguments).arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self { child: spawn(&mut command)?, directory })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        // `ip netns exec` becomes the program.
        self.child.id()
    }

    /// Kills it, with no time to say goodbye.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn kill(&mut self) -> Result<()> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|error| LabError::io("kill a proxy", error))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may be dead already, and the directory is nobody's loss.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
