//! Another configuration while the session runs: nothing is attached anew, and what waits in the
//! ring stays there.

use jiff::Timestamp;
use rustix::thread::CapabilitySet;

use super::{super::snapshot, Session};
use crate::{
    capture::{CaptureError, filter_names, started},
    cli::ConfigArgs,
    config::{Config, settings},
    event::{Event, Reloaded, SCHEMA},
    log,
    privileges::capabilities,
    systemd,
};

impl Session {
    /// Reads the configuration again and goes by it, as far as a running agent can. One that makes
    /// no sense changes nothing.
    pub fn reload(&mut self, args: &ConfigArgs, running: &mut Config) {
        systemd::reloading();
        let went_by = self.go_by(args, running);
        if let Some(attended) = &self.attended {
            attended.observer.reloaded(went_by);
        }
        systemd::ready();
    }

    /// Whether the new configuration is the one that runs, all of it.
    fn go_by(&mut self, args: &ConfigArgs, running: &mut Config) -> bool {
        let mut new = match Config::reload(args, running) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("{error}; the configuration that is running stays");
                return false;
            }
        };
        let mut whole = true;
        let stays = !self.plan.follows_namespaces() && !capabilities::held().is_ok_and(|held| held.contains(CapabilitySet::SYS_ADMIN));
        let fixed = keep_fixed(&mut new, running, stays);
        if !fixed.is_empty() {
            tracing::warn!("{} cannot change while the agent runs and will when it is started again", fixed.join(", "));
        }
        if let Err(error) = self.change_filter(running, &new) {
            whole = false;
            tracing::error!("{error}; the ports and network namespaces that are watched stay");
            new.ports.clone_from(&running.ports);
            new.netns.clone_from(&running.netns);
        }
        self.plan.owners.clone_from(&new.owners);
        self.plan.middleboxes.clone_from(&new.middleboxes);
        self.plan.ignored = new.ignored;
        self.plan.endings = new.endings;
        log::configure(new.log);
        match self.armed.set_budgets(new.flood.budgets()) {
            Ok(()) => self.plan.flood = new.flood,
            Err(error) => {
                tracing::error!("{error}; what is folded stays as it was");
                new.flood = running.flood;
            }
        }
        self.floods.set(new.flood.fold_above, new.flood.kernel_budget > 0);
        self.queue(Event::AgentReloaded(Reloaded {
            schema: SCHEMA.to_owned(),
            timestamp: Timestamp::now(),
            host: self.plan.host.clone(),
            filter: filter_names(&self.plan.arm),
            coverage: self.armed.coverage.clone(),
        }));
        let first = Event::AgentStarted(Box::new(started(&self.plan, &self.armed)));
        if let Err(error) = self.sinks.reload(&new.sinks, &first) {
            whole = false;
            tracing::error!("{error}");
        }
        tracing::info!("{} was read again", args.file.display());
        *running = new;
        whole
    }

    fn change_filter(&mut self, running: &Config, new: &Config) -> Result<(), CaptureError> {
        let netns = new.netns.inode()?.map(|inode| vec![inode]);
        if (&new.ports, &netns) == (&running.ports, &self.plan.arm.netns) {
            return Ok(());
        }
        self.armed.refilter(&self.plan.arm, &new.ports, netns.as_deref())?;
        if netns != self.plan.arm.netns {
            self.armed.retain_namespaces(|listened| netns.as_ref().is_none_or(|chosen| chosen.contains(&listened)));
            let (handles, failed) = new.netns.handles();
            self.armed.listen(handles, &failed);
        }
        self.plan.arm.ports.clone_from(&new.ports);
        self.plan.arm.netns = netns;
        // Whoever holds a socket on a port that was not watched so far is not known yet.
        self.snapshot = Some(snapshot(&self.plan));
        Ok(())
    }
}

/// Takes what cannot change at run time from the running configuration, and names what would have
/// changed. `stays`: the agent has let go of what it takes to enter another network namespace.
fn keep_fixed(new: &mut Config, running: &Config, stays: bool) -> Vec<String> {
    let mut fixed = Vec::new();
    for setting in settings::SETTINGS {
        if setting.keep(new, running, stays) {
            fixed.push(setting.name());
        }
    }
    fixed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::keep_fixed;
    use crate::{config::Config, host::netns::NetnsFilter};

    #[test]
    fn what_cannot_change_keeps_its_value_and_is_named() {
        let running = Config::default();
        let mut new = Config { settle: Duration::from_secs(3), ignored: true, ..Config::default() };
        new.kernel.ring_size = 1 << 20;
        assert_eq!(keep_fixed(&mut new, &running, false), ["settle", "kernel.ring_size"]);
        assert_eq!(new, Config { ignored: true, ..running });
    }

    #[test]
    fn one_that_cannot_enter_other_namespaces_stays_in_its_own() {
        let running = Config { netns: NetnsFilter::Own, ..Config::default() };
        let mut new = Config::default();
        assert_eq!(keep_fixed(&mut new, &running, true), ["filter.netns"]);
        assert_eq!(new, running);
        let mut new = Config::default();
        assert_eq!(keep_fixed(&mut new, &running, false), [""; 0]);
        assert_eq!(new, Config::default());
    }
}
