//! The agent's own memory.

/// Gives back what is free and kept for later. Reading the kernel's types and the host's processes
/// takes tens of megabytes for a moment, which glibc would keep for as long as something small
/// above them lives; other allocators give back by themselves.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time and from any thread; it moves nothing that
    // is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
