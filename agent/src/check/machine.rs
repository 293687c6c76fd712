//! The machine: kernel, BTF, tracefs, and what may forbid BPF from above.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Line;
use crate::kernel::{
    btf::Btf,
    hooks, layout, memlock,
    tracefs::{Format, tracefs_root},
};

/// The oldest kernel that is supported.
const OLDEST: (u32, u32) = (5, 10);

/// Major and minor version of a release such as `6.1.0-18-amd64`.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Release and architecture.
pub(super) fn kernel(release: &str, machine: &str) -> Line {
    let found = format!("Linux {release} on {machine}");
    match version(release) {
        Some(version) if version < OLDEST => Line::note("kernel", found)
            .breaks("possibly everything: nothing before Linux 5.10 was tried")
            .fix("see which programs attach below"),
        _ => Line::ok("kernel", found),
    }
}

/// The kernel's type information, and whether all that is read has a place in it.
pub(super) fn btf(path: Option<&Path>) -> Line {
    const LOST: &str =
        "queues, options, idle times, network namespace, most owners and many causes; addresses, states and closing processes remain";
    let Some(path) = path else {
        return Line::note("BTF", "turned off by --btf none").breaks(LOST).fix("leave --btf out");
    };
    match Btf::from_file(path) {
        Err(error) => Line::note("BTF", error.to_string()).breaks(LOST).fix("run a kernel with CONFIG_DEBUG_INFO_BTF=y"),
        Ok(btf) => {
            let missing = layout::resolve(&btf).missing;
            let path = path.display();
            if missing.is_empty() {
                Line::ok("BTF", format!("{path}: everything the programs read was found"))
            } else {
                Line::note("BTF", format!("{path}: not found: {}", missing.join(", ")))
                    .breaks("the fields that come from these members stay absent")
                    .fix("report this kernel")
            }
        }
    }
}

/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/magic.h>.
const TRACEFS_MAGIC: rustix::fs::FsWord = 0x7472_6163;

const MOUNT: &str = "mount -t tracefs tracefs /sys/kernel/tracing";

/// Whether the formats of the tracepoints can be read.
pub(super) fn tracefs(needed: bool) -> Line {
    let Some(root) = tracefs_root() else {
        return lacking("not mounted".to_owned(), needed).fix(MOUNT);
    };
    // Where the attaching library looks. The type of a file system can be asked for without the
    // right to read it.
    let is_tracefs = |path: &str| rustix::fs::statfs(path).is_ok_and(|found| found.f_type == TRACEFS_MAGIC);
    if !["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].into_iter().any(is_tracefs) {
        return lacking(format!("mounted at {}, and not where it is looked for", root.display()), needed).fix(MOUNT);
    }
    let unread = hooks::ALL.iter().find_map(|hook| Format::read(&root, hook.category, hook.tracepoint).err());
    match unread {
        None => Line::ok("tracefs", format!("{}: the formats of all tracepoints can be read", root.display())),
        Some(error) => lacking(error.to_string(), needed).fix("run with sudo"),
    }
}

fn lacking(found: String, needed: bool) -> Line {
    if needed {
        Line::fail("tracefs", found).breaks("plain tracepoints, the only way to attach without BTF")
    } else {
        Line::note("tracefs", found).breaks("plain tracepoints, the second way to attach; BTF tracepoints do not need it")
    }
}

/// Capabilities inside a user namespace do not count for BPF (`bpf_capable()` asks the initial
/// one).
pub(super) fn user_namespace() -> Line {
    match fs::read_to_string("/proc/self/uid_map") {
        Ok(map) if is_initial(&map) => Line::ok("user namespace", "the host's own"),
        Ok(_) => Line::fail("user namespace", "not the host's own: capabilities do not count for BPF here")
            .breaks("everything")
            .fix("run on the host, or in a privileged container without a user namespace"),
        Err(error) => Line::note("user namespace", format!("cannot be told: /proc/self/uid_map: {error}")),
    }
}

/// Whether a `uid_map` maps every user to itself.
fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Lockdown in mode `confidentiality` forbids BPF to read kernel memory (`kernel_lockdown(7)`).
pub(super) fn lockdown() -> Line {
    let path = PathBuf::from("/sys/kernel/security/lockdown");
    match fs::read_to_string(&path) {
        Ok(text) => lockdown_mode(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Line::ok("lockdown", "not in this kernel, or securityfs is not mounted"),
        Err(error) => Line::note("lockdown", format!("cannot read {}: {error}", path.display())),
    }
}

/// The mode in brackets, of `none [integrity] confidentiality`.
fn lockdown_mode(text: &str) -> Line {
    let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(mode, _)| mode);
    match mode {
        Some("confidentiality") => Line::fail("lockdown", "confidentiality: BPF may not read kernel memory")
            .breaks("everything")
            .fix("boot with lockdown=integrity, or turn Secure Boot off"),
        Some(mode) => Line::ok("lockdown", mode),
        None => Line::note("lockdown", format!("no mode is marked in {:?}", text.trim())),
    }
}

/// For the record only: this setting stops those without capabilities, for whom the programs would
/// not load anyway.
pub(super) fn unprivileged_bpf() -> Line {
    let path = "/proc/sys/kernel/unprivileged_bpf_disabled";
    match fs::read_to_string(path) {
        Ok(value) => Line::ok("unprivileged BPF", format!("unprivileged_bpf_disabled = {}; any value will do", value.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Line::fail("unprivileged BPF", format!("no {path}: this kernel is built without the bpf system call, or /proc/sys is hidden"))
                .breaks("everything")
                .fix("run a kernel with CONFIG_BPF_SYSCALL=y")
        }
        Err(error) => Line::note("unprivileged BPF", format!("cannot read {path}: {error}")),
    }
}

/// The limit on locked memory, which stopped mattering in Linux 5.11.
pub(super) fn memlock(release: &str) -> Line {
    let matters = version(release).is_some_and(|version| version < (5, 11));
    match memlock::limit() {
        None => Line::ok("memlock", "unlimited"),
        Some(limit) if matters => Line::note("memlock", format!("{} KiB; the agent lifts it if the maps do not fit", limit / 1024))
            .breaks("loading, if it cannot be lifted")
            .fix("CAP_SYS_RESOURCE, LimitMEMLOCK=infinity in a systemd unit, or ulimit -l unlimited"),
        Some(limit) => Line::ok("memlock", format!("{} KiB; BPF maps do not count since Linux 5.11", limit / 1024)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{btf, is_initial, kernel, lockdown_mode, version};
    use crate::check::Status;

    #[test]
    fn releases_of_distributions_are_understood() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("5.10.233", Some((5, 10))),
            ("6.18-rc1", Some((6, 18))),
            ("6", None),
            ("", None),
            ("x.y", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert_eq!(kernel("5.4.0-200-generic", "x86_64").status, Status::Note);
        assert_eq!(kernel("5.10.0-34-amd64", "x86_64").status, Status::Ok);
    }

    #[test]
    fn only_confidentiality_stands_in_the_way() {
        for (text, expected) in [
            ("[none] integrity confidentiality\n", Status::Ok),
            ("none [integrity] confidentiality\n", Status::Ok),
            ("none integrity [confidentiality]\n", Status::Fail),
            ("", Status::Note),
        ] {
            assert_eq!(lockdown_mode(text).status, expected, "{text:?}");
        }
    }

    #[test]
    fn only_the_full_identity_map_is_the_host() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0     100000      65536\n"));
        assert!(!is_initial("         0          0 4294967295\n 1 1 1\n"));
        assert!(!is_initial(""));
    }

    #[test]
    fn btf_that_is_missing_or_foreign_costs_fields_and_names_the_cause() {
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        assert_eq!(btf(Some(&testdata.join("btf/debian-6.1.btf"))).status, Status::Ok);
        for path in [Some(testdata.join("btf/absent.btf")), Some(testdata.join("README.md")), None] {
            let line = btf(path.as_deref());
            assert_eq!(line.status, Status::Note, "{line}");
            assert!(line.breaks.is_some() && line.fix.is_some(), "{line}");
        }
    }
}
