//! `reelfs ls`

use std::ffi::OsString;

use reelfs::job::walk::{Walk, WalkError, Walked, inode_of};
use reelfs::repo::Repository;

use crate::context::Context;
use crate::damage::Damage;
use crate::failure::Failure;
use crate::place::{self, Place};
use crate::{session, show};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs ls web1                      the root of the latest generation
  reelfs ls web1@-2:etc/ssh           a directory in the one before
  reelfs ls -d web1@2026-11-21:etc    the directory itself
  reelfs ls -R --json web1 | jq -r 'select(.size > 1e9) | .path'

  Each line has mode, owner and group by number, size, time of the last change in UTC, and name. Names with
  control characters, invalid UTF-8 or '\\' are escaped. Symbolic links are shown, not followed.

EXIT STATUS
  0 done; 1 no such client, generation or path; 2 usage; 10 no repository; 12 something is damaged, the
  rest was listed; 130 interrupted";

/// List files in a generation, like ls -l
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to list: CLIENT[@GENERATION][:PATH]
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<OsString>,
    /// List all below, with paths
    #[arg(long, short = 'R')]
    recursive: bool,
    /// List a directory itself, not what is in it
    #[arg(long, short, conflicts_with = "recursive")]
    directory: bool,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let addresses = args.addresses.iter().map(place::parse).collect::<Result<Vec<_>, _>>()?;
    let repository = session::open(context)?;
    let mut damage = Damage::default();
    let has_heads = addresses.len() > 1 && !context.global.json;
    for (index, address) in addresses.iter().enumerate() {
        let place = place::find(&repository, address)?;
        let listed = place.directory().filter(|_| !args.directory);
        if has_heads && listed.is_some() {
            if index > 0 {
                context.out.line("")?;
            }
            context.out.line(&format!("{}:", place.shown()))?;
        }
        match listed {
            None => {
                let (path, shown) = (place.address.path.clone(), place.name().to_vec());
                let itself = Walked { path, depth: 0, node: place.node, inode: place.inode.clone() };
                entry(&place, &itself, &shown, context)?;
            }
            Some(directory) if args.recursive => {
                for walked in Walk::new(&repository, &place.generation, directory, Vec::new()) {
                    one(&place, walked, context, &mut damage)?;
                }
            }
            Some(directory) => list(&repository, &place, directory, context, &mut damage)?,
        }
    }
    damage.finish()
}

fn list(
    repository: &Repository,
    place: &Place,
    directory: u64,
    context: &mut Context,
    damage: &mut Damage,
) -> Result<(), Failure> {
    for listed in place.generation.list(repository.pages(), directory, None)? {
        let walked = listed.map_err(|error| WalkError::new(b"", error)).and_then(|mut entry| {
            let inode = inode_of(repository, &mut entry, directory)
                .map_err(|error| WalkError::new(&entry.name, error))?;
            Ok(Walked { path: entry.name, depth: 0, node: entry.node, inode })
        });
        one(place, walked, context, damage)?;
    }
    Ok(())
}

fn one(
    place: &Place,
    walked: Result<Walked, WalkError>,
    context: &mut Context,
    damage: &mut Damage,
) -> Result<(), Failure> {
    match walked {
        Ok(walked) => {
            let shown = walked.path;
            let walked = Walked { path: place.below(&shown), ..walked };
            entry(place, &walked, &shown, context)?;
        }
        Err(error) => {
            // What was found comes before the message about what was not.
            context.out.flush()?;
            damage.note(&place.shown(), &error);
        }
    }
    Ok(())
}

/// Shows an entry; its path is that in the generation, and people see it as `shown`.
pub(crate) fn entry(
    place: &Place,
    walked: &Walked,
    shown: &[u8],
    context: &mut Context,
) -> Result<(), Failure> {
    if !context.global.json {
        return Ok(context.out.line(&show::line(shown, &walked.inode, context.global.local))?);
    }
    let mut object = show::json(&walked.path, walked.node, &walked.inode);
    object.insert("client".to_owned(), place.address.client.as_str().into());
    object.insert("generation".to_owned(), place.id.time.to_string().into());
    Ok(context.out.json(object)?)
}
