//! `vtape cartridge`: what an operator does with cartridges.

use std::path::PathBuf;

use reelfs::emulator::{CartridgeKind, CartridgeSpec, Generation, TornTail};

use super::{open, parse_size};
use crate::failure::Failure;
use crate::output::{Output, object};

const ADD_HELP: &str = "\
EXAMPLES
  vtape cartridge add /srv/library RL0021L8
  vtape cartridge add /srv/library WR0001L8 --worm --mail-slot
  vtape cartridge add /srv/library CLN001L1 --cleaning
  One that was taken out, as it was:
    vtape cartridge remove /srv/library RL0001L8
    vtape cartridge add /srv/library RL0001L8
  An image of another program, which becomes the first partition:
    cp old.tap /srv/library/cartridges/OLD001L5.p0.tap
    vtape cartridge add /srv/library OLD001L5 --generation lto5

EXIT STATUS
    0  done
    1  failed; there may be no free slot, or such a cartridge already
    2  the arguments make no sense";

const CHANGE_HELP: &str = "\
EXAMPLES
  vtape cartridge protect /srv/library RL0001L8
  vtape cartridge protect /srv/library RL0001L8 --off
  vtape cartridge remove /srv/library RL0001L8 --destroy
  vtape cartridge spoil /srv/library RL0001L8 --block 17
  vtape cartridge memory /srv/library RL0001L8 --unreadable
  vtape cartridge torn-tail /srv/library RL0001L8 --read-error

EXIT STATUS
    0  done
    1  failed; there may be no such cartridge, or a drive may have it";

/// Add, remove and change cartridges
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Put a new cartridge into a slot, or one back that was taken out
    #[command(after_long_help = ADD_HELP)]
    Add(Add),
    /// Take a cartridge out of the library; its files stay
    #[command(after_long_help = CHANGE_HELP)]
    Remove {
        #[command(flatten)]
        which: Which,
        /// Remove its files, and all that is on it
        #[arg(long)]
        destroy: bool,
    },
    /// Set the write-protect switch of a cartridge
    #[command(after_long_help = CHANGE_HELP)]
    Protect {
        #[command(flatten)]
        which: Which,
        /// Clear it
        #[arg(long)]
        off: bool,
    },
    /// Damage a block of a cartridge for good
    #[command(after_long_help = CHANGE_HELP)]
    Spoil {
        #[command(flatten)]
        which: Which,
        /// Logical object identifier of the block
        #[arg(long, value_name = "N")]
        block: u64,
        /// Partition
        #[arg(long, default_value_t = 0, value_name = "N")]
        partition: usize,
    },
    /// Make the memory of a cartridge readable, or unreadable
    #[command(after_long_help = CHANGE_HELP)]
    Memory {
        #[command(flatten)]
        which: Which,
        /// Unreadable
        #[arg(long)]
        unreadable: bool,
    },
    /// Say what a reader meets behind a torn record: no end of data, or a read error
    #[command(after_long_help = CHANGE_HELP)]
    TornTail {
        #[command(flatten)]
        which: Which,
        /// A read error
        #[arg(long)]
        read_error: bool,
    },
}

/// A cartridge of a library.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Directory of the library
    dir: PathBuf,
    /// Barcode of the cartridge
    barcode: String,
}

/// A cartridge to be added.
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Directory of the library
    dir: PathBuf,
    /// Barcode, or a name for the files if there is no label
    barcode: String,
    /// Generation; found out by the end of the barcode (L5 to L9, M8, LV to LZ) if not given
    #[arg(long, value_name = "GENERATION")]
    generation: Option<Generation>,
    /// Capacity, as 64M or 12T; the native one of the generation if not given
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    capacity: Option<u64>,
    /// It can be written to once; so can what has a barcode that ends in LV to LZ
    #[arg(long, conflicts_with = "cleaning")]
    worm: bool,
    /// It cleans drives
    #[arg(long)]
    cleaning: bool,
    /// It has no label
    #[arg(long)]
    unlabelled: bool,
    /// Put it into a mail slot
    #[arg(long)]
    mail_slot: bool,
}

pub(super) fn run(command: &Command, json: bool, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Add(add) => return run_add(add, json, out),
        Command::Remove { which, destroy } => open(&which.dir)?.remove_cartridge(&which.barcode, *destroy)?,
        Command::Protect { which, off } => open(&which.dir)?.set_write_protected(&which.barcode, !off)?,
        Command::Spoil { which, block, partition } => {
            open(&which.dir)?.spoil_block(&which.barcode, *partition, *block)?;
        }
        Command::Memory { which, unreadable } => {
            open(&which.dir)?.set_memory_readable(&which.barcode, !unreadable)?;
        }
        Command::TornTail { which, read_error } => {
            let tail = if *read_error { TornTail::ReadError } else { TornTail::EndOfDataNotFound };
            open(&which.dir)?.set_torn_tail(&which.barcode, tail)?;
        }
    }
    Ok(())
}

fn run_add(add: &Add, json: bool, out: &mut Output) -> Result<(), Failure> {
    let library = open(&add.dir)?;
    let address = if library.has_files(&add.barcode) {
        let describes_new = add.generation.is_some() || add.capacity.is_some();
        if describes_new || add.worm || add.cleaning || add.unlabelled {
            return Err(Failure::usage(format!(
                "{} was taken out and is put back as it was; only --mail-slot makes sense",
                add.barcode
            ))
            .hint("'vtape cartridge remove --destroy' removes a cartridge for good"));
        }
        library.return_cartridge(&add.barcode, add.mail_slot)?
    } else {
        library.add_cartridge(&spec_of(add)?, add.mail_slot)?
    };
    if json {
        out.json(object([("cartridge", add.barcode.clone().into()), ("address", address.into())]))?;
    } else {
        out.line(&format!("{} is in element {address}", add.barcode))?;
    }
    Ok(())
}

// Media identifiers of cartridges that can be written once only (LTO Ultrium cartridge label specification).
const WORM_SUFFIXES: [(&str, Generation); 5] = [
    ("LV", Generation::Lto5),
    ("LW", Generation::Lto6),
    ("LX", Generation::Lto7),
    ("LY", Generation::Lto8),
    ("LZ", Generation::Lto9),
];

fn spec_of(add: &Add) -> Result<CartridgeSpec, Failure> {
    let by_barcode =
        Generation::ALL.into_iter().find(|generation| add.barcode.ends_with(generation.barcode_suffix()));
    let by_worm = WORM_SUFFIXES.into_iter().find(|(suffix, _)| add.barcode.ends_with(suffix));
    let by_worm = by_worm.map(|(_, generation)| generation).filter(|_| !add.cleaning);
    let generation = add.generation.or(by_barcode).or(by_worm).or(add.cleaning.then_some(Generation::Lto8));
    let generation = generation.ok_or_else(|| {
        Failure::usage("the barcode does not say of which generation it is; --generation does")
    })?;
    let kind = match (add.worm || by_worm.is_some(), add.cleaning) {
        (true, _) => CartridgeKind::Worm,
        (_, true) => CartridgeKind::Cleaning,
        _ => CartridgeKind::Data,
    };
    Ok(CartridgeSpec {
        barcode: (!add.unlabelled).then(|| add.barcode.clone()),
        serial: if add.unlabelled { add.barcode.clone() } else { serial(&add.barcode) },
        kind,
        capacity_bytes: add.capacity,
        ..CartridgeSpec::data(&add.barcode, generation)
    })
}

// Two cartridges with the same barcode are not the same.
fn serial(barcode: &str) -> String {
    let digits = crate::clock::new_id().0.into_iter().take(4).map(|byte| format!("{byte:02X}"));
    let text = format!("{}{barcode}", digits.collect::<String>());
    text.chars().take(32).collect()
}
