//! `reelfs completions`

use std::io::Write;

use clap_complete::Shell;

use crate::context::Context;
use crate::failure::Failure;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs completions bash > ~/.local/share/bash-completion/completions/reelfs
  reelfs completions zsh > ~/.zfunc/_reelfs
  reelfs completions fish > ~/.config/fish/completions/reelfs.fish

EXIT STATUS
  0 done; 2 usage";

/// Write a script that completes arguments in a shell
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli(), "reelfs", &mut script);
    script.flush()?;
    Ok(context.out.bytes(&script)?)
}
