//! The command `vtape`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tools::run_vtape()
}
