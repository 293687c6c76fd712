//! What others on the host can make take long holds no reset up: each source of what the agent
//! knows is stalled in turn, as far as that can be done from outside, while resets go on elsewhere.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, site::Site},
    command::run,
    hosts::net::{Host, lone_host},
    peers::peer,
    poll,
};

/// How long a reset may take to become a line, its settle window included.
const IN_TIME: Duration = Duration::from_secs(2);

/// How long something may take that is under way.
const PATIENCE: Duration = Duration::from_mins(1);

/// Children that are ended with the test.
struct Crowd(Vec<Child>);

impl Crowd {
    fn of(count: usize, words: &[&str]) -> Result<Self> {
        let mut crowd = Self(Vec::new());
        let Some((program, arguments)) = words.split_first() else { return Ok(crowd) };
        for _ in 0..count {
            let child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn();
            crowd.0.push(child.map_err(|error| LabError::io(format!("start {program}"), error))?);
        }
        Ok(crowd)
    }

    fn kill(&mut self) {
        for child in &mut self.0 {
            let _gone = child.kill();
        }
        for child in &mut self.0 {
            let _gone = child.wait();
        }
        self.0.clear();
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Resets a connection of `host` and waits for its line; how long that took.
fn reset(agent: &Agent, host: &Host, port: u16) -> Result<Duration> {
    let address = SocketAddr::new(host.v4(), port);
    let listener = host.listen(address)?;
    let client: TcpStream = host.connect(address)?;
    let (server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
    peer::send(&mut &client, b"hello")?;
    peer::wait_unread(&server, 5)?;
    let flow = peer::flow(&client)?;
    let began = Instant::now();
    peer::abort(client)?;
    agent.reset_of(flow, "sent")?;
    Ok(began.elapsed())
}

/// Resets for a while: all of them have to be in time.
fn all_in_time(agent: &Agent, host: &Host, ports: std::ops::Range<u16>, what: &str) -> Result<()> {
    for port in ports {
        let took = reset(agent, host, port)?;
        assert!(took < IN_TIME, "{what}: {took:?}");
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn namespaces_that_end_all_at_once() -> Result<()> {
    const NAMESPACES: usize = 150;
    let host = lone_host()?;
    let agent = Agent::everywhere(24700).args(&["--port", "24701-24799"]).start()?;
    let before = open_files(agent.pid());
    let mut crowd = Crowd::of(NAMESPACES, &["unshare", "--net", "sleep", "3600"])?;
    all_in_time(&agent, &host, 24701..24711, "while they come")?;
    let listened = || {
        let open = open_files(agent.pid());
        Ok((open >= before + 3 * NAMESPACES).then_some(open))
    };
    poll::until("all of them are listened in", PATIENCE, listened)?;
    crowd.kill();
    // The next look at them is within 5 s.
    all_in_time(&agent, &host, 24711..24741, "while they go")?;
    poll::until("all of them are let go", PATIENCE, || Ok((open_files(agent.pid()) < before + 20).then_some(())))?;
    drop(agent.stop()?);
    Ok(())
}

#[test]
fn processes_with_very_many_descriptors() -> Result<()> {
    let host = lone_host()?;
    let agent = Agent::everywhere(24800).args(&["--port", "24801-24899"]).start()?;
    // Each has as many as it may, which the search for the owner of a reset looks through.
    let script = "import resource,os,sys,time\nhard=resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
                  resource.setrlimit(resource.RLIMIT_NOFILE,(hard,hard))\nf=os.open('/dev/null',0)\n\
                  [os.dup(f) for _ in range(min(hard,100000)-64)]\nos.close(0)\ntime.sleep(3600)";
    let crowd = Crowd::of(8, &["python3", "-c", script])?;
    let done = |child: &Child| !std::path::Path::new(&format!("/proc/{}/fd/0", child.id())).exists();
    poll::until("they are open", PATIENCE, || Ok(crowd.0.iter().all(done).then_some(())))?;
    // Handed on to another process by a fork that nobody saw: no owner is known without a search.
    all_in_time(&agent, &host, 24801..24821, "while they are looked through")?;
    let record = agent.stop()?;
    let known: HashSet<String> = record.totals().map(|totals| totals.fell_out.keys().cloned().collect()).unwrap_or_default();
    assert!(known.iter().all(|what| what == "lookups"), "{known:?}");
    Ok(())
}

/// Sinks whose readers take nothing: sockets that nobody reads from, one that nobody accepts, and a
/// FIFO without its other end.
#[test]
fn sinks_that_take_nothing() -> Result<()> {
    let site = Site::new("stalled-sinks")?;
    let (deaf, fifo) = (site.path("deaf.sock"), site.path("fifo"));
    let tcp = TcpListener::bind("127.0.0.1:0").map_err(|error| LabError::io("listen", error))?;
    let unix = UnixListener::bind(&deaf).map_err(|error| LabError::io("listen", error))?;
    let address = tcp.local_addr().map_err(|error| LabError::io("read an address", error))?;
    run(&["mkfifo", &fifo.to_string_lossy()])?;
    let config = site.configure(
        "[\"24901-24999\"]",
        &format!(
            "[[sink]]\ntype = \"tcp\"\nname = \"tcp\"\naddress = \"{address}\"\nqueue = 16\n\
             [[sink]]\ntype = \"unix_stream\"\nname = \"unix\"\npath = {deaf:?}\nqueue = 16\n\
             [[sink]]\ntype = \"file\"\nname = \"fifo\"\npath = {fifo:?}\nqueue = 16\n"
        ),
    )?;
    let agent = Agent::daemon(&config).start()?;
    // What the sockets' buffers take is soon full.
    site.resets(24999, 2000)?;
    all_in_time(&agent, &site.host, 24901..24921, "while sinks take nothing")?;
    drop(agent.stop()?);
    drop((tcp, unix));
    Ok(())
}

/// Very many clients at the metrics port, that say nothing, or ask and do not read.
#[test]
fn clients_of_the_metrics_that_say_and_read_nothing() -> Result<()> {
    let site = Site::new("stalled-metrics")?;
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.map_err(|error| LabError::io("find a free port", error))?;
    let config = site.configure("[\"25001-25099\"]", &format!("[metrics]\nlisten = \"{address}\"\n"))?;
    let agent = Agent::daemon(&config).start()?;
    let mut clients = Vec::new();
    for number in 0..500 {
        let client = TcpStream::connect(address).map_err(|error| LabError::io("connect to the metrics", error))?;
        if number % 2 == 0 {
            // One that had to make room for others may be gone.
            let _gone = (&client).write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        }
        clients.push(client);
    }
    all_in_time(&agent, &site.host, 25001..25021, "while clients wait")?;
    drop(clients);
    drop(agent.stop()?);
    Ok(())
}
