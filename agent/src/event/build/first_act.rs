//! Who ended the connection first, in the words of the contract.

use super::milliseconds;
use crate::{
    clock,
    event::{Executable, FirstAct, FirstActBy, FirstActHow, ProcessName},
    flow::{Act, Reset, error_name},
};

pub fn first_act(reset: &Reset) -> Option<FirstAct> {
    let first = reset.first_act.as_deref()?;
    let end = first.actor.as_ref().and_then(|task| task.end.as_ref());
    let (by, how) = match (first.act, end) {
        (Act::LocalClose { .. }, Some(end)) if end.signal.is_some() => (FirstActBy::LocalProcess, FirstActHow::Signal),
        (Act::LocalClose { .. }, Some(_)) => (FirstActBy::LocalProcess, FirstActHow::Exit),
        (Act::LocalClose { shutdown: true }, None) => (FirstActBy::LocalProcess, FirstActHow::Shutdown),
        (Act::LocalClose { shutdown: false }, None) => (FirstActBy::LocalProcess, FirstActHow::Close),
        (Act::PeerClose, _) => (FirstActBy::Peer, FirstActHow::Fin),
        (Act::TimedOut(_) | Act::ConnectTimedOut(_), _) => (FirstActBy::LocalHost, FirstActHow::Timeout),
    };
    let error = match first.act {
        Act::TimedOut(errno) | Act::ConnectTimedOut(errno) => error_name(errno).map(Into::into),
        _ => None,
    };
    let process = match (first.process.as_ref().filter(|_| first.act.is_local_close()), &first.actor) {
        (Some((facts, _)), _) => {
            let executable = Executable { name: facts.executable_name.clone(), path: facts.executable_path.clone() };
            Some(ProcessName { pid: facts.pid, executable })
        }
        (None, Some(task)) => Some(ProcessName { pid: task.pid, executable: Executable { name: task.comm.clone(), path: None } }),
        (None, None) => None,
    };
    Some(FirstAct {
        by,
        how,
        timestamp: clock::wall_time(first.at_ns),
        before_rst_ms: (!reset.ended).then(|| milliseconds(first.before(reset.boottime_ns))),
        silence_ms: first.silence.map(milliseconds),
        error,
        process,
    })
}
