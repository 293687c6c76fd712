//! An actor of the lab's scenarios; see [`rstblame_lab::peers::act`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rstblame_lab::peers::act::main()
}
