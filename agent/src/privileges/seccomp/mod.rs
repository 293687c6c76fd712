//! Which system calls an armed agent makes: all others fail, on every thread.
//!
//! A list of what is allowed ([`allowed`]): a call that nobody has thought of, or that a later
//! kernel brings, is one that whoever took the agent over cannot make. What is not on it fails with
//! `ENOSYS`, as on a kernel without it, so that a C library goes on with an older one; it kills
//! nothing, so that a bug costs no event. What has to be looked at by its arguments, and what is to
//! be refused in words that cannot be mistaken, fails with `EPERM` by a list of its own
//! ([`DENIED`]).

mod allowed;

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
    apply_filter_all_threads,
};

/// Starting programs, looking into and changing processes, changing what the host is, and the
/// kernel's larger doors.
const DENIED: &[i64] = &[
    // Programs, and processes other than the agent.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Files past the directories that lead to them, and files that are devices.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_mknodat,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Much code for little use here.
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    // Other users and namespaces.
    libc::SYS_unshare,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_mknod, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[i64] = &[];

/// Numbers of x32, a second table of x86_64 that comes with the same architecture in
/// `seccomp_data`: bit 30, and some numbers of their own
/// (<https://github.com/torvalds/linux/blob/v6.12/arch/x86/entry/syscalls/syscall_64.tbl>): execve,
/// ptrace, `kexec_load`, `process_vm_readv`, `process_vm_writev`, execveat.
#[cfg(target_arch = "x86_64")]
const X32: &[i64] = &[520, 521, 528, 539, 540, 545];
#[cfg(target_arch = "x86_64")]
const X32_BIT: i64 = 0x4000_0000;

/// What is done with maps that are open: `bpf_cmd` of
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>. Lookup, update, delete,
/// next key, test run (by which the heartbeat is written), information, lookup-and-delete, and the
/// four batches.
const BPF_ALLOWED: [u64; 11] = [1, 2, 3, 4, 10, 15, 21, 24, 25, 26, 27];

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET`, `NEWTIME`.
const NEW_NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    0x80,
];

/// Denies them from now on, on all threads. Sets `no_new_privs` on the way.
///
/// # Errors
///
/// When this kernel has no system call filters, or not for this architecture.
pub fn deny(follows_namespaces: bool) -> io::Result<()> {
    for program in programs(follows_namespaces)? {
        apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Lets the calling thread open no file any more: that fails with `EACCES`. Sets its `no_new_privs`
/// on the way.
///
/// # Errors
///
/// When this kernel has no system call filters, or not for this architecture.
pub fn open_no_files() -> io::Result<()> {
    let calls = [
        libc::SYS_openat,
        libc::SYS_openat2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
    ];
    let rules = calls.into_iter().map(|number| (number, Vec::new())).collect();
    apply_filter(&compile(rules, libc::EACCES)?).map_err(io::Error::other)
}

/// The list of allowed calls first: of two filters that refuse, the error of the later one counts
/// (<https://github.com/torvalds/linux/blob/v6.12/kernel/seccomp.c>, `seccomp_run_filters()`).
fn programs(follows_namespaces: bool) -> io::Result<[BpfProgram; 2]> {
    Ok([allowed::program()?, compile(rules(follows_namespaces)?, libc::EPERM)?])
}

fn here() -> io::Result<TargetArch> {
    TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(rules: Rules, errno: i32) -> io::Result<BpfProgram> {
    let here = here()?;
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, here).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

fn rules(follows_namespaces: bool) -> io::Result<Rules> {
    let mut rules: Rules = DENIED.iter().chain(DENIED_HERE).map(|number| (*number, Vec::new())).collect();
    rules.insert(libc::SYS_bpf, vec![none_of(0, &BPF_ALLOWED)?]);
    let spaces: &[i32] = if follows_namespaces { &[libc::CLONE_NEWNET] } else { &[] };
    rules.insert(libc::SYS_setns, if spaces.is_empty() { Vec::new() } else { vec![none_of(1, &numbers(spaces))?] });
    let mut families = vec![libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    if follows_namespaces {
        families.push(libc::AF_PACKET);
    }
    rules.insert(libc::SYS_socket, vec![none_of(0, &numbers(&families))?]);
    let flag = |flag: u64| rule(vec![condition(0, SeccompCmpOp::MaskedEq(flag), flag)?]);
    rules.insert(libc::SYS_clone, numbers(&NEW_NAMESPACES).into_iter().map(flag).collect::<io::Result<_>>()?);
    #[cfg(target_arch = "x86_64")]
    {
        let second: Rules = rules.iter().map(|(number, rules)| (number | X32_BIT, rules.clone())).collect();
        rules.extend(second);
        rules.extend(X32.iter().map(|number| (number | X32_BIT, Vec::new())));
    }
    Ok(rules)
}

fn numbers(of: &[i32]) -> Vec<u64> {
    of.iter().map(|number| u64::from(number.unsigned_abs())).collect()
}

/// Denies unless an argument is one of these.
fn none_of(argument: u8, allowed: &[u64]) -> io::Result<SeccompRule> {
    rule(allowed.iter().map(|value| condition(argument, SeccompCmpOp::Ne, *value)).collect::<io::Result<_>>()?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

fn rule(all: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
    SeccompRule::new(all).map_err(io::Error::other)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{fs::File, io, net::TcpListener, thread};

    use super::programs;

    /// What a thread under the filter gets from a system call with these arguments.
    fn errno(number: i64, arguments: [i64; 3]) -> Option<i32> {
        // SAFETY: each call that is made here is refused before it does anything, or is given
        // arguments that make it fail; none points anywhere.
        let result = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2], 0, 0) };
        (result < 0).then(|| io::Error::last_os_error().raw_os_error().unwrap_or_default())
    }

    /// Runs on a thread of its own, which alone is confined.
    fn confined(follows: bool, work: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn(move || {
            for program in programs(follows).unwrap() {
                seccompiler::apply_filter(&program).unwrap();
            }
            work();
        });
        thread.join().unwrap();
    }

    #[test]
    fn what_whoever_took_it_over_would_want_is_refused() {
        confined(false, || {
            const PROG_LOAD: i64 = 5;
            let (packet, net) = (libc::AF_PACKET.into(), libc::CLONE_NEWNET.into());
            for (number, arguments) in [
                (libc::SYS_execve, [0; 3]),
                (libc::SYS_ptrace, [libc::PTRACE_ATTACH.into(), 1, 0]),
                (libc::SYS_mount, [0; 3]),
                (libc::SYS_open_by_handle_at, [-1, 0, 0]),
                (libc::SYS_keyctl, [0; 3]),
                (libc::SYS_io_uring_setup, [1, 0, 0]),
                (libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0]),
                (libc::SYS_bpf, [PROG_LOAD, 0, 0]),
                (libc::SYS_socket, [packet, libc::SOCK_DGRAM.into(), 0]),
                (libc::SYS_setns, [-1, net, 0]),
                (libc::SYS_clone, [i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0]),
                #[cfg(target_arch = "x86_64")]
                (0x208 | super::X32_BIT, [0; 3]),
            ] {
                assert_eq!(errno(number, arguments), Some(libc::EPERM), "system call {number}");
            }
            assert_eq!(errno(libc::SYS_clone3, [0; 3]), Some(libc::ENOSYS));
        });
    }

    #[test]
    fn what_nobody_has_thought_of_is_refused() {
        confined(true, || {
            // open_tree_attr(2), listmount(2), landlock_restrict_self(2), memfd_secret(2),
            // process_madvise(2), and numbers that no kernel has yet.
            for number in [467, 458, 446, 447, 440, 600, 1000] {
                assert_eq!(errno(number, [-1, 0, 0]), Some(libc::ENOSYS), "system call {number}");
            }
        });
    }

    #[test]
    fn a_thread_that_may_open_no_files_can_do_all_else() {
        let path = std::env::current_exe().unwrap();
        let confined = path.clone();
        let thread = thread::spawn(move || {
            super::open_no_files().unwrap();
            (File::open(&confined).unwrap_err().raw_os_error(), confined.metadata().is_ok())
        });
        assert_eq!(thread.join().unwrap(), (Some(libc::EACCES), true));
        File::open(path).unwrap();
    }

    #[test]
    fn what_is_left_to_do_goes_on() {
        confined(true, || {
            const MAP_LOOKUP: i64 = 1;
            // Refused by the kernel for what they are given, not by the filter; unprivileged BPF
            // may be off altogether.
            assert_eq!(errno(libc::SYS_setns, [-1, libc::CLONE_NEWNET.into(), 0]), Some(libc::EBADF));
            assert_eq!(errno(libc::SYS_setns, [-1, libc::CLONE_NEWNS.into(), 0]), Some(libc::EPERM));
            assert_ne!(errno(libc::SYS_bpf, [MAP_LOOKUP, 0, 0]), None);
            if rustix::process::geteuid().is_root() {
                assert_ne!(errno(libc::SYS_bpf, [MAP_LOOKUP, 0, 0]), Some(libc::EPERM));
            }
            TcpListener::bind("127.0.0.1:0").unwrap();
            thread::spawn(|| ()).join().unwrap();
        });
    }
}
