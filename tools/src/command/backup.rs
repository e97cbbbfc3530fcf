//! `reelfs backup`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use reelfs::format::dtf::TEXT_LEN_MAX;
use reelfs::id::ClientName;
use reelfs::job::backup::{self, BackupOptions, BackupSummary, Count, Problem};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::{object, tell};
use crate::{clock, human, session, staging};

const USER_EXCLUDE: &str = "reelfs/exclude";

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs backup /home --client web1
  reelfs backup / --client web1 --one-file-system --exclude /var/tmp --exclude '*.o'
  reelfs backup /srv --client nas --message 'before the upgrade'

  Patterns are those of gitignore(5), anchored at SOURCE: '*.o' leaves out such files everywhere, '/tmp'
  only SOURCE/tmp, 'cache/' only directories, and '!keep.o' takes in again. They come from the policy in
  reelfs.toml, from ~/.config/reelfs/exclude, from --exclude-from and from --exclude, and a later one
  wins over an earlier one.

  A client whose staging has changes takes no backup until these are committed or discarded.

  What cannot be read is named, and stays as the last generation has it; a file that has several names
  and cannot be read itself, and what that generation does not have, is left out.

  A file that did not change since the last generation, by size, times and inode number, is taken over
  without being read, unless some of its data is known to be damaged: that is read and stored anew.
  --checksum reads all. Where the tree of the last generation is damaged, a warning is given and a new
  baseline made, as with --full.

EXIT STATUS
  0    the generation was made, or nothing had changed
  1    failed, no generation was made
  2    the arguments make no sense
  3    done, but some files could not be read or changed while they were read
  10   there is no repository
  11   another process writes to the repository
  12   the repository is damaged
  130  interrupted; no generation was made";

/// Save a directory as the next generation of a client
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Directory to save
    source: PathBuf,
    /// Client whose next generation it becomes: a name of letters, digits, '.', '_' and '-'
    #[arg(long, short, value_name = "NAME")]
    client: ClientName,
    /// Leave out what matches, in the syntax of gitignore
    #[arg(long, short, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Leave out what matches a line of this file, in the syntax of gitignore
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Do not read ~/.config/reelfs/exclude
    #[arg(long)]
    no_user_exclude: bool,
    /// Do not go into other file systems; the directories they are mounted on are kept, empty
    #[arg(long, short = 'x')]
    one_file_system: bool,
    /// Leave out the content of directories that hold a valid CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Leave out what is marked by 'chattr +d'
    #[arg(long)]
    exclude_nodump: bool,
    /// Read all files, also those that did not change by size, times and inode number
    #[arg(long)]
    checksum: bool,
    /// Do not compare inode numbers, which some network file systems make up anew at each mount
    #[arg(long)]
    ignore_inode: bool,
    /// Begin a new baseline, whose tree shares nothing with that of the generation before
    #[arg(long)]
    full: bool,
    /// Make a generation even if nothing changed
    #[arg(long)]
    always: bool,
    /// Keep a remark with the generation
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// Number of threads that read and compress; one for each processor if not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if args.message.len() > TEXT_LEN_MAX {
        let len = args.message.len();
        return Err(Failure::usage(format!("the message has {len} bytes, expected at most {TEXT_LEN_MAX}")));
    }
    let options = BackupOptions {
        exclude: exclusions(&args)?,
        one_file_system: args.one_file_system,
        exclude_caches: args.exclude_caches,
        exclude_nodump: args.exclude_nodump,
        checksum: args.checksum,
        ignore_inode: args.ignore_inode,
        full: args.full,
        always: args.always,
        message: args.message,
        worker_count: args.jobs.unwrap_or(0).into(),
    };
    let started = Instant::now();
    context.watch_signals()?;
    staging::refuse_pending(context, &args.client)?;
    let (repository, lock) = session::open_for_writing(context)?;
    let index = session::open_index(context, &repository)?;
    let display = context.show_progress("backup");
    let inputs = clock::writer_inputs()?;
    let made = backup::run(
        &repository,
        index.as_ref(),
        &args.client,
        &args.source,
        &options,
        inputs,
        &context.progress,
    );
    drop(display);
    let summary = made?;
    drop((index, lock));
    if let Some(committed) = &summary.committed
        && let Err(failure) = staging::move_on(context, &args.client, committed.id.time)
    {
        let text = failure.text().unwrap_or_default();
        context.warn(&format!(
            "staging of {0} stays on the generation before: {text}; 'reelfs commit {0}' makes the next \
             generation of that one and these changes, without what was backed up now; 'reelfs discard {0}' and \
             then 'reelfs stage {0}@latest' go on from what was backed up",
            args.client
        ));
    }
    tell_problems(&summary, context);
    if context.global.json {
        context.out.json(json(&args.client, &summary, started))?;
    } else if !context.global.quiet {
        show(&args.client, &summary, started, context)?;
    }
    if summary.is_complete() { Ok(()) } else { Err(Failure::told(Kind::Partial)) }
}

fn exclusions(args: &Args) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let mut lists = Vec::new();
    if !args.no_user_exclude
        && let Some(path) = user_exclude()
        && path.exists()
    {
        lists.push(read_patterns(&path)?);
    }
    for path in &args.exclude_from {
        lists.push(read_patterns(path)?);
    }
    let patterns = args.exclude.iter().map(|pattern| text(pattern, "--exclude")).collect::<Result<_, _>>()?;
    lists.push(("--exclude".to_owned(), patterns));
    Ok(lists)
}

fn user_exclude() -> Option<PathBuf> {
    let is_set = |path: &PathBuf| path.is_absolute();
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(is_set);
    let home = || std::env::var_os("HOME").map(PathBuf::from).filter(is_set);
    Some(config.or_else(|| Some(home()?.join(".config")))?.join(USER_EXCLUDE))
}

fn read_patterns(path: &Path) -> Result<(String, Vec<String>), Failure> {
    let shown = reelfs::path::display(path.as_os_str().as_bytes());
    let refused = |source| Failure::failed(ExcludeFile { path: shown.clone(), source });
    let bytes = std::fs::read(path).map_err(refused)?;
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| text(OsStr::from_bytes(line), &shown));
    Ok((shown.clone(), lines.collect::<Result<_, _>>()?))
}

/// A file of patterns that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the patterns in {path}")]
struct ExcludeFile {
    path: String,
    source: std::io::Error,
}

fn text(pattern: &OsStr, origin: &str) -> Result<String, Failure> {
    pattern.to_str().map(|text| text.trim_end_matches('\r').to_owned()).ok_or_else(|| {
        let shown = reelfs::path::display(pattern.as_bytes());
        Failure::usage(format!("{origin}: pattern '{shown}' is not UTF-8"))
            .hint("'?' in a pattern stands for any one character or byte")
    })
}

// Names of what was not saved are no noise: --quiet leaves them.
fn tell_problems(summary: &BackupSummary, context: &Context) {
    let lists = [
        ("not saved", &summary.failed, summary.failed_count),
        (
            "changed while it was read, saved as it was read",
            &summary.inconsistent,
            summary.inconsistent_count,
        ),
    ];
    for (what, problems, count) in lists {
        for Problem { path, reason } in problems {
            tell(&format!("reelfs: {path}: {what}: {reason}"));
        }
        let unnamed = count.saturating_sub(problems.len() as u64);
        if unnamed > 0 {
            tell(&format!("reelfs: {} more {what}", human::count(unnamed, "file")));
        }
    }
    if let Some(reason) = &summary.baseline_reason {
        context.warn(&format!("the generation before is damaged, so this one stands alone: {reason}"));
        context.note("hint: 'reelfs verify' lists what is damaged; earlier generations stay as they are");
    }
    if let Some(problem) = &summary.index_problem {
        context.warn(&format!("the index does not know the new generation: {problem}"));
        context.note("hint: 'reelfs rebuild' makes the index again; the generation is complete without it");
    }
}

fn show(
    client: &ClientName,
    summary: &BackupSummary,
    started: Instant,
    context: &mut Context,
) -> Result<(), Failure> {
    let took = human::duration(started.elapsed());
    let count =
        |count: &Count| format!("{}, {}", human::count(count.files, "file"), human::bytes(count.bytes));
    let Some(committed) = &summary.committed else {
        let line = format!("{client}: nothing changed, no generation was made ({took})");
        return Ok(context.out.line(&line)?);
    };
    let totals = &committed.totals;
    context.out.line(&format!("{client}@{}", committed.id.time))?;
    context.out.line(&format!(
        "  holds      {}, {}",
        human::count(totals.file_count, "file"),
        human::bytes(totals.content_bytes)
    ))?;
    for (what, counted) in
        [("new", &summary.new), ("modified", &summary.modified), ("unchanged", &summary.unchanged)]
    {
        if counted.files > 0 {
            context.out.line(&format!("  {what:9}  {}", count(counted)))?;
        }
    }
    if summary.redundant.files > 0 {
        context.out.line(&format!("  redundant  {}, stored already", count(&summary.redundant)))?;
    }
    for (what, number) in [("removed", summary.removed_count), ("excluded", summary.excluded_count)] {
        if number > 0 {
            context.out.line(&format!("  {what:9}  {}", human::count(number, "entry")))?;
        }
    }
    context.out.line(&format!(
        "  added      {} of data, {} of tree, in {took}",
        human::bytes(committed.added_bytes),
        human::bytes(committed.dtf_bytes)
    ))?;
    Ok(())
}

fn json(client: &ClientName, summary: &BackupSummary, started: Instant) -> Map<String, Value> {
    let count =
        |count: &Count| Value::Object(object([("files", count.files.into()), ("bytes", count.bytes.into())]));
    let problems = |problems: &[Problem]| -> Value {
        let one = |problem: &Problem| {
            let members =
                object([("path", problem.path.clone().into()), ("reason", problem.reason.clone().into())]);
            Value::Object(members)
        };
        problems.iter().map(one).collect()
    };
    let committed = summary.committed.as_ref();
    let generation = committed.map(|committed| committed.id.time.to_string());
    object([
        ("client", client.as_str().into()),
        ("address", generation.as_ref().map(|generation| format!("{client}@{generation}")).into()),
        ("generation", generation.into()),
        ("ordinal", committed.map(|committed| committed.id.ordinal.get()).into()),
        ("files", committed.map(|committed| committed.totals.file_count).into()),
        ("content_bytes", committed.map(|committed| committed.totals.content_bytes).into()),
        ("added_bytes", committed.map(|committed| committed.added_bytes).into()),
        ("dtf_bytes", committed.map(|committed| committed.dtf_bytes).into()),
        ("new", count(&summary.new)),
        ("modified", count(&summary.modified)),
        ("unchanged", count(&summary.unchanged)),
        ("redundant", count(&summary.redundant)),
        ("removed", summary.removed_count.into()),
        ("excluded", summary.excluded_count.into()),
        ("failed", summary.failed_count.into()),
        ("inconsistent", summary.inconsistent_count.into()),
        ("failed_files", problems(&summary.failed)),
        ("inconsistent_files", problems(&summary.inconsistent)),
        ("baseline_reason", summary.baseline_reason.clone().into()),
        ("index_problem", summary.index_problem.clone().into()),
        ("seconds", started.elapsed().as_secs_f64().into()),
    ])
}
