//! Every way to attach: BTF tracepoints, plain tracepoints with struct layouts from BTF, plain
//! tracepoints alone.
//!
//! The agent runs in a mount namespace of its own with tracefs where it looks for it. A shell
//! knocks on a port where nothing listens: the kernel answers by a RST without a socket, and a
//! socket in SYN_SENT receives it.

use std::{net::TcpListener, process::Command};

use rstblame_lab::{
    LabError, Result,
    agents::{kernel, record::Record},
    assert_event, command, workspace,
};

#[test]
fn btf_tracepoints() -> Result<()> {
    let record = knock("btf", "/sys/kernel/btf/vmlinux")?;
    tells(&record, true)
}

#[test]
fn plain_tracepoints_with_layouts() -> Result<()> {
    let record = knock("tracepoint", "/sys/kernel/btf/vmlinux")?;
    tells(&record, true)
}

/// Without layouts, the state of a socket is known from its last change, and what provoked a RST is
/// not known at all.
#[test]
fn plain_tracepoints_alone() -> Result<()> {
    let record = knock("tracepoint", "none")?;
    let started = record.events().next().unwrap_or_default();
    assert_event!(started, {"coverage": {
        "tcp_send_reset": {"state": "degraded"}, "tcp_receive_reset": {"state": "degraded"}, "socket_facts": {"state": "unavailable"},
    }});
    tells(&record, false)
}

fn tells(record: &Record, layouts: bool) -> Result<()> {
    assert_eq!(record.violations(), Vec::<String>::new());
    let received = record.resets().find(|reset| reset["direction"] == "received");
    assert_event!(received.unwrap_or_default(), {
        "effect": "connection_refused", "cause": {"id": "refused"}, "tcp": {"state": "SYN_SENT"},
    });
    if !kernel::traces_resets_without_socket()? {
        return Ok(());
    }
    let sent = record.resets().find(|reset| reset["direction"] == "sent").unwrap_or_default();
    if layouts {
        assert_event!(sent, {"effect": "connection_refused", "origin": {"kind": "local_host"}, "cause": {"id": "no_listener"}});
    } else {
        assert_event!(sent, {"effect": "answered", "origin": {"kind": "local_host"}, "cause": {"id": "unknown"}});
    }
    Ok(())
}

/// Runs the agent with one kind of hooks, and knocks once.
fn knock(hooks: &str, btf: &str) -> Result<Record> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(|error| LabError::io("find a free port", error))?.port().to_string();
    let mut agent = Command::new("unshare");
    agent
        .args(["--mount", "sh", "-c"])
        .arg("[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing && exec \"$0\" capture --format json --settle 200ms \"$@\"")
        .arg(workspace::agent_binary())
        .args(["--port", &port, "--hooks", hooks, "--btf", btf])
        .args(["--cmd", &format!("bash -c ': < /dev/tcp/127.0.0.1/{port}'")]);
    let finished = command::finish(agent, workspace::patience(20))?;
    assert!(finished.status.success(), "{}", finished.stderr);
    Ok(Record::new(finished.stdout.lines().map(str::to_owned).collect()))
}
