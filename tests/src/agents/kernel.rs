//! What the running kernel lets an agent see, so that a truth is not asked of a kernel that cannot
//! tell it.

use std::{fs, sync::OnceLock};

use rstblame::{
    kernel::{
        ArmOptions, Budgets,
        diagnostics::Diagnostics,
        options::{Extras, Ladder},
    },
    model::ports::PortSet,
};
use serde_json::Value;

use crate::{LabError, Result};

/// The kernel's own type information.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// A member of `enum sk_rst_reason`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/net/rstreason.h>). The series that
/// brought the enum into Linux 6.10 also gave it to `tcp:tcp_send_reset` and made that tracepoint
/// fire for resets that answer a segment without a socket.
const MEMBER: &[u8] = b"SK_RST_REASON_NO_SOCKET\0";

/// Whether `tcp:tcp_send_reset` tells reasons and sees resets without a socket.
///
/// # Errors
///
/// [`LabError::Io`] when the kernel has no BTF to look at.
pub fn traces_resets_without_socket() -> Result<bool> {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    if let Some(answer) = ANSWER.get() {
        return Ok(*answer);
    }
    let btf = fs::read(BTF).map_err(|error| LabError::io(format!("read {BTF}"), error))?;
    let answer = btf.windows(MEMBER.len()).any(|bytes| bytes == MEMBER);
    Ok(*ANSWER.get_or_init(|| answer))
}

/// Whether even open maps take `CAP_BPF`: before Linux 5.19, unless
/// `kernel.unprivileged_bpf_disabled` is off (`__sys_bpf()`,
/// <https://github.com/torvalds/linux/blob/v5.19/kernel/bpf/syscall.c>).
///
/// # Errors
///
/// [`LabError::Io`] when the sysctl cannot be read.
pub fn open_maps_take_bpf() -> Result<bool> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let path = "/proc/sys/kernel/unprivileged_bpf_disabled";
    let disabled = fs::read_to_string(path).map_err(|error| LabError::io(format!("read {path}"), error))?;
    Ok(version < (5, 19) && disabled.trim() != "0")
}

/// A reason's name where this kernel tells reasons, else `null`: the event must not have one.
///
/// # Errors
///
/// As [`traces_resets_without_socket`].
pub fn reason(name: &str) -> Result<Value> {
    Ok(if traces_resets_without_socket()? { Value::from(name) } else { Value::Null })
}

/// How the kernel programs are loaded to be run on packets of a test's own (`BPF_PROG_TEST_RUN`):
/// on these ports, in any namespace.
pub fn dry(ports: PortSet, extras: Extras) -> ArmOptions {
    ArmOptions {
        ports,
        netns: None,
        ring_size: 1 << 20,
        max_connections: 4096,
        max_conversations: 4096,
        extras,
        diagnostics: Diagnostics::Off,
        budgets: Budgets::default(),
        ladder: Ladder::Auto,
        btf: Some(BTF.into()),
    }
}
