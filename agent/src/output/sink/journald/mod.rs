//! The journal's native protocol: fields and not just a line, so that
//! `journalctl RSTBLAME_CAUSE=idle_timeout` finds them.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>: a datagram of `NAME=value` lines; a value that
//! may contain a newline is sent as its name, a newline, its length as a little-endian 64-bit
//! number, the value, a newline. What is too long for a datagram goes as a sealed memfd.

use std::{
    io::{self, IoSlice, Write as _},
    mem::MaybeUninit,
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt},
};

use super::{
    datagram::{Post, connect_unix},
    headline::Headline,
    item::Item,
};
use crate::{
    event::{Event, ResetEvent},
    output::pretty::token,
};

/// Room for datagrams that systemd's own library asks for, bytes.
const SEND_BUFFER: usize = 8 << 20;

/// `MESSAGE_ID` of an event, so that a catalogue can explain it: `journalctl MESSAGE_ID=...`.
/// Random, and fixed for good.
fn message_id(kind: &str) -> &'static str {
    match kind {
        "agent_started" => "32573eae953a411b8cdad75f77f0b6c4",
        "rst" => "327bf0963e074068a656f6da7870ea0d",
        "rst_revised" => "c1d7be0c2a664f0f9a7b3b8a5d7e4126",
        "agent_reloaded" => "7bbf204dd8134def9078f091fb44a0c8",
        "rst_suppressed" => "5c1e0f7b9a3d4e6f8b21d47ac0935e68",
        "events_lost" => "f05802b692a6436ea8207c9e728b8478",
        _ => "a39a3a0320ae4168ab56008b41bae782",
    }
}

/// One event as the journal takes it.
pub fn encode(item: &Item) -> Vec<u8> {
    let headline = Headline::of(item.event());
    let mut fields = Fields(Vec::with_capacity(4096));
    fields.add("MESSAGE", &headline.message);
    fields.add("PRIORITY", &headline.severity.to_string());
    fields.add("SYSLOG_IDENTIFIER", "rstblame");
    fields.add("MESSAGE_ID", message_id(headline.kind));
    fields.add("RSTBLAME_EVENT", headline.kind);
    if let Event::Rst(reset) | Event::RstRevised(reset) | Event::ConnectionEnded(reset) = item.event() {
        fields.reset(reset);
    }
    let json = item.json();
    fields.binary("RSTBLAME_JSON", json.strip_suffix(b"\n").unwrap_or(json));
    fields.0
}

struct Fields(Vec<u8>);

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        if value.contains('\n') {
            return self.binary(name, value.as_bytes());
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn binary(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// What resets are looked for by.
    fn reset(&mut self, reset: &ResetEvent) {
        self.add("RSTBLAME_ID", &reset.id);
        self.add("RSTBLAME_SEVERITY", &token(reset.severity));
        self.add("RSTBLAME_DIRECTION", &token(reset.direction));
        self.add("RSTBLAME_EFFECT", &token(reset.effect));
        self.add("RSTBLAME_ORIGIN", &token(reset.origin.kind));
        self.add("RSTBLAME_CAUSE", &token(reset.cause.id));
        self.add("RSTBLAME_LOCAL_ADDRESS", &reset.network.local.address.to_string());
        self.add("RSTBLAME_LOCAL_PORT", &reset.network.local.port.to_string());
        self.add("RSTBLAME_PEER_ADDRESS", &reset.network.peer.address.to_string());
        self.add("RSTBLAME_PEER_PORT", &reset.network.peer.port.to_string());
        self.add("RSTBLAME_COMMUNITY_ID", &reset.network.community_id);
        let optional = [
            ("RSTBLAME_ORIGIN_CONFIDENCE", reset.origin.confidence.map(|confidence| confidence.to_string())),
            ("RSTBLAME_ORIGIN_NAME", reset.origin.name.clone()),
            ("RSTBLAME_ADVICE", reset.cause.advice.as_deref().map(ToOwned::to_owned)),
            ("RSTBLAME_PROCESS_PID", reset.process.as_ref().map(|process| process.pid.to_string())),
            ("RSTBLAME_PROCESS_NAME", reset.process.as_ref().map(|process| process.executable.name.clone())),
            ("RSTBLAME_CONTAINER_ID", reset.container.as_ref().map(|container| container.id.clone())),
            ("RSTBLAME_UNIT", reset.systemd.as_ref().map(|systemd| systemd.unit.clone())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                self.add(name, &value);
            }
        }
    }
}

/// The journal.
pub struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journal {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }
}

impl Post for Journal {
    fn post(&mut self, item: &Item) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            closed => {
                let socket = connect_unix(&self.path)?;
                // A wish: the limit of the host may be lower, and then there is the memfd.
                let _best_effort = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
                closed.insert(socket)
            }
        };
        let message = encode(item);
        match socket.send(&message) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => send_sealed(socket, &message),
            sent => sent.map(drop),
        }
    }

    fn hang_up(&mut self) {
        self.socket = None;
    }
}

/// Sends a message as a memfd that nobody can change any more, with nothing beside it.
fn send_sealed(socket: &UnixDatagram, message: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::from(memfd_create("rstblame-journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(message)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests;
