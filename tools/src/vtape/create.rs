//! `vtape create-library`.

use std::path::PathBuf;

use reelfs::emulator::{EmulatedLibrary, Generation, LibraryShape, TimeMode};

use super::parse_size;
use crate::failure::Failure;
use crate::output::{Output, object};

const AFTER_HELP: &str = "\
EXAMPLES
  Two LTO-8 drives, 20 slots, 20 cartridges RL0001L8 to RL0020L8 of 12 TB; they take no room until written to:
    vtape create-library /srv/library --drives 2 --slots 20 --generation lto8
  One drive and three small cartridges, and time that passes as with real ones:
    vtape create-library /tmp/small --drives 1 --slots 5 --cartridges 3 --capacity 64M --time real

EXIT STATUS
    0  done
    1  failed; the directory may hold something already
    2  the arguments make no sense";

/// Make a library in a new or empty directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// The directory
    dir: PathBuf,
    /// Drives
    #[arg(long, default_value_t = 2, value_name = "N")]
    drives: u16,
    /// Storage slots
    #[arg(long, default_value_t = 20, value_name = "N")]
    slots: u16,
    /// Mail slots (import/export elements)
    #[arg(long, default_value_t = 2, value_name = "N")]
    mail_slots: u16,
    /// Generation of drives and cartridges: lto5, lto6, lto7, lto8 or lto9
    #[arg(long, default_value = "lto8", value_name = "GENERATION")]
    generation: Generation,
    /// Cartridges, in the first slots; as many as there are slots if not given
    #[arg(long, value_name = "N")]
    cartridges: Option<u16>,
    /// Capacity of a cartridge, as 64M or 12T; the native one of the generation if not given
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    capacity: Option<u64>,
    /// What takes time: nothing (off), nothing but it is counted (counted), everything (real)
    #[arg(long, default_value = "off", value_name = "MODE", value_parser = parse_time)]
    time: TimeMode,
    /// Drives are unloaded by the library when a cartridge is moved out of them
    #[arg(long)]
    unloads_by_itself: bool,
    /// Serial number of the library, 1 to 10 letters and digits; drawn by lot if not given
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
}

fn parse_time(text: &str) -> Result<TimeMode, String> {
    match text {
        "off" => Ok(TimeMode::Off),
        "counted" => Ok(TimeMode::Counted),
        "real" => Ok(TimeMode::Real),
        _ => Err(String::from("there are off, counted and real")),
    }
}

pub(super) fn run(args: &Args, json: bool, out: &mut Output) -> Result<(), Failure> {
    let count = args.cartridges.unwrap_or(args.slots);
    let serial = args.serial.clone().unwrap_or_else(random_serial);
    let shape = LibraryShape {
        slots: args.slots,
        mail_slots: args.mail_slots,
        serial: serial.clone(),
        time: args.time,
        unloads_by_itself: args.unloads_by_itself,
        ..LibraryShape::new(args.generation)
    };
    let mut shape = shape.with_drives(args.drives, args.generation);
    shape = shape.with_cartridges(count, args.generation, args.capacity);
    // Cartridges of two libraries are not the same.
    for cartridge in &mut shape.cartridges {
        cartridge.serial = format!("{serial}{}", cartridge.barcode.as_deref().unwrap_or_default());
    }
    EmulatedLibrary::create(&args.dir, &shape)?;
    if json {
        let made = object([
            ("serial", serial.into()),
            ("drives", args.drives.into()),
            ("slots", args.slots.into()),
            ("cartridges", count.into()),
        ]);
        out.json(made)?;
    } else {
        let drives = format!("{} {} drives", args.drives, args.generation);
        out.line(&format!("library {serial}: {drives}, {} slots, {count} cartridges", args.slots))?;
    }
    Ok(())
}

fn random_serial() -> String {
    let digits = crate::clock::new_id().0.into_iter().take(4).map(|byte| format!("{byte:02X}"));
    format!("VT{}", digits.collect::<String>())
}
