//! TCP: one JSON object a line, or whatever else is encoded.
//!
//! A line counts as written when the other kernel has acknowledged it: what is still in this
//! kernel's buffer when the connection breaks is sent again on the next one. So nothing is lost
//! between two connections, and a line may come twice; its `id` tells.

use std::{
    io::{self, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use rustix::net::sockopt;

use super::{
    destination::PATIENCE,
    stream::{Peer, forget_unread},
};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// After so much silence the other side is asked whether it is still there, so often, and so many
/// times: tcp(7), `TCP_KEEPIDLE` and so on.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// What is not acknowledged for so long breaks the connection: RFC 5482, `TCP_USER_TIMEOUT`.
/// Otherwise the kernel tries for a quarter of an hour.
const USER_TIMEOUT: Duration = Duration::from_mins(1);

/// Opens a connection to HOST:PORT, at the first of its addresses that answers.
///
/// # Errors
///
/// When the name does not resolve, or no address answers.
pub fn connect(address: &str) -> io::Result<Box<dyn Peer>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                let (idle, interval, count) = KEEPALIVE;
                sockopt::set_socket_keepalive(&stream, true)?;
                sockopt::set_tcp_keepidle(&stream, idle)?;
                sockopt::set_tcp_keepintvl(&stream, interval)?;
                sockopt::set_tcp_keepcnt(&stream, count)?;
                sockopt::set_tcp_user_timeout(&stream, u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX))?;
                return Ok(Box::new(Tcp(stream)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct Tcp(TcpStream);

impl Peer for Tcp {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn look(&mut self) -> io::Result<()> {
        forget_unread(&self.0)
    }

    fn unacknowledged(&self) -> io::Result<u64> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is open, and this request writes one int where the pointer leads.
        // tcp(7), SIOCOUTQ; it tells `write_seq - snd_una`, also after a RST
        // (https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c, tcp_ioctl).
        let failed = unsafe { libc::ioctl(self.0.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(u64::try_from(bytes).unwrap_or_default()) }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        // What the other side has sent and nobody read would turn the close into a RST, of all
        // things: RFC 2525, section 2.17.
        let _closed_or_gone = self.look();
    }
}
