//! `reelfs diff`

use std::ffi::OsString;
use std::ops::ControlFlow;

use reelfs::format::record::{FileKind, Inode};
use reelfs::job::diff::{self, Change, Difference, Side};
use reelfs::job::walk::WalkError;
use reelfs::path;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::damage::Damage;
use crate::failure::Failure;
use crate::output::{object, put_bytes};
use crate::place::{self, Place};
use crate::{human, session, show};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs diff web1@-2 web1                    what the latest generation changed
  reelfs diff web1@2026-10 web1@2026-11:      what a month changed
  reelfs diff web1:etc web2:etc               two hosts
  reelfs diff --json web1@-2 web1 | jq -r 'select(.change == \"removed\") | .path'

  Each line has a letter, the size, the path, and what differs:
    A  added: only the second has it        M  modified: its content differs
    D  deleted: only the first has it       U  updated: only attributes differ
    T  its type differs
  Directories of which only the time differs are left out, as it differs whenever a name in them does;
  --all shows them. Directories that both generations share are not read: the cost follows the change.

EXIT STATUS
  0 done, different or not; 1 no such client, generation or path; 2 usage; 10 no repository; 12 something
  is damaged, the rest was compared; 130 interrupted";

/// Show what differs between two generations, or two directories in them
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The first: CLIENT[@GENERATION][:PATH]
    #[arg(value_name = "ADDRESS")]
    before: OsString,
    /// The second: CLIENT[@GENERATION][:PATH]
    #[arg(value_name = "ADDRESS")]
    after: OsString,
    /// Show directories of which only the time differs, too
    #[arg(long, short)]
    all: bool,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let (before, after) = (place::parse(&args.before)?, place::parse(&args.after)?);
    let repository = session::open(context)?;
    let (before, after) = (place::find(&repository, &before)?, place::find(&repository, &after)?);
    let mut damage = Damage::default();
    let mut refused = None;
    let progress = std::sync::Arc::clone(&context.progress);
    let mut report = |told: Result<Difference, WalkError>| {
        let written = match told {
            Ok(difference) if args.all || !is_only_directory_time(&difference) => tell(&difference, context),
            Ok(_) => Ok(()),
            Err(error) => {
                damage.note(&format!("{} and {}", before.shown(), after.shown()), &error);
                Ok(())
            }
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                refused = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    diff::run(&repository, side(&before), side(&after), &progress, &mut report)?;
    refused.map_or(Ok(()), Err)?;
    damage.finish()
}

fn side(place: &Place) -> Side<'_> {
    Side { generation: &place.generation, node: place.node, inode: &place.inode }
}

fn is_only_directory_time(difference: &Difference) -> bool {
    difference.aspects == ["mtime"]
        && difference.after.as_ref().is_some_and(|after| after.kind() == FileKind::Directory)
}

fn tell(difference: &Difference, context: &mut Context) -> Result<(), Failure> {
    if context.global.json {
        return Ok(context.out.json(json(difference))?);
    }
    let letter = match difference.change {
        Change::Added => 'A',
        Change::Removed => 'D',
        Change::Kind => 'T',
        Change::Content => 'M',
        Change::Attributes => 'U',
    };
    let size = |inode: &Option<Inode>| match inode {
        Some(inode) if inode.kind() == FileKind::Regular => human::bytes(inode.size()),
        _ => "-".to_owned(),
    };
    let is_directory = difference
        .after
        .as_ref()
        .or(difference.before.as_ref())
        .is_some_and(|inode| inode.kind() == FileKind::Directory);
    let shown_size = match difference.change {
        Change::Removed => size(&difference.before),
        _ => size(&difference.after),
    };
    let mut shown = path::display(&difference.path);
    if is_directory {
        shown.push('/');
    }
    let mut line = format!("{letter} {shown_size:>10}  {shown}");
    if let (Change::Kind, Some(before), Some(after)) =
        (difference.change, &difference.before, &difference.after)
    {
        line.push_str(&format!("  ({} -> {})", show::kind(before), show::kind(after)));
    } else if difference.change == Change::Content && size(&difference.before) != shown_size {
        line.push_str(&format!("  (was {})", size(&difference.before)));
    } else if difference.change == Change::Attributes {
        line.push_str(&format!("  ({})", difference.aspects.join(", ")));
    }
    Ok(context.out.line(&line)?)
}

fn json(difference: &Difference) -> Map<String, Value> {
    let change = match difference.change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Kind => "type",
        Change::Content => "modified",
        Change::Attributes => "attributes",
    };
    let side = |inode: &Option<Inode>| -> Value {
        let Some(inode) = inode else { return Value::Null };
        Value::Object(object([
            ("kind", show::kind(inode).into()),
            ("mode", format!("{:04o}", inode.permissions).into()),
            ("uid", inode.uid.into()),
            ("gid", inode.gid.into()),
            ("size", inode.size().into()),
            ("mtime", human::exact_time(inode.mtime).into()),
        ]))
    };
    let mut members = object([
        ("change", change.into()),
        ("differs", difference.aspects.clone().into()),
        ("before", side(&difference.before)),
        ("after", side(&difference.after)),
    ]);
    put_bytes(&mut members, "path", &difference.path);
    members
}
