//! `reelfs tape restore`

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reelfs::job::restore::RestoreOptions;
use reelfs::job::tape::recall::RecallOptions;
use reelfs::job::tape::restore::{self, TapeRestore};
use reelfs::job::tape::sets::{self, VolumeSet};
use reelfs::path;

use super::{Place, place};
use crate::command::restore::{Overwrite, Restored, report};
use crate::context::Context;
use crate::failure::Failure;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape restore web1 /srv/restored                   the latest generation on tape
  reelfs tape restore web1@2026-11-20:etc /srv/etc         a directory of an older one
  reelfs tape restore web1 /srv/restored --cartridge RL0001L8

  No repository is needed: if there is none, 'reelfs tape scan' of the set's cartridges comes first.
  Cartridges are loaded as they are needed, each once, and read from their beginning to their end; what
  files need is kept in --spool meanwhile. A cartridge of the set that is not in the library is named,
  and the files on it are left out.

EXIT STATUS
    0  done
    1  failed; what was restored by then is complete, file by file
    2  usage
    3  done, but some objects or attributes could not be restored and were named
   12  stored data is damaged or out of reach; all other files were restored
   13  the library, a drive or a cartridge
  130  interrupted; what was restored by then is complete, file by file";

/// Restore a generation, or a part of it, from tape alone
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// What to restore: CLIENT[@GENERATION][:PATH]
    address: OsString,
    /// Directory to restore into
    target: PathBuf,
    /// Only from the set of this cartridge
    #[arg(long, value_name = "BARCODE")]
    cartridge: Option<String>,
    /// When an object in the target gives way to the one from tape
    #[arg(long, value_name = "WHEN", default_value = "always")]
    overwrite: Overwrite,
    /// Move nothing and write nothing, only count what would be written
    #[arg(long, short = 'n', conflicts_with = "verify")]
    dry_run: bool,
    /// Read every file back from the disk and compare it
    #[arg(long)]
    verify: bool,
    /// Keep what is readable of a damaged file as NAME.damaged, with zeros in the place of the rest
    #[arg(long)]
    salvage: bool,
    /// Directory for what was read from tape and not yet written, in that of the catalogue if left out
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Most of it, in GiB
    #[arg(long, value_name = "GIB", default_value_t = 1 << 20)]
    spool_max: u64,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    let address = crate::place::parse(&args.address)?;
    let started = Instant::now();
    context.watch_signals()?;
    let catalogue = place.catalogue(context)?;
    let mut warn = |error| context.warn(&reelfs::job::chain(&error));
    let all = VolumeSet::all(&catalogue, &mut warn)?;
    let wanted = address.generation();
    let (set, id) = sets::find(all, &address.client, wanted, args.cartridge.as_deref())?;
    let mut shown = format!("{}@{}", address.client, id.time);
    if !address.path.is_empty() {
        shown.push_str(&format!(":{}", path::display(&address.path)));
    }
    shown.push_str(&format!(" from {}", set.barcodes().join(", ")));
    let spool = args.spool.clone().unwrap_or_else(|| catalogue.root().to_owned());
    let recall = RecallOptions {
        library: place.address()?,
        drive: place.drive(),
        cache: spool.join(format!("spool-{}", std::process::id())),
        cache_bytes_max: args.spool_max.saturating_mul(1 << 30),
        // What is needed is asked for before the first byte is read, and one cartridge after the other.
        drive_count_max: 1,
        ahead_bytes_max: 0,
        turn: None,
        drive_wait: Duration::from_secs(600),
        idle: Duration::from_secs(60),
        drive_options: place.drive_options(),
    };
    let options = RestoreOptions {
        overwrite: args.overwrite.into(),
        dry_run: args.dry_run,
        verify: args.verify,
        one_file_system: false,
        salvage: args.salvage,
        worker_count: 0,
    };
    let what = TapeRestore {
        catalogue: &catalogue,
        set,
        generation: id.ordinal,
        path: &address.path,
        target: &args.target,
    };
    let display = context.show_progress("restore");
    let made = restore::run(what, &options, recall, &place::inputs(), &Arc::clone(&context.progress));
    drop(display);
    let summary = made?;
    let hint = "a cartridge may be missing: 'reelfs tape list' names those of the set; or try another set: --cartridge";
    let restored = Restored { shown, target: &args.target, is_dry_run: args.dry_run, started, hint };
    report(&restored, &summary, context)
}
