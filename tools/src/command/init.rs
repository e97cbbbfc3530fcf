//! `reelfs init`

use reelfs::repo::Repository;

use crate::clock;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{object, put_bytes};
use crate::session;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs --repo /srv/backup init
  REELFS_REPO=/srv/backup reelfs init

  The settings are in /srv/backup/reelfs.toml, which can be edited; see reelfs.toml(5).

EXIT STATUS
  0 the repository was made; 1 the directory is not empty or cannot be written; 2 usage";

/// Make a repository in a new or empty directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &mut Context) -> Result<(), Failure> {
    let directory = session::directory(context)?;
    let repository = Repository::create(&directory, clock::new_id())?;
    let path = repository.root().unwrap_or(&directory).as_os_str().as_encoded_bytes().to_vec();
    if context.global.json {
        let mut made = object([("id", repository.id().to_string().into())]);
        put_bytes(&mut made, "repository", &path);
        context.out.json(made)?;
    } else if !context.global.quiet {
        context.out.line(&format!("made the repository {}", reelfs::path::display(&path)))?;
    }
    Ok(())
}
