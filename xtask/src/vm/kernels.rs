//! Kernels of Debian's, fetched without touching what this machine has installed or where it
//! installs from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    apt::Archive,
    command,
    error::{Error, Result},
    toolchain::clean,
    workspace::Workspace,
};

/// The package that depends on the newest kernel of a suite built for virtual machines: small, with
/// their drivers built in.
const NEWEST: &str = "linux-image-cloud-amd64";

/// A line of kernels, and the suites of Debian that have it.
struct Line {
    name: &'static str,
    suites: &'static [&'static str],
    lacks: &'static [&'static str],
}

/// What kernels before Linux 6.10 do not give, by the names of the agent's `coverage`.
const BEFORE_REASONS: &[&str] = &["kernel_reason", "netfilter_rejects", "resets_without_socket"];

const LINES: [Line; 4] = [
    Line { name: "5.10", suites: &["bullseye"], lacks: BEFORE_REASONS },
    Line { name: "6.1", suites: &["bookworm"], lacks: BEFORE_REASONS },
    Line { name: "6.12", suites: &["bookworm-backports", "trixie"], lacks: &[] },
    Line { name: "newest", suites: &["trixie-backports", "sid"], lacks: &[] },
];

/// One kernel, unpacked.
#[derive(Debug)]
pub struct Kernel {
    /// The line it was asked for by.
    pub name: &'static str,
    /// As `uname -r` tells it.
    pub release: String,
    /// Sources of evidence that it does not give; all others have to be active.
    pub lacks: &'static [&'static str],
    /// The bootable image.
    pub image: PathBuf,
    /// Its modules, `.../lib/modules/RELEASE`.
    pub modules: PathBuf,
}

/// The kernels of these lines, or of all of them, newest last.
///
/// # Errors
///
/// [`Error::Kernel`] for a line that is not there, or that the archive does not have; when
/// something cannot be fetched or unpacked.
pub fn fetch(workspace: &Workspace, directory: &Path, wanted: &[String]) -> Result<Vec<Kernel>> {
    if let Some(unknown) = wanted.iter().find(|name| LINES.iter().all(|line| line.name != name.as_str())) {
        let known = LINES.map(|line| line.name).join(", ");
        return Err(Error::Kernel { name: unknown.clone(), problem: format!("not one of {known}") });
    }
    let shelf = Shelf::open(workspace, directory)?;
    let lines = LINES.iter().filter(|line| wanted.is_empty() || wanted.iter().any(|name| name == line.name));
    lines.map(|line| shelf.kernel(line)).collect()
}

/// Where they come from, and where they are unpacked.
struct Shelf {
    archive: Archive,
    directory: PathBuf,
}

impl Shelf {
    fn open(workspace: &Workspace, directory: &Path) -> Result<Self> {
        let path = directory.join("debs");
        fs::create_dir_all(&path).map_err(|source| Error::File { path, source })?;
        let suites = LINES.iter().flat_map(|line| line.suites).copied();
        Ok(Self { archive: Archive::open(workspace, directory, suites)?, directory: directory.to_owned() })
    }

    fn kernel(&self, line: &Line) -> Result<Kernel> {
        let missing = |problem: &str| Error::Kernel { name: line.name.to_owned(), problem: problem.to_owned() };
        let versions = command::output(self.archive.apt("apt-cache").args(["madison", NEWEST]))?;
        let version = newest(&versions, line.suites).ok_or_else(|| missing("the archive this machine installs from does not have it"))?;
        let shown = command::output(self.archive.apt("apt-cache").args(["show", &format!("{NEWEST}={version}")]))?;
        let release = release(&shown).ok_or_else(|| missing("its package names no image"))?;
        let root = self.directory.join(&release);
        if !root.is_dir() {
            self.unpack(&release, version, &root)?;
        }
        // Since trixie the modules are in /usr, and the image is beside them.
        let modules = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place).join(&release));
        let modules = modules.into_iter().find(|place| place.is_dir()).ok_or_else(|| missing("its packages have no modules"))?;
        let images = [root.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let image = images.into_iter().find(|place| place.is_file()).ok_or_else(|| missing("its packages have no image"))?;
        Ok(Kernel { name: line.name, lacks: line.lacks, release, image, modules })
    }

    /// The image and, where they are packages of their own, the binary and the modules.
    fn unpack(&self, release: &str, version: &str, root: &Path) -> Result<()> {
        println!("setup: fetching Linux {release}: the agent is tested on it in a virtual machine");
        // Only what is whole gets its name.
        let partial = root.with_extension("partial");
        for part in ["image", "binary", "modules"] {
            let package = format!("linux-{part}-{release}={version}");
            let debs = self.directory.join("debs");
            let fetched = self.archive.apt("apt-get").args(["download", "--quiet=2", &package]).current_dir(&debs).output();
            let fetched = fetched.map_err(|source| Error::Start { command: "apt-get download".to_owned(), source })?;
            if fetched.status.success() {
                let prefix = format!("linux-{part}-{release}_");
                let files = fs::read_dir(&debs).map_err(|source| Error::File { path: debs.clone(), source })?;
                for file in files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with(&prefix)) {
                    command::run(clean("dpkg-deb").arg("-x").arg(file.path()).arg(&partial))?;
                    fs::remove_file(file.path()).map_err(|source| Error::File { path: file.path(), source })?;
                }
            } else if part == "image" {
                return Err(Error::Failed { command: format!("apt-get download {package}"), status: fetched.status });
            }
        }
        fs::rename(&partial, root).map_err(|source| Error::File { path: partial, source })
    }
}

/// The newest version of those that `apt-cache madison` lists for these suites; it lists the newest
/// first.
fn newest<'a>(madison: &'a str, suites: &[&str]) -> Option<&'a str> {
    madison.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim).skip(1);
        let (version, source) = (columns.next()?, columns.next()?);
        suites.iter().any(|suite| source.contains(&format!(" {suite}/"))).then_some(version)
    })
}

/// What `uname -r` will be, by the image that the package depends on.
fn release(shown: &str) -> Option<String> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let image = depends.split([' ', ',']).find_map(|word| word.strip_prefix("linux-image-"))?;
    Some(image.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_the_suites_that_count() {
        let madison = "\
linux-image-cloud-amd64 | 7.3.4-1~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages
linux-image-cloud-amd64 |   7.2.13-1 | http://mirror/debian sid/main amd64 Packages
linux-image-cloud-amd64 |  6.1.176-1 | http://mirror/debian bookworm/main amd64 Packages
";
        assert_eq!(newest(madison, &["sid", "trixie-backports"]), Some("7.3.4-1~bpo13+1"));
        assert_eq!(newest(madison, &["bookworm"]), Some("6.1.176-1"));
        assert_eq!(newest(madison, &["bookworm-backports"]), None);
    }

    #[test]
    fn the_release_is_in_the_name_of_the_image() {
        let shown = "Package: x\nDepends: linux-base-cloud-amd64 (= 7.2), linux-image-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)\n";
        assert_eq!(release(shown).as_deref(), Some("7.2.13+deb14-cloud-amd64"));
        assert_eq!(release("Package: x\n"), None);
    }
}
