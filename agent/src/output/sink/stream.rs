//! Events over a connection: opened when there is something to write, and opened anew when it
//! breaks.
//!
//! A line that broke off with its connection is written again, whole, on the next.

use std::{collections::VecDeque, io, os::fd::AsFd, sync::Arc, time::Duration};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use super::{
    destination::{Destination, Encode, Feed, Outcome},
    item::Item,
    queue::Fate,
};

/// How soon it is looked again whether the other side has acknowledged what was sent.
const ACKNOWLEDGED: Duration = Duration::from_millis(20);

/// The connection itself.
pub trait Peer: Send {
    /// Sends some of `bytes`, and waits no longer than [`super::destination::PATIENCE`].
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reads and forgets what the other side has sent, without waiting; an error when it has closed
    /// or is gone.
    fn look(&mut self) -> io::Result<()>;

    /// Bytes sent that the other side has not acknowledged yet; 0 where that cannot be known.
    fn unacknowledged(&self) -> io::Result<u64>;
}

/// Reads and forgets what there is to read on a socket, without waiting: [`Peer::look`] for any of
/// them.
pub(super) fn forget_unread(socket: impl AsFd) -> io::Result<()> {
    let mut buffer = [0_u8; 4096];
    loop {
        match recv(&socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other side has closed the connection")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a connection is opened.
pub type Connect = Box<dyn Fn() -> io::Result<Box<dyn Peer>> + Send>;

struct Connection {
    peer: Box<dyn Peer>,
    feed: Feed,
    /// Bytes sent on it.
    sent: u64,
    /// For each event that was sent and is not acknowledged, where it ended.
    ends: VecDeque<u64>,
}

/// A sink at the other end of a connection. SIGHUP leaves a connection that works alone: a new one
/// would only send again what is on its way.
pub struct StreamSink {
    connect: Connect,
    encode: Encode,
    connection: Option<Connection>,
}

impl StreamSink {
    pub fn new(connect: Connect, encode: Encode) -> Self {
        Self { connect, encode, connection: None }
    }

    fn connection(&mut self) -> io::Result<&mut Connection> {
        let connection = match self.connection.take() {
            Some(open) => open,
            None => Connection { peer: (self.connect)()?, feed: Feed::default(), sent: 0, ends: VecDeque::new() },
        };
        Ok(self.connection.insert(connection))
    }
}

impl Destination for StreamSink {
    fn write(&mut self, items: &[Arc<Item>]) -> Outcome {
        if items.is_empty() {
            return Outcome::default();
        }
        // Not a method: the closure below has to borrow the encoder beside the connection.
        if let Err(error) = self.connection() {
            return Outcome::default().because(error);
        }
        let Self { encode, connection: Some(connection), .. } = self else { return Outcome::default() };
        let result = connection.peer.look().and_then(|()| connection.send(items, encode));
        let acknowledged = connection.acknowledged();
        let mut outcome = Outcome { fates: vec![Fate::Written; acknowledged], ..Outcome::default() };
        match result {
            Ok(()) => outcome.again = (!connection.ends.is_empty()).then_some(ACKNOWLEDGED),
            Err(error) => {
                outcome = outcome.because(error);
                if outcome.error.is_some() {
                    // What was not acknowledged is sent again.
                    self.connection = None;
                }
            }
        }
        outcome
    }
}

impl Connection {
    fn send(&mut self, items: &[Arc<Item>], encode: &Encode) -> io::Result<()> {
        let fresh = items.get(self.ends.len()..).unwrap_or_default();
        // Where each line ends, by the bytes that went before it.
        let begun = self.feed.offset as u64;
        let mut end = self.sent - begun;
        let peer = &mut self.peer;
        let sent = &mut self.sent;
        let (finished, result) = self.feed.write(fresh, encode, |bytes| {
            let count = peer.send(bytes)?;
            *sent += count as u64;
            Ok(count)
        });
        for item in fresh.iter().take(finished) {
            end += encode(item).len() as u64;
            self.ends.push_back(end);
        }
        result
    }

    /// Takes out what the other side has acknowledged, and says how many events that were.
    fn acknowledged(&mut self) -> usize {
        // Where the kernel will not say, nothing is known to have arrived.
        let Ok(outstanding) = self.peer.unacknowledged() else { return 0 };
        let until = self.sent.saturating_sub(outstanding);
        let count = self.ends.iter().take_while(|end| **end <= until).count();
        self.ends.drain(..count);
        count
    }
}
