//! A SYN scan: raw segments from as many addresses as one likes to a port that nobody listens on,
//! each of which the host answers with a RST.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::net::TwoHosts;
use crate::{LabError, Result};

/// Length of an IPv4 and of a TCP header without options, and of both.
const HEADER: usize = 20;
const PACKET: usize = 2 * HEADER;

/// Segments handed to the kernel at once.
const BATCH: u32 = 64;

/// Flag of the TCP header (RFC 9293, section 3.1).
const SYN: u8 = 0x02;

/// Addresses that the scan pretends to come from; nobody in the lab has one.
const SOURCES: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    /// Where to.
    pub target: SocketAddrV4,
    /// From so many addresses in turn, 2^24 at most.
    pub sources: u32,
    /// Segments a second; as many as the machine can without it.
    pub rate: Option<u32>,
}

/// A scan that goes on.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Scan {
    /// Starts to scan a port of the server from the client's host.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`], or the `ip` command that failed.
    pub fn start(self, hosts: &TwoHosts) -> Result<Running> {
        // The answers go back over the wire, where nobody takes them.
        let via = hosts.client.v4().to_string();
        hosts.server.run(&["ip", "route", "replace", "10.0.0.0/8", "via", &via])?;
        let failed = |error| LabError::io("open a raw socket", error);
        let socket = hosts.client.inside(|| {
            // IPPROTO_RAW: the packets come with their IP header (raw(7)).
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW))).map_err(failed)?;
            socket.connect(&SocketAddrV4::new(*self.target.ip(), 0).into()).map_err(failed)?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || self.run(&socket, &stopped));
        Ok(Running { stop, thread })
    }

    /// Sends until told to stop; returns how many segments were sent.
    fn run(self, socket: &Socket, stop: &AtomicBool) -> Result<u64> {
        let started = Instant::now();
        let mut sent: u64 = 0;
        let mut packets = [[0; PACKET]; BATCH as usize];
        while !stop.load(Ordering::Relaxed) {
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64(sent_f64(sent) / f64::from(rate));
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
            for (number, packet) in (sent..).zip(&mut packets) {
                *packet = self.packet(number);
            }
            sent += send(socket, &mut packets)?;
        }
        Ok(sent)
    }

    /// The SYN of a number: sources take turns, and each goes through the ephemeral ports.
    fn packet(&self, number: u64) -> [u8; PACKET] {
        let [_, b, c, d] = u32::try_from(number % u64::from(self.sources.max(1))).unwrap_or(0).to_be_bytes();
        let source = u32::from(SOURCES) | u32::from_be_bytes([0, b, c, d]);
        let port = u16::try_from(32_768 + number / u64::from(self.sources.max(1)) % 28_000).unwrap_or(32_768);
        let seq = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0).wrapping_mul(0x9e37_79b1);
        let length = u16::try_from(PACKET).unwrap_or_default().to_be_bytes();
        let [sa, sb, sc, sd] = source.to_be_bytes();
        let [ta, tb, tc, td] = self.target.ip().octets();
        let ([sp, sq], [tp, tq]) = (port.to_be_bytes(), self.target.port().to_be_bytes());
        let [s0, s1, s2, s3] = seq.to_be_bytes();
        let tcp = |check: [u8; 2]| [sp, sq, tp, tq, s0, s1, s2, s3, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, check[0], check[1], 0, 0];
        // The pseudo-header of RFC 9293, section 3.1, stands for the addresses.
        let pseudo = [sa, sb, sc, sd, ta, tb, tc, td, 0, 6, 0, 20];
        let check = checksum(pseudo.iter().chain(&tcp([0; 2])));
        // The kernel fills in identification and checksum (raw(7)).
        let ip = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, 6, 0, 0, sa, sb, sc, sd, ta, tb, tc, td];
        let mut packet = [0; PACKET];
        for (place, byte) in packet.iter_mut().zip(ip.into_iter().chain(tcp(check.to_be_bytes()))) {
            *place = byte;
        }
        packet
    }
}

impl Running {
    /// Ends the scan; returns how many segments were sent.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the kernel refused one.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        // A scan that panicked has failed its test.
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 segments")]
const fn sent_f64(sent: u64) -> f64 {
    sent as f64
}

/// RFC 1071.
fn checksum<'a>(bytes: impl Iterator<Item = &'a u8>) -> u16 {
    let sum: u32 = bytes.zip([8, 0].into_iter().cycle()).map(|(byte, shift)| u32::from(*byte) << shift).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

/// Hands a batch to the kernel; returns how many of it were sent.
fn send(socket: &Socket, packets: &mut [[u8; PACKET]; BATCH as usize]) -> Result<u64> {
    let mut parts = packets.each_mut().map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: PACKET });
    let mut messages = parts.each_mut().map(|part| {
        // SAFETY: integers and pointers, of which zero is a value.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        message
    });
    // SAFETY: as many messages as are said, each with one part that outlives the call.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH, 0) };
    match u64::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => match io::Error::last_os_error() {
            // No room at the moment.
            error if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
            error => Err(LabError::io("send a batch of SYNs", error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::{Scan, checksum};

    #[test]
    fn a_segment_has_the_checksum_that_its_receiver_wants() {
        let target = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 5673);
        let packet = Scan { target, sources: 300, rate: None }.packet(7_000_299);
        let (ip, tcp) = packet.split_at(20);
        assert_eq!(ip.get(12..16), Some([10, 0, 0, 99].as_slice()));
        // Over the pseudo-header and a segment with its checksum the sum is zero.
        let pseudo = ip.iter().skip(12).chain(&[0, 6, 0, 20]);
        assert_eq!(checksum(pseudo.chain(tcp)), 0);
    }
}
