//! The root file system of a Debian 13, with the broker and the proxy of that release, for
//! scenarios that ask for them.
//!
//! It is made of unpacked packages, and nothing of it was ever installed: it is for `chroot`, and
//! has no services, users or settings but what those programs look for.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{
    apt::{Archive, imagined},
    error::{Error, Result},
    unpacked,
    workspace::Workspace,
};

/// The suite, and what it is there for. `?essential` is what every Debian has.
const SUITE: &str = "trixie";
const PACKAGES: [&str; 3] = ["?essential", "rabbitmq-server", "haproxy"];

/// What maintainer scripts would have made of files that packages bring.
const COPIES: [(&str, &str); 2] =
    [("usr/share/base-passwd/passwd.master", "etc/passwd"), ("usr/share/base-passwd/group.master", "etc/group")];
const FILES: [(&str, &str); 2] =
    [("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"), ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")];
const LINKS: [(&str, &str); 2] = [("mawk", "usr/bin/awk"), ("which.debianutils", "usr/bin/which")];

/// Written last.
const WHOLE: &str = ".whole";

/// The name of what runs a program in it.
const STARTER: &str = "trixie";

/// Where it is, if it is there.
pub fn find(workspace: &Workspace) -> Option<PathBuf> {
    Some(root(workspace)).filter(|root| root.join(WHOLE).is_file())
}

fn root(workspace: &Workspace) -> PathBuf {
    workspace.target.join("lab/trixie")
}

/// Makes it, if it is not there.
///
/// # Errors
///
/// When there is no archive of Debian's, or it cannot be fetched or unpacked.
pub fn setup(workspace: &Workspace) -> Result<()> {
    if find(workspace).is_some() {
        return Ok(());
    }
    println!("setup: scenarios of newer programs need Debian 13: unpacking its RabbitMQ and HAProxy into {}", root(workspace).display());
    let (root, downloads) = (root(workspace), workspace.target.join("lab/apt").join(SUITE));
    unpacked::remove(&root)?;
    let packages = Archive::open(workspace, &downloads, [SUITE].into_iter())?.fetch(&PACKAGES)?;
    unpacked::merge(&root)?;
    imagined::unpack(&packages, &root)?;
    furnish(&root).map_err(|source| Error::File { path: root.clone(), source })?;
    let starter = workspace.starters().join(STARTER);
    fs::create_dir_all(workspace.starters())
        .and_then(|()| fs::write(&starter, script(&root, &workspace.target)))
        .and_then(|()| fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::write(root.join(WHOLE), ""))
        .map_err(|source| Error::File { path: starter, source })?;
    unpacked::remove(&downloads)
}

fn furnish(root: &Path) -> std::io::Result<()> {
    for (from, to) in COPIES {
        fs::copy(root.join(from), root.join(to))?;
    }
    for (from, to) in LINKS {
        if !root.join(to).exists() {
            symlink(from, root.join(to))?;
        }
    }
    FILES.iter().try_for_each(|(name, text)| fs::write(root.join(name), text))
}

/// Runs a program in it: `trixie PROGRAM ARGUMENTS`. What is mounted for it is seen by that program
/// alone and gone with it. The target directory is at the same place as outside.
fn script(root: &Path, target: &Path) -> String {
    format!(
        "#!/bin/sh\n# Made by `cargo xtask setup`: runs a program in a Debian 13. It has to be root.\n\
         exec unshare --mount --propagation private sh -euc '\n\
         root=$1 target=$2\nshift 2\n\
         mkdir -p \"$root$target\"\n\
         mount -t proc proc \"$root/proc\"\nmount --rbind /dev \"$root/dev\"\nmount --bind /tmp \"$root/tmp\"\nmount --bind \"$target\" \"$root$target\"\n\
         exec chroot \"$root\" \"$@\"\n' trixie '{}' '{}' \"$@\"\n",
        root.display(),
        target.display()
    )
}
