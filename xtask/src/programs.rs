//! The programs the lab drives: brokers, proxies, and the tools of the network.
//!
//! One that this machine has is used as it is. All others are unpacked, never installed
//! ([`unpacked`](crate::unpacked)).

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use crate::{
    apt::Apt,
    error::{Error, Result},
    python,
    toolchain::clean,
    trixie,
    unpacked::{self, Set},
    workspace::Workspace,
};

/// A program, the packages that have it on Debian and Ubuntu, and what it is needed for.
pub struct Program {
    /// Its name on the search path, or where Debian has it: `/usr/lib/...`.
    pub name: &'static str,
    /// The package, and others it is not whole without, parted by blanks.
    pub packages: &'static str,
    pub why: &'static str,
    /// Whether the machine's own is as good.
    pub own: Own,
}

/// Whether a program that a machine has itself is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// If it starts.
    Serves,
    /// Never: its configuration is the machine's.
    Unwanted,
}

/// A program whose own will do.
pub const fn program(name: &'static str, packages: &'static str, why: &'static str) -> Program {
    Program { name, packages, why, own: Own::Serves }
}

/// Where Debian has the module of nginx for plain TCP, and where Debian and rabbitmq.com have the
/// broker's own scripts. Those on PATH change to the `rabbitmq` user.
pub const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
pub const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// What the demo needs: hosts of its own, and a firewall on one of them.
pub const DEMO: [Program; 3] = [
    program("ip", "iproute2", "network namespaces and links"),
    program("ss", "iproute2", "`ss -K` destroys a socket"),
    program("nft", "nftables", "a firewall that rejects with a RST"),
];

/// What the lab drives besides.
const PROGRAMS: [Program; 18] = [
    program(RABBITMQ, "rabbitmq-server", "the broker whose connections are reset"),
    program("erl", "rabbitmq-server", "runs the broker"),
    program("escript", "rabbitmq-server", "runs rabbitmqctl"),
    program("haproxy", "haproxy", "a proxy that resets"),
    program("nginx", "nginx libnginx-mod-stream", "a proxy that resets"),
    program(NGINX_STREAM, "nginx libnginx-mod-stream", "lets nginx pass plain TCP through"),
    program("conntrack", "conntrack", "to make a firewall forget a connection"),
    program("ipvsadm", "ipvsadm", "a director of IPVS, on kernels that have it"),
    program("tmux", "tmux", "a terminal for rstblame top"),
    program("openssl", "openssl", "a certificate for AMQP over TLS"),
    program("tcpdump", "tcpdump", "what was really on the wire"),
    program("promtool", "prometheus", "reads metrics as Prometheus does, and tests alert rules"),
    program("curl", "curl", "a client of the metrics"),
    program("logrotate", "logrotate", "moves the agent's files away under it"),
    program("systemd-analyze", "systemd", "judges the unit"),
    program("sysctl", "procps", "the kernel settings of a namespace"),
    Program { name: "rsyslogd", packages: "rsyslog", why: "a log shipper", own: Own::Unwanted },
    Program { name: "syslog-ng", packages: "syslog-ng-core", why: "another log shipper", own: Own::Unwanted },
];

/// What is measured beside the agent, for the benchmarks only.
const BENCH_PROGRAMS: [Program; 2] = [
    program("tshark", "tshark", "reads captures, too: its time beside that of rstblame"),
    program("bpftrace", "bpftrace", "watches the same tracepoints: what it costs beside rstblame"),
];

/// Unpacks what only the benchmarks drive, if it is missing.
///
/// # Errors
///
/// As [`setup`].
pub fn setup_bench(workspace: &Workspace) -> Result<()> {
    provide(workspace, &BENCH_PROGRAMS, "the benchmarks need")
}

/// Unpacks those of `programs` that are missing, and says whose need they are.
///
/// # Errors
///
/// When something is missing and cannot be fetched.
pub fn provide<'a>(workspace: &Workspace, programs: impl IntoIterator<Item = &'a Program>, need: &str) -> Result<()> {
    let mut wanted: BTreeMap<&'static str, Vec<&Program>> = BTreeMap::new();
    for program in programs {
        if own(program).is_some() {
            unpacked::stop(workspace, program.name)?;
        } else {
            wanted.entry(program.packages).or_default().push(program);
        }
    }
    let mut apt = None;
    for (packages, programs) in wanted {
        let set = Set::new(workspace, packages);
        if !set.is_there() {
            let names: Vec<_> = programs.iter().map(|program| format!("{} ({})", program.name, program.why)).collect();
            println!("setup: {need} {}: unpacking {packages}, installing nothing", names.join(", "));
            if apt.is_none() {
                apt = Some(Apt::find().ok_or_else(|| Error::MissingPrograms(packages.to_owned()))?);
            }
            if let Some(apt) = &mut apt {
                set.fetch(workspace, apt)?;
            }
        }
        for program in programs {
            // A package that did not have to be fetched, since the machine has it, may still have
            // what is missing in another place.
            let path = set.locate(program.name).ok_or_else(|| Error::MissingPrograms(format!("{} (not in {packages})", program.name)))?;
            unpacked::start(workspace, program.name, &set, &path)?;
        }
    }
    Ok(())
}

/// Where a program is: this machine's, or the file that was unpacked; `None` where there is
/// neither.
pub fn find(workspace: &Workspace, program: &Program) -> Option<PathBuf> {
    own(program).or_else(|| Some(Set::new(workspace, program.packages)).filter(Set::is_there)?.locate(program.name))
}

/// The roots of what was unpacked of these programs, for an overlay above the machine's own: as if
/// it were installed.
pub fn layers(workspace: &Workspace, programs: &[Program]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = programs
        .iter()
        .filter(|program| own(program).is_none())
        .map(|program| Set::new(workspace, program.packages).root().to_owned())
        .collect();
    roots.dedup();
    roots
}

/// All that the lab drives.
fn all() -> impl Iterator<Item = &'static Program> {
    DEMO.iter().chain(&PROGRAMS)
}

/// One of the lab's programs by its name.
pub fn of_the_lab(name: &str) -> Option<&'static Program> {
    all().find(|program| program.name == name)
}

/// This machine's own program, if it serves.
fn own(program: &Program) -> Option<PathBuf> {
    if program.own == Own::Unwanted {
        return None;
    }
    on_path(program.name).filter(|path| starts(path))
}

/// A program of this machine, by its name or where it is.
pub fn on_path(name: &str) -> Option<PathBuf> {
    // The PATH of an ordinary user on Debian leaves out where the programs of the administrator
    // are.
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    // An absolute name replaces the directory.
    dirs.find_map(|dir| Some(dir.join(name)).filter(|place| place.is_file()))
}

/// Whether all libraries of a program are there. What is not dynamic, or a script, has none.
fn starts(path: &Path) -> bool {
    let listed = clean("ldd").arg(path).output();
    !listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("=> not found"))
}

/// Reports on the programs, and changes nothing.
///
/// # Errors
///
/// [`Error::MissingPrograms`].
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut names: Vec<&str> = all().filter(|program| find(workspace, program).is_none()).map(|program| program.name).collect();
    names.extend(python::missing(workspace));
    if names.is_empty() {
        println!("setup: the lab has all its programs");
        return Ok(());
    }
    Err(Error::MissingPrograms(names.join(", ")))
}

/// Unpacks what is missing.
///
/// # Errors
///
/// When something is missing and cannot be fetched.
pub fn setup(workspace: &Workspace) -> Result<()> {
    provide(workspace, all(), "the lab needs")?;
    python::setup(workspace)?;
    // Only few scenarios ask for it, and say so themselves where it is not there.
    if let Err(error) = trixie::setup(workspace) {
        println!("setup: no Debian 13 for scenarios of newer programs: {error}");
    }
    // A package may have changed what it brings.
    check(workspace)
}

/// What tells the lab's programs where things are that are not on the search path: `NAME=VALUE`.
pub fn settings(workspace: &Workspace) -> Vec<String> {
    let beside = |name: &str| {
        let path = of_the_lab(name).and_then(|program| find(workspace, program))?;
        path.parent().map(|directory| directory.display().to_string())
    };
    let mut settings = vec![
        format!("PATH={}", workspace.path().to_string_lossy()),
        format!("RSTBLAME_BIN={}", workspace.agent().display()),
        format!("RSTBLAME_UNPACKED={}", workspace.unpacked().display()),
    ];
    settings.extend(beside(RABBITMQ).map(|directory| format!("RSTBLAME_RABBITMQ={directory}")));
    settings.extend(beside(NGINX_STREAM).map(|directory| format!("RSTBLAME_NGINX_MODULES={directory}")));
    settings.extend(python::settings(workspace));
    settings.extend(trixie::find(workspace).map(|root| format!("RSTBLAME_TRIXIE={}", root.display())));
    settings
}
