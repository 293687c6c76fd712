//! Becoming another user.

use std::{fs::File, io, path::Path};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities};

use super::{PrivilegesError, capabilities::useful};
use crate::host::users::Account;

/// Where users are looked up.
const PASSWD: &str = "/etc/passwd";

/// Becomes a user for good, with no group but its own, and keeps the capabilities that the agent
/// has a use for. Does nothing for one who is that user already. `name` may be a number, `UID` or
/// `UID:GID`.
///
/// # Errors
///
/// When there is no such user, or the kernel refuses.
pub fn become_user(name: &str) -> Result<(), PrivilegesError> {
    if let Some(account) = by_number(name) {
        return settle(name, account);
    }
    let path = Path::new(PASSWD);
    let account = File::open(path)
        .and_then(|file| Account::find(file, name))
        .map_err(|source| PrivilegesError::Passwd { user: name.to_owned(), path: path.to_owned(), source })?
        .ok_or_else(|| PrivilegesError::NoUser { user: name.to_owned(), path: path.to_owned() })?;
    settle(name, account)
}

/// Whoever has no user of its own is `nobody`: the number that the kernel shows for users it cannot
/// (`DEFAULT_OVERFLOWUID` of
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/highuid.h>).
const NOBODY: Account = Account { uid: 65534, gid: 65534 };

/// The user that the packages make.
const PACKAGED: &str = "rstblame";

/// Where the agent is root, becomes a user who owns nothing, as [`become_user`] does: that of the
/// package where there is one, else nobody.
///
/// # Errors
///
/// When the kernel refuses, as in a user namespace that has no such user.
pub fn leave_root() -> Result<(), PrivilegesError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let packaged = File::open(PASSWD).and_then(|file| Account::find(file, PACKAGED)).ok().flatten();
    let (name, account) = packaged.map_or(("nobody", NOBODY), |account| (PACKAGED, account));
    settle(name, account)
}

/// `UID` or `UID:GID`, as container engines have it: an image need not have a passwd file. Without
/// a group it is that of the same number.
fn by_number(name: &str) -> Option<Account> {
    let (uid, gid) = name.split_once(':').unwrap_or((name, name));
    Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

fn settle(name: &str, account: Account) -> Result<(), PrivilegesError> {
    if rustix::process::geteuid().as_raw() == account.uid && rustix::process::getuid().as_raw() == account.uid {
        return Ok(());
    }
    switch(account).map_err(|source| PrivilegesError::Become { user: name.to_owned(), source })
}

fn switch(Account { uid, gid }: Account) -> io::Result<()> {
    // Whoever is to end with its parent is forgotten when it becomes somebody else (prctl(2)).
    let with_parent = rustix::process::parent_process_death_signal()?;
    set_keep_capabilities(true)?;
    // The functions of the C library and not the system calls: those would change this thread only.
    // SAFETY: no group is named, so that nothing is read behind the pointer.
    done(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: numbers only.
    done(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: numbers only.
    done(unsafe { libc::setresuid(uid, uid, uid) })?;
    set_keep_capabilities(false)?;
    let permitted = capabilities(None)?.permitted;
    // CAP_SETPCAP is for emptying the bounding set, later.
    let permitted = permitted & (useful() | CapabilitySet::SETPCAP);
    set_capabilities(None, CapabilitySets { effective: permitted & useful(), permitted, inheritable: CapabilitySet::empty() })?;
    if with_parent.is_some() {
        rustix::process::set_parent_process_death_signal(with_parent)?;
    }
    Ok(())
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::{Account, by_number};

    #[test]
    fn a_user_may_be_a_number() {
        assert_eq!(by_number("65532"), Some(Account { uid: 65532, gid: 65532 }));
        assert_eq!(by_number("65532:7"), Some(Account { uid: 65532, gid: 7 }));
        for name in ["rstblame", "", ":", "1:", ":1", "-1", "1:x", "4294967296"] {
            assert_eq!(by_number(name), None, "{name}");
        }
    }
}
