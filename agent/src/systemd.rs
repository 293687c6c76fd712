//! What systemd is told, where it has started the agent: sd_notify(3). Without `NOTIFY_SOCKET`
//! nothing is.

use std::time::Duration;

use sd_notify::NotifyState;

/// Whether anybody listens.
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How often the watchdog has to hear of the agent (`WatchdogSec=`); `None` where there is none.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Everything is armed; or the configuration has been read again.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again. `Type=notify-reload` wants to know since when.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The line of `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The agent does its work.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    // systemd that does not listen cannot be told so either, and notices by itself what it does not
    // hear.
    let _heard = sd_notify::notify(state);
}
