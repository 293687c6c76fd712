//! Events a datagram each.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixDatagram,
    path::Path,
    sync::Arc,
};

use super::{
    destination::{Destination, Outcome, PATIENCE},
    item::Item,
    queue::Fate,
};

/// Sends one event.
pub trait Post: Send {
    /// Opens the socket if it is not, and sends. An error with errno `EMSGSIZE` means that this
    /// event is too long to be sent at all.
    fn post(&mut self, item: &Item) -> io::Result<()>;

    /// Forgets the socket.
    fn hang_up(&mut self);
}

/// A sink that takes datagrams.
pub struct DatagramSink<P>(pub P);

impl<P: Post> Destination for DatagramSink<P> {
    fn write(&mut self, items: &[Arc<Item>]) -> Outcome {
        let mut outcome = Outcome::default();
        for item in items {
            match self.0.post(item) {
                Ok(()) => outcome.fates.push(Fate::Written),
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => outcome.fates.push(Fate::Refused),
                Err(error) => {
                    let outcome = outcome.because(error);
                    if outcome.error.is_some() {
                        self.0.hang_up();
                    }
                    return outcome;
                }
            }
        }
        outcome
    }

    fn reopen(&mut self) {
        self.0.hang_up();
    }
}

/// Connects to the datagram socket at a path.
///
/// # Errors
///
/// What connect(2) said.
pub fn connect_unix(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A UDP socket that sends to HOST:PORT.
///
/// # Errors
///
/// When the name does not resolve, or no address can be sent to.
pub fn connect_udp(address: &str) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        match UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket)) {
            Ok(socket) => {
                socket.set_write_timeout(Some(PATIENCE))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
