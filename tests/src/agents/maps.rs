//! Everything a process keeps in BPF maps, as bytes.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use crate::{LabError, Result};

/// Commands of bpf(2) and types of maps
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>).
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const PROG_GET_NEXT_ID: libc::c_long = 11;
const MAP_GET_NEXT_ID: libc::c_long = 12;
const MAP_GET_FD_BY_ID: libc::c_long = 14;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_ARRAY: u32 = 3;
const PER_CPU: [u32; 3] = [5, 6, 10];
const RINGBUF: u32 = 27;

/// The part of `struct bpf_map_info` that every kernel has.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Info {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; 16],
}

/// One map.
#[derive(Debug)]
pub struct Dump {
    pub name: String,
    /// Keys and values, or the pages of a ring buffer.
    pub bytes: Vec<u8>,
}

/// Reads every map that a process holds. Maps of programs have no bytes to read, and are left out.
///
/// # Errors
///
/// When the kernel does not hand one of them over.
pub fn of(pid: u32) -> Result<Vec<Dump>> {
    ids(pid)?.into_iter().filter_map(|id| dump(id).map_err(|error| LabError::io(format!("read map {id}"), error)).transpose()).collect()
}

/// Something of BPF in the kernel, by its id. Ids are not given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    Program(u32),
    Map(u32),
}

/// What a process holds of BPF. One that is gone holds nothing.
pub fn held_by(pid: u32) -> BTreeSet<Object> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let object = |line: &str| {
        let (kind, id) = line.split_once(':')?;
        let id = id.trim().parse().ok()?;
        match kind {
            "prog_id" => Some(Object::Program(id)),
            "map_id" => Some(Object::Map(id)),
            _ => None,
        }
    };
    // A descriptor that was closed meanwhile has nothing to say.
    entries.flat_map(|entry| fs::read_to_string(entry.path()).unwrap_or_default().lines().filter_map(object).collect::<Vec<_>>()).collect()
}

/// Everything of BPF that the kernel has, whoever holds it.
///
/// By ids alone. To open each, as aya does, can keep a program array for ever: one that is opened
/// while its last holder closes it is released twice, and the second reference that is taken for
/// that is never given back (`prog_array_map_clear()`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/arraymap.c>).
pub fn everything() -> BTreeSet<Object> {
    let list = |command| std::iter::successors(next_id(command, 0), move |id| next_id(command, *id));
    list(PROG_GET_NEXT_ID).map(Object::Program).chain(list(MAP_GET_NEXT_ID).map(Object::Map)).collect()
}

/// The next id after one, if there is any.
fn next_id(command: libc::c_long, after: u32) -> Option<u32> {
    // start_id, next_id, open_flags.
    let mut attributes = [after, 0, 0];
    // SAFETY: the kernel reads and writes as many bytes of the attributes as it is told.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(&attributes)) };
    let [_, next, _] = attributes;
    (result == 0).then_some(next)
}

fn ids(pid: u32) -> Result<Vec<u32>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).map_err(|error| LabError::io(format!("list {directory}"), error))?;
    let id = |path: &Path| fs::read_to_string(path).ok()?.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok());
    let mut ids: Vec<u32> = entries.flatten().filter_map(|entry| id(&entry.path())).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn dump(id: u32) -> io::Result<Option<Dump>> {
    let fd = bpf(MAP_GET_FD_BY_ID, &[u64::from(id), 0])?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    let map = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) };
    let info = info(&map)?;
    let name = String::from_utf8_lossy(info.name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    Ok(match info.kind {
        PROG_ARRAY => None,
        RINGBUF => Some(Dump { name, bytes: ring(&map, info.max_entries as usize)? }),
        _ => Some(Dump { name, bytes: entries(&map, &info)? }),
    })
}

fn info(map: &OwnedFd) -> io::Result<Info> {
    let mut info = Info::default();
    let length = size_of::<Info>() as u64;
    bpf(OBJ_GET_INFO_BY_FD, &[descriptor(map) | length << 32, (&raw mut info) as u64])?;
    Ok(info)
}

fn entries(map: &OwnedFd, info: &Info) -> io::Result<Vec<u8>> {
    // Maps with a value for each CPU hand out all of them, each rounded up to eight bytes.
    let size = info.value_size as usize;
    let mut value = vec![0_u8; if PER_CPU.contains(&info.kind) { size.next_multiple_of(8) * possible_cpus()? } else { size }];
    let mut key = vec![0_u8; info.key_size as usize];
    let mut next = key.clone();
    let mut bytes = Vec::new();
    let mut from = 0;
    while bpf(MAP_GET_NEXT_KEY, &[descriptor(map), from, next.as_mut_ptr() as u64, 0]).is_ok() {
        key.copy_from_slice(&next);
        from = key.as_ptr() as u64;
        if bpf(MAP_LOOKUP_ELEM, &[descriptor(map), from, value.as_mut_ptr() as u64, 0]).is_ok() {
            bytes.extend(&key);
            bytes.extend(&value);
            value.fill(0);
        }
    }
    Ok(bytes)
}

/// As many as the kernel is ready for: `0-7`.
fn possible_cpus() -> io::Result<usize> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or_default();
    last.parse::<usize>().map(|last| last + 1).map_err(io::Error::other)
}

/// The data pages, which lie behind a page of the consumer and one of the producer
/// (<https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/ringbuf.c>).
fn ring(map: &OwnedFd, size: usize) -> io::Result<Vec<u8>> {
    let offset = 2 * i64::try_from(rustix::param::page_size()).map_err(io::Error::other)?;
    // SAFETY: a mapping of its own, to be read only.
    let pages = unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ, libc::MAP_SHARED, map.as_raw_fd(), offset) };
    if pages == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut bytes = vec![0; size];
    // SAFETY: as many bytes are mapped. The kernel may write them meanwhile, so what is copied may
    // be torn, as bytes may.
    unsafe {
        std::ptr::copy_nonoverlapping(pages.cast::<u8>(), bytes.as_mut_ptr(), size);
        libc::munmap(pages, size);
    }
    Ok(bytes)
}

fn descriptor(map: &OwnedFd) -> u64 {
    u64::try_from(map.as_raw_fd()).unwrap_or(u64::MAX)
}

/// bpf(2). `attributes` are those of the command, in words.
fn bpf<const WORDS: usize>(command: libc::c_long, attributes: &[u64; WORDS]) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads the attributes, and writes only to where they point, which every
    // caller has made large enough.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
