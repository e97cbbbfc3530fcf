//! `reelfs stage`

use std::ffi::OsString;

use reelfs::job::control::{Answer, Request};

use super::discard::{Staged, show};
use crate::context::Context;
use crate::failure::Failure;
use crate::{place, staging};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs stage web1                     on the latest generation
  reelfs stage web1@2026-11-20          on an older one
  reelfs stage web1@-2 && rsync -a fixed/ /mnt/reelfs/staging/web1/etc/ && reelfs commit web1

  Nothing is copied, whatever the size of the generation. The next commit makes the client's newest
  generation, of what is staged then; all generations between the two stay. A client without
  staging gets one. While changes are pending it is refused, on whatever generation they were made,
  and says how many there are: 'reelfs discard' drops them.

EXIT STATUS
  0 done; 1 failed, no such generation, or changes are pending; 2 usage; 10 no repository;
  11 a commit is running, or another process has staging open; 12 damaged";

/// Begin staging from a generation
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The generation to begin with: CLIENT[@GENERATION]
    address: OsString,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let address = place::parse(&args.address)?;
    if !address.path.is_empty() {
        return Err(Failure::usage("staging begins with a whole generation, not with a path in it"));
    }
    let client = address.client.to_string();
    let request = Request::Stage { client, generation: address.generation().to_owned() };
    let mut staged = None;
    staging::perform(context, &request, &mut |answer| {
        if let Answer::Staged { client, generation, aside } = answer {
            staged = Some(Staged { client, generation, aside });
        }
    })?;
    show(staged, context)
}
