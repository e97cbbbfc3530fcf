//! `reelfs cat`

use std::ffi::OsString;
use std::io;

use reelfs::path;
use reelfs::repo::content::Piece;
use reelfs::repo::{ReadError, Repository};

use crate::context::Context;
use crate::failure::Failure;
use crate::place::{self, Place};
use crate::session;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs cat web1:etc/hosts
  reelfs cat web1@-2:etc/hosts | diff - /etc/hosts
  reelfs cat web1@2026-11-21:var/lib/db.dump.gz | zcat | less

  Every byte is checked against its fingerprint before it is written. Holes are written as zeros.

EXIT STATUS
  0 done; 1 no such client, generation or path, or not a regular file; 2 usage; 10 no repository; 12 the
  file is damaged, and what was written ends before the damage";

/// Write files of a generation to standard output
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Files to write, one after the other: CLIENT[@GENERATION]:PATH
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<OsString>,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let addresses = args.addresses.iter().map(place::parse).collect::<Result<Vec<_>, _>>()?;
    let repository = session::open(context)?;
    for address in &addresses {
        let place = place::find(&repository, address)?;
        write(&repository, &place, context)?;
    }
    Ok(())
}

fn write(repository: &Repository, place: &Place, context: &mut Context) -> Result<(), Failure> {
    let Some(content) = repository.content(&place.inode) else {
        let kind = crate::show::kind(&place.inode);
        let failure = Failure::failed(format!("{} is a {kind}, not a file", place.shown()));
        return Err(match place.directory() {
            Some(_) => failure.hint("'reelfs ls' lists a directory"),
            None => failure,
        });
    };
    let mut refused = None;
    let result = content.read_each(0, usize::MAX, |piece| {
        let written = match piece {
            Piece::Data(data) => context.out.bytes(data),
            Piece::Hole(len) => zeros(len, context),
        };
        refused = written.err();
        refused.is_none()
    });
    match (result, refused) {
        (Ok(()), None) => Ok(()),
        (_, Some(error)) => Err(error.into()),
        (Err(source), None) => Err(damaged(place, source)),
    }
}

fn damaged(place: &Place, source: ReadError) -> Failure {
    let is_damage = source.is_damage();
    let failure = Failure::from(source);
    let Some(source) = failure.error else { return failure };
    let path = format!("{}@{}:{}", place.address.client, place.id.time, path::display(&place.address.path));
    let kind = if is_damage { crate::failure::Kind::Damaged } else { failure.kind };
    Failure { kind, error: Some(Box::new(Unreadable { path, source })), hint: failure.hint }
}

/// A file cannot be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
struct Unreadable {
    path: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn zeros(len: usize, context: &mut Context) -> io::Result<()> {
    let mut left = len;
    while left > 0 {
        let piece = ZEROS.get(..left.min(ZEROS.len())).unwrap_or(&ZEROS);
        context.out.bytes(piece)?;
        left -= piece.len();
    }
    Ok(())
}
