//! The bytes of a BTF blob: the kernel's own where it lets them be mapped, a copy elsewhere.

use std::{
    ffi::c_void,
    fs::File,
    io::{self, Read as _},
    ops::Deref,
    ptr, slice,
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes that do not change.
#[derive(Debug)]
pub(super) enum Bytes {
    Copied(Vec<u8>),
    Mapped(Mapping),
}

impl Bytes {
    /// Reads a file, at most so many bytes of it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn read(file: File, most: u64) -> io::Result<Self> {
        let length = file.metadata()?.len().min(most);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Self::Copied(bytes))
    }

    /// The bytes of [`VMLINUX`](super::VMLINUX), which nothing changes while the kernel runs: not
    /// copied, which is done a page at a time and takes as long as to make sense of them
    /// (`btf_sysfs_vmlinux_mmap()`,
    /// <https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/sysfs_btf.c>).
    ///
    /// # Errors
    ///
    /// What the system says, a kernel that does not let them be mapped among it.
    pub fn of_kernel(vmlinux: &File) -> io::Result<Self> {
        let length = usize::try_from(vmlinux.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses an address where nothing is.
        let start = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, vmlinux, 0) }?;
        Ok(Self::Mapped(Mapping { start, length }))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Copied(bytes)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Mapped(mapping) => mapping.bytes(),
        }
    }
}

/// Part of the kernel's memory, readable.
#[derive(Debug)]
pub(super) struct Mapping {
    start: *mut c_void,
    length: usize,
}

impl Mapping {
    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for as long as this lives, and never written to: the kernel keeps its
        // types in memory that is read-only to itself.
        unsafe { slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped here, and nothing that was borrowed from it is left. What cannot be
        // unmapped stays, which harms nothing.
        let _unmapped = unsafe { munmap(self.start, self.length) };
    }
}
