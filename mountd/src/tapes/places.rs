//! Where cartridges are now: asked of the changer, which moves nothing for it, and kept for a few seconds.

use std::sync::{Mutex, MutexGuard, PoisonError};
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

    /// Barcodes of all cartridges that could be read, in order; what cannot be shown as a name is left out, and what
    /// cleans drives too.
    pub(super) fn barcodes(&self) -> Vec<String> {
        let known = self.look();
        let Some((_, Some(inventory))) = known.as_ref() else { return Vec::new() };
        let elements = inventory.elements.iter().filter(|element| element.is_full && !element.is_cleaning);
        let barcodes = elements.filter_map(|element| element.barcode.as_ref());
        let text = |barcode: &Barcode| std::str::from_utf8(barcode.as_bytes()).ok().map(str::to_owned);
        let mut barcodes: Vec<String> = barcodes.filter_map(text).collect();
        barcodes.sort_unstable();
        barcodes.dedup();
        barcodes
    }

    // Asks the changer if what is known is not fresh.
    fn look(&self) -> MutexGuard<'_, Option<(Instant, Option<Inventory>)>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = known.as_ref().is_some_and(|(asked, _)| asked.elapsed() < KEPT);
        if !is_fresh {
            // Who cannot ask now goes on with what was known before.
            let before = known.take().and_then(|(_, inventory)| inventory);
            *known = Some((Instant::now(), self.ask().or(before)));
        }
        known
    }

    /// Finds a cartridge.
    pub(super) fn of(&self, barcode: &str) -> Whereabouts {
        let Some(barcode) = Barcode::new(barcode.as_bytes()) else { return UNKNOWN };
        match self.look().as_ref().and_then(|(_, inventory)| inventory.as_ref()) {
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
