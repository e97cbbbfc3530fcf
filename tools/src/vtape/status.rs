//! `vtape status`.

use std::path::PathBuf;

use reelfs::emulator::{CartridgeStatus, DriveStatus};
use serde_json::{Map, Value};

use super::open;
use crate::failure::Failure;
use crate::human;
use crate::output::{Output, object};

const AFTER_HELP: &str = "\
EXAMPLES
  vtape status /srv/library
  vtape status /srv/library --json | jq 'select(.kind == \"drive\") | .back_hitches'

EXIT STATUS
    0  done
    1  failed
   10  the directory holds no library
   12  the library is damaged";

/// Show drives, slots, cartridges, and what the drives have counted
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Directory of the library
    dir: PathBuf,
}

pub(super) fn run(args: &Args, json: bool, out: &mut Output) -> Result<(), Failure> {
    let library = open(&args.dir)?;
    let status = library.status()?;
    let cartridges = library.cartridges()?;
    for drive in &status.drives {
        if json { out.json(drive_object(drive))? } else { out.line(&drive_lines(drive))? }
    }
    for element in &status.elements {
        let cartridge = cartridges.iter().find(|cartridge| cartridge.address == element.address);
        if json {
            let kind = element.kind.replace(' ', "-");
            let mut shown = object([("kind", kind.into()), ("address", element.address.into())]);
            if element.kind == "drive" {
                continue;
            }
            if let Some(cartridge) = cartridge {
                shown.extend(cartridge_object(cartridge));
            }
            out.json(shown)?;
        } else if let Some(cartridge) = cartridge {
            out.line(&format!("{:<9} {:5}  {}", element.kind, element.address, cartridge_text(cartridge)))?;
        } else {
            out.line(&format!("{:<9} {:5}  empty", element.kind, element.address))?;
        }
    }
    Ok(())
}

fn drive_lines(drive: &DriveStatus) -> String {
    let counters = &drive.counters;
    let (partition, object) = drive.position;
    let loaded = match &drive.cartridge {
        Some(name) if drive.is_loaded => format!("{name}, at object {object} of partition {partition}"),
        Some(name) => format!("{name}, unloaded"),
        None => String::from("empty"),
    };
    format!(
        "drive {} ({}, serial {}): {loaded}\n  \
         {} written, {} read, {}, {}, {}, {} m of tape, {} s in motion",
        drive.number,
        drive.generation,
        drive.serial,
        human::bytes(counters.bytes_written),
        human::bytes(counters.bytes_read),
        human::count(counters.locate_count, "locate"),
        human::count(counters.synchronize_count, "synchronization"),
        human::count(counters.back_hitch_count, "stop"),
        human::grouped(counters.tape_moved_mm / 1000),
        human::grouped(counters.motion_ns / 1_000_000_000),
    )
}

fn drive_object(drive: &DriveStatus) -> Map<String, Value> {
    let counters = &drive.counters;
    let (partition, position) = drive.position;
    object([
        ("kind", "drive".into()),
        ("number", drive.number.into()),
        ("lun", (drive.number + 1).into()),
        ("generation", drive.generation.name().into()),
        ("serial", drive.serial.clone().into()),
        ("cartridge", drive.cartridge.clone().into()),
        ("loaded", drive.is_loaded.into()),
        ("partition", partition.into()),
        ("object", position.into()),
        ("commands", counters.command_count.into()),
        ("loads", counters.load_count.into()),
        ("blocks_written", counters.blocks_written.into()),
        ("bytes_written", counters.bytes_written.into()),
        ("filemarks_written", counters.filemarks_written.into()),
        ("blocks_read", counters.blocks_read.into()),
        ("bytes_read", counters.bytes_read.into()),
        ("locates", counters.locate_count.into()),
        ("rewinds", counters.rewind_count.into()),
        ("synchronizations", counters.synchronize_count.into()),
        ("back_hitches", counters.back_hitch_count.into()),
        ("tape_moved_mm", counters.tape_moved_mm.into()),
        ("streaming_ns", counters.streaming_ns.into()),
        ("motion_ns", counters.motion_ns.into()),
        ("faults", counters.fault_count.into()),
    ])
}

/// A cartridge as an object.
pub(super) fn cartridge_object(cartridge: &CartridgeStatus) -> Map<String, Value> {
    object([
        ("cartridge", cartridge.name.clone().into()),
        ("serial", cartridge.serial.clone().into()),
        ("generation", cartridge.generation.name().into()),
        ("type", kind_name(cartridge).into()),
        ("write_protected", cartridge.write_protected.into()),
        ("capacity_bytes", holds_data(cartridge).then_some(cartridge.capacity_bytes).into()),
        ("used_bytes", cartridge.used_bytes.into()),
        ("loads", cartridge.load_count.into()),
    ])
}

fn kind_name(cartridge: &CartridgeStatus) -> &'static str {
    use reelfs::emulator::CartridgeKind::{Cleaning, Data, Worm};
    match cartridge.kind {
        Data => "data",
        Worm => "worm",
        Cleaning => "cleaning",
    }
}

// A cleaning cartridge has no capacity.
fn holds_data(cartridge: &CartridgeStatus) -> bool {
    cartridge.kind != reelfs::emulator::CartridgeKind::Cleaning
}

fn cartridge_text(cartridge: &CartridgeStatus) -> String {
    let what = format!("{}  {} {}", cartridge.name, cartridge.generation, kind_name(cartridge));
    if !holds_data(cartridge) {
        return what;
    }
    let protected = if cartridge.write_protected { ", write-protected" } else { "" };
    let (used, capacity) = (human::bytes(cartridge.used_bytes), human::bytes(cartridge.capacity_bytes));
    format!("{what}, {used} of {capacity}{protected}")
}
