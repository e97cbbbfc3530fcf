//! `reelfs tape inventory`

use reelfs::job::tape::catalogue::KnownVolume;
use reelfs::job::tape::library::TapeLibrary;
use reelfs::library::{Element, Inventory};
use reelfs::scsi::ElementKind;
use serde_json::{Map, Value};

use super::{Place, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{object, put_bytes};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape inventory
  reelfs tape inventory --scan-labels       let the robot read all barcodes again: minutes
  reelfs tape inventory --json | jq -r 'select(.kind == \"mail slot\" and .full) | .barcode'

  Nothing moves, unless --scan-labels is given. What the catalogue knows of a cartridge stands beside it.

EXIT STATUS
  0 done; 1 failed; 2 usage; 13 the library cannot be reached, or has no changer";

/// List slots, mail slots and drives, and the cartridges in them
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Let the robot read all barcodes again
    #[arg(long)]
    scan_labels: bool,
    /// Show empty slots too
    #[arg(long, short)]
    all: bool,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let mut library = place.open()?;
    if args.scan_labels {
        library.initialize()?;
    }
    let inventory = library.inventory()?;
    let volumes = match place.catalogue(context) {
        Ok(catalogue) => place::known_volumes(&catalogue, context)?,
        Err(_) => Vec::new(),
    };
    let kinds = [ElementKind::DataTransfer, ElementKind::ImportExport, ElementKind::Storage];
    let mut free_slots = 0;
    for kind in kinds {
        for (number, element) in inventory.of_kind(kind).enumerate() {
            let known = element.barcode.as_ref().and_then(|barcode| place::known(&volumes, barcode));
            let number = drive_number(&library, element).unwrap_or(number);
            if context.global.json {
                context.out.json(json(number, element, known))?;
            } else if element.is_full || args.all || kind != ElementKind::Storage {
                context.out.line(&line(number, element, known))?;
            }
            free_slots += usize::from(kind == ElementKind::Storage && !element.is_full);
        }
    }
    if !context.global.json && !context.global.quiet {
        summary(&inventory, free_slots, context)?;
    }
    Ok(())
}

fn summary(inventory: &Inventory, free_slots: usize, context: &mut Context) -> Result<(), Failure> {
    let slots = inventory.of_kind(ElementKind::Storage).count();
    let drives = inventory.of_kind(ElementKind::DataTransfer).count();
    let mail_slots = inventory.of_kind(ElementKind::ImportExport).count();
    let line =
        format!("{drives} drives, {slots} slots of which {free_slots} are free, {mail_slots} mail slots");
    Ok(context.out.line(&line)?)
}

// Drives have the number by which commands take them.
fn drive_number(library: &TapeLibrary, element: &Element) -> Option<usize> {
    (element.kind == ElementKind::DataTransfer)
        .then(|| library.drives().iter().position(|drive| drive.element == Some(element.address)))
        .flatten()
}

fn kind_name(kind: ElementKind) -> &'static str {
    match kind {
        ElementKind::Transport => "robot",
        ElementKind::Storage => "slot",
        ElementKind::ImportExport => "mail slot",
        ElementKind::DataTransfer => "drive",
    }
}

fn line(number: usize, element: &Element, known: Option<&KnownVolume>) -> String {
    let content = match (&element.barcode, element.is_full) {
        (Some(barcode), _) => barcode.to_string(),
        (None, true) => "(no barcode)".to_owned(),
        (None, false) => "-".to_owned(),
    };
    let mut line = format!("{:9} {number:>4}  {content:10}", kind_name(element.kind));
    if let Some(known) = known {
        let description = &known.description;
        line.push_str(&format!("  {} of set {}", description.sequence, short(&description.set.to_string())));
        if !description.pool.is_empty() {
            line.push_str(&format!(", pool {}", description.pool));
        }
        line.push_str(if known.header.is_none() { ", prepared" } else { "" });
    }
    if element.is_cleaning {
        line.push_str("  cleaning cartridge");
    }
    if let Some((code, qualifier)) = element.exception {
        line.push_str(&format!("  exception {code:02X}/{qualifier:02X}"));
    }
    line.trim_end().to_owned()
}

/// The beginning of an id, enough for people.
pub(super) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn json(number: usize, element: &Element, known: Option<&KnownVolume>) -> Map<String, Value> {
    let mut members = object([
        ("kind", kind_name(element.kind).into()),
        ("number", number.into()),
        ("address", element.address.into()),
        ("full", element.is_full.into()),
        ("accessible", element.is_accessible.into()),
        ("cleaning", element.is_cleaning.into()),
        ("source", element.source.into()),
        (
            "exception",
            element.exception.map(|(code, qualifier)| format!("{code:02X}/{qualifier:02X}")).into(),
        ),
    ]);
    if let Some(barcode) = &element.barcode {
        put_bytes(&mut members, "barcode", barcode.as_bytes());
    }
    if let Some(known) = known {
        let description = &known.description;
        members.insert("volume".to_owned(), description.volume.to_string().into());
        members.insert("set".to_owned(), description.set.to_string().into());
        members.insert("sequence".to_owned(), description.sequence.into());
        members.insert("pool".to_owned(), description.pool.clone().into());
        members.insert("retain_until_seconds".to_owned(), known.retain_until_seconds().into());
    }
    members
}
