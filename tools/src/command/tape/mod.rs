//! `reelfs tape`: cartridges, drives and libraries; one file for each of its commands.

mod archive;
mod devices;
mod eject;
mod import;
mod inventory;
mod label;
mod list;
mod load;
mod place;
mod restore;
mod scan;
mod schedule;
mod status;
mod unload;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Failure;

const AFTER_HELP: &str = "\
EXAMPLES
  export REELFS_LIBRARY=/dev/sg3                        a changer or a drive of this machine
  export REELFS_LIBRARY=/srv/vtape                      an emulated library, see vtape(1)
  export REELFS_LIBRARY=iscsi://localhost/iqn.2026-01.org.example:library
  reelfs tape inventory
  reelfs tape archive --client web1 --generations all
  reelfs tape list
  reelfs tape restore web1 /srv/restored

  An archive is a set of cartridges that can be restored without the repository. Each cartridge begins with
  a label and a description of itself; everything else is pax archives, readable with mt(1) and tar(1):
  see reelfs-tape(5). What cartridges hold is kept in a catalogue, in the repository's directory
  'tapes', which 'reelfs tape scan' makes again from the cartridges.

  A drive is for one command or mount at a time: it is held by a persistent reservation, where it has such, so that
  other machines keep away too. What a process that was killed had reserved, the next one on the same machine takes
  over. If the machine is gone, or the drive is reserved by another program that is, say so with --preempt.

EXIT STATUS
  0 done; 1 failed; 2 usage; 3 partly done; 10 no repository; 12 something is damaged; 13 the library, a drive
  or a cartridge; 130 interrupted";

/// Archive generations on tape, and restore them from there
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: TapeCommand,
}

/// Options of all commands of this kind.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of all tape commands")]
pub(crate) struct Place {
    /// Changer or drive (/dev/sgN), directory of an emulated library, or iscsi://HOST[:PORT][/TARGET[/LUN]]
    #[arg(long, global = true, env = "REELFS_LIBRARY", value_name = "LIBRARY", hide_env_values = true)]
    library: Option<OsString>,
    /// Directory of the catalogue of cartridges; that of the repository if left out
    #[arg(long, global = true, value_name = "DIR")]
    catalogue: Option<PathBuf>,
    /// Number of the drive to use, from 0
    #[arg(long, global = true, value_name = "N")]
    drive: Option<u16>,
    /// Take over a drive that is reserved by a program or machine that is gone for good
    #[arg(long, global = true)]
    preempt: bool,
}

#[derive(Debug, Subcommand)]
enum TapeCommand {
    Devices(devices::Args),
    Status(status::Args),
    Inventory(inventory::Args),
    Load(load::Args),
    Unload(unload::Args),
    Label(label::Args),
    Archive(archive::Args),
    List(list::Args),
    Scan(scan::Args),
    Verify(verify::Args),
    Restore(restore::Args),
    Import(import::Args),
    Eject(eject::Args),
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let place = &args.place;
    match args.command {
        TapeCommand::Devices(_) => devices::run(place, context),
        TapeCommand::Status(_) => status::run(place, context),
        TapeCommand::Inventory(args) => inventory::run(&args, place, context),
        TapeCommand::Load(args) => load::run(&args, place, context),
        TapeCommand::Unload(args) => unload::run(&args, place, context),
        TapeCommand::Label(args) => label::run(&args, place, context),
        TapeCommand::Archive(args) => archive::run(args, place, context),
        TapeCommand::List(args) => list::run(&args, place, context),
        TapeCommand::Scan(args) => scan::run(&args, place, context),
        TapeCommand::Verify(args) => verify::run(&args, place, context),
        TapeCommand::Restore(args) => restore::run(&args, place, context),
        TapeCommand::Import(args) => import::run(&args, place, context),
        TapeCommand::Eject(args) => eject::run(&args, place, context),
    }
}
