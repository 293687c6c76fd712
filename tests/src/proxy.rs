//! Real proxies: programs that end the client's connection and open one of their own to the server.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{LabError, Result, command::spawn, net::Host, peer::AMQP, poll};

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `HAProxy` in TCP mode, which gives a connection up after a second without traffic, and closes it with a RST (`option nolinger`).
    HaproxyAborting,
    /// The same, but as it comes: it closes with a FIN.
    Haproxy,
    /// nginx with its stream module, which gives a connection up after a second without traffic.
    Nginx,
}

/// A running proxy, on port 5672 of one host.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    directory: PathBuf,
}

impl Proxy {
    /// Starts a proxy on `host` for what arrives at `front`, and waits until it listens.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be started, [`LabError::Timeout`] when it does not listen.
    pub fn start(kind: Kind, host: &Host, front: IpAddr, server: IpAddr) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("rstblame-lab-proxy-{}-{number}", std::process::id()));
        let io = |error| LabError::io(format!("prepare {}", directory.display()), error);
        fs::create_dir_all(&directory).map_err(io)?;
        let (front, server) = (SocketAddr::new(front, AMQP), SocketAddr::new(server, AMQP));
        let configuration = directory.join("configuration");
        let place = directory.display();
        let (text, program, arguments) = match kind {
            Kind::Haproxy => (haproxy(front, server, ""), "haproxy", &["-db", "-f"][..]),
            Kind::HaproxyAborting => (haproxy(front, server, "option nolinger"), "haproxy", &["-db", "-f"][..]),
            Kind::Nginx => (
                format!(
                    "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
                     daemon off; master_process off; pid {place}/pid; error_log stderr;
                     events {{ worker_connections 64; }}
                     stream {{ server {{ listen {front}; proxy_pass {server}; proxy_timeout 1s; }} }}\n"
                ),
                "nginx",
                &["-e", "stderr", "-c"][..],
            ),
        };
        fs::write(&configuration, text).map_err(io)?;
        let mut command = host.command(program);
        command.args(arguments).arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null());
        let mut proxy = Self { child: spawn(&mut command)?, directory };
        let filter = format!("sport = :{AMQP}");
        poll::until(program, Duration::from_secs(15), || {
            if let Some(status) = proxy.child.try_wait().map_err(|error| LabError::io("look after a proxy", error))? {
                return Err(LabError::Client(format!("{program} ended at once: {status}")));
            }
            let listening = host.run(&["ss", "--no-header", "--listening", "--tcp", "--numeric", &filter])?;
            Ok((!listening.trim().is_empty()).then_some(()))
        })?;
        Ok(proxy)
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

fn haproxy(front: SocketAddr, server: SocketAddr, option: &str) -> String {
    format!(
        "global\n  maxconn 64\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1s\n  timeout server 1s\n  {option}\n\
         listen amqp\n  bind {front}\n  server broker {server}\n"
    )
}
