//! `reelfs tape list`

use std::ffi::OsString;

use reelfs::format::record::Time;
use reelfs::job::tape::catalogue::{Catalogue, KnownVolume};
use reelfs::job::tape::error::TapeJobError;
use reelfs::job::tape::sets::VolumeSet;
use reelfs::tape::archive::{ForeignDescription, SegmentEntry};

use super::inventory::short;
use super::{Place, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::human;
use crate::output::object;
use crate::session;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape list                          cartridges and the generations on them, in the library or not
  reelfs tape list RL0001L8                 those of the set of one cartridge
  reelfs tape list --objects RL0001L8       the files on it, with their places
  reelfs tape list --json | jq -r 'select(.kind == \"generation\") | .address'

  The catalogue is asked; nothing moves and no library is needed.

EXIT STATUS
  0 done; 1 failed; 2 usage; 10 no repository, and nothing is known elsewhere; 12 a part of the catalogue is damaged, the others were listed";

/// List cartridges and the generations that they hold
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Only the set of this cartridge
    barcode: Option<OsString>,
    /// List the files on the cartridge, in the order of the tape
    #[arg(long, requires = "barcode")]
    objects: bool,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    let catalogue = place.catalogue(context)?;
    let wanted = args.barcode.as_ref().map(place::barcode).transpose()?;
    if let (Some(barcode), true) = (&wanted, args.objects) {
        let volumes = place::known_volumes(&catalogue, context)?;
        let known =
            place::known(&volumes, barcode).ok_or(TapeJobError::Unknown { barcode: barcode.to_string() })?;
        return objects(&catalogue, known, context);
    }
    let mut damaged = Vec::new();
    let mut sets = VolumeSet::all(&catalogue, &mut |error| damaged.push(reelfs::job::chain(&error)))?;
    if let Some(barcode) = &wanted {
        sets.retain(|set| set.barcodes().iter().any(|own| own.as_bytes() == barcode.as_bytes()));
    }
    let mut foreign = catalogue
        .foreign_volumes(&mut |error| damaged.push(reelfs::job::chain(&error)))
        .map_err(TapeJobError::from)?;
    foreign.retain(|volume| {
        wanted.as_ref().is_none_or(|barcode| volume.barcode.as_bytes() == barcode.as_bytes())
    });
    if let (Some(barcode), true, true) = (&wanted, sets.is_empty(), foreign.is_empty()) {
        return Err(TapeJobError::Unknown { barcode: barcode.to_string() }.into());
    }
    for volume in &foreign {
        show_foreign(volume, context)?;
    }
    if sets.is_empty() && foreign.is_empty() && damaged.is_empty() && place.catalogue.is_none() {
        // Whoever named a wrong repository is told so, and not that there is nothing.
        session::open(context)?;
    }
    if sets.is_empty() && foreign.is_empty() && !context.global.json {
        context.note("the catalogue knows no cartridge; 'reelfs tape scan' takes them in");
    }
    for set in &sets {
        show(&catalogue, set, context)?;
    }
    for text in &damaged {
        context.warn(text);
    }
    if damaged.is_empty() { Ok(()) } else { Err(Failure::told(crate::failure::Kind::Damaged)) }
}

fn show(catalogue: &Catalogue, set: &VolumeSet, context: &mut Context) -> Result<(), Failure> {
    for known in &set.volumes {
        let bytes: u64 = catalogue
            .segments(known.description.volume)
            .map_err(TapeJobError::from)?
            .iter()
            .map(|segment| segment.len)
            .sum();
        if context.global.json {
            context.out.json(volume_json(known, bytes))?;
        } else {
            context.out.line(&volume_line(known, bytes, context.global.local))?;
        }
    }
    show_lacking(catalogue, set, context)?;
    for (client, generations) in set.generations() {
        for id in generations {
            let address = format!("{client}@{}", id.time);
            if context.global.json {
                context.out.json(object([
                    ("kind", "generation".into()),
                    ("address", address.into()),
                    ("client", client.as_str().into()),
                    ("generation", id.time.to_string().into()),
                    ("set", set.id.to_string().into()),
                    ("barcodes", set.barcodes().into()),
                ]))?;
            } else {
                context.out.line(&format!("    {address}"))?;
            }
        }
    }
    Ok(())
}

// Files that were damaged when the set was written: generations on it are not whole.
fn show_lacking(catalogue: &Catalogue, set: &VolumeSet, context: &mut Context) -> Result<(), Failure> {
    let lacks = set.lacks(catalogue)?;
    let set_id = set.id.to_string();
    for name in &lacks.names {
        if context.global.json {
            context.out.json(object([
                ("kind", "lacking".into()),
                ("set", set_id.clone().into()),
                ("name", name.clone().into()),
            ]))?;
        } else {
            let lost = if name.ends_with(".dtf") { "its generation is" } else { "files in it are" };
            let name = reelfs::path::display(name.as_bytes());
            context.out.line(&format!(
                "    lacks {name}, which could not be read when it was archived: {lost} not on tape"
            ))?;
        }
    }
    let more = human::count(lacks.more_count, "more file");
    let rest = match (lacks.is_known, lacks.more_count) {
        (true, 0) => return Ok(()),
        (true, _) => format!("lacks {more} that could not be read; their names are not on the cartridge"),
        (false, _) => "unknown whether it lacks anything: no index at hand tells".to_owned(),
    };
    if context.global.json {
        return Ok(context.out.json(object([
            ("kind", "lacking".into()),
            ("set", set_id.into()),
            ("name", serde_json::Value::Null),
            ("count", lacks.is_known.then_some(lacks.more_count).into()),
        ]))?);
    }
    Ok(context.out.line(&format!("    {rest}"))?)
}

fn show_foreign(volume: &ForeignDescription, context: &mut Context) -> Result<(), Failure> {
    let entries: u64 = volume.files.iter().map(|file| file.entry_count).sum();
    if context.global.json {
        return Ok(context.out.json(object([
            ("kind", "foreign cartridge".into()),
            ("barcode", volume.barcode.clone().into()),
            ("volume", volume.volume.to_string().into()),
            ("foreign", volume.kind.clone().into()),
            ("name", volume.name.clone().into()),
            ("archives", volume.files.len().into()),
            ("entries", entries.into()),
            ("scanned_seconds", volume.scanned_seconds.into()),
        ]))?);
    }
    let name = if volume.name.is_empty() { String::new() } else { format!(" {}", volume.name) };
    let line = format!("{:10}  another program's: {}{name}", volume.barcode, volume.kind);
    let count = if entries > 0 { format!(", {}", human::count(entries, "entry")) } else { String::new() };
    Ok(context.out.line(&(line + &count))?)
}

fn volume_line(known: &KnownVolume, bytes: u64, local: bool) -> String {
    let description = &known.description;
    let mut line = format!(
        "{:10}  {} of set {}  {:>10}",
        description.barcode,
        description.sequence,
        short(&description.set.to_string()),
        human::bytes(bytes)
    );
    if !description.pool.is_empty() {
        line.push_str(&format!("  pool {}", description.pool));
    }
    let time = |seconds| human::time(Time { seconds, nanoseconds: 0 }, local);
    match &known.header {
        None => line.push_str("  prepared"),
        Some(header) => {
            line.push_str(&format!("  written {}", time(header.written_seconds)));
            if let Some(until) = header.retain_until_seconds {
                line.push_str(&format!("  kept until {}", time(until)));
            }
            line.push_str(if header.is_continued { "  full" } else { "" });
        }
    }
    line
}

fn volume_json(known: &KnownVolume, bytes: u64) -> serde_json::Map<String, serde_json::Value> {
    let description = &known.description;
    let header = known.header.as_ref();
    object([
        ("kind", "cartridge".into()),
        ("barcode", description.barcode.clone().into()),
        ("volume", description.volume.to_string().into()),
        ("set", description.set.to_string().into()),
        ("sequence", description.sequence.into()),
        ("pool", description.pool.clone().into()),
        ("label", description.label.clone().into()),
        ("repository", description.repository.to_string().into()),
        ("bytes", bytes.into()),
        ("labelled_seconds", description.created_seconds.into()),
        ("written_seconds", header.map(|header| header.written_seconds).into()),
        ("session", header.map(|header| header.session.clone()).into()),
        ("retain_until_seconds", known.retain_until_seconds().into()),
        ("full", header.is_some_and(|header| header.is_continued).into()),
    ])
}

fn objects(catalogue: &Catalogue, known: &KnownVolume, context: &mut Context) -> Result<(), Failure> {
    for segment in catalogue.segments(known.description.volume).map_err(TapeJobError::from)? {
        let SegmentEntry { name, offset, len, total, part, address, .. } = &segment;
        if context.global.json {
            context.out.json(object([
                ("kind", "object".into()),
                ("name", name.as_ref().into()),
                ("offset", (*offset).into()),
                ("len", (*len).into()),
                ("total", (*total).into()),
                ("tape_file", (*part).into()),
                ("block", address.loi.into()),
                ("byte", address.byte.into()),
                ("blake3", segment.fingerprint.to_string().into()),
            ]))?;
        } else {
            let place = format!("file {part} block {}+{}", address.loi, address.byte);
            context.out.line(&format!("{place:28}  {:>10}  {name}", human::bytes(*len)))?;
        }
    }
    Ok(())
}
