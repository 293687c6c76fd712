//! Where lines come from: a file that may grow, standard input, or an agent that is started for it.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::TopError;
use crate::{
    cli::TopArgs,
    decompress,
    reader::{Lines, Tail, read},
};

/// Lines that may wait to be drawn.
const WAITING: usize = 4096;

/// How long a file is left alone before it is looked whether it has grown.
const LOOK: Duration = Duration::from_millis(200);

/// What comes from a source.
pub enum News {
    Line(Vec<u8>),
    /// There is no more, for this reason.
    End(String),
}

/// A source of lines.
pub struct Source {
    pub name: String,
    pub news: Receiver<News>,
    child: Option<Child>,
}

impl Source {
    /// # Errors
    ///
    /// [`TopError::Open`], [`TopError::Agent`].
    pub fn open(args: &TopArgs) -> Result<Self, TopError> {
        let (send, news) = sync_channel(WAITING);
        let Some(path) = &args.file else {
            let (child, output) = agent(args)?;
            thread::spawn(move || stream(output, &send, "the agent has stopped"));
            return Ok(Self { name: format!("this host, port {}", ports(args)), news, child: Some(child) });
        };
        if path == Path::new("-") {
            // Not before the first bytes are there can be told what it is.
            thread::spawn(move || match decompress::open(io::stdin()) {
                Ok(input) => stream(input, &send, "standard input has ended"),
                // The view may have been closed.
                Err(error) => drop(send.send(News::End(format!("standard input cannot be read: {error}")))),
            });
            return Ok(Self { name: "standard input".to_owned(), news, child: None });
        }
        let open = |source| TopError::Open { path: path.clone(), source };
        let file = std::fs::File::open(path).map_err(open)?;
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        if decompress::is_compressed(&file).map_err(open)? {
            let input = decompress::open(file).map_err(open)?;
            thread::spawn(move || stream(input, &send, "the file is read to its end"));
        } else {
            let tail = Tail::open(path).map_err(open)?;
            thread::spawn(move || follow(tail, &send));
        }
        Ok(Self { name, news, child: None })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its own way to stop, which takes the programs out of the kernel. It may be gone.
            if let Ok(pid) = i32::try_from(child.id()).map(rustix::process::Pid::from_raw) {
                let _gone = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
            }
            let _gone = child.wait();
        }
    }
}

fn ports(args: &TopArgs) -> String {
    let ports: Vec<String> = args.ports.iter().map(ToString::to_string).collect();
    ports.join(",")
}

/// Starts an agent of this same program that writes its events here. It ends with this process,
/// however that ends.
fn agent(args: &TopArgs) -> Result<(Child, impl Read + Send + use<>), TopError> {
    let program = std::env::current_exe().map_err(TopError::Agent)?;
    let mut command = Command::new(program);
    command.args(["capture", "--format", "json", "--port", &ports(args), "--netns", &args.netns]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What is typed to stop the view is not for the agent, which is stopped by it.
    command.process_group(0);
    // SAFETY: prctl(2) is async-signal-safe, and hands no memory over.
    unsafe {
        command.pre_exec(|| if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) });
    }
    let mut child = command.spawn().map_err(TopError::Agent)?;
    let output = child.stdout.take().ok_or_else(|| TopError::Agent(io::ErrorKind::BrokenPipe.into()))?;
    let mut errors = child.stderr.take().ok_or_else(|| TopError::Agent(io::ErrorKind::BrokenPipe.into()))?;
    // The first line, or that there is none: what an agent cannot do it says before it begins.
    let mut output = io::BufReader::new(output);
    if io::BufRead::fill_buf(&mut output).map_err(TopError::Agent)?.is_empty() {
        let mut said = String::new();
        let _as_far_as_it_goes = errors.read_to_string(&mut said);
        let _gone = child.wait();
        let said = said.lines().last().unwrap_or("the agent ended before it began").trim_start_matches("rstblame: ").to_owned();
        return Err(TopError::Refused(said));
    }
    // Nobody reads its warnings here; a full pipe would hold it up.
    thread::spawn(move || io::copy(&mut errors, &mut io::sink()));
    Ok((child, output))
}

/// Reads a stream to its end.
fn stream(mut input: impl Read, send: &SyncSender<News>, end: &str) {
    let (mut lines, mut buffer) = (Lines::default(), vec![0; 1 << 16]);
    let mut gone = false;
    let end = loop {
        match read(&mut input, &mut buffer) {
            Ok(0) => break end.to_owned(),
            Ok(count) => lines.feed(buffer.get(..count).unwrap_or_default(), |line| gone |= send.send(News::Line(line.to_vec())).is_err()),
            Err(error) => break format!("it cannot be read any more: {error}"),
        }
        if gone {
            return;
        }
    };
    lines.finish(|line| gone |= send.send(News::Line(line.to_vec())).is_err());
    // The view may have been closed.
    let _closed = send.send(News::End(end));
}

/// Reads a file, and what is added to it.
fn follow(mut tail: Tail, send: &SyncSender<News>) {
    loop {
        let mut gone = false;
        if let Err(error) = tail.read(|line| gone |= send.send(News::Line(line.to_vec())).is_err()) {
            let _closed = send.send(News::End(format!("it cannot be read any more: {error}")));
            return;
        }
        if gone {
            return;
        }
        thread::sleep(LOOK);
    }
}
