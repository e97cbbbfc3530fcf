//! `reelfs restore`

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use reelfs::job::problem::{Problem, Problems};
use reelfs::job::restore::{self, DamagedFile, RestoreOptions, RestoreSummary};
use reelfs::live;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::{object, tell};
use crate::place;
use crate::{human, session};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs restore web1 /srv/restored                    the latest generation
  reelfs restore web1@-2:etc /srv/restored/etc         the content of a directory
  reelfs restore web1:etc/hosts /tmp                   one file, as /tmp/hosts
  reelfs restore web1:home /home --overwrite if-changed --dry-run
  reelfs restore web1:home /home --overwrite if-newer --verify

  What ADDRESS names goes into the directory TARGET: of a directory its content, anything else by its
  name. TARGET is made if it does not exist. Nothing in TARGET is removed, but an object gives way
  to one of the same name as --overwrite says. Symbolic links in TARGET are never followed. Ownership,
  attributes and devices need root; what cannot be restored is named.

EXIT STATUS
    0  done
    1  failed; what was restored by then is complete, file by file
    2  the arguments make no sense
    3  done, but some objects or attributes could not be restored and were named
   10  there is no repository
   12  stored data is damaged; all other files were restored
  130  interrupted; what was restored by then is complete, file by file";

/// Write a generation, or a part of it, into a directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to restore: CLIENT[@GENERATION][:PATH]
    address: OsString,
    /// Directory to restore into
    target: PathBuf,
    /// When an object in the target gives way to the one from the backup
    #[arg(long, value_name = "WHEN", default_value = "always")]
    overwrite: Overwrite,
    /// Write nothing, only count what would be written
    #[arg(long, short = 'n', conflicts_with = "verify")]
    dry_run: bool,
    /// Read every file back from the disk and compare it
    #[arg(long)]
    verify: bool,
    /// Do not go into other file systems that are mounted in the target
    #[arg(long, short = 'x')]
    one_file_system: bool,
    /// Keep what is readable of a damaged file as NAME.damaged, with zeros in the place of the rest
    #[arg(long)]
    salvage: bool,
    /// Number of threads that read and write; one for each processor if not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

/// When an object in the target gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Overwrite {
    /// Always
    Always,
    /// If kind, size or modification time differ
    IfChanged,
    /// If the one in the backup was modified later
    IfNewer,
    /// Never
    Never,
}

impl From<Overwrite> for live::Overwrite {
    fn from(overwrite: Overwrite) -> Self {
        match overwrite {
            Overwrite::Always => Self::Always,
            Overwrite::IfChanged => Self::IfChanged,
            Overwrite::IfNewer => Self::IfNewer,
            Overwrite::Never => Self::Never,
        }
    }
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let address = place::parse(&args.address)?;
    let started = Instant::now();
    context.watch_signals()?;
    let repository = session::open(context)?;
    let place = place::find(&repository, &address)?;
    let options = RestoreOptions {
        overwrite: args.overwrite.into(),
        dry_run: args.dry_run,
        verify: args.verify,
        one_file_system: args.one_file_system,
        salvage: args.salvage,
        worker_count: args.jobs.unwrap_or(0).into(),
    };
    let display = context.show_progress("restore");
    let (ordinal, path) = (place.id.ordinal, &place.address.path);
    let made = restore::run(&repository, ordinal, path, &args.target, &options, &context.progress);
    drop(display);
    let summary = made?;
    let hint = "another generation may have the file: 'reelfs find -a'";
    let restored =
        Restored { shown: place.shown(), target: &args.target, is_dry_run: args.dry_run, started, hint };
    report(&restored, &summary, context)
}

/// What was restored, for people.
pub(super) struct Restored<'a> {
    /// The address.
    pub(super) shown: String,
    /// Where it went.
    pub(super) target: &'a Path,
    /// Nothing was written.
    pub(super) is_dry_run: bool,
    /// When the command began.
    pub(super) started: Instant,
    /// What helps if data is damaged.
    pub(super) hint: &'static str,
}

/// Tells what a restore did, and how it ended.
pub(super) fn report(
    restored: &Restored<'_>,
    summary: &RestoreSummary,
    context: &mut Context,
) -> Result<(), Failure> {
    tell_problems(summary);
    if context.global.json {
        context.out.json(json(restored, summary))?;
    } else if !context.global.quiet {
        show(restored, summary, context)?;
    }
    match (summary.damaged_count, summary.is_complete()) {
        (0, true) => Ok(()),
        (0, false) => Err(Failure::told(Kind::Partial)),
        _ => Err(Failure::told(Kind::Damaged).hint(restored.hint)),
    }
}

fn tell_problems(summary: &RestoreSummary) {
    for (what, problems) in [("not restored", &summary.failed), ("not fully restored", &summary.shortfalls)] {
        for problem in &problems.listed {
            tell(&format!("reelfs: {}: {what}: {}", problem.path, problem.reason));
        }
        let unnamed = problems.count.saturating_sub(problems.listed.len() as u64);
        if unnamed > 0 {
            tell(&format!("reelfs: {} more {what}", human::count(unnamed, "object")));
        }
    }
    for file in &summary.damaged {
        let DamagedFile { path, bytes, reason, salvaged, .. } = file;
        let kept = salvaged.as_ref().map(|name| format!("; the rest is in {name}")).unwrap_or_default();
        tell(&format!("reelfs: {path}: {} damaged: {reason}{kept}", human::bytes(*bytes)));
    }
    let unnamed = summary.damaged_count.saturating_sub(summary.damaged.len() as u64);
    if unnamed > 0 {
        tell(&format!("reelfs: {} more damaged", human::count(unnamed, "file")));
    }
}

fn show(restored: &Restored<'_>, summary: &RestoreSummary, context: &mut Context) -> Result<(), Failure> {
    let verb = if restored.is_dry_run { "would restore" } else { "restored" };
    let target = reelfs::path::display(restored.target.as_os_str().as_encoded_bytes());
    let mut line = format!(
        "{verb} {} to {target}: {}, {}",
        restored.shown,
        human::count(summary.files.files, "file"),
        human::bytes(summary.files.bytes)
    );
    for (number, what) in [
        (summary.link_count, "hard link"),
        (summary.directory_count, "directory"),
        (summary.symlink_count, "symbolic link"),
        (summary.other_count, "special file"),
    ] {
        if number > 0 {
            line.push_str(&format!(", {}", human::count(number, what)));
        }
    }
    if summary.kept_count > 0 {
        line.push_str(&format!("; kept {}", human::count(summary.kept_count, "object")));
    }
    line.push_str(&format!("; {}", human::duration(restored.started.elapsed())));
    Ok(context.out.line(&line)?)
}

fn json(restored: &Restored<'_>, summary: &RestoreSummary) -> Map<String, Value> {
    let problems = |problems: &Problems| -> Value {
        let one = |problem: &Problem| {
            Value::Object(object([
                ("path", problem.path.clone().into()),
                ("reason", problem.reason.clone().into()),
            ]))
        };
        problems.listed.iter().map(one).collect()
    };
    let damaged = |file: &DamagedFile| {
        let ranges: Value =
            file.ranges.iter().map(|(offset, len)| Value::from(vec![*offset, *len])).collect();
        Value::Object(object([
            ("path", file.path.clone().into()),
            ("ranges", ranges),
            ("bytes", file.bytes.into()),
            ("reason", file.reason.clone().into()),
            ("salvaged", file.salvaged.clone().into()),
        ]))
    };
    object([
        ("address", restored.shown.clone().into()),
        ("files", summary.files.files.into()),
        ("bytes", summary.files.bytes.into()),
        ("links", summary.link_count.into()),
        ("directories", summary.directory_count.into()),
        ("symlinks", summary.symlink_count.into()),
        ("others", summary.other_count.into()),
        ("kept", summary.kept_count.into()),
        ("failed", summary.failed.count.into()),
        ("failed_objects", problems(&summary.failed)),
        ("shortfalls", summary.shortfalls.count.into()),
        ("shortfall_objects", problems(&summary.shortfalls)),
        ("damaged", summary.damaged_count.into()),
        ("damaged_files", summary.damaged.iter().map(damaged).collect()),
        ("seconds", restored.started.elapsed().as_secs_f64().into()),
    ])
}
