//! `reelfs tape archive`

use std::ffi::OsString;
use std::time::{Duration, Instant};

use jiff::civil::Time;
use jiff::tz::TimeZone;
use reelfs::format::record::Time as FileTime;
use reelfs::id::ClientName;
use reelfs::job::tape::archive::{self, ArchiveEvent, ArchiveInputs, ArchiveOptions, ArchiveSummary};
use reelfs::job::tape::history::History;
use reelfs::job::tape::plan::{LeftOut, Plan};
use reelfs::job::tape::pool_lock::PoolLock;
use reelfs::repo::{GenerationId, RepoError, Repository};
use reelfs::tape::writer::WriterOptions;

use super::{Place, place, schedule};
use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::{object, tell};
use crate::{clock, human, session};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape archive --client web1                             its latest generation
  reelfs tape archive --client web1 --generations all
  reelfs tape archive --pool offsite --retain 3650 --finish-by 17:30
  reelfs tape archive --client web1 --dry-run                   what would be written, and how long it takes

  All that the generations need and the newest set of the pool does not hold yet is written: to the
  last cartridge of the set, then to cartridges prepared with 'reelfs tape label', then to blank ones. A
  cartridge that holds anything else is left alone, one that fails is put away and the next one taken. At
  the end the cartridge is put away. An archive that was interrupted is gone on with by the same command.

  A file of the repository that is damaged is left out and named, and all else is archived: exit 12. It is
  not tried again before it can be read. If it is a tree, its generation is left out, and others that need it.
  --dry-run tells what of that is known before anything is written.

  --retain holds for all that the generations need: cartridges with parts of it from earlier sessions
  are loaded and marked. --cartridge names those that may be written, the open one of the set among them.

  Archives to one pool follow one another; to write with two drives at once, name two pools.
  While others have all drives, an archive says so and waits for one.

  --finish-by waits, so that the archive is done at that time of day, by the rate of earlier ones.

EXIT STATUS
  0 done; 1 failed; 2 usage; 10 no repository; 12 a file of the repository is damaged, all else was archived;
  13 the library, a drive or a cartridge, or none that can be written; 130 interrupted: what was committed stays and is not written again";

/// Write generations to tape
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Client whose generations are archived; all clients if none is named
    #[arg(long = "client", value_name = "CLIENT")]
    clients: Vec<ClientName>,
    /// Which generations: all, latest, a name or the beginning of one, or -2 for the one before the latest
    #[arg(long, value_name = "WHICH", default_value = "latest", allow_hyphen_values = true)]
    generations: Vec<String>,
    /// Pool of cartridges
    #[arg(long, value_name = "NAME", default_value = "default")]
    pool: String,
    /// Cartridges that may be used, in this order
    #[arg(long = "cartridge", value_name = "BARCODE")]
    cartridges: Vec<OsString>,
    /// Days for which the cartridges must not be written over, also those with what is on tape already
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36500))]
    retain: Option<u32>,
    /// What the session is called, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    session: String,
    /// Begin a new set of cartridges
    #[arg(long)]
    new_set: bool,
    /// Leave the last cartridge in its drive
    #[arg(long)]
    keep_loaded: bool,
    /// Begin so that it is done at this time of day, such as 17:30
    #[arg(long, value_name = "HH:MM", value_parser = schedule::parse)]
    finish_by: Option<Time>,
    /// Move nothing and write nothing, only tell what would be written
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Memory for data on its way to the drive, in MiB; a quarter of what is free, 2048 at most, if left out
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(8..=65536))]
    memory: Option<u32>,
}

pub(super) fn run(args: Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let repository = session::open(context)?;
    let catalogue = place.catalogue(context)?;
    let generations = chosen(&repository, &args)?;
    let options = options(&args, place)?;
    let mut history = History::read(catalogue.root()).map_err(Failure::failed)?;
    if args.dry_run || args.finish_by.is_some() {
        let plan = archive::plan(&repository, &catalogue, &generations, &options, &context.progress)?;
        let start = start_seconds(&args, &history, plan.bytes)?;
        show_plan(&plan, &history, start, context)?;
        if args.dry_run {
            for LeftOut { name, reason } in &plan.left_out {
                tell_event(&ArchiveEvent::LeftOut(name.clone(), reason.clone()), false);
            }
            return told_of_damage(&plan.left_out);
        }
        if let Some(start) = start {
            schedule::wait_until(start, context)?;
        }
    }
    // Before the library is opened: what the other archive uses is not to be had meanwhile.
    let mut waiting = || {
        if !(context.global.quiet || context.global.json) {
            let pool = &options.pool;
            tell(&format!("reelfs: another archive writes to pool {pool}; waiting for its end"));
        }
    };
    let (repository_id, progress) = (repository.id(), &context.progress);
    let lock =
        PoolLock::acquire(&catalogue, repository_id, &options.pool, &SystemClock, &mut waiting, progress)?;
    let mut library = place.open()?;
    let started = Instant::now();
    let quiet = context.global.quiet || context.global.json;
    let display = context.show_progress("archive");
    let inputs = ArchiveInputs {
        now_seconds: &clock::now_seconds,
        new_id: &mut clock::new_id,
        event: &mut |event| tell_event(&event, quiet),
        lock: &lock,
    };
    let progress = std::sync::Arc::clone(&context.progress);
    let made = archive::run(&repository, &mut library, &catalogue, &generations, &options, inputs, &progress);
    drop(display);
    let summary = made?;
    if let Err(error) = history.add(summary.bytes, started.elapsed()) {
        context.warn(&format!("the rate is not remembered: {error}"));
    }
    show(&summary, &generations, started, context)?;
    told_of_damage(&summary.left_out)
}

fn told_of_damage(left_out: &[LeftOut]) -> Result<(), Failure> {
    if left_out.is_empty() {
        return Ok(());
    }
    Err(Failure::told(Kind::Damaged)
        .hint("nothing damaged goes to tape; all else does. 'reelfs verify' lists all that is damaged"))
}

fn chosen(repository: &Repository, args: &Args) -> Result<Vec<(ClientName, GenerationId)>, Failure> {
    let all = repository.clients()?;
    if let Some(client) = args.clients.iter().find(|client| !all.contains(client)) {
        return Err(RepoError::NoClient { client: client.clone() }.into());
    }
    let clients = if args.clients.is_empty() { all } else { args.clients.clone() };
    let mut chosen = Vec::new();
    for client in clients {
        let generations = repository.generations(&client)?;
        if generations.is_empty() {
            continue;
        }
        for wanted in &args.generations {
            match wanted.as_str() {
                "all" => chosen.extend(generations.iter().map(|id| (client.clone(), *id))),
                wanted => chosen.push((client.clone(), repository.resolve(&client, wanted)?)),
            }
        }
    }
    chosen.sort_by_key(|(_, id)| (id.time, id.ordinal));
    chosen.dedup();
    Ok(chosen)
}

fn options(args: &Args, place: &Place) -> Result<ArchiveOptions, Failure> {
    let cartridges = args.cartridges.iter().map(place::barcode).collect::<Result<Vec<_>, _>>()?;
    let lone_barcode = cartridges.first().and_then(|barcode| std::str::from_utf8(barcode.as_bytes()).ok());
    let retain = args.retain.map(|days| clock::now_seconds().saturating_add(i64::from(days) * 86_400));
    let ring_bytes = args.memory.map_or_else(free_memory, |mib| (mib as usize) << 20);
    Ok(ArchiveOptions {
        pool: args.pool.clone(),
        lone_barcode: lone_barcode.map(str::to_owned),
        cartridges,
        drive: place.drive(),
        session: args.session.clone(),
        retain_until_seconds: retain,
        new_set: args.new_set,
        keep_loaded: args.keep_loaded,
        writer: WriterOptions {
            ring_bytes,
            high_water_bytes: ring_bytes / 4 * 3,
            low_water_bytes: ring_bytes / 32,
            ..WriterOptions::default()
        },
    })
}

// A quarter of what is free: a drive that has to wait for data stops and goes back.
fn free_memory() -> usize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    (kib.unwrap_or(1 << 20) / 4).saturating_mul(1024).clamp(64 << 20, 2 << 30)
}

// When to begin, if the time of the end was given.
fn start_seconds(args: &Args, history: &History, bytes: u64) -> Result<Option<i64>, Failure> {
    let Some(time) = args.finish_by else { return Ok(None) };
    let zone = TimeZone::system();
    let end = schedule::next(time, clock::now_seconds(), &zone)
        .ok_or_else(|| Failure::usage("there is no such time of day today or tomorrow"))?;
    let takes = i64::try_from(history.estimate(bytes).as_secs()).unwrap_or(i64::MAX);
    Ok(Some(end.saturating_sub(takes)))
}

fn show_plan(
    plan: &Plan,
    history: &History,
    start: Option<i64>,
    context: &mut Context,
) -> Result<(), Failure> {
    let takes = history.estimate(plan.bytes);
    if context.global.json {
        return Ok(context.out.json(object([
            ("kind", "plan".into()),
            ("objects", plan.objects.len().into()),
            ("bytes", plan.bytes.into()),
            ("skipped_objects", plan.skipped_count.into()),
            ("skipped_bytes", plan.skipped_bytes.into()),
            ("bytes_per_second", history.bytes_per_second().into()),
            ("seconds", takes.as_secs().into()),
            ("start_seconds", start.into()),
            ("left_out", plan.left_out.iter().map(|left| left.name.clone()).collect::<Vec<_>>().into()),
        ]))?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let begins = match start {
        Some(start) => {
            let time = human::time(FileTime { seconds: start, nanoseconds: 0 }, context.global.local);
            format!("; begins {time}")
        }
        None => String::new(),
    };
    Ok(context.out.line(&format!(
        "to write: {}, {}; on tape already: {}, {}; takes about {} at {} per second{begins}",
        human::count(plan.objects.len() as u64, "file"),
        human::bytes(plan.bytes),
        human::count(plan.skipped_count, "file"),
        human::bytes(plan.skipped_bytes),
        human::duration(Duration::from_secs(takes.as_secs())),
        human::bytes(history.bytes_per_second()),
    ))?)
}

fn tell_event(event: &ArchiveEvent, quiet: bool) {
    let text = match event {
        ArchiveEvent::Loading(barcode) => format!("loading {barcode}"),
        ArchiveEvent::Rejected(barcode, reason) => format!("{barcode} is left alone: it {reason}"),
        ArchiveEvent::Labelled(barcode, sequence) => {
            format!("labelled {barcode}, number {sequence} of its set")
        }
        ArchiveEvent::Writing(barcode, objects, bytes) => {
            format!("writing {}, {} to {barcode}", human::count(*objects, "file"), human::bytes(*bytes))
        }
        ArchiveEvent::Waiting(reason) => format!("{reason}; waiting for a drive"),
        ArchiveEvent::Full(barcode) => format!("{barcode} is full"),
        ArchiveEvent::Lost(barcode, reason) => format!("{barcode} is not written again: {reason}"),
        ArchiveEvent::Ejected(barcode) => format!("{barcode} was put away"),
        ArchiveEvent::Lacks(barcode, count) => format!(
            "{barcode} lacks {} that the catalogue knew: it lost a session, or is an old copy; what is needed of it is written again",
            human::count(*count, "segment")
        ),
        ArchiveEvent::Retained(barcode) => {
            format!("{barcode} is kept longer: it holds a part of what was asked for")
        }
        ArchiveEvent::LeftOut(name, reason) => format!("{name} is left out: {reason}"),
        ArchiveEvent::ListsLeftOut(barcode, count) => format!(
            "{barcode}: long lists of extended attributes that are not in the catalogue, which mounts refuse to show: {count}"
        ),
        _ => return,
    };
    let is_warning = matches!(
        event,
        ArchiveEvent::Lost(..)
            | ArchiveEvent::Lacks(..)
            | ArchiveEvent::LeftOut(..)
            | ArchiveEvent::ListsLeftOut(..)
    );
    if !quiet || is_warning {
        tell(&format!("reelfs: {text}"));
    }
}

fn show(
    summary: &ArchiveSummary,
    generations: &[(ClientName, GenerationId)],
    started: Instant,
    context: &mut Context,
) -> Result<(), Failure> {
    let barcodes: Vec<String> = summary.volumes.iter().map(|used| used.description.barcode.clone()).collect();
    if context.global.json {
        let left_out: Vec<String> = summary.left_out.iter().map(|left| left.name.clone()).collect();
        return Ok(context.out.json(object([
            ("kind", "summary".into()),
            ("set", summary.set.map(|set| set.to_string()).into()),
            ("barcodes", barcodes.into()),
            ("generations", summary.generation_count.into()),
            ("objects", summary.object_count.into()),
            ("bytes", summary.bytes.into()),
            ("skipped_objects", summary.skipped_count.into()),
            ("skipped_bytes", summary.skipped_bytes.into()),
            ("left_out", left_out.into()),
            ("retained", summary.retained.clone().into()),
            ("seconds", started.elapsed().as_secs_f64().into()),
        ]))?);
    }
    if context.global.quiet {
        return Ok(());
    }
    if summary.volumes.is_empty() {
        return Ok(context.out.line(&nothing_written(summary, generations.len() as u64))?);
    }
    let milliseconds = started.elapsed().as_millis().max(1);
    let rate = u64::try_from(u128::from(summary.bytes) * 1000 / milliseconds).unwrap_or(u64::MAX);
    Ok(context.out.line(&format!(
        "archived {}: {}, {} to {}; on tape already: {}; {}, {} per second",
        human::count(summary.generation_count, "generation"),
        human::count(summary.object_count, "file"),
        human::bytes(summary.bytes),
        barcodes.join(", "),
        human::bytes(summary.skipped_bytes),
        human::duration(started.elapsed()),
        human::bytes(rate),
    ))?)
}

// A generation whose tree cannot be read is left out as one file: that is no count of what is damaged.
fn nothing_written(summary: &ArchiveSummary, wanted: u64) -> String {
    let left_out_generations = wanted.saturating_sub(summary.generation_count);
    let damaged = (summary.left_out.len() as u64).saturating_sub(left_out_generations);
    let mut text = human::count(summary.generation_count, "generation");
    text += match damaged {
        0 => ": everything is on tape already",
        _ => ": on tape already, but for ",
    };
    if damaged > 0 {
        text += &human::count(damaged, "damaged file");
    }
    if left_out_generations > 0 {
        let count = human::count(left_out_generations, "generation");
        text += &format!("; {count} left out, of which a tree is damaged");
    }
    if !summary.retained.is_empty() {
        text += &format!("; kept longer: {}", summary.retained.join(", "));
    }
    text
}
