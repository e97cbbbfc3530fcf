//! `reelfs tape status`

use reelfs::tape::drive::{Drive, DriveState, Medium};
use serde_json::{Map, Value};

use super::Place;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape status
  reelfs tape status --drive 1 --json

  A drive that another process uses is named and left alone. Alerts are those of TapeAlert.

EXIT STATUS
  0 done; 1 failed; 2 usage; 3 a drive could not be asked; 13 the library cannot be reached";

/// Show what the drives hold and how they are
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {}

pub(super) fn run(place: &Place, context: &mut Context) -> Result<(), Failure> {
    let mut library = place.open()?;
    let inventory = library.inventory()?;
    let numbers = match place.drive() {
        Some(number) => vec![number],
        None => (0..library.drives().len()).collect(),
    };
    let mut is_partial = false;
    for number in numbers {
        let name = library.drive(number)?.identity.name();
        let barcode = library.in_drive(&inventory, number).and_then(|element| element.barcode.clone());
        let barcode = barcode.map(|barcode| barcode.to_string());
        let asked = library.open_drive(number).map_err(Failure::from).and_then(|mut drive| {
            let state = drive.state().map_err(Failure::from)?;
            let medium = matches!(state, DriveState::Ready).then(|| drive.medium()).transpose()?;
            Ok((state, medium, alerts(&mut drive)))
        });
        match asked {
            Ok((state, medium, alerts)) => {
                let status = Status { number, name, barcode, state, medium, alerts };
                if context.global.json {
                    context.out.json(json(&status))?;
                } else {
                    context.out.line(&line(&status))?;
                }
            }
            Err(failure) => {
                is_partial = true;
                context.warn(&format!("drive {number} ({name}): {}", failure.text().unwrap_or_default()));
            }
        }
    }
    if is_partial { Err(Failure::told(Kind::Partial)) } else { Ok(()) }
}

struct Status {
    number: usize,
    name: String,
    barcode: Option<String>,
    state: DriveState,
    medium: Option<Medium>,
    alerts: Vec<u8>,
}

// A drive without this log page has no alerts to tell of.
fn alerts(drive: &mut Drive) -> Vec<u8> {
    drive.alerts().unwrap_or_default()
}

fn state_name(state: DriveState) -> &'static str {
    match state {
        DriveState::Ready => "ready",
        DriveState::Empty => "empty",
        DriveState::BecomingReady(_) => "becoming ready",
        DriveState::Unloaded => "unloaded",
        DriveState::Cleaning => "cleaning cartridge",
        DriveState::Incompatible => "incompatible cartridge",
        _ => "not ready",
    }
}

fn line(status: &Status) -> String {
    let mut line = format!("drive {}  {}  {}", status.number, status.name, state_name(status.state));
    if let DriveState::BecomingReady(Some(progress)) = status.state {
        line.push_str(&format!(" {} %", u32::from(progress) * 100 / 65_536));
    }
    if let Some(barcode) = &status.barcode {
        line.push_str(&format!("  {barcode}"));
    }
    if let Some(medium) = &status.medium {
        let mb = |mb: u64| human::bytes(mb.saturating_mul(1_000_000));
        if let (Some(capacity), Some(remaining)) = (medium.capacity_mb, medium.remaining_mb) {
            line.push_str(&format!("  {} of {} free", mb(remaining), mb(capacity)));
        }
        for (is_so, what) in [(medium.is_write_protected, "write-protected"), (medium.is_worm, "WORM")] {
            if is_so {
                line.push_str(&format!("  {what}"));
            }
        }
    }
    for alert in &status.alerts {
        line.push_str(&format!("  alert {alert}"));
    }
    line
}

fn json(status: &Status) -> Map<String, Value> {
    let mut members = object([
        ("drive", status.number.into()),
        ("name", status.name.clone().into()),
        ("state", state_name(status.state).into()),
        ("barcode", status.barcode.clone().into()),
        ("alerts", status.alerts.clone().into()),
    ]);
    if let Some(medium) = &status.medium {
        members.insert("density".to_owned(), medium.density.into());
        members.insert("write_protected".to_owned(), medium.is_write_protected.into());
        members.insert("worm".to_owned(), medium.is_worm.into());
        members.insert("medium_serial".to_owned(), medium.serial.clone().into());
        members.insert("capacity_mb".to_owned(), medium.capacity_mb.into());
        members.insert("remaining_mb".to_owned(), medium.remaining_mb.into());
        members.insert("load_count".to_owned(), medium.load_count.into());
    }
    members
}
