//! What every subcommand works with: the global options, standard output, progress.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use reelfs::progress::Progress;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Kind};
use crate::output::{Output, tell};
use crate::progress::Display;

/// Options of all subcommands.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Global {
    /// Directory of the repository
    #[arg(long, global = true, env = "REELFS_REPO", value_name = "DIR", hide_env_values = true)]
    pub(crate) repo: Option<PathBuf>,
    /// Write results as JSON, one object per line, sizes in bytes and times in UTC
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Write no summary, no warning and no progress; errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more about what happens; twice for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Show no progress, even on a terminal
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Show times in the local time zone instead of UTC
    #[arg(long, global = true)]
    pub(crate) local: bool,
}

/// What a subcommand works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// Options of all subcommands.
    pub(crate) global: Global,
    /// Standard output.
    pub(crate) out: Output,
    /// Counters of the operation, and the wish that it stop.
    pub(crate) progress: Arc<Progress>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self { global, out: Output::new(), progress: Arc::new(Progress::new()) }
    }

    /// From now on a signal asks the operation to stop; a second one ends the process at once, and
    /// even then nothing half-made is visible.
    pub(crate) fn watch_signals(&self) -> Result<(), Failure> {
        watch_signals(Arc::clone(&self.progress))
    }

    /// Shows progress until the result is dropped, if there is a terminal to show it on.
    pub(crate) fn show_progress(&self, what: &'static str) -> Display {
        let wanted = !self.global.quiet && !self.global.no_progress && std::io::stderr().is_terminal();
        Display::start(what, Arc::clone(&self.progress), wanted)
    }

    /// Tells people something that is no result.
    pub(crate) fn note(&self, text: &str) {
        if !self.global.quiet {
            tell(&format!("reelfs: {text}"));
        }
    }

    /// Tells people of something that is not as it should be.
    pub(crate) fn warn(&self, text: &str) {
        if !self.global.quiet {
            tell(&format!("reelfs: warning: {text}"));
        }
    }
}

/// From now on a signal cancels, and a second one ends the process at once.
pub(crate) fn watch_signals(progress: Arc<Progress>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Failure::failed)?;
    let watch = move || {
        for (count, _) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(Kind::Interrupted.code().into());
            }
            progress.cancel();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(Failure::failed)?;
    Ok(())
}
