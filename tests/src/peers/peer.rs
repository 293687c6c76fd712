//! Plain TCP peers that do one thing exactly: no library of a client or broker in between.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use crate::{
    LabError, Result,
    command::while_nothing_starts,
    hosts::{flow::Flow, net::Host},
    poll,
};

/// The AMQP port, what the agent watches unless told otherwise (IANA service `amqp`).
pub const AMQP: u16 = 5672;

/// The port of AMQP over TLS (IANA service `amqps`).
pub const AMQPS: u16 = 5671;

/// A vhost besides `/`.
pub const VHOST: &str = "orders";

/// How long a peer waits for the other one.
const PATIENCE: Duration = Duration::from_secs(15);

/// Both ends of one established connection, each made on its own host.
#[derive(Debug)]
pub struct Connection {
    /// The end that connected.
    pub client: TcpStream,
    /// The end that was accepted.
    pub server: TcpStream,
    /// The listener the server's end came from; closing it is a cause of its own, so it lives on.
    pub listener: TcpListener,
}

impl Connection {
    /// Listens on `server` at `address`, and connects from `client`.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn open(client: &Host, server: &Host, address: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(address, AMQP);
        Self::accept(client, server.listen(address)?, address)
    }

    /// Listens on `server` at any IPv6 or IPv4 address, as brokers do, and connects from `client`
    /// to `address`.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn open_dual_stack(client: &Host, server: &Host, address: IpAddr) -> Result<Self> {
        let listener = server.inside(|| dual_stack_listener().map_err(|error| LabError::io("listen on [::]", error)))?;
        Self::accept(client, listener, SocketAddr::new(address, AMQP))
    }

    fn accept(client: &Host, listener: TcpListener, address: SocketAddr) -> Result<Self> {
        let client = client.connect(address)?;
        let (server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
        Ok(Self { client, server, listener })
    }

    /// The client says something that is no AMQP, and the server reads it: unlike that of a health
    /// check, the connection is in use.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn speak(self) -> Result<Self> {
        send(&mut &self.client, b"no AMQP\n")?;
        let mut buffer = [0; 8];
        (&self.server).read_exact(&mut buffer).map_err(|error| LabError::io("read from a socket", error))?;
        Ok(self)
    }

    /// The connection as the client's host sees it.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the socket is not connected any more.
    pub fn flow(&self) -> Result<Flow> {
        flow(&self.client)
    }
}

/// The two ends of a connected socket, as its own host sees them.
///
/// # Errors
///
/// [`LabError::Io`] when it is not connected.
pub fn flow(stream: &TcpStream) -> Result<Flow> {
    stream
        .local_addr()
        .and_then(|local| Ok(Flow::new(local, stream.peer_addr()?)))
        .map_err(|error| LabError::io("read the addresses of a socket", error))
}

/// Closes with `SO_LINGER` on and 0 s: the kernel sends a RST instead of a FIN (RFC 9293 section
/// 3.10.5, ABORT).
///
/// # Errors
///
/// [`LabError::Io`].
pub fn abort(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).map_err(|error| LabError::io("set SO_LINGER", error))?;
    while_nothing_starts(|| drop(stream));
    Ok(())
}

/// Sends bytes to `reader`, waits until they are in its receive queue, and closes it without
/// reading them: RFC 2525 section 2.17, the kernel sends a RST.
///
/// # Errors
///
/// [`LabError::Io`], or [`LabError::Timeout`] when the bytes do not arrive.
pub fn close_with_unread(reader: TcpStream, mut writer: &TcpStream, bytes: &[u8]) -> Result<()> {
    send(&mut writer, bytes)?;
    wait_unread(&reader, bytes.len())?;
    while_nothing_starts(|| drop(reader));
    Ok(())
}

/// Closes a listener, so that its port is one where nothing listens once this returns: also where a
/// child that has just been forked still has it open, shutdown(2) ends a listener for all who hold
/// it (inet_shutdown(), <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/af_inet.c>).
pub fn stop_listening(listener: TcpListener) {
    // It fails for nothing that listens.
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Read);
    while_nothing_starts(|| drop(listener));
}

/// Writes all of `bytes`.
///
/// # Errors
///
/// [`LabError::Io`].
pub fn send(stream: &mut &TcpStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).map_err(|error| LabError::io("write to a socket", error))
}

/// Waits until at least this many bytes are in the receive queue.
///
/// # Errors
///
/// [`LabError::Timeout`].
pub fn wait_unread(stream: &TcpStream, bytes: usize) -> Result<()> {
    poll::until("bytes in the receive queue", PATIENCE, || {
        let unread = rustix::io::ioctl_fionread(stream).map_err(|error| LabError::io("read FIONREAD", error))?;
        Ok((unread >= bytes as u64).then_some(()))
    })
}

/// Reads until the end of the stream (the peer's FIN).
///
/// # Errors
///
/// [`LabError::Io`] when it ends otherwise, or not within 15 s.
pub fn wait_end(mut stream: &TcpStream) -> Result<()> {
    let mut read_all = || -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0_u8; 4096];
        while stream.read(&mut buffer)? > 0 {}
        Ok(())
    };
    read_all().map_err(|error| LabError::io("read to the end of the stream", error))
}

/// Waits until the kernel has given the connection up, and returns why (`SO_ERROR`):
/// `ConnectionReset` after a RST, `BrokenPipe` after a RST that follows a FIN, `TimedOut` after
/// keepalive.
///
/// # Errors
///
/// [`LabError::Timeout`] when it does not fail.
pub fn wait_failure(stream: &TcpStream) -> Result<ErrorKind> {
    poll::until("the connection to fail", PATIENCE, || {
        let error = stream.take_error().map_err(|error| LabError::io("read SO_ERROR", error))?;
        Ok(error.map(|error| error.kind()))
    })
}

/// Shuts down both directions and keeps the socket (`shutdown(2)`): it stays in FIN-WAIT, and data
/// that arrives then is answered with a RST.
///
/// # Errors
///
/// [`LabError::Io`].
pub fn shut_down(stream: &TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Both).map_err(|error| LabError::io("shut a socket down", error))
}

/// Turns on keepalive: first probe after 1 s without traffic, then one a second, dead after two
/// without an answer.
///
/// # Errors
///
/// [`LabError::Io`].
pub fn keepalive(stream: &TcpStream) -> Result<()> {
    let second = Duration::from_secs(1);
    let settings = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2);
    SockRef::from(stream).set_tcp_keepalive(&settings).map_err(|error| LabError::io("turn on keepalive", error))
}

/// Connects to a port nobody listens on and returns the client's own address.
///
/// # Errors
///
/// [`LabError::Io`] when the connection is not refused.
pub fn refused(client: &Host, address: SocketAddr) -> Result<Flow> {
    client.inside(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .and_then(|socket| {
                // Bound first: a refused socket no longer tells its port.
                let any = match address {
                    SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
                    SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
                };
                socket.bind(&any.into())?;
                Ok(socket)
            })
            .map_err(|error| LabError::io("bind a client socket", error))?;
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        let own = match address {
            SocketAddr::V4(_) => client.v4(),
            SocketAddr::V6(_) => client.v6(),
        };
        match (socket.connect(&address.into()), local) {
            (Err(error), Some(local)) if error.kind() == ErrorKind::ConnectionRefused => {
                Ok(Flow::new(SocketAddr::new(own, local.port()), address))
            }
            (Err(error), _) => Err(LabError::io(format!("be refused by {address}"), error)),
            (Ok(()), _) => Err(LabError::io(format!("be refused by {address}: it accepted"), ErrorKind::AddrInUse)),
        }
    })
}

fn dual_stack_listener() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(([0_u16; 8], AMQP)).into())?;
    socket.listen(128)?;
    Ok(socket.into())
}
