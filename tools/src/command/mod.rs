//! The subcommands, one file for each.

mod backup;
mod cat;
mod commit;
mod completions;
mod diff;
mod discard;
mod find;
mod init;
mod list;
mod ls;
mod man;
mod mount;
mod rebuild;
mod restore;
mod stage;
mod staging;
mod stats;
mod tape;
mod umount;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::context::{Context, Global};
use crate::failure::Failure;
use crate::output::tell;

const AFTER_HELP: &str = "\
EXAMPLES
  export REELFS_REPO=/srv/backup
  reelfs init
  reelfs backup /home --client web1
  reelfs list
  reelfs ls web1:alice
  reelfs mount /mnt/backup
  cp -a /mnt/backup/clients/web1/latest/alice/mail /tmp

ADDRESSES
  CLIENT[@GENERATION][:PATH] names a client, one of its generations, and a path in that:
    web1                    the latest generation of web1
    web1@-2                 the one before
    web1@2026-11            the one whose name begins like this
    web1@latest:etc/hosts   a file in it

EXIT STATUS
    0  done
    1  failed
    2  the arguments make no sense
    3  done, but for the items that were named
   10  there is no repository
   11  the repository is locked by another process
   12  the repository is damaged
   13  a tape library, a drive or a cartridge
  130  interrupted; nothing half-made is visible";

/// Backups that are read with ls, cp, grep and rsync
///
/// A repository holds clients; a client is a host or a directory that is backed up. Each backup is a
/// generation: the client's complete tree at one time. Generations are listed, searched, compared and
/// restored by this command, or mounted and read with any other.
#[derive(Debug, Parser)]
#[command(name = "reelfs", version, after_long_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Backup(backup::Args),
    Commit(commit::Args),
    Staging(staging::Args),
    Stage(stage::Args),
    Discard(discard::Args),
    List(list::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Find(find::Args),
    Diff(diff::Args),
    Restore(restore::Args),
    Verify(verify::Args),
    Stats(stats::Args),
    Tape(tape::Args),
    Rebuild(rebuild::Args),
    Mount(mount::Args),
    Umount(umount::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs a command and tells how it ended.
pub(crate) fn run(cli: Cli) -> ExitCode {
    start_log(&cli.global);
    let mut context = Context::new(cli.global);
    let result = dispatch(cli.command, &mut context);
    // What was found before a failure is a result, too.
    let flushed = context.out.flush().map_err(Failure::from);
    match result.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.lines().iter().for_each(|line| tell(line));
            ExitCode::from(failure.kind.code())
        }
    }
}

fn dispatch(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Backup(args) => backup::run(args, context),
        Command::Commit(args) => commit::run(args, context),
        Command::Staging(args) => staging::run(&args, context),
        Command::Stage(args) => stage::run(&args, context),
        Command::Discard(args) => discard::run(&args, context),
        Command::List(args) => list::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::Find(args) => find::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Tape(args) => tape::run(args, context),
        Command::Rebuild(args) => rebuild::run(&args, context),
        Command::Mount(args) => mount::run(&args, context),
        Command::Umount(args) => umount::run(&args),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args),
    }
}

fn start_log(global: &Global) {
    use std::io::Write as _;
    let level = match (global.quiet, global.verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0) => log::LevelFilter::Warn,
        (false, 1) => log::LevelFilter::Info,
        (false, _) => log::LevelFilter::Debug,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|target, record| {
            let level = match record.level() {
                log::Level::Error => "error",
                log::Level::Warn => "warning",
                log::Level::Info => "info",
                log::Level::Debug | log::Level::Trace => "debug",
            };
            writeln!(target, "reelfs: {level}: {}", record.args())
        })
        .init();
}
