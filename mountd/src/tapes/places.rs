//! Where cartridges are now: asked of the changer, which moves nothing for it, and kept for a few seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reelfs::job::chain;
use reelfs::job::tape::devices::{LibraryAddress, LibraryInputs};
use reelfs::job::tape::library::TapeLibrary;
use reelfs::library::{Barcode, Inventory};
use reelfs::scsi::ElementKind;
use reelfs::tape::drive::DriveOptions;

const KEPT: Duration = Duration::from_secs(5);

/// Where a cartridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whereabouts {
    /// In a word.
    pub(super) state: &'static str,
    /// Address of the element, if it is in the library.
    pub(super) element: Option<u16>,
}

const UNKNOWN: Whereabouts = Whereabouts { state: "unknown", element: None };
const ABSENT: Whereabouts = Whereabouts { state: "absent", element: None };

/// The library, as far as it can be asked.
#[derive(Debug)]
pub(super) struct Places {
    library: Option<LibraryAddress>,
    inputs: LibraryInputs,
    known: Mutex<Option<(Instant, Option<Inventory>)>>,
}

impl Places {
    pub(super) fn new(library: Option<LibraryAddress>, inputs: LibraryInputs) -> Self {
        Self { library, inputs, known: Mutex::default() }
    }

    /// Finds a cartridge.
    pub(super) fn of(&self, barcode: &str) -> Whereabouts {
        let Some(barcode) = Barcode::new(barcode.as_bytes()) else { return UNKNOWN };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = known.as_ref().is_some_and(|(asked, _)| asked.elapsed() < KEPT);
        if !is_fresh {
            // Who cannot ask now goes on with what was known before.
            let before = known.take().and_then(|(_, inventory)| inventory);
            *known = Some((Instant::now(), self.ask().or(before)));
        }
        match known.as_ref().and_then(|(_, inventory)| inventory.as_ref()) {
            None => UNKNOWN,
            Some(inventory) => whereabouts(inventory, &barcode),
        }
    }

    fn ask(&self) -> Option<Inventory> {
        let address = self.library.as_ref()?;
        let library = TapeLibrary::open(address, &self.inputs, DriveOptions::default());
        match library.and_then(|mut library| library.inventory()) {
            Ok(inventory) => Some(inventory),
            Err(error) => {
                log::info!("{address}: {}", chain(&error));
                None
            }
        }
    }
}

fn whereabouts(inventory: &Inventory, barcode: &Barcode) -> Whereabouts {
    let Ok(element) = inventory.find(barcode) else { return ABSENT };
    let state = match element.kind {
        ElementKind::DataTransfer => "drive",
        ElementKind::ImportExport => "mail slot",
        ElementKind::Storage => "slot",
        ElementKind::Transport => "robot",
    };
    Whereabouts { state, element: Some(element.address) }
}
