//! The flag, the namespaces of this machine and of a made-up one, and a thread that goes into
//! another.

use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

#[test]
fn flag_has_four_forms() {
    let parse = |text: &str| text.parse::<NetnsFilter>();
    assert_eq!(parse("self").unwrap(), NetnsFilter::Own);
    assert_eq!(parse("all").unwrap(), NetnsFilter::All);
    assert_eq!(parse("/run/netns/blue").unwrap(), NetnsFilter::Path("/run/netns/blue".into()));
    assert_eq!(parse("./blue").unwrap(), NetnsFilter::Path("./blue".into()));
    assert_eq!(parse("4026531840").unwrap(), NetnsFilter::Inode(4_026_531_840));
    for text in ["", "blue", "0", "-1", "4294967296", "SELF", "net:[1]"] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(&format!("`{text}`")) && message.contains("/run/netns/NAME"), "{message}");
    }
}

#[test]
fn filter_means_an_inode() {
    let own = self_inode().unwrap();
    assert_eq!(NetnsFilter::Own.inode().unwrap(), Some(own));
    assert_eq!(NetnsFilter::All.inode().unwrap(), None);
    assert_eq!(NetnsFilter::Path("/proc/self/ns/net".into()).inode().unwrap(), Some(own));
    assert_eq!(NetnsFilter::Inode(7).inode().unwrap(), Some(7));
}

#[test]
fn other_files_are_no_network_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let spoof = dir.path().join("net:[4026531840]");
    std::fs::write(&spoof, "").unwrap();
    for path in [spoof.as_path(), Path::new("/proc/self/ns/pid"), Path::new("/dev/null"), dir.path()] {
        assert!(matches!(inode_of(path), Err(NetnsError::NotNetns { .. })), "{}", path.display());
    }
    assert!(matches!(inode_of(&dir.path().join("none")), Err(NetnsError::Open { .. })));
}

#[test]
fn own_namespace_is_discovered() {
    let own = self_inode().unwrap();
    assert!(discover().unwrap().iter().any(|netns| netns.inode == own));
}

#[test]
fn each_namespace_is_listed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (proc_root, named) = (dir.path().join("proc"), dir.path().join("netns"));
    for (process, link) in [("10", "net:[12]"), ("11", "net:[12]"), ("12", "net:[11]"), ("x", "net:[13]"), ("13", "?")] {
        std::fs::create_dir_all(proc_root.join(process).join("ns")).unwrap();
        symlink(link, proc_root.join(process).join("ns/net")).unwrap();
    }
    std::fs::create_dir(&named).unwrap();
    std::fs::write(named.join("stale"), "").unwrap();
    symlink("/proc/self/ns/net", named.join("blue")).unwrap();

    let found = discover_in(&proc_root, &named).unwrap();
    let inodes: Vec<u32> = found.iter().map(|netns| netns.inode).collect();
    let own = self_inode().unwrap();
    assert_eq!(inodes, [11, 12, own]);
    assert_eq!(found.iter().filter_map(|netns| netns.name.as_deref()).collect::<Vec<_>>(), ["blue"]);
}

#[test]
fn what_cannot_be_listed_is_an_error_and_not_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (proc_root, named, file) = (dir.path().join("proc"), dir.path().join("netns"), dir.path().join("file"));
    std::fs::write(&file, "").unwrap();
    std::fs::create_dir_all(&proc_root).unwrap();
    assert_eq!(discover_in(&proc_root, &named).unwrap(), []);
    assert!(matches!(discover_in(&dir.path().join("none"), &named), Err(NetnsError::List { .. })));
    assert!(matches!(discover_in(&file, &named), Err(NetnsError::List { .. })));
    assert!(matches!(discover_in(&proc_root, &file), Err(NetnsError::List { .. })));
    // A link that leads nowhere is not there; one that cannot be followed at all is an error.
    std::fs::create_dir(&named).unwrap();
    symlink("none", named.join("stale")).unwrap();
    assert_eq!(discover_in(&proc_root, &named).unwrap(), []);
    symlink("loop", named.join("loop")).unwrap();
    assert!(matches!(discover_in(&proc_root, &named), Err(NetnsError::List { .. })));
}

#[test]
fn a_path_that_changed_hands_is_noticed() {
    let path = PathBuf::from("/proc/self/ns/net");
    let netns = Netns { inode: 1, path, name: None };
    assert!(matches!(Handle::open(&netns), Err(NetnsError::Gone { wanted: 1, .. })));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN to make and enter a network namespace"]
fn closure_runs_inside_and_the_caller_stays() {
    let own = self_inode().unwrap();
    let (path, made) = make_netns();
    assert_ne!(made, own);
    assert_eq!(enter(&path, || self_inode().unwrap()).unwrap(), made);
    assert_eq!(self_inode().unwrap(), own);
}

/// A new network namespace, kept by an open file of this process, and its inode number.
fn make_netns() -> (PathBuf, u32) {
    use std::os::fd::IntoRawFd;
    thread::spawn(|| {
        // SAFETY: no file descriptor table is unshared.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let file = File::open("/proc/thread-self/ns/net").unwrap();
        let inode = nsfs_inode(&file).unwrap().unwrap();
        (PathBuf::from(format!("/proc/self/fd/{}", file.into_raw_fd())), inode)
    })
    .join()
    .unwrap()
}

proptest! {
    #[test]
    fn any_flag_is_read_without_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<NetnsFilter>();
    }

    #[test]
    fn link_text_gives_its_number(inode: u32, tail in "[^0-9]{0,3}") {
        prop_assert_eq!(parse_link(&format!("net:[{inode}]")), Some(inode));
        prop_assert_eq!(parse_link(&format!("mnt:[{inode}]")), None);
        if !tail.is_empty() {
            prop_assert_eq!(parse_link(&format!("net:[{inode}{tail}]")), None);
        }
    }
}
