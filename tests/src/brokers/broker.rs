//! A real `RabbitMQ` on a host of the lab.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    LabError, Result,
    command::{run_command, spawn},
    hosts::net::Host,
    peers::peer::{AMQP, AMQPS},
    poll, workspace,
};

/// The scripts themselves ([`workspace::rabbitmq`]). Those on PATH change to the `rabbitmq` user
/// and to `/var/lib/rabbitmq`, which a throw-away broker must not touch.
const SERVER: &str = "rabbitmq-server";
const CONTROL: &str = "rabbitmqctl";

/// Where Debian puts them.
const DEBIAN: &str = "/usr/lib/rabbitmq/bin";

/// How long a broker may take to accept AMQP; it takes about 5 s on an idle machine.
const START: Duration = Duration::from_mins(1);

/// A user who may use no vhost, and the password.
pub const OUTSIDER: (&str, &str) = ("outsider", "outsider");

/// A user who may use [`VHOST`], and a password that is nothing else.
pub const CLERK: (&str, &str) = ("clerk", "Wh1tStable-0yster");

/// The users and vhosts of a broker that has some. `guest` is the administrator of both vhosts.
const DEFINITIONS: &str = r#"{
  "users": [
    {"name": "guest", "password": "guest", "tags": "administrator"},
    {"name": "outsider", "password": "outsider", "tags": ""},
    {"name": "clerk", "password": "Wh1tStable-0yster", "tags": ""}
  ],
  "vhosts": [{"name": "/"}, {"name": "orders"}],
  "permissions": [
    {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "guest", "vhost": "orders", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "clerk", "vhost": "orders", "configure": ".*", "write": ".*", "read": ".*"}
  ]
}
"#;

/// The protocol header of AMQP 0-9-1 (specification section 4.2.2): what a client sends first.
const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// What runs a program in the root file system of a newer Debian, where there is one
/// (`cargo xtask setup`).
const STARTER: &str = "trixie";

/// What a proxy says before everything else, of a client that is none
/// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.1).
const PROXY_HEADER: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 5672\r\n";

/// A broker that accepts AMQP on every address of its host. The host's removal ends it and its
/// helpers.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    home: PathBuf,
    kind: Kind,
}

/// What a broker is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kind {
    /// It is that of Debian 13, and not this machine's.
    pub newer: bool,
    /// Its listeners want to be told the client's addresses first (`proxy_protocol`).
    pub behind_proxy: bool,
}

/// Whether there is a Debian 13, with its broker.
pub fn has_newer() -> bool {
    std::env::var_os("RSTBLAME_TRIXIE").is_some_and(|root| Path::new(&root).is_dir())
}

impl Broker {
    /// Starts a broker with its own node, data and logs, and waits until it answers a protocol
    /// header.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when `RabbitMQ` is not installed, [`LabError::Command`] with the end of its
    /// log when it ends, and [`LabError::Timeout`] when it does not answer within 60 s.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_as(host, Kind::default(), "")
    }

    /// The same for another kind of broker, with more lines of configuration.
    ///
    /// # Errors
    ///
    /// As [`Broker::start`].
    pub fn start_as(host: &Host, kind: Kind, more: &str) -> Result<Self> {
        let proxy = if kind.behind_proxy { "proxy_protocol = true\n" } else { "" };
        Self::start_with(host, kind, |_| Ok(format!("{proxy}{more}")))
    }

    /// The same for a broker that listens for TLS too ([`AMQPS`], with a certificate of its own),
    /// and has a second vhost ([`VHOST`]) and a user without permissions ([`OUTSIDER`]).
    ///
    /// # Errors
    ///
    /// As [`Broker::start`], also when openssl cannot make the certificate.
    pub fn start_furnished(host: &Host) -> Result<Self> {
        Self::start_with(host, Kind::default(), |home| {
            let [certificate, key, definitions] = ["certificate.pem", "key.pem", "definitions.json"].map(|name| home.join(name));
            let mut openssl = Command::new("openssl");
            openssl
                .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker".split(' '))
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate);
            run_command(openssl, START)?;
            fs::write(&definitions, DEFINITIONS).map_err(|error| LabError::io(format!("write {}", definitions.display()), error))?;
            let (certificate, key) = (certificate.display(), key.display());
            Ok(format!(
                "load_definitions = {definitions}\nlisteners.ssl.default = :::{AMQPS}\nssl_options.cacertfile = {certificate}\n\
                 ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n",
                definitions = definitions.display()
            ))
        })
    }

    fn start_with(host: &Host, kind: Kind, more: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let home = workspace::artefacts()?.join(format!("broker-{}", host.name()));
        let io = |error| LabError::io(format!("prepare {}", home.display()), error);
        fs::create_dir_all(&home).map_err(io)?;
        let log = prepare(&home, &more(&home)?).map_err(io)?;
        let mut command = command(host, &home, kind, SERVER);
        command
            // Two threads are enough for a handful of connections.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +A 4")
            // The script then replaces itself with the Erlang machine, so that the child is the
            // broker.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| LabError::io("share the log file", error))?)
            .stderr(log);
        let mut broker = Self { child: spawn(&mut command)?, home, kind };
        poll::until("RabbitMQ to answer", START, || broker.answers(host))?;
        Ok(broker)
    }

    /// The process id of `beam.smp`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when its log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.home.join("stdout");
        fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {}", path.display()), error))
    }

    /// Runs `rabbitmqctl` with these words, and returns what it prints.
    ///
    /// # Errors
    ///
    /// As [`run_command`].
    pub fn control(&self, host: &Host, words: &[&str]) -> Result<String> {
        let mut command = command(host, &self.home, self.kind, CONTROL);
        command.arg("--quiet").args(words);
        run_command(command, START)
    }

    /// Sends the broker a signal.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        crate::command::signal(self.pid(), signal)
    }

    /// Waits for the broker to end.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when it lives on.
    pub fn wait(&mut self) -> Result<()> {
        crate::command::wait(&mut self.child, "rabbitmq-server", START).map(drop)
    }

    /// One attempt to speak AMQP: `None` while nothing listens.
    fn answers(&mut self, host: &Host) -> Result<Option<()>> {
        if let Some(status) = self.child.try_wait().map_err(|error| LabError::io("wait for RabbitMQ", error))? {
            return Err(LabError::Command {
                command: SERVER.to_owned(),
                status: status.to_string(),
                output: self.log().unwrap_or_default(),
            });
        }
        let header = if self.kind.behind_proxy { PROXY_HEADER } else { &[] };
        host.inside(|| match greet(header) {
            Ok(()) => Ok(Some(())),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(LabError::io("speak AMQP to the broker", error)),
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Gone already, or about to go with its host.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("lab: kept {}", self.home.display());
        } else {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

/// A script of the broker's, with the broker's environment.
fn command(host: &Host, home: &Path, kind: Kind, script: &str) -> Command {
    let in_home = |name: &str| home.join(name);
    let mut command = if kind.newer {
        let mut command = host.command(STARTER);
        command.arg(Path::new(DEBIAN).join(script));
        command
    } else {
        host.command(workspace::rabbitmq().join(script))
    };
    command
        .env_clear()
        // Erlang may be one that was unpacked.
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LANG", "C.UTF-8")
        .env("HOME", home)
        // Erlang writes it where it was started, which is in the sources.
        .env("ERL_CRASH_DUMP", in_home("erl_crash.dump"))
        .env("RABBITMQ_NODENAME", "rabbit@localhost")
        .env("RABBITMQ_CONFIG_FILE", in_home("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", in_home("rabbitmq-env.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", in_home("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", in_home("mnesia"))
        .env("RABBITMQ_LOG_BASE", in_home("log"))
        .env("RABBITMQ_PID_FILE", in_home("pid"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", in_home("config"));
    command
}

/// Writes the broker's configuration; returns the file its output goes to.
fn prepare(home: &Path, more: &str) -> std::io::Result<File> {
    for directory in ["mnesia", "log", "config"] {
        fs::create_dir_all(home.join(directory))?;
    }
    // `loopback_users = none` lets the guest user in from other hosts. Everything else is
    // RabbitMQ's default, above all `tcp_listen_options.linger`, which is why an ordinary close can
    // end in a RST.
    let config = format!("listeners.tcp.default = :::{AMQP}\nloopback_users = none\nlog.console = true\nlog.console.level = info\n{more}");
    fs::write(home.join("rabbitmq.conf"), config)?;
    fs::write(home.join("rabbitmq-env.conf"), "")?;
    fs::write(home.join("enabled_plugins"), "[].\n")?;
    File::create(home.join("stdout"))
}

/// Sends what a proxy says, if anything, and the protocol header, and waits for the first byte of
/// Connection.Start.
fn greet(header: &[u8]) -> std::io::Result<()> {
    let address = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), AMQP);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(START))?;
    stream.write_all(&[header, &PROTOCOL_HEADER].concat())?;
    let mut first = [0_u8; 1];
    stream.read_exact(&mut first)
}
