//! Packages that are unpacked under the target directory and run from there: nothing that only
//! tests and demo drive is installed.
//!
//! Each has a directory of its own with all that it needs and this machine lacks. A starter in a
//! directory for the search path runs a program of it with the libraries beside it.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{
    apt::{Apt, imagined},
    error::{Error, Result},
    workspace::Workspace,
};

/// Where packages put programs.
const PLACES: [&str; 2] = ["usr/sbin", "usr/bin"];

/// Where packages put libraries, at most two directories deeper.
const LIBRARIES: &str = "usr/lib";

/// The directories that are links into /usr; packages of before that are unpacked through them.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// What a program looks for at a fixed place unless a variable says where it is.
const SETTINGS: [(&str, &str); 2] = [("etc/ssl/openssl.cnf", "OPENSSL_CONF"), ("usr/share/debootstrap", "DEBOOTSTRAP_DIR")];

/// Lists the packages of a set; written last.
const WHOLE: &str = ".unpacked";

/// The directory that the scripts of Erlang name as their own.
const ERLANG: &str = "usr/lib/erlang";

/// Packages that belong together, unpacked or not.
#[derive(Debug)]
pub struct Set {
    root: PathBuf,
    packages: Vec<&'static str>,
}

impl Set {
    /// The set of these packages, whose names blanks part; it has the name of the first.
    pub fn new(workspace: &Workspace, packages: &'static str) -> Self {
        let packages: Vec<_> = packages.split_whitespace().collect();
        Self { root: workspace.unpacked().join(packages.first().copied().unwrap_or_default()), packages }
    }

    /// The set that a file is in; `None` for one of this machine's.
    pub fn of(workspace: &Workspace, path: &Path) -> Option<Self> {
        let all = workspace.unpacked();
        let name = path.strip_prefix(&all).ok()?.components().next()?;
        Some(Self { root: all.join(name), packages: Vec::new() })
    }

    /// Where it is, or will be.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is unpacked, and whole.
    pub fn is_there(&self) -> bool {
        self.root.join(WHOLE).is_file()
    }

    /// Fetches and unpacks it.
    ///
    /// # Errors
    ///
    /// When apt-get or dpkg fails, or a file cannot be written.
    pub fn fetch(&self, workspace: &Workspace, apt: &mut Apt) -> Result<()> {
        let first = self.packages.first().copied().unwrap_or_default();
        let (downloads, partial) = (workspace.target.join("lab/apt").join(first), self.root.with_extension("partial"));
        // What an interrupted set-up left is begun anew.
        for directory in [&downloads, &partial] {
            remove(directory)?;
            fs::create_dir_all(directory).map_err(failed(directory))?;
        }
        let packages = apt.fetch(&self.packages, &downloads)?;
        merge(&partial)?;
        imagined::unpack(&packages, &partial)?;
        relink(&partial, &partial)?;
        remove(&self.root)?;
        fs::rename(&partial, &self.root).map_err(failed(&self.root))?;
        self.move_erlang()?;
        let names: Vec<_> = packages.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy() + "\n").collect();
        fs::write(self.root.join(WHOLE), names.concat()).map_err(failed(&self.root))?;
        remove(&downloads)
    }

    /// A file of it, by its name or by where Debian has it (`/usr/lib/...`).
    pub fn locate(&self, name: &str) -> Option<PathBuf> {
        if let Some(place) = name.strip_prefix('/') {
            return Some(self.root.join(place)).filter(|path| path.is_file());
        }
        PLACES.iter().map(|place| self.root.join(place).join(name)).find(|path| path.is_file())
    }

    /// A file of a directory, which is named as on a machine where it is installed.
    pub fn find_below(&self, directory: &str, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
        let entries = fs::read_dir(self.root.join(directory.trim_start_matches('/'))).ok()?;
        entries.flatten().find(|entry| is_it(&entry.file_name().to_string_lossy())).map(|entry| entry.path())
    }

    /// The directories of its libraries, as the loader takes them; empty where there are none.
    pub fn library_path(&self) -> String {
        let mut found = Vec::new();
        libraries_below(&self.root.join(LIBRARIES), 2, &mut found);
        found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
    }

    /// What of a path in it is the path on a machine where it is installed.
    pub fn installed<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.root).ok()
    }

    /// The script that runs a program of it.
    fn starter(&self, program: &Path) -> String {
        let libraries = Some(self.library_path()).filter(|path| !path.is_empty()).map(|path| ("LD_LIBRARY_PATH", path));
        let found = SETTINGS.iter().map(|(file, variable)| (*variable, self.root.join(file))).filter(|(_, path)| path.exists());
        let settings = libraries.into_iter().chain(found.map(|(variable, path)| (variable, path.display().to_string())));
        let settings: String =
            settings.flat_map(|(variable, value)| ["export ", variable, "='", &value, "'\n"].map(str::to_owned)).collect();
        format!("#!/bin/sh\n# Made by `cargo xtask setup`.\n{settings}exec '{}' \"$@\"\n", program.display())
    }

    /// Erlang's scripts have the place of its installation written into them.
    fn move_erlang(&self) -> Result<()> {
        let (from, to) = (format!("/{ERLANG}"), self.root.join(ERLANG));
        let Ok(entries) = fs::read_dir(&to) else { return Ok(()) };
        let folders = entries.flatten().map(|entry| entry.path().join("bin")).chain([to.join("bin")]);
        for file in folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten().map(|entry| entry.path()) {
            // Programs are not text.
            if let Ok(text) = fs::read_to_string(&file)
                && text.contains(&from)
                && !file.is_symlink()
            {
                fs::write(&file, text.replace(&from, &to.to_string_lossy())).map_err(failed(&file))?;
            }
        }
        Ok(())
    }
}

/// Puts a starter for a program of a set into the search path.
///
/// # Errors
///
/// When it cannot be written.
pub fn start(workspace: &Workspace, name: &str, set: &Set, program: &Path) -> Result<()> {
    let Some(path) = starter(workspace, name) else { return Ok(()) };
    let text = set.starter(program);
    // One that is running is left alone.
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let written = fs::create_dir_all(workspace.starters()).and_then(|()| fs::write(&path, text));
    written.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755))).map_err(failed(&path))
}

/// Takes the starter of a program that this machine has itself out of the search path.
///
/// # Errors
///
/// When it cannot be removed.
pub fn stop(workspace: &Workspace, name: &str) -> Result<()> {
    let Some(path) = starter(workspace, name) else { return Ok(()) };
    match fs::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::File { path, source }),
        _ => Ok(()),
    }
}

/// The starter of this name. What is named by its place on a machine has none: to join that place
/// to a directory gives a file of the machine's.
fn starter(workspace: &Workspace, name: &str) -> Option<PathBuf> {
    (!name.contains('/')).then(|| workspace.starters().join(name))
}

/// Makes the links of a new root into its /usr, as they are on the machine: a directory in their
/// place would hide the machine's under an overlay.
///
/// # Errors
///
/// When they cannot be made.
pub fn merge(root: &Path) -> Result<()> {
    let made = MERGED.iter().try_for_each(|name| {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), root.join(name))
    });
    made.map_err(failed(root))
}

/// Points the absolute links of a tree below `root` to what is in it, as they would be after a
/// `chroot`.
fn relink(root: &Path, directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(failed(directory))?.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            relink(root, &path)?;
        } else if kind.is_symlink()
            && let Ok(to) = fs::read_link(&path)
            && let Ok(inside) = to.strip_prefix("/")
        {
            let depth = directory.strip_prefix(root).map_or(0, |below| below.components().count());
            let relative = ["..".into()].into_iter().cycle().take(depth).chain([inside.to_owned()]).collect::<PathBuf>();
            fs::remove_file(&path).and_then(|()| symlink(relative, &path)).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Collects the directories, `depth` below this one at most, that have shared libraries.
fn libraries_below(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let is_library = |name: &str| name.starts_with("lib") && name.contains(".so");
    if entries.iter().any(|entry| is_library(&entry.file_name().to_string_lossy())) {
        found.push(directory.to_owned());
    }
    for entry in entries {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            libraries_below(&entry.path(), depth - 1, found);
        }
    }
}

/// Removes a directory and all that is in it, if it is there.
///
/// # Errors
///
/// When it cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::File { path: directory.to_owned(), source }),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    /// A set in a directory of its own, removed with it.
    struct Trial(Set);

    impl Trial {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("rstblame-{name}-{}", std::process::id()));
            remove(&root).unwrap();
            Self(Set { root, packages: vec!["package"] })
        }

        fn file(&self, name: &str, text: &str) {
            let path = self.0.root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Trial {
        fn drop(&mut self) {
            // Nothing depends on it.
            let _gone = fs::remove_dir_all(&self.0.root);
        }
    }

    #[test]
    fn what_has_a_place_on_the_machine_has_no_starter() {
        let place = std::env::temp_dir();
        let workspace = Workspace { root: place.clone(), target: place, host: String::new(), cargo: "cargo".into() };
        assert!(starter(&workspace, "/usr/lib/nginx/modules/ngx_stream_module.so").is_none());
        assert!(starter(&workspace, "haproxy").unwrap().starts_with(&workspace.target));
    }

    #[test]
    fn absolute_links_stay_inside() {
        let trial = Trial::new("links");
        let root = &trial.0.root;
        merge(root).unwrap();
        trial.file("bin/kmod", "program");
        trial.file("usr/sbin/x", "");
        symlink("/bin/kmod", root.join("usr/sbin/depmod")).unwrap();
        symlink("x", root.join("usr/sbin/y")).unwrap();
        relink(root, root).unwrap();
        assert_eq!(fs::read_link(root.join("usr/sbin/depmod")).unwrap(), Path::new("../../bin/kmod"));
        assert_eq!(fs::read_link(root.join("usr/sbin/y")).unwrap(), Path::new("x"));
        assert_eq!(trial.0.locate("depmod"), Some(root.join("usr/sbin/depmod")));
        assert_eq!(trial.0.locate("/bin/kmod"), Some(root.join("bin/kmod")));
        assert_eq!(trial.0.locate("nothing"), None);
    }

    #[test]
    fn a_starter_knows_its_libraries_and_settings() {
        let trial = Trial::new("starter");
        trial.file("usr/lib/x86_64-linux-gnu/libx.so.1", "");
        trial.file("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared.so", "");
        trial.file("usr/lib/a/b/c/libdeep.so", "");
        trial.file("etc/ssl/openssl.cnf", "");
        let root = trial.0.root.display();
        let text = trial.0.starter(Path::new("/p/openssl"));
        assert_eq!(
            text,
            format!(
                "#!/bin/sh\n# Made by `cargo xtask setup`.\n\
                 export LD_LIBRARY_PATH='{root}/usr/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu/systemd'\n\
                 export OPENSSL_CONF='{root}/etc/ssl/openssl.cnf'\nexec '/p/openssl' \"$@\"\n"
            )
        );
    }

    #[test]
    fn erlang_finds_itself_where_it_was_unpacked() {
        let trial = Trial::new("erlang");
        trial.file("usr/lib/erlang/bin/erl", "ROOTDIR=/usr/lib/erlang\n");
        trial.file("usr/lib/erlang/erts-13/bin/start", "ROOTDIR=/usr/lib/erlang\n");
        trial.0.move_erlang().unwrap();
        for name in ["bin/erl", "erts-13/bin/start"] {
            let place = trial.0.root.join(ERLANG);
            assert_eq!(fs::read_to_string(place.join(name)).unwrap(), format!("ROOTDIR={}\n", place.display()));
        }
    }
}
