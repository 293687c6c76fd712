//! Opening files in places where others may have been first.
//!
//! A link is followed only if root or the agent's own user made it, as `fs.protected_symlinks` of
//! proc_sys_fs(5) has it for directories such as `/tmp`; here it holds everywhere and on every
//! host. Nothing is waited for: a FIFO is opened without its other end.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::io::Errno;

/// Who may read what the agent creates, before umask: its user and its group. Events name
/// processes.
pub const MODE: u32 = 0o640;

/// Opens a file with `options` and open(2) `flags`, over no link of somebody else's. What is
/// created has [`MODE`].
///
/// # Errors
///
/// What open(2) said; `PermissionDenied` for a link that neither root nor the agent's user made.
pub fn open(path: &Path, options: &OpenOptions, flags: i32) -> io::Result<File> {
    let with = |more: i32| options.clone().mode(MODE).custom_flags(flags | libc::O_NOCTTY | more).open(path);
    match with(libc::O_NOFOLLOW) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {}
        opened => return opened,
    }
    let link = || path.symlink_metadata().map(|link| (link.uid(), link.dev(), link.ino(), link.is_symlink()));
    let before = link()?;
    let trusted = before.0 == 0 || before.0 == rustix::process::geteuid().as_raw();
    let refused =
        || io::Error::new(io::ErrorKind::PermissionDenied, format!("it is a link that user {} made; name the file itself", before.0));
    if !trusted {
        return Err(refused());
    }
    let file = with(0)?;
    // Whoever may rename there may have put another in its place meanwhile.
    if link()? == before { Ok(file) } else { Err(refused()) }
}

/// Reads a regular file of at most `max` bytes, as [`open`] opens it.
///
/// # Errors
///
/// What open(2) and read(2) said; `InvalidInput` for what is no regular file, `FileTooLarge` for
/// what is longer.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    read_regular(open(path, OpenOptions::new().read(true), libc::O_NONBLOCK)?, max)
}

/// Reads an open regular file of at most `max` bytes, however it grows meanwhile.
///
/// # Errors
///
/// As [`read`].
pub fn read_regular(file: File, max: u64) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        fs::{self, OpenOptions},
        io::ErrorKind,
        os::unix::fs::{PermissionsExt as _, lchown, symlink},
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{open, read};

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        fs::write(path("file"), b"12345").unwrap();
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink("file", path("link")).unwrap();
        symlink("loop", path("loop")).unwrap();
        assert_eq!(read(&path("file"), 5).unwrap(), b"12345");
        assert_eq!(read(&path("link"), 5).unwrap(), b"12345");
        for (name, max, kind) in [
            ("file", 4, ErrorKind::FileTooLarge),
            ("fifo", 5, ErrorKind::InvalidInput),
            ("zero", 5, ErrorKind::InvalidInput),
            ("none", 5, ErrorKind::NotFound),
        ] {
            assert_eq!(read(&path(name), max).unwrap_err().kind(), kind, "{name}");
        }
        assert!(read(&path("loop"), 5).is_err());
    }

    #[test]
    fn a_link_of_somebody_elses_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, b"old\n").unwrap();
        symlink(&target, &link).unwrap();
        let mut append = OpenOptions::new();
        append.create(true).append(true);
        assert!(open(&link, &append, 0).is_ok());
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: nobody else can be made the owner of a link");
            return;
        }
        lchown(&link, Some(65534), Some(65534)).unwrap();
        let error = open(&link, &append, 0).unwrap_err();
        assert!(error.kind() == ErrorKind::PermissionDenied && error.to_string().contains("65534"), "{error}");
    }

    #[test]
    fn what_is_created_is_not_for_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(&directory.path().join("new"), OpenOptions::new().create(true).append(true), 0).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o137, 0);
    }
}
