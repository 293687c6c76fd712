//! Stopping one thread of a process, and doing something in its name: ptrace(2).

use std::{ffi::c_long, io, marker::PhantomData, ptr};

use crate::{LabError, Result};

/// A thread that does not run, until this is dropped. To be dropped on the thread that made it:
/// only that one traces.
#[derive(Debug)]
pub struct Stopped {
    tid: libc::pid_t,
    here: PhantomData<*const ()>,
}

impl Stopped {
    /// Stops a thread.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn new(tid: u32) -> Result<Self> {
        let tid = libc::pid_t::try_from(tid).map_err(|error| LabError::io("stop a thread", io::Error::other(error)))?;
        request(libc::PTRACE_SEIZE, tid, 0, 0)?;
        let stopped = Self { tid, here: PhantomData };
        request(libc::PTRACE_INTERRUPT, tid, 0, 0)?;
        stopped.wait()?;
        Ok(stopped)
    }

    fn wait(&self) -> Result<()> {
        let mut status = 0;
        // SAFETY: `status` is a valid place for one.
        let waited = unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL) };
        if waited == self.tid && libc::WIFSTOPPED(status) {
            return Ok(());
        }
        Err(LabError::io(format!("wait for thread {} to stop", self.tid), io::Error::last_os_error()))
    }

    /// Has the thread, which waits in a system call, close a descriptor of its process.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`], also when it does not wait in a system call.
    #[cfg(target_arch = "x86_64")]
    pub fn close(&self, descriptor: u32) -> Result<()> {
        /// `syscall`, little-endian.
        const SYSCALL: u16 = 0x050f;
        let before = self.registers()?;
        // Where a system call was interrupted, the next instruction is the one behind it.
        let code = request(libc::PTRACE_PEEKTEXT, self.tid, before.rip.wrapping_sub(2), 0)?;
        if code & 0xffff != c_long::from(SYSCALL) {
            return Err(LabError::io("find the thread in a system call", io::ErrorKind::Other));
        }
        let number = u64::try_from(libc::SYS_close).unwrap_or_default();
        // Without `orig_rax` the kernel takes nothing for a system call to be begun again.
        let call =
            libc::user_regs_struct { rip: before.rip.wrapping_sub(2), rax: number, rdi: descriptor.into(), orig_rax: u64::MAX, ..before };
        self.set_registers(&call)?;
        request(libc::PTRACE_SINGLESTEP, self.tid, 0, 0)?;
        self.wait()?;
        let returned = self.registers()?.rax;
        self.set_registers(&before)?;
        if returned == 0 {
            return Ok(());
        }
        let errno = i32::try_from(returned.wrapping_neg()).unwrap_or_default();
        Err(LabError::io(format!("close descriptor {descriptor} of a stopped thread"), io::Error::from_raw_os_error(errno)))
    }

    #[cfg(target_arch = "x86_64")]
    fn registers(&self) -> Result<libc::user_regs_struct> {
        // SAFETY: integers, of which zero is a value.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETREGS, self.tid, 0, (&raw mut registers) as u64)?;
        Ok(registers)
    }

    #[cfg(target_arch = "x86_64")]
    fn set_registers(&self, registers: &libc::user_regs_struct) -> Result<()> {
        request(libc::PTRACE_SETREGS, self.tid, 0, ptr::from_ref(registers) as u64).map(drop)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Killed meanwhile, perhaps: then there is nothing to let go.
        let _gone = request(libc::PTRACE_DETACH, self.tid, 0, 0);
    }
}

fn request(request: libc::c_uint, tid: libc::pid_t, address: u64, data: u64) -> Result<c_long> {
    // SAFETY: those that write get a place that is large enough, and no other request writes into
    // this process.
    let (returned, error) = unsafe {
        *libc::__errno_location() = 0;
        let returned = libc::ptrace(request, tid, ptr::without_provenance_mut::<u8>(usize::try_from(address).unwrap_or_default()), data);
        (returned, io::Error::last_os_error())
    };
    // What is peeked at may be -1.
    if returned == -1 && error.raw_os_error() != Some(0) {
        return Err(LabError::io(format!("trace thread {tid}"), error));
    }
    Ok(returned)
}
