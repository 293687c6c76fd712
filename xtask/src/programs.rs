//! The programs the lab drives: brokers, proxies, the tools of the network, and a Python with pika.

use std::{env, path::PathBuf};

use crate::{
    apt::Apt,
    command::{self, succeeds},
    error::{Error, Result},
    toolchain::clean,
    unpacked,
    workspace::Workspace,
};

/// The AMQP client for Python, as its scenarios expect it.
const PIKA_VERSION: &str = "1.3.2";

/// A program, the package that has it on Debian and Ubuntu, and what it is needed for.
pub struct Program {
    pub name: &'static str,
    pub package: &'static str,
    pub why: &'static str,
}

/// A module and no program: looked for where Debian has it.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const PROGRAMS: [Program; 15] = [
    Program { name: "rabbitmq-server", package: "rabbitmq-server", why: "the broker whose connections are reset" },
    Program { name: "haproxy", package: "haproxy", why: "a proxy that resets" },
    Program { name: "nginx", package: "nginx-light", why: "a proxy that resets" },
    Program { name: NGINX_STREAM, package: "libnginx-mod-stream", why: "lets nginx pass plain TCP through" },
    Program { name: "nft", package: "nftables", why: "a firewall that rejects with a RST" },
    Program { name: "conntrack", package: "conntrack", why: "to make a firewall forget a connection" },
    Program { name: "ip", package: "iproute2", why: "network namespaces and links" },
    Program { name: "ss", package: "iproute2", why: "sockets, and `ss -K` to destroy one" },
    Program { name: "openssl", package: "openssl", why: "a certificate for AMQP over TLS" },
    Program { name: "tcpdump", package: "tcpdump", why: "what was really on the wire" },
    Program { name: "promtool", package: "prometheus", why: "reads metrics as Prometheus does, and tests alert rules" },
    Program { name: "curl", package: "curl", why: "a client of the metrics" },
    Program { name: "logrotate", package: "logrotate", why: "moves the agent's files away under it" },
    Program { name: "systemd-analyze", package: "systemd", why: "judges the unit" },
    Program { name: "sysctl", package: "procps", why: "the kernel settings of a namespace" },
];

/// What is measured beside the agent, for the benchmarks only.
const BENCH_PROGRAMS: [Program; 2] = [
    Program { name: "tshark", package: "tshark", why: "reads captures, too: its time beside that of rstblame" },
    Program { name: "bpftrace", package: "bpftrace", why: "watches the same tracepoints: what it costs beside rstblame" },
];

/// Installs what only the benchmarks drive, if it is missing.
///
/// # Errors
///
/// As [`setup`].
pub fn setup_bench() -> Result<()> {
    provide(&BENCH_PROGRAMS, "the benchmarks need")
}

/// Installs those of `programs` that are missing, and says whose need they are.
///
/// # Errors
///
/// As [`setup`].
pub fn provide(programs: &'static [Program], need: &str) -> Result<()> {
    install(packages(programs, need))
}

/// Where a program is; `None` where it is not installed.
pub fn find(name: &str) -> Option<PathBuf> {
    // The PATH of an ordinary user on Debian leaves out where the programs of the administrator are.
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.find_map(|dir| Some(dir.join(name)).filter(|place| place.is_file()))
}

/// Reports on the programs, and changes nothing.
///
/// # Errors
///
/// [`Error::MissingPrograms`].
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut names: Vec<&str> = missing(&PROGRAMS).map(|program| program.name).collect();
    names.extend(unpacked::missing(workspace));
    if !has_pika(workspace) {
        names.push("pika (in a virtual environment)");
    }
    if names.is_empty() {
        println!("setup: the lab has all its programs");
        return Ok(());
    }
    Err(Error::MissingPrograms(names.join(", ")))
}

/// Installs what is missing.
///
/// # Errors
///
/// When something is missing and cannot be installed.
pub fn setup(workspace: &Workspace) -> Result<()> {
    let mut packages = packages(&PROGRAMS, "the lab needs");
    let needs_pika = !has_pika(workspace);
    // Debian's python3 can make a virtual environment only with this package.
    if needs_pika && !succeeds(clean("python3").args(["-c", "import venv, ensurepip"])) {
        println!("setup: the lab needs python3 (python3-venv): the interpreter of pika, an AMQP client");
        packages.push("python3-venv");
    }
    install(packages)?;
    unpacked::setup(workspace)?;
    if needs_pika {
        install_pika(workspace)?;
    }
    // A package may have changed what it brings.
    check(workspace)
}

fn missing(programs: &'static [Program]) -> impl Iterator<Item = &'static Program> {
    programs.iter().filter(|program| find(program.name).is_none())
}

/// The packages of what is missing, each announced.
fn packages(programs: &'static [Program], need: &str) -> Vec<&'static str> {
    let announced = missing(programs).inspect(|program| {
        println!("setup: {need} {} ({}): {}", program.name, program.package, program.why);
    });
    announced.map(|program| program.package).collect()
}

fn install(mut packages: Vec<&str>) -> Result<()> {
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    Apt::find().ok_or_else(|| Error::MissingPrograms(packages.join(", ")))?.install(&packages)
}

fn has_pika(workspace: &Workspace) -> bool {
    let check = format!("import pika, sys; sys.exit(pika.__version__ != '{PIKA_VERSION}')");
    succeeds(clean(workspace.venv().join("bin/python")).args(["-c", &check]))
}

fn install_pika(workspace: &Workspace) -> Result<()> {
    let venv = workspace.venv();
    println!("setup: installing pika {PIKA_VERSION} into {}: an AMQP client other than our own", venv.display());
    command::run(clean("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let requirement = format!("pika=={PIKA_VERSION}");
    command::run(clean(venv.join("bin/python")).args(["-m", "pip", "install", "--quiet", &requirement]))
}
