//! What a virtual machine boots into: the agent, the lab's test programs, what they need, and
//! nothing else.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::kernels::Kernel;
use crate::{
    command,
    error::{Error, Result},
    programs,
    toolchain::clean,
    unpacked::Set,
    workspace::Workspace,
};

/// What the lab's scenarios call, beside busybox.
const PROGRAMS: [&str; 11] = ["ip", "ss", "nft", "sysctl", "bash", "unshare", "mount", "setpriv", "nsenter", "conntrack", "ipvsadm"];

/// What the scenarios need of the kernel that it has as modules, as far as it has them. The kernel
/// loads more by itself.
const MODULES: [&str; 24] = [
    "veth",
    "tcp_diag",
    "inet_diag",
    "nf_tables",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_ct",
    "nft_chain_nat",
    "nf_conntrack",
    "nft_counter",
    "nft_redir",
    "nft_nat",
    "nft_masq",
    "nft_tproxy",
    "nft_reject_bridge",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nf_conntrack_netlink",
    "bridge",
    "ip_vs",
    "ip_vs_rr",
    "nf_nat",
];

const INIT: &str = include_str!("init.sh");

/// One test program of the lab and, if not all of it, the tests to run.
pub struct Suite {
    pub name: String,
    pub program: PathBuf,
    pub filter: Vec<String>,
    /// A program that it starts, by the path at which it was built.
    pub starts: Option<PathBuf>,
}

/// Packs the initramfs of one kernel, and says where it is.
///
/// # Errors
///
/// When a program is missing or a file cannot be copied.
pub fn pack(workspace: &Workspace, directory: &Path, kernel: &Kernel, agent: &Path, suites: &[Suite]) -> Result<PathBuf> {
    let root = directory.join(format!("root-{}", kernel.name));
    if root.exists() {
        fs::remove_dir_all(&root).map_err(|source| Error::File { path: root.clone(), source })?;
    }
    let mut tree = Tree { workspace, root, libraries: BTreeSet::new() };
    tree.write("init", INIT.as_bytes(), 0o755)?;
    tree.write("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)?;
    tree.program(&program(workspace, "busybox")?, "bin/busybox")?;
    for name in PROGRAMS {
        tree.program(&program(workspace, name)?, &format!("usr/bin/{name}"))?;
    }
    tree.program(agent, "usr/bin/rstblame")?;
    for suite in suites {
        tree.program(&suite.program, &format!("tests/{}", suite.name))?;
        tree.write(&format!("filters/{}", suite.name), suite.filter.join(" ").as_bytes(), 0o644)?;
        if let Some(starts) = &suite.starts {
            let place = starts.strip_prefix("/").unwrap_or(starts);
            tree.program(starts, &place.to_string_lossy())?;
        }
    }
    tree.modules(kernel)?;
    let image = directory.join(format!("{}.cpio.gz", kernel.name));
    // The names go to cpio in order, so that the same files give the same archive.
    let script = "find . | LC_ALL=C sort | cpio --quiet -o -H newc --owner 0:0 | gzip -1n > \"$0\"";
    command::run(workspace.tool("sh").args(["-c", script]).arg(&image).current_dir(&tree.root))?;
    fs::remove_dir_all(&tree.root).map_err(|source| Error::File { path: tree.root.clone(), source })?;
    Ok(image)
}

struct Tree<'a> {
    workspace: &'a Workspace,
    root: PathBuf,
    /// Copied already.
    libraries: BTreeSet<PathBuf>,
}

impl Tree<'_> {
    fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.place(name)?;
        let written = fs::write(&path, content).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        written.map_err(|source| Error::File { path, source })
    }

    fn copy(&self, from: &Path, name: &str) -> Result<()> {
        let to = self.place(name)?;
        fs::copy(from, &to).map_err(|source| Error::File { path: from.to_owned(), source })?;
        Ok(())
    }

    /// Copies a program without its debug information, and the libraries it is linked to.
    fn program(&mut self, from: &Path, name: &str) -> Result<()> {
        let to = self.place(name)?;
        command::run(self.workspace.tool("strip").args(["--strip-debug", "-o"]).arg(&to).arg(from))?;
        let set = Set::of(self.workspace, from);
        let beside = set.as_ref().map(|set| ("LD_LIBRARY_PATH", set.library_path()));
        // It fails for a program that is linked to nothing.
        let listed = command::output(clean("ldd").arg(from).envs(beside)).unwrap_or_default();
        for library in libraries(&listed) {
            if self.libraries.insert(library.clone()) {
                // What was unpacked is in the guest where it would be if it were installed.
                let place = set.as_ref().and_then(|set| set.installed(&library)).or_else(|| library.strip_prefix("/").ok());
                let name = place.unwrap_or(&library).to_string_lossy().into_owned();
                self.copy(&library, &name)?;
            }
        }
        Ok(())
    }

    /// Copies the modules that are wanted and those they depend on, unpacked.
    fn modules(&self, kernel: &Kernel) -> Result<()> {
        let base = format!("lib/modules/{}", kernel.release);
        // depmod looks for them in lib/modules below what it is told.
        let lib = self.root.join("lib");
        fs::create_dir_all(&lib).map_err(|source| Error::File { path: lib, source })?;
        let all = dependencies(self.workspace, kernel)?;
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        for (file, needs) in &all {
            if MODULES.contains(&module_name(file)) {
                wanted.insert(file);
                wanted.extend(needs.iter().map(String::as_str));
            }
        }
        for file in wanted {
            let from = kernel.modules.join(file);
            let plain = file.strip_suffix(".xz").unwrap_or(file);
            let to = self.place(&format!("{base}/{plain}"))?;
            if plain == file {
                fs::copy(&from, &to).map_err(|source| Error::File { path: from, source })?;
            } else {
                command::run(self.workspace.tool("sh").args(["-c", "xz -dc \"$0\" > \"$1\""]).arg(&from).arg(&to))?;
            }
        }
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            let from = kernel.modules.join(list);
            if from.is_file() {
                self.copy(&from, &format!("{base}/{list}"))?;
            }
        }
        command::run(self.workspace.tool("depmod").arg("-b").arg(&self.root).arg(&kernel.release))
    }

    /// Where a file of the guest goes; its directory is there.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| Error::File { path: parent.to_owned(), source })?;
        }
        Ok(path)
    }
}

/// Each module's file and the files it depends on, as depmod finds them.
fn dependencies(workspace: &Workspace, kernel: &Kernel) -> Result<Vec<(String, Vec<String>)>> {
    // depmod looks for lib/modules below what it is told, whatever side of a merged /usr they are
    // on.
    let root = kernel.modules.ancestors().nth(3).unwrap_or(&kernel.modules);
    command::run(workspace.tool("depmod").arg("-b").arg(root).arg(&kernel.release))?;
    let path = kernel.modules.join("modules.dep");
    let text = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    Ok(text.lines().filter_map(|line| line.split_once(':')).map(|(file, needs)| (file.to_owned(), words(needs))).collect())
}

/// The name of the module in a file: `kernel/drivers/net/veth.ko.xz` is `veth`.
fn module_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name)
}

/// The files that `ldd` names; none for a static program.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    listed.lines().filter_map(path).collect()
}

fn program(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let listed = programs::of_the_lab(name).and_then(|program| programs::find(workspace, program));
    let found = listed.or_else(|| super::find(workspace, name)).or_else(|| programs::on_path(name));
    found.ok_or_else(|| Error::MissingPrograms(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_absolute_paths() {
        let listed =
            "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(libraries(listed), [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
        assert!(libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn modules_have_the_names_of_their_files() {
        assert_eq!(module_name("kernel/drivers/net/veth.ko.xz"), "veth");
        assert_eq!(module_name("kernel/net/netfilter/nf_tables.ko"), "nf_tables");
    }
}
