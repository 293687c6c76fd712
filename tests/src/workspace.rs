//! Where things are: the agent under test, the Python of the clients, the artefacts of a failed
//! scenario.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{LabError, Result};

/// The root of the repository.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The agent under test: `RSTBLAME_BIN`, else the release binary of this workspace.
pub fn agent_binary() -> PathBuf {
    env::var_os("RSTBLAME_BIN").map_or_else(|| root().join("target/release/rstblame"), PathBuf::from)
}

/// A Python that has pika: `RSTBLAME_PYTHON`, else the virtual environment `cargo xtask test`
/// makes.
pub fn python() -> PathBuf {
    env::var_os("RSTBLAME_PYTHON").map_or_else(|| root().join("target/lab/venv/bin/python"), PathBuf::from)
}

/// The scripts of `RabbitMQ` themselves: `RSTBLAME_RABBITMQ`, else where the packages of Debian and
/// of rabbitmq.com put them.
pub fn rabbitmq() -> PathBuf {
    env::var_os("RSTBLAME_RABBITMQ").map_or_else(|| "/usr/lib/rabbitmq/bin".into(), PathBuf::from)
}

/// The modules of nginx: `RSTBLAME_NGINX_MODULES`, else where Debian puts them.
pub fn nginx_modules() -> PathBuf {
    env::var_os("RSTBLAME_NGINX_MODULES").map_or_else(|| "/usr/lib/nginx/modules".into(), PathBuf::from)
}

/// Envoy: `RSTBLAME_ENVOY`, else what is on the search path.
pub fn envoy() -> PathBuf {
    env::var_os("RSTBLAME_ENVOY").map_or_else(|| "envoy".into(), PathBuf::from)
}

/// Traefik: `RSTBLAME_TRAEFIK`, else what is on the search path.
pub fn traefik() -> PathBuf {
    env::var_os("RSTBLAME_TRAEFIK").map_or_else(|| "traefik".into(), PathBuf::from)
}

/// Where `cargo xtask test` unpacks what cannot be installed beside the syslog daemon of this
/// machine. What starts it is on the search path.
fn unpacked(package: &str) -> PathBuf {
    let all = env::var_os("RSTBLAME_UNPACKED").map_or_else(|| root().join("target/lab/unpacked"), PathBuf::from);
    all.join(package)
}

/// The directory of a package's libraries and modules: `usr/lib/<triple>/<name>` or
/// `usr/lib/<name>/<version>`.
///
/// # Errors
///
/// [`LabError::Io`] and [`LabError::Client`] when it is not there.
pub fn library(package: &str, file: &str) -> Result<PathBuf> {
    let mut waiting = vec![unpacked(package).join("usr/lib")];
    while let Some(directory) = waiting.pop() {
        for entry in
            fs::read_dir(&directory).map_err(|error| LabError::io("look for a library; `cargo xtask test local` unpacks it", error))?
        {
            let path = entry.map_err(|error| LabError::io("look for a library", error))?.path();
            if path.ends_with(file) {
                return Ok(directory);
            }
            if path.is_dir() {
                waiting.push(path);
            }
        }
    }
    Err(LabError::Client(format!("{package} has no {file}")))
}

/// `target/lab/<name of the running test>`, created if need be: what a scenario leaves behind when
/// it fails.
///
/// # Errors
///
/// [`LabError::Io`] when the directory cannot be made.
pub fn artefacts() -> Result<PathBuf> {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed").replace("::", "-");
    let directory = root().join("target/lab").join(name);
    fs::create_dir_all(&directory).map_err(|error| LabError::io(format!("create {}", directory.display()), error))?;
    Ok(directory)
}

/// Appends a line, which ends in a newline, to the file that a variable of the environment names,
/// if it names one.
///
/// # Errors
///
/// [`LabError::Io`].
pub fn append(variable: &str, line: impl FnOnce() -> String) -> Result<()> {
    let Some(path) = env::var_os(variable) else {
        return Ok(());
    };
    // One write for a line, at the end of the file wherever that is: tests write side by side.
    File::options()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line().as_bytes()))
        .map_err(|error| LabError::io(format!("append to {}", path.display()), error))
}

/// So many seconds, or that times `RSTBLAME_LAB_PATIENCE` on a machine that is so much slower, such
/// as an emulated one.
pub fn patience(seconds: u64) -> Duration {
    let factor = env::var("RSTBLAME_LAB_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds.saturating_mul(factor))
}
