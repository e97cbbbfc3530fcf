//! Entries that could not be read while the rest was shown.

use reelfs::job::walk::WalkError;

use crate::failure::{Failure, Kind};
use crate::output::tell;

/// Counts what could not be read; the worst of it decides the exit code.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    worst: Option<Kind>,
}

impl Damage {
    /// Names an entry that could not be read.
    pub(crate) fn note(&mut self, prefix: &str, error: &WalkError) {
        tell(&format!("reelfs: {prefix}: {}", reelfs::job::chain(error)));
        let kind = if error.source.is_damage() { Kind::Damaged } else { Kind::Failed };
        self.worst = self.worst.max(Some(kind));
    }

    /// Ends the command.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.worst.map_or(Ok(()), |kind| {
            let failure = Failure::told(kind);
            Err(if kind == Kind::Damaged {
                failure.hint("'reelfs verify' lists all that is damaged")
            } else {
                failure
            })
        })
    }
}
