//! A unix datagram socket: one JSON object a datagram, without a newline.

use std::{
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use super::{
    datagram::{Post, connect_unix},
    item::Item,
};

/// A datagram socket at a path.
pub struct UnixDatagrams {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl UnixDatagrams {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }
}

impl Post for UnixDatagrams {
    fn post(&mut self, item: &Item) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            closed => closed.insert(connect_unix(&self.path)?),
        };
        let line = item.json();
        socket.send(line.strip_suffix(b"\n").unwrap_or(line)).map(drop)
    }

    fn hang_up(&mut self) {
        self.socket = None;
    }
}
