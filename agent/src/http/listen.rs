//! Where metrics are served.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Connections that may wait to be accepted: as many as a crowd makes at once, so that a scrape
/// behind it still gets in.
const BACKLOG: u32 = 1024;

/// Who may connect to a unix socket: the agent's user and group.
const SOCKET_MODE: u32 = 0o660;

/// An address of the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Whether only this host can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why metrics cannot be served.
#[derive(Debug, Error)]
#[error("metrics cannot be served on {address}: {source}; give [metrics] listen another address, or \"off\"")]
pub struct ListenError {
    pub address: Address,
    #[source]
    pub source: io::Error,
}

/// A listening socket. That of a unix address is removed with it.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Socket),
}

/// An accepted connection.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket in the file system.
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already, perhaps; a new agent takes a dead one away.
        let _gone = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens. Needs a runtime.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub fn bind(address: &Address) -> Result<Self, ListenError> {
        let listener = match address {
            Address::Tcp(tcp) => bind_tcp(*tcp).map(Self::Tcp),
            Address::Unix(path) => bind_unix(path).map(|listener| Self::Unix(listener, Socket(path.clone()))),
        };
        listener.map_err(|source| ListenError { address: address.clone(), source })
    }

    /// The next connection.
    ///
    /// # Errors
    ///
    /// When none can be accepted just now.
    pub async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
            Self::Unix(listener, _) => Stream::Unix(listener.accept().await?.0),
        })
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    // An agent that is started again must not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let dead = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && StdUnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if dead {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}
