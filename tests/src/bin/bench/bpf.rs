//! What the kernel counts of BPF programs, and small ones to compare them with.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::programs::loaded_programs;
use rstblame_lab::{LabError, Result, hosts::net::Host};

/// `kernel.bpf_stats_enabled`, set back to what it was when dropped.
pub struct Statistics(String);

impl Statistics {
    const PATH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    pub fn on() -> Result<Self> {
        let before = fs::read_to_string(Self::PATH).map_err(|error| LabError::io(format!("read {}", Self::PATH), error))?;
        fs::write(Self::PATH, "1").map_err(|error| LabError::io(format!("write {}", Self::PATH), error))?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::PATH, self.0.trim()) {
            eprintln!("bench: cannot set {} back to {}: {error}", Self::PATH, self.0.trim());
        }
    }
}

/// What the kernel has counted of one program.
#[derive(Clone, Debug)]
pub struct Count {
    pub id: u32,
    pub name: String,
    /// Nanoseconds in the program; what it tail-calls is part of it.
    pub ns: u64,
    pub runs: u64,
}

/// The programs that a process has descriptors of, by id.
pub fn programs_of(pid: u32) -> Result<Vec<Count>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).map_err(|error| LabError::io(format!("list {directory}"), error))?;
    // A descriptor that was closed meanwhile is none of them.
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let ids: HashSet<u32> =
        texts.filter_map(|text| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())).collect();
    let mut counts = Vec::new();
    for program in loaded_programs() {
        let program = program.map_err(|error| LabError::io("ask for the loaded programs", io::Error::other(error)))?;
        if ids.contains(&program.id()) {
            counts.push(Count {
                id: program.id(),
                name: program.name_as_str().unwrap_or("?").to_owned(),
                ns: u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX),
                runs: program.run_count(),
            });
        }
    }
    Ok(counts)
}

/// An instruction (RFC 9669, section 3), as it stands in memory.
type Instruction = [u8; 8];

/// `r0 = 0`, `exit` (RFC 9669, sections 4.1 and 4.3).
const EMPTY: [Instruction; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// `r2 = 0`, `r3 = r10`, `r3 += -64`, `r4 = 52`, a call of `bpf_skb_load_bytes` (helper 26), and
/// the same end.
const READING: [Instruction; 7] = [
    [0xb7, 2, 0, 0, 0, 0, 0, 0],
    [0xbf, 0xa3, 0, 0, 0, 0, 0, 0],
    [0x07, 3, 0, 0, 0xc0, 0xff, 0xff, 0xff],
    [0xb7, 4, 0, 0, 52, 0, 0, 0],
    [0x85, 0, 0, 0, 26, 0, 0, 0],
    EMPTY[0],
    EMPTY[1],
];

/// A small program on packet sockets of one host like those of the tap.
pub struct Filter {
    id: u32,
    name: &'static str,
    _program: OwnedFd,
    _sockets: [OwnedFd; 2],
}

impl Filter {
    /// One that returns 0 at once.
    pub fn empty(host: &Host) -> Result<Self> {
        Self::on(host, "empty", &EMPTY)
    }

    /// One that does nothing but load the headers of IPv4 and TCP, as everything must that asks for
    /// ports.
    pub fn reading(host: &Host) -> Result<Self> {
        Self::on(host, "reading", &READING)
    }

    fn on(host: &Host, name: &'static str, instructions: &[Instruction]) -> Result<Self> {
        let program = load(instructions).map_err(|error| LabError::io(format!("load the {name} socket filter"), error))?;
        let io = |error| LabError::io(format!("listen with the {name} socket filter"), error);
        let sockets = host.inside(|| Ok([listen(IPV4, &program).map_err(io)?, listen(IPV6, &program).map_err(io)?]))?;
        let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
        let text = fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {path}"), error))?;
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
        let id = id.ok_or_else(|| LabError::Client(format!("no prog_id in {path}")))?;
        Ok(Self { id, name, _program: program, _sockets: sockets })
    }

    pub fn count(&self) -> Result<Count> {
        let own = programs_of(std::process::id())?.into_iter().find(|count| count.id == self.id);
        let count = own.ok_or_else(|| LabError::Client(format!("the {} socket filter is not among the loaded programs", self.name)))?;
        Ok(Count { name: self.name.to_owned(), ..count })
    }
}

/// `BPF_PROG_LOAD` and `BPF_PROG_TYPE_SOCKET_FILTER`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>).
const PROG_LOAD: libc::c_long = 5;
const SOCKET_FILTER: u32 = 1;

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

fn load(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let insn_cnt = u32::try_from(instructions.len()).unwrap_or(u32::MAX);
    let attributes =
        LoadAttributes { prog_type: SOCKET_FILTER, insn_cnt, insns: instructions.as_ptr() as u64, license: c"MIT".as_ptr() as u64 };
    // SAFETY: the attributes and what they point to outlive the call, and their size is the one
    // given.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>()) };
    owned(libc::c_int::try_from(fd).unwrap_or(-1))
}

/// `ETH_P_IP` and `ETH_P_IPV6`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/if_ether.h>).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// `AF_PACKET` as `struct sockaddr_ll` has it.
const PACKET_FAMILY: libc::c_ushort = 17;

/// The size of what a pointer handed to the kernel points to, as the kernel takes it.
#[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// A packet socket as the agent opens them: cooked, the filter on it before it is bound to one
/// protocol.
fn listen(protocol: u16, filter: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is handed over.
    let socket = owned(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    let program = filter.as_raw_fd();
    // SAFETY: the kernel reads one int, whose size is the one given.
    let failed = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_BPF, (&raw const program).cast(), length_of::<libc::c_int>())
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: integers and arrays of them, of which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = PACKET_FAMILY;
    address.sll_protocol = protocol.to_be();
    // SAFETY: the address is valid for the length given, and the kernel copies it.
    let failed = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length_of::<libc::sockaddr_ll>()) };
    if failed == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
