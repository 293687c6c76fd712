//! The kernel programs of rstblame: filter, read, count, submit. Nothing here decides who is to
//! blame.
//!
//! From the ground up: [`ground`], [`record`] and [`tap`] beside each other, and [`hooks`], where
//! each program begins. What both sides must agree on is a crate of its own, `rstblame-abi`.
//!
//! Every tracepoint exists twice, as a BTF tracepoint and as a plain tracepoint; user space
//! attaches the first that the kernel accepts. Both read kernel memory by `bpf_probe_read_kernel`
//! at offsets resolved in user space, never through typed pointers: the rules for typed pointers
//! (trusted, nullable, arithmetic) differ between 6.1, 6.12 and 6.18, and the plain tracepoint has
//! none.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows one program better than calls, and old kernels limit their number and depth"
)]
#![expect(clippy::needless_pass_by_value, reason = "the signature aya's macros call")]
#![expect(clippy::cast_possible_truncation, reason = "halves of packed words, and numbers the kernel keeps small, are taken on purpose")]

mod ground;
mod hooks;
mod record;
mod tap;

/// The helpers used are GPL-only; the object is offered under both licences.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
