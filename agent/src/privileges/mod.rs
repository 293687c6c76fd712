//! What the agent may do: as whom it runs, by which capabilities, and what it gives up once it is
//! armed. `docs/privileges.md` is for the operator.

pub mod capabilities;
mod coverage;
pub(crate) mod seccomp;
mod user;

use std::{io, path::PathBuf};

use rustix::thread::{CapabilitySet, SecureComputingMode, set_no_new_privs};
use thiserror::Error;

pub use coverage::coverage;
pub use user::{become_user, leave_root};

use crate::model::Privileges;

/// `[privileges]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The user to become before anything else is done; `None` to stay who one is.
    pub user: Option<String>,
    pub confine: Confine,
}

/// What is done about what an armed agent no longer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Confine {
    /// Everything is kept.
    Off,
    /// Given up as far as the kernel lets it be, and what it does not is said.
    #[default]
    BestEffort,
    /// Given up, or the agent ends.
    Require,
}

/// Why the agent does not run with the privileges it was to have.
#[derive(Debug, Error)]
pub enum PrivilegesError {
    #[error("there is no user {user:?} in {}; create it, or take `user` out of [privileges]", path.display())]
    NoUser { user: String, path: PathBuf },
    #[error("cannot read {}: {source}; the user {user:?} of [privileges] is looked up there", path.display())]
    Passwd {
        user: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot become {user:?}: {source}; start the agent as root, or as that user with the capabilities it needs")]
    Become {
        user: String,
        #[source]
        source: io::Error,
    },
    #[error("{what}: {source}; `confine = \"best_effort\"` in [privileges] goes on without")]
    Confine {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Gives up what an armed agent does not need. `maps_work` tries whether the maps can be used with
/// what is in effect.
///
/// To be called by the only thread there is: others would keep what they have. What is started
/// later has no more than this one.
///
/// # Errors
///
/// Where it has to work and does not.
pub fn confine(how: Confine, follows_namespaces: bool, maps_work: impl Fn() -> bool) -> Result<Privileges, PrivilegesError> {
    let mut outcome = Outcome { how, failed: Vec::new() };
    if how != Confine::Off {
        // One that was never given what it takes to enter a namespace has no use for the rest of
        // it.
        let enters = follows_namespaces && capabilities::held().is_ok_and(|held| held.contains(CapabilitySet::SYS_ADMIN));
        let dropped = capabilities::smallest(capabilities::lasting(enters), maps_work).and_then(capabilities::drop_to);
        outcome.note("capabilities could not be dropped", dropped)?;
        outcome.note("no_new_privs could not be set", set_no_new_privs(true).map_err(io::Error::from))?;
        outcome.note("system calls could not be denied", seccomp::deny(enters))?;
    }
    let held = capabilities::held().unwrap_or(CapabilitySet::empty());
    Ok(Privileges {
        uid: rustix::process::geteuid().as_raw(),
        capabilities: capabilities::names(held).into_iter().map(ToOwned::to_owned).collect(),
        no_new_privs: rustix::thread::no_new_privs().unwrap_or(false),
        seccomp: matches!(rustix::thread::secure_computing_mode(), Ok(SecureComputingMode::Filter)),
        failed: outcome.failed,
    })
}

/// What became of the steps.
struct Outcome {
    how: Confine,
    failed: Vec<String>,
}

impl Outcome {
    /// Takes a failure in, or gives it back where it may not be.
    fn note(&mut self, what: &'static str, step: io::Result<()>) -> Result<(), PrivilegesError> {
        match step {
            Err(source) if self.how == Confine::Require => Err(PrivilegesError::Confine { what, source }),
            Err(source) => {
                self.failed.push(format!("{what}: {source}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
