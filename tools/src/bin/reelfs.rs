//! The command `reelfs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::run()
}
