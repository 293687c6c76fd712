//! What the kernel's own tracing says of resets: the task on the processor when the tracepoints
//! fired.
//!
//! This is what `bpf_get_current_pid_tgid()` would say at the same place, and what tools that go by
//! it name as the owner.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{LabError, Result, hosts::flow::Flow};

/// What the agent, and the task on the processor, said of the owners.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Ends of connections that were reset.
    pub ends: usize,
    /// Those whose owner was named, and right.
    pub right: usize,
    /// Those whose owner was named, and wrong.
    pub wrong: usize,
}

/// Kilobytes of the trace of each processor.
const BUFFER: &str = "32768";

/// The tracepoints, and how their records tell the two ends.
const TRACEPOINTS: [&str; 2] = ["tcp_receive_reset", "tcp_send_reset"];

/// A trace of its own, beside whatever else is traced on this machine; gone when dropped.
#[derive(Debug)]
pub struct Trace {
    mounted: PathBuf,
    instance: PathBuf,
    port: u16,
}

impl Trace {
    /// Starts tracing the resets of all namespaces.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] where there is no tracefs.
    pub fn start(port: u16) -> Result<Self> {
        let mounted = std::env::temp_dir().join(format!("rstblame-lab-tracefs-{}", std::process::id()));
        let io = |error: rustix::io::Errno| LabError::io("mount tracefs", error);
        fs::create_dir_all(&mounted).map_err(|error| LabError::io(format!("create {}", mounted.display()), error))?;
        mount("tracefs", &mounted, "tracefs", MountFlags::empty(), None).map_err(io)?;
        let instance = mounted.join(format!("instances/rstblame-lab-{}", std::process::id()));
        let trace = Self { mounted, instance, port };
        fs::create_dir(&trace.instance).map_err(|error| LabError::io("make an instance of the trace", error))?;
        trace.write("buffer_size_kb", BUFFER)?;
        for tracepoint in TRACEPOINTS {
            trace.write(&format!("events/tcp/{tracepoint}/enable"), "1")?;
        }
        Ok(trace)
    }

    /// How often the task on the processor was the owner. One reset counts once, however often its
    /// tracepoint fired.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the trace cannot be read.
    pub fn score(&self, truth: &HashMap<Flow, u32>) -> Result<Score> {
        let path = self.instance.join("trace");
        let text = fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {}", path.display()), error))?;
        let mut said: HashMap<Flow, u32> = HashMap::new();
        for (flow, pid) in text.lines().filter_map(parse) {
            if flow.local.port() == self.port || flow.peer.port() == self.port {
                said.insert(flow, pid);
            }
        }
        let of_ends = said.iter().filter_map(|(flow, pid)| Some(truth.get(flow)? == pid));
        let (right, wrong) =
            of_ends.fold((0, 0), |(right, wrong), is_right| if is_right { (right + 1, wrong) } else { (right, wrong + 1) });
        Ok(Score { ends: truth.len(), right, wrong })
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path: &Path = &self.instance.join(file);
        fs::write(path, text).map_err(|error| LabError::io(format!("write {}", path.display()), error))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let removed = TRACEPOINTS
            .iter()
            .try_for_each(|tracepoint| fs::write(self.instance.join(format!("events/tcp/{tracepoint}/enable")), "0"))
            .and_then(|()| fs::remove_dir(&self.instance))
            .and_then(|()| Ok(unmount(&self.mounted, UnmountFlags::empty())?))
            .and_then(|()| fs::remove_dir(&self.mounted));
        if let Err(error) = removed {
            eprintln!("lab: {} is left behind: {error}", self.mounted.display());
        }
    }
}

/// `COMM-PID [CPU] FLAGS TIME: TRACEPOINT: NAME=VALUE ...`. The names of tasks may hold blanks and
/// dashes.
fn parse(line: &str) -> Option<(Flow, u32)> {
    let (task, rest) = line.split_once(" [")?;
    let pid = task.trim_end().rsplit_once('-')?.1.parse().ok()?;
    let value = |name: &str| rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let flow = if let (Some(source), Some(target)) = (value("src"), value("dest")) {
        Flow::new(source.parse().ok()?, target.parse().ok()?)
    } else {
        let end = |address: &str, port: &str| -> Option<SocketAddr> {
            Some(SocketAddr::new(value(address)?.parse::<IpAddr>().ok()?, value(port)?.parse().ok()?))
        };
        Flow::new(end("saddr", "sport")?, end("daddr", "dport")?)
    };
    Some((flow, pid))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn both_tracepoints_name_task_and_ends() {
        let received = "          my - app-4242    [001] ..s2.  5596.750000: tcp_receive_reset: family=AF_INET sport=5672 dport=40001 \
                        saddr=127.0.0.1 daddr=127.0.0.2 saddrv6=::ffff:127.0.0.1 daddrv6=::ffff:127.0.0.2 sock_cookie=1";
        let sent = "   <idle>-0       [000] ..s2.  5596.750000: tcp_send_reset: skbaddr=0 skaddr=1 src=127.0.0.2:40001 dest=127.0.0.1:5672 state=X";
        let (Some((one, pid)), Some((other, idle))) = (parse(received), parse(sent)) else { unreachable!("both are whole") };
        assert_eq!((one, pid, idle), (other.reversed(), 4242, 0));
        assert!(parse("# tracer: nop").is_none());
    }
}
