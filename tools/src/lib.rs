//! The command line of reelfs: reads arguments, asks the library, and shows what it answers.
//!
//! Results go to standard output, everything else to standard error. This crate alone reads the clock,
//! the environment and random bytes, and hands them to the library.

#![deny(clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

pub mod clock;
mod command;
mod context;
mod damage;
mod failure;
mod human;
mod output;
mod place;
mod progress;
mod session;
mod show;
mod staging;
mod vtape;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

const ARENA_COUNT_MAX: u8 = 2;

/// Runs the command that the process was started as.
#[must_use]
pub fn run() -> ExitCode {
    // Memory of a backup is bounded; what lies unused between its pieces is part of that.
    reelfs::allocator::set_arena_count_max(ARENA_COUNT_MAX);
    let cli = match command::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Standard output or error may be closed; nobody is left to tell.
            error.print().unwrap_or_default();
            return ExitCode::from(if error.use_stderr() { failure::Kind::Usage.code() } else { 0 });
        }
    };
    command::run(cli)
}

/// Runs the command `vtape`.
#[must_use]
pub fn run_vtape() -> ExitCode {
    vtape::run()
}

/// The command `vtape` with all its subcommands, for completions and man pages.
#[must_use]
pub fn vtape_cli() -> clap::Command {
    vtape::Cli::command()
}

/// The command with all its subcommands, for completions and man pages.
#[must_use]
pub fn cli() -> clap::Command {
    command::Cli::command()
}
