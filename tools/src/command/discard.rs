//! `reelfs discard`

use reelfs::id::ClientName;
use reelfs::job::control::{Answer, Request};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;
use crate::staging;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs commit web1 --preview      what is pending
  reelfs discard web1               and away with it

  Staging then shows the generation that it stands on. Files of it that are open become stale, and
  what was committed before stays.

EXIT STATUS
  0 done; 1 failed, or the client has no staging; 2 usage; 10 no repository;
  11 a commit is running, or another process has staging open; 12 damaged";

/// Drop what is staged and not committed
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Client whose changes are dropped
    client: ClientName,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let request = Request::Discard { client: args.client.to_string() };
    let mut staged = None;
    staging::perform(context, &request, &mut |answer| {
        if let Answer::Staged { client, generation } = answer {
            staged = Some((client, generation));
        }
    })?;
    show(staged, context)
}

/// Tells on which generation a client's staging stands.
pub(super) fn show(staged: Option<(String, Option<String>)>, context: &mut Context) -> Result<(), Failure> {
    let Some((client, generation)) = staged else { return Err(Failure::failed("the daemon gave no answer")) };
    if context.global.json {
        let members = object([("client", client.into()), ("base", generation.into())]);
        return Ok(context.out.json(members)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let line = match generation {
        Some(generation) => format!("staging of {client} shows {client}@{generation}"),
        None => format!("staging of {client} is empty"),
    };
    Ok(context.out.line(&line)?)
}
