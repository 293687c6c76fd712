//! A unix stream socket: one JSON object a line.
//!
//! What is written stands in the receiver's queue at once; a receiver that ends without reading it
//! takes it along, and no kernel tells how much.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use super::{
    destination::PATIENCE,
    stream::{Peer, forget_unread},
};

/// Connects to the socket at a path.
///
/// # Errors
///
/// What connect(2) said.
pub fn connect(path: &Path) -> io::Result<Box<dyn Peer>> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Box::new(Unix(stream)))
}

struct Unix(UnixStream);

impl Peer for Unix {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn look(&mut self) -> io::Result<()> {
        forget_unread(&self.0)
    }

    fn unacknowledged(&self) -> io::Result<u64> {
        Ok(0)
    }
}
