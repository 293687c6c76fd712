//! What a process's control group says of it: systemd unit, container, Kubernetes pod.
//!
//! Pure: the text of `/proc/PID/cgroup` in, facts out. The names are those which systemd, the
//! container engines and the kubelet give their groups; a name that none of them is known to give
//! says nothing, and the fact is then absent.

use crate::text::is_unsafe;

/// The engine that runs a container, where the name of the control group tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Docker Engine (`docker-ID.scope`, `/docker/ID`).
    Docker,
    /// containerd, by way of the CRI (`cri-containerd-ID.scope`) or of nerdctl
    /// (`nerdctl-ID.scope`).
    Containerd,
    /// CRI-O (`crio-ID.scope`).
    CriO,
    /// Podman (`libpod-ID.scope`).
    Podman,
    /// LXC (`lxc.payload.NAME`); its container ids are names.
    Lxc,
}

impl Runtime {
    /// The value of `container.runtime` in the event contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
        }
    }
}

/// The container that a process runs in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// 64 hexadecimal digits, or the container's name for LXC.
    pub id: String,
    /// Absent where only the id is known: with the cgroupfs driver of the kubelet, every engine's
    /// path is the same.
    pub runtime: Option<Runtime>,
}

/// What the control group of a process says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CgroupFacts {
    /// The path which the other fields were read from, as the kernel prints it, relative to the
    /// reader's cgroup namespace; `/` for the root group.
    pub path: String,
    /// The system unit (`rabbitmq-server.service`), escapes such as `\x2d` kept as `systemctl`
    /// shows them. The unit of a systemd inside the container goes before that of the host; a scope
    /// made for a container is not a unit here.
    pub systemd_unit: Option<String>,
    /// The unit of the user's own service manager, below `user@UID.service`.
    pub systemd_user_unit: Option<String>,
    /// The innermost container.
    pub container: Option<Container>,
    /// The uid of the innermost Kubernetes pod, with dashes; 32 hexadecimal digits for a static
    /// pod.
    pub k8s_pod_uid: Option<String>,
}

/// Reads the text of `/proc/PID/cgroup`: one `ID:CONTROLLERS:PATH` line a hierarchy (cgroups(7)).
///
/// On a host with version 1 hierarchies the lines may disagree (an engine that does not know the
/// unified hierarchy leaves its containers in the group of its own daemon there), so all facts are
/// taken from one line: the first that names a container, else the first that is not the root
/// group. systemd's own hierarchy comes before the unified one, and both before the others.
///
/// Absent when no line is well-formed.
pub fn parse(text: &str) -> Option<CgroupFacts> {
    // Whoever may make groups names them.
    let text: String = text.chars().map(|c| if c != '\n' && is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    let mut lines: Vec<(u8, &str)> = text.lines().filter_map(ranked_path).collect();
    lines.sort_by_key(|&(rank, _)| rank);
    let all: Vec<CgroupFacts> = lines.iter().map(|&(_, path)| facts_of(path)).collect();
    all.iter()
        .find(|facts| facts.container.is_some())
        .or_else(|| all.iter().find(|facts| facts.path != "/"))
        .or_else(|| all.first())
        .cloned()
}

/// The path of one line, and how much the line is to be preferred (lower first).
fn ranked_path(line: &str) -> Option<(u8, &str)> {
    let mut parts = line.splitn(3, ':');
    let id = parts.next()?;
    let controllers = parts.next()?;
    let path = parts.next()?;
    if !path.starts_with('/') || id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The kernel adds this to a version 2 group that was removed while the process lived on (as a
    // zombie, say): https://github.com/torvalds/linux/blob/v6.12/kernel/cgroup/cgroup.c
    // (proc_cgroup_show).
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let rank = match (id, controllers) {
        (_, "name=systemd") => 0,
        ("0", "") => 1,
        _ => 2,
    };
    Some((rank, path))
}

fn facts_of(path: &str) -> CgroupFacts {
    let mut container = None;
    let mut pod = None;
    let mut previous = "";
    // The path cut at its containers, outermost first: each piece belongs to one service manager.
    let mut pieces: Vec<Vec<&str>> = vec![Vec::new()];
    for segment in path.split('/').filter(|s| !s.is_empty() && *s != "..") {
        // The slice of `SLICE:PREFIX:ID`, else the whole segment.
        let slice = segment.split(':').next().unwrap_or(segment);
        pod = pod_of(slice, previous).or(pod);
        if let Some(found) = container_of(segment, previous) {
            container = Some(found);
            pieces.push(Vec::new());
        } else if let Some(piece) = pieces.last_mut() {
            piece.push(segment);
        }
        previous = segment;
    }
    let (systemd_unit, systemd_user_unit) =
        pieces.iter().rev().map(|piece| units_of(piece)).find(|(unit, _)| unit.is_some()).unwrap_or_default();
    CgroupFacts { path: path.to_owned(), systemd_unit, systemd_user_unit, container, k8s_pod_uid: pod }
}

/// The container that a path segment stands for, given the segment before it.
fn container_of(segment: &str, previous: &str) -> Option<Container> {
    const PREFIXES: [(&str, Runtime); 6] = [
        ("docker", Runtime::Docker),
        ("cri-containerd", Runtime::Containerd),
        ("nerdctl", Runtime::Containerd),
        ("crio", Runtime::CriO),
        ("libpod", Runtime::Podman),
        // Podman with `--cgroups=split`, the form that Quadlet services use.
        ("libpod-payload", Runtime::Podman),
    ];
    let known = |prefix: &str| PREFIXES.iter().find(|(p, _)| *p == prefix).map(|&(_, runtime)| runtime);

    if is_container_id(segment) {
        let runtime = (previous == "docker").then_some(Runtime::Docker);
        return Some(Container { id: segment.to_owned(), runtime });
    }
    if let Some(name) = segment.strip_prefix("lxc.payload.").filter(|name| !name.is_empty()) {
        return Some(Container { id: name.to_owned(), runtime: Some(Runtime::Lxc) });
    }
    // A cgroupfs driver that is handed a systemd-style `SLICE:PREFIX:ID` uses it as the name of the
    // group.
    if let Some((prefix, id)) = segment.split_once(':').and_then(|(_, rest)| rest.split_once(':')) {
        let runtime = known(prefix).filter(|_| is_container_id(id))?;
        return Some(Container { id: id.to_owned(), runtime: Some(runtime) });
    }
    let stem = segment.strip_suffix(".scope").unwrap_or(segment);
    let (prefix, id) = stem.rsplit_once('-')?;
    let runtime = known(prefix).filter(|_| is_container_id(id))?;
    Some(Container { id: id.to_owned(), runtime: Some(runtime) })
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && is_lower_hex(text)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The pod uid in a segment: `podUID` below `kubepods` or one of its classes (cgroupfs driver), or
/// `kubepods[-CLASS]-podUID.slice` with underscores for dashes (systemd driver), whatever stands
/// before `kubepods`.
fn pod_of(segment: &str, previous: &str) -> Option<String> {
    let uid = if let Some(uid) = segment.strip_prefix("pod") {
        if !matches!(previous, "kubepods" | "burstable" | "besteffort" | "guaranteed") {
            return None;
        }
        uid.to_owned()
    } else {
        let (parents, uid) = segment.strip_suffix(".slice")?.rsplit_once("-pod")?;
        if !parents.split('-').any(|part| part == "kubepods") {
            return None;
        }
        uid.replace('_', "-")
    };
    is_pod_uid(&uid).then_some(uid)
}

/// A UUID, or the hash that the kubelet gives a static pod.
fn is_pod_uid(uid: &str) -> bool {
    let groups: Vec<&str> = uid.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    (lengths == [8, 4, 4, 4, 12] || lengths == [32]) && groups.iter().all(|group| is_lower_hex(group))
}

/// The system unit and the user unit, by systemd's own rule: past the slices, the first group is
/// the unit.
fn units_of(piece: &[&str]) -> (Option<String>, Option<String>) {
    // crun puts what runs in a container one level below the container's scope.
    let piece = match piece {
        ["container", rest @ ..] => rest,
        _ => piece,
    };
    let mut past_slices = piece.iter().skip_while(|segment| is_slice(segment));
    let Some(unit) = past_slices.next().and_then(|segment| unit_name(segment)) else {
        return (None, None);
    };
    let mut user_unit = None;
    if unit.starts_with("user@") && unit.strip_suffix(".service").is_some() {
        let mut inner = past_slices.skip_while(|segment| is_slice(segment));
        user_unit = inner.next().and_then(|segment| unit_name(segment));
    }
    (Some(unit), user_unit)
}

fn is_slice(segment: &str) -> bool {
    segment.strip_suffix(".slice").is_some()
}

/// A segment as a unit name, if it has the suffix of a unit that holds processes.
fn unit_name(segment: &str) -> Option<String> {
    // systemd puts `_` before a name that the kernel would take for a file of its own.
    let name = segment.strip_prefix('_').unwrap_or(segment);
    let (stem, suffix) = name.rsplit_once('.')?;
    (!stem.is_empty() && matches!(suffix, "service" | "scope" | "socket" | "mount" | "swap")).then(|| name.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]
mod tests;
