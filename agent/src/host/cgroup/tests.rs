//! Paths as systemd, the container engines and the kubelet make them, and any text at all.

use proptest::prelude::*;

use super::*;

const A: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const B: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const UID: &str = "f1e2d3c4-1234-4abc-9def-0123456789ab";
const UID_: &str = "f1e2d3c4_1234_4abc_9def_0123456789ab";
const STATIC: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// What a path should say; nothing but what is added.
fn nothing() -> CgroupFacts {
    CgroupFacts::default()
}

fn container(id: &str, runtime: impl Into<Option<Runtime>>) -> CgroupFacts {
    let runtime = runtime.into();
    CgroupFacts { container: Some(Container { id: id.to_owned(), runtime }), ..nothing() }
}

fn unit(name: &str) -> CgroupFacts {
    nothing().unit(name)
}

impl CgroupFacts {
    fn unit(self, name: &str) -> Self {
        Self { systemd_unit: Some(name.to_owned()), ..self }
    }

    fn user_unit(self, name: &str) -> Self {
        Self { systemd_user_unit: Some(name.to_owned()), ..self }
    }

    fn pod(self, uid: &str) -> Self {
        Self { k8s_pod_uid: Some(uid.to_owned()), ..self }
    }
}

fn check<const N: usize>(cases: [(String, CgroupFacts); N]) {
    for (path, wanted) in cases {
        let facts = parse(&format!("0::{path}\n")).unwrap();
        assert_eq!(facts, CgroupFacts { path, ..wanted });
    }
}

#[test]
fn systemd_paths() {
    let user = "/user.slice/user-1000.slice";
    check([
        ("/".into(), nothing()),
        ("/../../..".into(), nothing()),
        ("/some/group".into(), nothing()),
        ("/init.scope".into(), unit("init.scope")),
        ("/system.slice/rabbitmq-server.service".into(), unit("rabbitmq-server.service")),
        ("/system.slice/rabbitmq-server.service/a/b".into(), unit("rabbitmq-server.service")),
        (r"/system.slice/system-mq.slice/mq@node\x2d1.service".into(), unit(r"mq@node\x2d1.service")),
        ("/system.slice/_tasks.service".into(), unit("tasks.service")),
        // A unit is what comes first past the slices, not any name further down.
        ("/custom/rabbitmq-server.service".into(), nothing()),
        (format!("{user}/session-3.scope"), unit("session-3.scope")),
        (format!("{user}/user@1000.service/app.slice/mq.service"), unit("user@1000.service").user_unit("mq.service")),
        (format!("{user}/user@1000.service/init.scope"), unit("user@1000.service").user_unit("init.scope")),
    ]);
}

#[test]
fn container_paths() {
    use Runtime::{Containerd, Docker, Lxc, Podman};
    let user = "/user.slice/user-1000.slice/user@1000.service";
    let monitor = format!("libpod-conmon-{A}.scope");
    check([
        (format!("/docker/{A}"), container(A, Docker)),
        (format!("/system.slice/docker-{A}.scope"), container(A, Docker)),
        (format!("/../../docker/{A}"), container(A, Docker)),
        (format!("/docker/{A}/docker/{B}"), container(B, Docker)),
        (format!("/docker/{A}/system.slice/a.service"), container(A, Docker).unit("a.service")),
        // Someone's own parent group: an id, and no way to tell whose.
        (format!("/ci/{A}"), container(A, None)),
        (format!("/system.slice/nerdctl-{A}.scope"), container(A, Containerd)),
        (format!("/machine.slice/libpod-{A}.scope"), container(A, Podman)),
        (format!("/machine.slice/libpod-{A}.scope/container/system.slice/a.service"), container(A, Podman).unit("a.service")),
        (format!("/system.slice/mq.service/libpod-payload-{A}"), container(A, Podman).unit("mq.service")),
        (format!("{user}/user.slice/libpod-{A}.scope/container"), container(A, Podman).unit("user@1000.service")),
        // The monitor of a container runs outside of it.
        (format!("/machine.slice/{monitor}"), unit(&monitor)),
        ("/lxc.payload.web/system.slice/a.service".into(), container("web", Lxc).unit("a.service")),
        // Not an id: too short, too long, upper case.
        ("/system.slice/docker-0123abcd.scope".into(), unit("docker-0123abcd.scope")),
        (format!("/docker/{A}0"), nothing()),
        (format!("/docker/{}", A.to_uppercase()), nothing()),
    ]);
}

#[test]
fn kubernetes_paths() {
    use Runtime::{Containerd, CriO, Docker};
    let pod_slice = format!("kubepods-burstable-pod{UID_}.slice");
    let burstable = format!("/kubepods.slice/kubepods-burstable.slice/{pod_slice}");
    check([
        (format!("/kubepods/burstable/pod{UID}/{A}"), container(A, None).pod(UID)),
        (format!("/kubepods/pod{UID}/{A}"), container(A, None).pod(UID)),
        (format!("/kubepods/besteffort/pod{STATIC}"), nothing().pod(STATIC)),
        (format!("/elsewhere/pod{UID}"), nothing()),
        ("/kubepods/burstable/pod-of-whales".into(), nothing()),
        (format!("{burstable}/cri-containerd-{A}.scope"), container(A, Containerd).pod(UID)),
        (format!("{burstable}/crio-{A}.scope/container"), container(A, CriO).pod(UID)),
        (format!("/kubepods.slice/kubepods-pod{STATIC}.slice/docker-{A}.scope"), container(A, Docker).pod(STATIC)),
        (
            format!("/system.slice/containerd.service/{pod_slice}:cri-containerd:{A}"),
            container(A, Containerd).pod(UID).unit("containerd.service"),
        ),
        // kind: a node is a container of the host, and pods run in it.
        (
            format!(
                "/system.slice/docker-{A}.scope/kubelet.slice/kubelet-kubepods.slice/\
                 kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{UID_}.slice/\
                 cri-containerd-{B}.scope"
            ),
            container(B, Containerd).pod(UID),
        ),
        (format!("/docker/{A}/kubelet/kubepods/besteffort/pod{UID}/{B}"), container(B, None).pod(UID)),
    ]);
}

#[test]
fn version_1_lines_agree() {
    let text = format!("12:pids:/docker/{A}\n4:cpu,cpuacct:/docker/{A}\n1:name=systemd:/docker/{A}\n");
    let container = parse(&text).unwrap().container.unwrap();
    assert_eq!((container.id.as_str(), container.runtime), (A, Some(Runtime::Docker)));
}

#[test]
fn hybrid_facts_come_from_one_line() {
    let text = format!("3:memory:/docker/{A}\n1:name=systemd:/docker/{A}\n0::/system.slice/docker.service\n");
    let facts = parse(&text).unwrap();
    assert_eq!(facts.container.unwrap().id, A);
    assert_eq!(facts.systemd_unit, None);

    let text = "3:memory:/own/limit\n1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n";
    assert_eq!(parse(text).unwrap().systemd_unit.as_deref(), Some("a.service"));

    // The order of the lines says nothing.
    let text = "0::/system.slice/b.service\n1:name=systemd:/system.slice/a.service\n";
    assert_eq!(parse(text).unwrap().systemd_unit.as_deref(), Some("a.service"));

    let text = "4:memory:/own/limit\n1:name=systemd:/\n0::/\n";
    assert_eq!(parse(text).unwrap().path, "/own/limit");
}

#[test]
fn removed_group_keeps_its_name() {
    let facts = parse("0::/system.slice/cron.service (deleted)\n").unwrap();
    assert_eq!(facts.systemd_unit.as_deref(), Some("cron.service"));
    assert_eq!(facts.path, "/system.slice/cron.service");
}

#[test]
fn text_that_is_not_a_cgroup_file() {
    for text in ["", "\n", "nonsense", "0::", "0::relative", "x:y:/path", "::/path"] {
        assert_eq!(parse(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[ -~\n]{0,300}") {
        let _ = parse(&text);
    }

    /// Whatever groups stand around it, the scope of an engine names its container and its engine.
    #[test]
    fn scope_is_found_at_any_depth(
        id in "[0-9a-f]{64}",
        above in prop::collection::vec("[a-z]{1,8}\\.slice", 0..4),
        below in prop::collection::vec("[a-z]{1,8}", 0..3),
        engine in prop::sample::select(vec![
            ("docker", Runtime::Docker), ("cri-containerd", Runtime::Containerd),
            ("crio", Runtime::CriO), ("libpod", Runtime::Podman),
        ]),
    ) {
        let (prefix, runtime) = engine;
        let mut segments = above;
        segments.push(format!("{prefix}-{id}.scope"));
        segments.extend(below);
        let facts = parse(&format!("0::/{}\n", segments.join("/"))).unwrap();
        prop_assert_eq!(facts.container, Some(Container { id, runtime: Some(runtime) }));
    }

    /// No container and no pod where no segment holds an id: nothing is made up.
    #[test]
    fn nothing_is_guessed(segments in prop::collection::vec("[g-z.:-]{1,80}", 0..6)) {
        let facts = parse(&format!("0::/{}\n", segments.join("/"))).unwrap();
        prop_assert_eq!(facts.container.filter(|c| c.runtime != Some(Runtime::Lxc)), None);
        prop_assert_eq!(facts.k8s_pod_uid, None);
    }
}
