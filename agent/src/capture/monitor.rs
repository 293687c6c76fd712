//! The thread beside the session that serves metrics and feeds the watchdog. It judges the session
//! from outside, so that one that is stuck is seen to be.

use std::{io, sync::Arc, thread, time::Duration};

use thiserror::Error;
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::MetricsConfig,
    health::{Monitor, Question, State},
    http::{
        self, Hosts,
        listen::{Address, ListenError, Listener},
    },
    metrics::{Metrics, Observer},
    systemd,
};

/// How often systemd is told how things stand where it has no watchdog.
const STATUS: Duration = Duration::from_secs(10);

/// Why there is nobody to attend.
#[derive(Debug, Error)]
pub enum AttendError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start the thread that serves metrics and feeds the watchdog: {0}; raise TasksMax= or LimitNOFILE= of the agent's unit")]
    Thread(#[source] io::Error),
}

/// The session's end.
pub struct Attended {
    /// What the session counts.
    pub observer: Observer,
    /// What it is asked.
    pub questions: mpsc::Receiver<Question>,
}

/// Whether there is something for the thread to do.
pub fn is_wanted(config: &MetricsConfig) -> bool {
    config.listen.is_some() || systemd::listens()
}

/// Starts the thread, and waits until it listens.
///
/// # Errors
///
/// When the address cannot be had, or there may be no more threads.
pub fn start(config: &MetricsConfig) -> Result<Attended, AttendError> {
    let (metrics, observer) = Metrics::new(config.limits);
    let (monitor, questions) = Monitor::new(Arc::new(metrics));
    let (address, hosts) = (config.listen.clone(), config.admitted(&crate::host::uname().0));
    let (tell, listens) = std::sync::mpsc::sync_channel(1);
    // Not joined: it ends with the agent.
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            // The end of the channel is the end of `start`, too.
            let (runtime, listener) = match listen(address.as_ref()) {
                Ok(ready) => ready,
                Err(error) => return drop(tell.send(Err(error))),
            };
            drop(tell.send(Ok(())));
            runtime.block_on(attend(listener, Arc::new(monitor), hosts));
        })
        .map_err(AttendError::Thread)?;
    listens.recv().unwrap_or_else(|gone| Err(AttendError::Thread(io::Error::other(gone))))?;
    if let Some(address) = config.listen.as_ref().filter(|address| !address.is_local()) {
        tracing::warn!("metrics are served on {address}, to whoever reaches it: peer addresses among them, unencrypted");
    }
    Ok(Attended { observer, questions })
}

fn listen(address: Option<&Address>) -> Result<(Runtime, Option<Listener>), AttendError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(AttendError::Thread)?;
    let listener = {
        let _within = runtime.enter();
        address.map(Listener::bind).transpose()?
    };
    Ok((runtime, listener))
}

async fn attend(listener: Option<Listener>, monitor: Arc<Monitor>, hosts: Hosts) {
    let watched = async {
        if systemd::listens() {
            watch(&monitor).await;
        }
    };
    let served = async {
        if let Some(listener) = listener {
            http::serve(listener, Arc::clone(&monitor), hosts).await;
        }
    };
    tokio::join!(watched, served);
}

/// Tells systemd, for as long as the session lives.
async fn watch(monitor: &Monitor) {
    let watchdog = systemd::watchdog();
    // Twice in the time it is given, as sd_watchdog_enabled(3) recommends.
    let mut ticks = interval(watchdog.map_or(STATUS, |time| time / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = false;
    while !monitor.has_ended() {
        ticks.tick().await;
        let report = monitor.look().await;
        systemd::status(&report.headline());
        if report.is_healthy() {
            reported = false;
            systemd::alive();
        } else if !std::mem::replace(&mut reported, true) {
            for check in report.checks.iter().filter(|check| check.state == State::Dead) {
                tracing::error!("{} is dead: {}; the watchdog is not fed", check.name, check.detail);
            }
        }
    }
}
