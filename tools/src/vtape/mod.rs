//! The command `vtape`: an emulated tape library in a directory.

mod cartridge;
mod create;
mod fault;
mod serve;
mod status;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use reelfs::emulator::EmulatedLibrary;

use crate::clock::SystemClock;
use crate::failure::{Failure, Kind};
use crate::output::{Output, tell};

const AFTER_HELP: &str = "\
EXAMPLES
  vtape create-library /srv/library --drives 2 --slots 20 --generation lto8
  vtape status /srv/library
  vtape serve /srv/library --iscsi 127.0.0.1:3260
  reelfs tape inventory --library /srv/library

EXIT STATUS
    0  done
    1  failed
    2  the arguments make no sense
   10  the directory holds no library
   12  the library is damaged
  130  interrupted";

/// A virtual tape library: drives, a changer and cartridges, made of files
///
/// The library behaves as real LTO drives behind a real changer do. reelfs uses its directory as it is; any
/// other program uses it over iSCSI: the Linux kernel, mt, mtx, tar, sg3_utils, QEMU. Cartridges
/// are SIMH tape images. It is of use to people who have no use for reelfs, too.
#[derive(Debug, Parser)]
#[command(name = "vtape", version, after_long_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Write results as JSON, one object per line
    #[arg(long, global = true)]
    json: bool,
    /// Say more about what happens; twice for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CreateLibrary(create::Args),
    Serve(serve::Args),
    Status(status::Args),
    #[command(subcommand)]
    Cartridge(cartridge::Command),
    #[command(subcommand)]
    Fault(fault::Command),
}

/// Runs the command that the process was started as.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Standard output or error may be closed; nobody is left to tell.
            error.print().unwrap_or_default();
            return ExitCode::from(if error.use_stderr() { Kind::Usage.code() } else { 0 });
        }
    };
    start_log(cli.verbose);
    let mut out = Output::new();
    let result = dispatch(cli.command, cli.json, &mut out);
    let flushed = out.flush().map_err(Failure::from);
    match result.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.lines_of("vtape").iter().for_each(|line| tell(line));
            ExitCode::from(failure.kind.code())
        }
    }
}

fn dispatch(command: Command, json: bool, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::CreateLibrary(args) => create::run(&args, json, out),
        Command::Serve(args) => serve::run(&args, json, out),
        Command::Status(args) => status::run(&args, json, out),
        Command::Cartridge(command) => cartridge::run(&command, json, out),
        Command::Fault(command) => fault::run(command, json, out),
    }
}

fn open(dir: &Path) -> Result<EmulatedLibrary, Failure> {
    Ok(EmulatedLibrary::open(dir, Arc::new(SystemClock))?)
}

fn start_log(verbose: u8) {
    use std::io::Write as _;
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|target, record| writeln!(target, "vtape: {}", record.args()))
        .init();
}

/// A size in bytes: digits, and `K`, `M`, `G` or `T` for powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (text.get(..at), 10),
        Some((at, 'M' | 'm')) => (text.get(..at), 20),
        Some((at, 'G' | 'g')) => (text.get(..at), 30),
        Some((at, 'T' | 't')) => (text.get(..at), 40),
        _ => (Some(text), 0),
    };
    let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| String::from("a size is a number, and K, M, G or T"))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_size("17"), Ok(17));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("2t"), Ok(2 << 40));
        for wrong in ["", "M", "-1", "1.5G", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
