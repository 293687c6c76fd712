//! The other side of [`super::actor`]: a process that does what it is told, one line at a time,
//! with its TCP sockets and with itself.
//!
//! Started as `PROGRAM act CONTROL [--netns FILE] [--cgroup DIRECTORY] [--name NAME]`. It connects
//! to the unix socket CONTROL, reads commands from it, and answers each with one line: `ok` and
//! what was asked for, or `error` and why not. It ends with its control connection. One thread, so
//! that its thread id is its process id.

mod traffic;

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufRead, BufReader, ErrorKind, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::net::{UnixDatagram, UnixStream},
    },
    process::ExitCode,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::IoSlice,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
        recvmsg, sendmsg_addr,
    },
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use traffic::End;

use super::peer;

type Outcome<T = String> = Result<T, Box<dyn Error>>;

/// Bytes of the send and receive buffers of `small` sockets: the kernel rounds them up to its
/// minimum.
const SMALL: usize = 2048;

/// Bytes that `eat` takes at a time.
const MOUTHFUL: usize = 1 << 20;

/// What `main` of such a program does with its arguments.
pub fn main() -> ExitCode {
    match act() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("actor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Outcome<ExitCode> {
    let mut arguments = std::env::args().skip(2);
    let control = arguments.next().ok_or("no control socket given")?;
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or("an option without a value")?;
        match option.as_str() {
            "--netns" => move_into_link_name_space(File::open(value)?.as_fd(), Some(LinkNameSpaceType::Network))?,
            "--cgroup" => fs::write(format!("{value}/cgroup.procs"), "0")?,
            "--name" => fs::write("/proc/self/comm", value)?,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let mut actor = Actor {
        control: control.clone(),
        listener: None,
        small: false,
        transparent: false,
        mptcp: false,
        sockets: Vec::new(),
        inbox: None,
    };
    loop {
        match actor.serve(UnixStream::connect(&actor.control)?)? {
            // The child of a fork goes on with a control connection of its own.
            After::Forked => {}
            After::Ended => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Why a control connection is not served any more.
enum After {
    Forked,
    Ended,
}

struct Actor {
    control: String,
    listener: Option<TcpListener>,
    /// New sockets get small buffers.
    small: bool,
    /// New sockets are of MPTCP (RFC 8684).
    /// It accepts for addresses that are not its host's (`IP_TRANSPARENT`).
    transparent: bool,
    mptcp: bool,
    /// By number, in the order in which they were opened; empty once closed.
    sockets: Vec<Option<TcpStream>>,
    inbox: Option<UnixDatagram>,
}

impl Actor {
    fn serve(&mut self, control: UnixStream) -> Outcome<After> {
        let mut answers = control.try_clone()?;
        for line in BufReader::new(control).lines() {
            let line = line?;
            let words: Vec<&str> = line.split(' ').collect();
            let answer = match words.as_slice() {
                // At once, with all sockets open: it is the kernel that closes them.
                ["exit", code] => std::process::exit(code.parse()?),
                ["fork"] => match fork()? {
                    Some(child) => Ok(child.to_string()),
                    None => return Ok(After::Forked),
                },
                words => self.obey(words),
            };
            let answer = match answer {
                Ok(answer) if answer.is_empty() => "ok\n".to_owned(),
                Ok(answer) => format!("ok {answer}\n"),
                Err(error) => format!("error {error}\n").replace("\n\n", "\n"),
            };
            answers.write_all(answer.as_bytes())?;
        }
        Ok(After::Ended)
    }

    fn obey(&mut self, words: &[&str]) -> Outcome {
        let done = |()| String::new();
        match *words {
            ["listen", address] => self.listen(address.parse()?, false).map(done),
            ["listen_shared", address] => self.listen(address.parse()?, true).map(done),
            ["stop_listening"] => {
                self.listener = None;
                Ok(String::new())
            }
            ["small"] => {
                self.small = true;
                Ok(String::new())
            }
            ["transparent"] => {
                self.transparent = true;
                Ok(String::new())
            }
            ["mptcp"] => {
                self.mptcp = true;
                Ok(String::new())
            }
            ["connect", address, count] => self.connect(address.parse()?, count.parse()?),
            ["accept", count] => self.accept(count.parse()?),
            ["accept_waiting"] => self.accept_waiting(),
            ["send", first, count, bytes] => {
                let bytes = vec![b'x'; bytes.parse()?];
                self.each(first, count, |mut socket| Ok(socket.write_all(&bytes)?)).map(done)
            }
            ["fill", first, count] => self.each(first, count, fill).map(done),
            ["unread", first, count, bytes] => {
                let bytes = bytes.parse()?;
                self.each(first, count, |socket| Ok(peer::wait_unread(socket, bytes)?)).map(done)
            }
            ["publish", number, messages, body, window] => traffic::publish(self.socket(number.parse()?)?, &load(messages, body, window)?),
            ["confirm", number, messages, body, window] => traffic::confirm(self.socket(number.parse()?)?, &load(messages, body, window)?),
            ["open", first, count] => self.each(first, count, |socket| traffic::open(socket, End::Client)).map(done),
            ["welcome", first, count] => self.each(first, count, |socket| traffic::open(socket, End::Broker)).map(done),
            ["deliver", first, count] => self.each(first, count, |socket| traffic::message_from(socket, End::Broker)).map(done),
            ["publish_one", first, count] => self.each(first, count, |socket| traffic::message_from(socket, End::Client)).map(done),
            ["talk", first, count, a_second, seconds] => self.talk(End::Client, [first, count, a_second, seconds]).map(done),
            ["reply", first, count, a_second, seconds] => self.talk(End::Broker, [first, count, a_second, seconds]).map(done),
            ["keepalive", first, count] => self.each(first, count, |socket| Ok(peer::keepalive(socket)?)).map(done),
            ["user_timeout", first, count, milliseconds] => {
                let limit = Duration::from_millis(milliseconds.parse()?);
                self.each(first, count, |socket| Ok(SockRef::from(socket).set_tcp_user_timeout(Some(limit))?)).map(done)
            }
            ["failed", first, count] => self.each(first, count, wait_failed).map(done),
            ["read", number] => self.read(number.parse()?),
            ["shutdown", first, count] => self.each(first, count, |socket| Ok(socket.shutdown(std::net::Shutdown::Write)?)).map(done),
            ["linger", first, count] => {
                self.each(first, count, |socket| Ok(SockRef::from(socket).set_linger(Some(Duration::ZERO))?))?;
                self.close(first, count).map(done)
            }
            ["close", first, count] => self.close(first, count).map(done),
            ["inbox", path] => {
                self.inbox = Some(UnixDatagram::bind(path)?);
                Ok(String::new())
            }
            ["give", number, path] => self.give(number.parse()?, path).map(done),
            ["take"] => self.take().map(done),
            ["kill", pid, signal] => kill(pid, signal).map(done),
            ["block", "TERM"] => block_term().map(done),
            ["segv"] => segv().map(done),
            ["eat"] => eat(),
            ["spin"] => spin(),
            _ => Err(format!("no such command: {words:?}").into()),
        }
    }

    fn listen(&mut self, address: SocketAddr, shared: bool) -> Outcome<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, self.mptcp.then_some(Protocol::MPTCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        if self.transparent {
            transparent(&socket, address)?;
        }
        if self.small {
            socket.set_recv_buffer_size(SMALL)?;
        }
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        self.listener = Some(socket.into());
        Ok(())
    }

    /// Connects, and answers with the local address of each connection.
    fn connect(&mut self, address: SocketAddr, count: usize) -> Outcome {
        let mut locals = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, self.mptcp.then_some(Protocol::MPTCP))?;
            if self.small {
                socket.set_send_buffer_size(SMALL)?;
            }
            socket.connect(&address.into())?;
            let stream = TcpStream::from(socket);
            locals.push(stream.local_addr()?.to_string());
            self.sockets.push(Some(stream));
        }
        Ok(locals.join(" "))
    }

    /// Accepts, and answers with the peer's address of each connection.
    fn accept(&mut self, count: usize) -> Outcome {
        let listener = self.listener.as_ref().ok_or("no listener")?;
        let mut peers = Vec::with_capacity(count);
        for _ in 0..count {
            let (stream, peer) = listener.accept()?;
            self.sockets.push(Some(stream));
            peers.push(peer.to_string());
        }
        Ok(peers.join(" "))
    }

    /// Accepts what waits in the queue now, and answers with the peer's address of each connection.
    fn accept_waiting(&mut self) -> Outcome {
        let listener = self.listener.as_ref().ok_or("no listener")?;
        listener.set_nonblocking(true)?;
        let mut peers = Vec::new();
        let last = loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    self.sockets.push(Some(stream));
                    peers.push(peer.to_string());
                }
                Err(error) => break error,
            }
        };
        listener.set_nonblocking(false)?;
        if last.kind() == ErrorKind::WouldBlock { Ok(peers.join(" ")) } else { Err(last.into()) }
    }

    fn each(&self, first: &str, count: &str, mut work: impl FnMut(&TcpStream) -> Outcome<()>) -> Outcome<()> {
        for socket in self.sockets.iter().skip(first.parse()?).take(count.parse()?) {
            work(socket.as_ref().ok_or("a socket that was closed before")?)?;
        }
        Ok(())
    }

    /// Publishes and sends heartbeats on many connections, one after the other, or answers that.
    fn talk(&self, end: End, [first, count, a_second, seconds]: [&str; 4]) -> Outcome<()> {
        let mut sockets = Vec::new();
        for socket in self.sockets.iter().skip(first.parse()?).take(count.parse()?) {
            sockets.push(socket.as_ref().ok_or("a socket that was closed before")?);
        }
        traffic::talk(&sockets, end, a_second.parse()?, seconds.parse()?)
    }

    fn close(&mut self, first: &str, count: &str) -> Outcome<()> {
        self.sockets.iter_mut().skip(first.parse()?).take(count.parse()?).for_each(|socket| *socket = None);
        Ok(())
    }

    fn socket(&self, number: usize) -> Outcome<&TcpStream> {
        Ok(self.sockets.get(number).and_then(Option::as_ref).ok_or("no such socket")?)
    }

    /// Reads once, and answers with the number of bytes, or with the error.
    fn read(&self, number: usize) -> Outcome {
        let read = self.socket(number)?.read(&mut [0; 4096]);
        Ok(read.map_or_else(|error| error.kind().to_string(), |bytes| bytes.to_string()))
    }

    /// Sends a descriptor to another process's inbox (unix(7), `SCM_RIGHTS`) and keeps its own.
    fn give(&self, number: usize, path: &str) -> Outcome<()> {
        let socket = self.socket(number)?;
        let descriptors = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err("no room for a descriptor".into());
        }
        let carrier = UnixDatagram::unbound()?;
        sendmsg_addr(&carrier, &SocketAddrUnix::new(path)?, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
        Ok(())
    }

    /// Takes a descriptor out of its inbox.
    fn take(&mut self) -> Outcome<()> {
        let inbox = self.inbox.as_ref().ok_or("no inbox")?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(inbox, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.sockets.extend(descriptors.map(|descriptor: OwnedFd| Some(TcpStream::from(descriptor))));
            }
        }
        Ok(())
    }
}

fn load(messages: &str, body: &str, window: &str) -> Outcome<traffic::Load> {
    Ok(traffic::Load { messages: messages.parse()?, body: body.parse()?, window: window.parse()? })
}

/// Writes until the peer's window and the own buffer are full.
fn fill(mut socket: &TcpStream) -> Outcome<()> {
    socket.set_nonblocking(true)?;
    let full = loop {
        if let Err(error) = socket.write(&[b'x'; 1024]) {
            break error;
        }
    };
    socket.set_nonblocking(false)?;
    if full.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(full.into()) }
}

/// Waits until the connection is no more, without reading from it.
fn wait_failed(socket: &TcpStream) -> Outcome<()> {
    poll(&mut [PollFd::new(socket, PollFlags::empty())], None)?;
    Ok(())
}

fn kill(pid: &str, signal: &str) -> Outcome<()> {
    let pid = Pid::from_raw(pid.parse()?).ok_or("no process id")?;
    let signal = match signal {
        "KILL" => Signal::KILL,
        "TERM" => Signal::TERM,
        _ => return Err("a signal that is not needed".into()),
    };
    Ok(kill_process(pid, signal)?)
}

/// The process id of the child in the parent, nothing in the child.
fn fork() -> io::Result<Option<i32>> {
    // SAFETY: one thread, so that the child finds nothing locked or half done.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Lets SIGTERM wait.
fn block_term() -> Outcome<()> {
    // SAFETY: the set is the function's own; the first call makes it whole, the others need no
    // more.
    let blocked = unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut())
    };
    if blocked == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}

/// Writes where it must not.
fn segv() -> Outcome<()> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // SAFETY: a new mapping that nothing else knows.
    let page = unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, ProtFlags::empty(), MapFlags::PRIVATE)? };
    // SAFETY: not sound and not meant to be: the page may not be written, and the process ends
    // here.
    unsafe { page.cast::<u8>().write_volatile(1) };
    Err("the page could be written".into())
}

/// Takes memory until somebody puts an end to it.
fn eat() -> Outcome {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; MOUTHFUL]);
        std::hint::black_box(&eaten);
    }
}

/// Keeps a processor busy until its control connection, or somebody, puts an end to it.
/// Lets a socket have addresses of other hosts: `IP_TRANSPARENT` (ip(7)) and `IPV6_TRANSPARENT`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/in6.h>).
fn transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, option) = if address.is_ipv4() { (libc::SOL_IP, libc::IP_TRANSPARENT) } else { (libc::SOL_IPV6, libc::IPV6_TRANSPARENT) };
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the option takes an integer, and the kernel copies it.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn spin() -> Outcome {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
