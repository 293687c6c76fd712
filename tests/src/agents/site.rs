//! Where a daemon of the lab lives: a host, a directory, a configuration, and small disks that run
//! full.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use crate::{
    LabError, Result,
    command::run,
    hosts::net::{Host, lone_host},
    peers::peer,
    workspace,
};

/// One host, a directory of its own that begins empty, and the configuration in it.
#[derive(Debug)]
pub struct Site {
    directory: PathBuf,
    /// What the daemon watches.
    pub host: Host,
}

/// Settings that have every reset written one by one, however many there are.
pub const WHOLE: &str = "[flood]\nfold_above = 0\nkernel_budget = 0\n";

impl Site {
    /// A host with a directory of this name among the artefacts.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`], or as [`lone_host`].
    pub fn new(name: &str) -> Result<Self> {
        let directory = workspace::artefacts()?.join(name);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LabError::io("empty the test's directory", error)),
            _ => {}
        }
        fs::create_dir_all(&directory).map_err(|error| LabError::io("make the test's directory", error))?;
        Ok(Self { directory, host: lone_host()? })
    }

    /// A file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes the configuration: what happens on this host, standard output, which the lab reads,
    /// and more.
    ///
    /// # Errors
    ///
    /// As [`Site::write`].
    pub fn configure(&self, ports: &str, more: &str) -> Result<PathBuf> {
        self.write(&format!(
            "settle = \"100ms\"\n{WHOLE}[filter]\nports = {ports}\nnetns = \"{}\"\n[[sink]]\ntype = \"stdout\"\n{more}",
            self.host.path().display()
        ))
    }

    /// Writes a configuration as it is.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn write(&self, text: &str) -> Result<PathBuf> {
        let path = self.path("rstblame.toml");
        fs::write(&path, text).map_err(|error| LabError::io("write the configuration", error))?;
        Ok(path)
    }

    /// Opens connections on the host, one after the other, and aborts them.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn resets(&self, port: u16, count: usize) -> Result<()> {
        resets_on(&self.host, port, count)
    }
}

/// [`Site::resets`] on any host that can reach itself.
///
/// # Errors
///
/// [`LabError::Io`].
pub fn resets_on(host: &Host, port: u16, count: usize) -> Result<()> {
    let address = SocketAddr::new(host.v4(), port);
    let listener = host.listen(address)?;
    (0..count).try_for_each(|_| reset(host, address, &listener))
}

/// One connection of a host with itself, aborted by its client.
///
/// # Errors
///
/// [`LabError::Io`].
pub fn reset(host: &Host, address: SocketAddr, listener: &TcpListener) -> Result<()> {
    let client = host.connect(address)?;
    let accepted = listener.accept().map_err(LabError::during("accept"))?;
    peer::abort(client)?;
    drop(accepted);
    Ok(())
}

/// The whole lines of a file.
///
/// # Errors
///
/// [`LabError::Io`], also for a file that ends in half a line.
pub fn lines_of(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|error| LabError::io(format!("read {}", path.display()), error))?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(LabError::io(format!("read the last line of {}", path.display()), std::io::ErrorKind::UnexpectedEof));
    }
    Ok(text.lines().map(str::to_owned).collect())
}

/// A small file system, for as long as this lives.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// One of so many bytes, in the notation of mount(8).
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] or the command that failed.
    pub fn mount(path: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&path).map_err(|error| LabError::io("make a mount point", error))?;
        run(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "none", &path.to_string_lossy()])?;
        Ok(Self(path))
    }

    /// A file on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run(&["umount", "--lazy", &self.0.to_string_lossy()]) {
            eprintln!("lab: {} is left mounted: {error}", self.0.display());
        }
    }
}
