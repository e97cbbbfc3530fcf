//! A thread that gets a drive, and serves a cartridge with it.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::passage::Passage;
use super::queue::More;
use crate::id::FileId;
use crate::job::tape::catalogue::KnownVolume;
use crate::job::tape::error::TapeJobError;
use crate::job::tape::library::TapeLibrary;
use crate::library::{Barcode, LibraryError};
use crate::tape::TapeError;
use crate::tape::drive::Drive;
use crate::tape::reader::foreign_identity;

/// Time between two looks for a free drive.
const RETRY: Duration = Duration::from_millis(500);
/// Who copies files is between two of them for so long at most; a cartridge is not changed for that.
const BETWEEN_FILES: Duration = Duration::from_secs(1);

pub(super) fn run(shared: &Arc<Shared>) {
    while let Some(volume) = shared.queue.next() {
        if let Err(error) = serve(shared, volume) {
            log::warn!("recall: {}", crate::job::chain(&error));
            shared.queue.fail(volume, errno(&error));
        }
        shared.queue.finish(volume);
    }
}

// tape.md: what cannot be had is said at once and in a way that programs know.
fn errno(error: &TapeJobError) -> i32 {
    match error {
        TapeJobError::Absent { .. }
        | TapeJobError::Unknown { .. }
        | TapeJobError::Empty { .. }
        | TapeJobError::WrongCartridge { .. } => libc::ENOMEDIUM,
        // It was another one when it was scanned.
        TapeJobError::Tape(error)
            if matches!(
                **error,
                TapeError::Blank { .. } | TapeError::Foreign { .. } | TapeError::NoDescription { .. }
            ) =>
        {
            libc::ENOMEDIUM
        }
        TapeJobError::NoFreeDrive => libc::EBUSY,
        error if error.is_busy() => libc::EBUSY,
        // Another process was faster, or the changer is not there yet.
        TapeJobError::Library(error)
            if matches!(**error, LibraryError::NotReady { .. } | LibraryError::Occupied { .. }) =>
        {
            libc::EBUSY
        }
        _ => libc::EIO,
    }
}

/// A cartridge that is wanted.
struct Wanted {
    volume: FileId,
    barcode: String,
    // Absent: one of another program.
    known: Option<KnownVolume>,
}

impl Wanted {
    fn find(shared: &Shared, volume: FileId) -> Result<Self, TapeJobError> {
        if let Some(known) = shared.catalogue.volume(volume)? {
            return Ok(Self { volume, barcode: known.description.barcode.clone(), known: Some(known) });
        }
        let foreign = shared.catalogue.foreign(volume)?;
        let foreign = foreign.ok_or_else(|| TapeJobError::Unknown { barcode: volume.to_string() })?;
        Ok(Self { volume, barcode: foreign.barcode, known: None })
    }

    // Another cartridge may have the same barcode, or this one may have been written anew.
    fn check(&self, drive: &mut Drive) -> Result<(), TapeJobError> {
        if let Some(known) = &self.known {
            return known.check_identity(drive);
        }
        let (expected, found) = (self.volume, foreign_identity(drive)?);
        if found == expected {
            return Ok(());
        }
        Err(TapeJobError::WrongCartridge { barcode: self.barcode.clone(), expected, found })
    }
}

// Serves one cartridge until its turn is over, nobody wants it for a while, or all is over.
fn serve(shared: &Shared, volume: FileId) -> Result<(), TapeJobError> {
    let known = Wanted::find(shared, volume)?;
    let Some((mut library, number, mut drive)) = wait_for_drive(shared, &known)? else { return Ok(()) };
    let served = serve_loaded(shared, &known, &mut drive);
    // The next one to ask finds it in its slot, and the drive free.
    if let Err(error) = library.put_away(drive, number, None) {
        log::warn!("recall: {}", crate::job::chain(&error));
    }
    served
}

type Loaded = (TapeLibrary, usize, Drive);

// `None` if nobody asks any more. How long a reader waits is for the reader to say.
fn wait_for_drive(shared: &Shared, known: &Wanted) -> Result<Option<Loaded>, TapeJobError> {
    let volume = known.volume;
    loop {
        match load(shared, known) {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(error) if errno(&error) == libc::EBUSY => {
                log::info!("recall waits: {}", crate::job::chain(&error));
                shared.queue.set_has_drive(volume, false);
            }
            Err(error) => return Err(error),
        }
        if !shared.queue.pause(volume, RETRY) {
            return Ok(None);
        }
    }
}

// Puts a cartridge into a free drive.
fn load(shared: &Shared, known: &Wanted) -> Result<Loaded, TapeJobError> {
    let volume = known.volume;
    let options = shared.options.drive_options.clone();
    let mut library = TapeLibrary::open(&shared.options.library, &shared.inputs, options)?;
    let preferred = shared.options.drive;
    let barcode = Barcode::new(known.barcode.as_bytes());
    let (Some(barcode), true) = (barcode, library.changer().is_some()) else {
        // A lone drive has one cartridge, and only a person changes it.
        if shared.queue.has_other_in_drive(volume) {
            return Err(TapeJobError::Absent { barcode: known.barcode.clone() });
        }
        let number = preferred.unwrap_or(0);
        let drive = library.ready(number, &shared.progress)?;
        shared.queue.set_has_drive(volume, true);
        return Ok((library, number, drive));
    };
    // Somebody else may have the drive and the cartridge in it; to find that out is no loading.
    let (number, drive) = library.take_drive(&barcode, preferred, true)?;
    shared.queue.set_has_drive(volume, true);
    let drive = library.load_into(drive, number, &barcode, &shared.progress)?;
    Ok((library, number, drive))
}

fn serve_loaded(shared: &Shared, known: &Wanted, drive: &mut Drive) -> Result<(), TapeJobError> {
    known.check(drive)?;
    let volume = known.volume;
    let (queue, clock) = (&shared.queue, &shared.inputs.clock);
    let mut passage = Passage::new(shared, volume, drive);
    let begun = clock.now();
    loop {
        let is_over = |turn| clock.now().saturating_sub(begun) >= turn && queue.is_other_waiting(volume);
        if queue.is_stopped() || shared.options.turn.is_some_and(is_over) {
            return Ok(());
        }
        if let Some(asked) = queue.take(volume, passage.position()) {
            if passage.serve(&asked) {
                continue;
            }
            // Who asks next gets a new session, perhaps with another drive.
            return Ok(());
        }
        if passage.read_ahead() {
            continue;
        }
        let more = match queue.wait_more(volume, BETWEEN_FILES.min(shared.options.idle), false) {
            More::Idle => queue.wait_more(volume, shared.options.idle.saturating_sub(BETWEEN_FILES), true),
            more => more,
        };
        if more != More::Asked {
            return Ok(());
        }
    }
}
