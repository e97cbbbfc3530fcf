//! `reelfs verify`

use std::time::Instant;

use reelfs::id::ClientName;
use reelfs::index::Index;
use reelfs::job::verify::{self, AffectedFile, AffectedGeneration, Damage, VerifyOptions, VerifySummary};
use reelfs::repo::repository::{INDEX, WriterLock};
use reelfs::repo::{RepoError, Repository};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::object;
use crate::{human, session};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs verify                 read everything and check it
  reelfs verify web1 web2       only what the generations of these clients need
  reelfs verify --quick         check the trees, and that all data they point to is there
  reelfs verify --json | jq -r 'select(.kind == \"file\") | .path'

  Damaged places are listed, then every file that cannot be read for them, and for each generation
  how many these are. The next backup reads the files of the newest generation that are damaged
  again, though they did not change, and stores the damaged parts anew: with the index, older generations
  that share them are whole again too. Damage of which another copy is known affects no file.

EXIT STATUS
  0 nothing is damaged; 1 failed, or no such client; 2 usage; 10 no repository; 12 something is damaged;
  130 interrupted";

/// Check that all that is stored can be read
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only these clients; all if none is named
    #[arg(value_name = "CLIENT")]
    clients: Vec<ClientName>,
    /// Do not read the data, only check that it is there
    #[arg(long)]
    quick: bool,
    /// Number of threads that read; one for each processor if not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<(), Failure> {
    let started = Instant::now();
    context.watch_signals()?;
    let repository = session::open(context)?;
    let all = repository.clients()?;
    if let Some(client) = args.clients.iter().find(|client| !all.contains(client)) {
        return Err(RepoError::NoClient { client: client.clone() }.into());
    }
    let writer = index(&repository, context)?;
    let options = VerifyOptions { read_data: !args.quick, worker_count: args.jobs.unwrap_or(0).into() };
    let display = context.show_progress("verify");
    let index = writer.as_ref().map(|(index, _)| index);
    let made = verify::run(&repository, index, &args.clients, &options, &context.progress);
    drop(display);
    let summary = made?;
    if context.global.json {
        json(&summary, args, started, context)?;
    } else {
        show(&summary, args, started, context)?;
    }
    if summary.is_sound() {
        return Ok(());
    }
    let is_in_tree = summary.damages.iter().any(|damage| damage.file.ends_with(".dtf"));
    let hint = match summary.affected_count {
        0 if is_in_tree => {
            "no data is affected, but names may not lead to it: 'reelfs backup --full' makes a new tree"
        }
        0 => "every file can be read: no generation needs what is damaged, or another copy is known",
        _ => "back the same files up again: what is damaged is stored anew, and heals old generations too",
    };
    Err(Failure::told(Kind::Damaged).hint(hint))
}

// Only the writer may change the index. While a backup runs all is verified and the index left alone.
fn index(repository: &Repository, context: &Context) -> Result<Option<(Index, Option<WriterLock>)>, Failure> {
    let lock = match repository.lock() {
        Ok(lock) => lock,
        Err(RepoError::Locked { .. }) => {
            context.note("another process writes to the repository; the index is left as it is");
            return Ok(None);
        }
        // A repository that is read-only can be verified, too.
        Err(error) => {
            log::info!("the index is left as it is: {}", reelfs::job::chain(&error));
            return Ok(None);
        }
    };
    let path = repository.root().map(|root| root.join(INDEX)).filter(|path| path.join("CURRENT").exists());
    match path.map(|path| Index::open(&path)).transpose() {
        Ok(index) => Ok(index.map(|index| (index, lock))),
        Err(error) => {
            context.warn(&format!("{}; the next backup makes it again", reelfs::job::chain(&error)));
            Ok(None)
        }
    }
}

fn show(
    summary: &VerifySummary,
    args: &Args,
    started: Instant,
    context: &mut Context,
) -> Result<(), Failure> {
    for Damage { file, offset, what } in &summary.damages {
        context.out.line(&format!("damaged: {file}, byte {offset}: {what}"))?;
    }
    more(summary.damage_count, summary.damages.len(), "damaged place", context)?;
    for file in &summary.affected {
        let AffectedFile { client, generation, ranges, bytes, .. } = file;
        let path = path_in_address(file);
        let what = match ranges.first() {
            Some((offset, _)) => format!("{} cannot be read, from byte {offset} on", human::bytes(*bytes)),
            None => "its entries cannot be read".to_owned(),
        };
        context.out.line(&format!("affected: {client}@{generation}:{path}: {what}"))?;
    }
    more(summary.affected_count, summary.affected.len(), "affected file", context)?;
    for affected in &summary.affected_generations {
        let AffectedGeneration { client, generation, is_newest, file_count } = affected;
        let newest = if *is_newest { ", the newest generation" } else { "" };
        let files = human::count(*file_count, "file");
        context.out.line(&format!("in all: {client}@{generation}{newest}: {files} affected"))?;
    }
    if summary.healed_count > 0 {
        let count = human::count(summary.healed_count, "damaged part");
        context.out.line(&format!("healed: {count} of files can be read from another copy"))?;
    }
    if context.global.quiet {
        return Ok(());
    }
    for (what, names) in [("unreferenced", &summary.unreferenced), ("left behind", &summary.leftovers)] {
        for name in names {
            context.out.line(&format!("{what}: {name}"))?;
        }
    }
    if summary.removed_from_index > 0 {
        let count = human::count(summary.removed_from_index, "damaged chunk");
        context.out.line(&format!("the index has forgotten {count}"))?;
    }
    let verified = if args.quick { "of data looked for" } else { "of data" };
    let checked = format!(
        "{}, {} of trees, {} {verified} in {}",
        human::count(summary.generation_count, "generation"),
        human::count(summary.page_count, "page"),
        human::bytes(summary.data_bytes),
        human::count(summary.bdf_count, "file"),
    );
    let (damaged, affected) = (summary.damage_count, summary.affected_count);
    let found = match summary.is_sound() {
        true => "sound".to_owned(),
        false => format!(
            "DAMAGED: {}, {}",
            human::count(damaged, "damaged place"),
            human::count(affected, "affected file")
        ),
    };
    context.out.line(&format!("{found}; checked {checked}; {}", human::duration(started.elapsed())))?;
    Ok(())
}

// As all other commands write it: from the root of the backup, without a leading '/'.
fn path_in_address(file: &AffectedFile) -> &str {
    file.path.strip_prefix('/').unwrap_or(&file.path)
}

fn more(count: u64, listed: usize, thing: &str, context: &mut Context) -> Result<(), Failure> {
    match count.saturating_sub(listed as u64) {
        0 => Ok(()),
        unnamed => {
            Ok(context.out.line(&format!("and {}", human::count(unnamed, &format!("more {thing}"))))?)
        }
    }
}

fn json(
    summary: &VerifySummary,
    args: &Args,
    started: Instant,
    context: &mut Context,
) -> Result<(), Failure> {
    for Damage { file, offset, what } in &summary.damages {
        context.out.json(object([
            ("kind", "damage".into()),
            ("file", file.clone().into()),
            ("offset", (*offset).into()),
            ("what", what.clone().into()),
        ]))?;
    }
    for file in &summary.affected {
        let ranges: Value =
            file.ranges.iter().map(|(offset, len)| Value::from(vec![*offset, *len])).collect();
        context.out.json(object([
            ("kind", "file".into()),
            ("client", file.client.as_str().into()),
            ("generation", file.generation.to_string().into()),
            ("path", path_in_address(file).into()),
            ("ranges", ranges),
            ("bytes", file.bytes.into()),
        ]))?;
    }
    for affected in &summary.affected_generations {
        context.out.json(object([
            ("kind", "generation".into()),
            ("client", affected.client.as_str().into()),
            ("generation", affected.generation.to_string().into()),
            ("newest", affected.is_newest.into()),
            ("affected", affected.file_count.into()),
        ]))?;
    }
    Ok(context.out.json(total(summary, args, started))?)
}

fn total(summary: &VerifySummary, args: &Args, started: Instant) -> Map<String, Value> {
    object([
        ("kind", "summary".into()),
        ("sound", summary.is_sound().into()),
        ("data_was_read", (!args.quick).into()),
        ("generations", summary.generation_count.into()),
        ("pages", summary.page_count.into()),
        ("bdfs", summary.bdf_count.into()),
        ("frames", summary.frame_count.into()),
        ("chunks", summary.chunk_count.into()),
        ("data_bytes", summary.data_bytes.into()),
        ("damaged", summary.damage_count.into()),
        ("affected", summary.affected_count.into()),
        ("healed", summary.healed_count.into()),
        ("unreferenced", summary.unreferenced.clone().into()),
        ("leftovers", summary.leftovers.clone().into()),
        ("removed_from_index", summary.removed_from_index.into()),
        ("seconds", started.elapsed().as_secs_f64().into()),
    ])
}
