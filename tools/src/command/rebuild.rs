//! `reelfs rebuild`

use reelfs::repo::repository::INDEX;

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::object;
use crate::{human, session};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs rebuild

  The index helps backups to find what is stored already. It holds nothing that is not in the sealed
  files, and listing, mounting and restoring work without it.

EXIT STATUS
  0 done; 1 failed; 2 usage; 3 done, but for damaged files that were named; 10 no repository; 11 another
  process writes to the repository; 130 interrupted, the index is as it was";

/// Make the index again from the sealed files of the repository
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let (repository, _lock) = session::open_for_writing(context)?;
    let Some(root) = repository.root() else { return Err(Failure::failed("the repository has no index")) };
    let summary = session::rebuild_index(context, &repository, &root.join(INDEX))?;
    if context.global.json {
        context.out.json(object([
            ("generations", summary.generation_count.into()),
            ("bdfs", summary.bdf_count.into()),
            ("chunks", summary.chunk_count.into()),
            ("failed", summary.failed.clone().into()),
        ]))?;
    } else if !context.global.quiet {
        context.out.line(&format!(
            "indexed {} in {}, {} in all",
            human::count(summary.chunk_count, "chunk"),
            human::count(summary.bdf_count, "data file"),
            human::count(summary.generation_count, "generation"),
        ))?;
    }
    if summary.failed.is_empty() { Ok(()) } else { Err(Failure::told(Kind::Partial)) }
}
