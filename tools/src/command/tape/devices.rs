//! `reelfs tape devices`

use reelfs::job::tape::devices::local_nodes;
use reelfs::job::tape::error::TapeJobError;

use super::Place;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape devices                              changers and drives on /dev/sg*
  reelfs tape devices --library /srv/vtape         the changer and the drives of a library
  reelfs tape devices --json | jq -r 'select(.type == \"changer\") | .device'

EXIT STATUS
  0 done; 1 failed; 2 usage; 13 the library cannot be reached";

/// List changers and drives
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {}

struct Found {
    kind: &'static str,
    device: String,
    name: String,
    serial: Option<String>,
    element: Option<u16>,
    number: Option<usize>,
}

pub(super) fn run(place: &Place, context: &mut Context) -> Result<(), Failure> {
    let found = if place.library.is_some() { of_library(place)? } else { of_machine()? };
    if found.is_empty() {
        context.note("no changer and no drive was found; is the module 'sg' loaded?");
    }
    for Found { kind, device, name, serial, element, number } in found {
        if context.global.json {
            context.out.json(object([
                ("type", kind.into()),
                ("device", device.into()),
                ("name", name.into()),
                ("serial", serial.into()),
                ("element", element.into()),
                ("drive", number.into()),
            ]))?;
            continue;
        }
        let mut line = format!("{kind:7}  {device:12}  {name:24}");
        if let Some(serial) = serial {
            line.push_str(&format!("  serial {serial}"));
        }
        if let Some(number) = number {
            line.push_str(&format!("  drive {number}"));
        }
        if let Some(element) = element {
            line.push_str(&format!(" in element {element}"));
        }
        context.out.line(line.trim_end())?;
    }
    Ok(())
}

fn of_library(place: &Place) -> Result<Vec<Found>, Failure> {
    let library = place.open()?;
    let changer = library.changer().map(|changer| Found {
        kind: "changer",
        device: changer.unit.clone(),
        name: changer.identity.name(),
        serial: changer.identity.serial.clone(),
        element: None,
        number: None,
    });
    let drives = library.drives().iter().enumerate().map(|(number, drive)| Found {
        kind: "drive",
        device: drive.unit.clone(),
        name: drive.identity.name(),
        serial: drive.identity.serial.clone(),
        element: drive.element,
        number: Some(number),
    });
    Ok(changer.into_iter().chain(drives).collect())
}

// As the kernel knows them, so that nothing is opened that somebody uses.
fn of_machine() -> Result<Vec<Found>, Failure> {
    let nodes = local_nodes().map_err(TapeJobError::from)?;
    let found = |node: reelfs::scsi::sg::SgNode| Found {
        kind: if node.device_type == 8 { "changer" } else { "drive" },
        device: reelfs::path::display(node.path.as_os_str().as_encoded_bytes()),
        name: format!("{} {}", node.vendor, node.product).trim().to_owned(),
        serial: None,
        element: None,
        number: None,
    };
    Ok(nodes.into_iter().map(found).collect())
}
