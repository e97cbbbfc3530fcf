//! `vtape fault`: faults that are to happen.

use std::path::PathBuf;

use reelfs::emulator::{Fault, FaultKind};
use serde_json::Value;

use super::open;
use crate::failure::Failure;
use crate::output::{Output, object};

const AFTER_HELP: &str = "\
EXAMPLES
  The third WRITE to the first drive is lost, and the command after it is told:
    vtape fault add /srv/library --lun 1 --after 2 '{\"kind\":\"deferred-error\",\"key\":3,\"asc\":12,\"ascq\":0}'
  Block 17 cannot be read, ever:
    vtape fault add /srv/library --lun 1 --times 0 '{\"kind\":\"medium-error\",\"object\":17}'
  The next move fails as if a drive had not let go, 4/04/03:
    vtape fault add /srv/library --lun 0 --opcode 0xa5 '{\"kind\":\"sense\",\"key\":4,\"asc\":4,\"ascq\":3}'
  vtape fault list /srv/library
  vtape fault remove /srv/library --all

FAULTS
  wrong-residual bytes=N         the transport counts N bytes more (or less) than have moved
  position-moved object=N        somebody else has moved the tape
  deferred-error key asc ascq    what was written is lost; the next command is told
  early-warning bytes=N          early warning comes N bytes before the end
  medium-error [object=N]        3/11/00 or 3/0C/00
  sense key asc ascq [executed]  any other sense data
  attention asc ascq             a unit attention
  attentions-stolen              unit attentions are gone, another driver has taken them
  timeout [executed]             no answer
  no-memory [executed]           the operating system has no memory
  connection-lost [executed]     the way to the device breaks
  reset                          buffer lost, tape rewound, 29/00
  power-loss                     as reset, and the last record is torn
  end-of-data-missing            no end-of-data mark
  not-ready count=N              becoming ready for N commands
  load-fails, unload-fails       4/53/00; load-fails strikes the next cartridge in the drive
  unloaded-by-others             somebody else has unloaded the cartridge
  move-ignored                   a move says that it is done, and is not
  guard-mismatch                 a protected block has a wrong checksum
  extra-filemark                 WRITE FILEMARKS writes one more

EXIT STATUS
    0  done
    1  failed
    2  the arguments make no sense";

/// Add, list and remove faults
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Let something go wrong
    #[command(after_long_help = AFTER_HELP)]
    Add(Add),
    /// List the faults
    #[command(after_long_help = AFTER_HELP)]
    List {
        /// Directory of the library
        dir: PathBuf,
    },
    /// Remove a fault
    #[command(after_long_help = AFTER_HELP)]
    Remove {
        /// Directory of the library
        dir: PathBuf,
        /// Number of the fault
        #[arg(long, value_name = "N", required_unless_present = "all")]
        id: Option<u64>,
        /// All faults
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// A fault to be added.
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Directory of the library
    dir: PathBuf,
    /// The fault, as JSON
    fault: String,
    /// Logical unit: 0 is the changer, 1 the first drive
    #[arg(long, default_value_t = 1, value_name = "N")]
    lun: u16,
    /// Only this command, its operation code in hexadecimal
    #[arg(long, value_name = "CODE", value_parser = parse_operation)]
    opcode: Option<u8>,
    /// Let so many such commands pass before
    #[arg(long, default_value_t = 0, value_name = "N")]
    after: u64,
    /// How often; 0 for always
    #[arg(long, default_value_t = 1, value_name = "N")]
    times: u64,
}

fn parse_operation(text: &str) -> Result<u8, String> {
    let digits = text.trim_start_matches("0x");
    u8::from_str_radix(digits, 16).map_err(|_| String::from("an operation code is 0x00 to 0xff"))
}

pub(super) fn run(command: Command, json: bool, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Add(add) => run_add(add, json, out),
        Command::List { dir } => {
            for fault in open(&dir)?.faults()? {
                let value = serde_json::to_value(&fault).map_err(Failure::failed)?;
                match value {
                    Value::Object(shown) if json => out.json(shown)?,
                    other => out.line(&other.to_string())?,
                }
            }
            Ok(())
        }
        Command::Remove { dir, id, all } => {
            let count = open(&dir)?.remove_faults(if all { None } else { id })?;
            if count == 0 && !all {
                return Err(Failure::failed("there is no such fault"));
            }
            Ok(())
        }
    }
}

fn run_add(add: Add, json: bool, out: &mut Output) -> Result<(), Failure> {
    let kind: FaultKind = serde_json::from_str(&add.fault)
        .map_err(|error| Failure::usage(error).hint("'vtape fault add --help' lists the faults"))?;
    let library = open(&add.dir)?;
    if add.lun > library.last_lun() {
        return Err(Failure::usage(format!("the last logical unit is {}", library.last_lun())));
    }
    let mut fault = Fault::new(add.lun, kind).after(add.after).times(add.times);
    fault.operation_code = add.opcode;
    let id = library.add_fault(fault)?;
    if json {
        out.json(object([("id", id.into())]))?
    } else {
        out.line(&format!("fault {id}"))?
    }
    Ok(())
}
