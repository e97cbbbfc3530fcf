//! The thread that has the drive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::queue::{Asked, Next};
use crate::id::FileId;
use crate::job::tape::error::TapeJobError;
use crate::job::tape::extents::ExtentKey;
use crate::job::tape::library::TapeLibrary;
use crate::library::LibraryError;
use crate::tape::archive::BLOCK_LEN;
use crate::tape::reader::VolumeReader;

/// Time between two looks for a free drive.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn run(shared: &Arc<Shared>) {
    while let Next::Volume(volume) = shared.queue.wait(None) {
        if let Err(error) = serve(shared, volume) {
            let errno = errno(&error);
            log::warn!("recall: {}", crate::job::chain(&error));
            shared.queue.fail(volume, errno);
        }
    }
}

// tape.md: what cannot be had is said at once and in a way that programs know.
fn errno(error: &TapeJobError) -> i32 {
    match error {
        TapeJobError::Absent { .. }
        | TapeJobError::Unknown { .. }
        | TapeJobError::Empty { .. }
        | TapeJobError::WrongCartridge { .. } => libc::ENOMEDIUM,
        TapeJobError::NoFreeDrive => libc::EBUSY,
        TapeJobError::Device(error) if error.is_busy() => libc::EBUSY,
        TapeJobError::Library(error) if matches!(**error, LibraryError::NotReady { .. }) => libc::EBUSY,
        _ => libc::EIO,
    }
}

// Serves one cartridge until another one is wanted, nobody wants any for a while, or all is over.
fn serve(shared: &Shared, volume: FileId) -> Result<(), TapeJobError> {
    let known = shared.catalogue.volume(volume)?;
    let known = known.ok_or_else(|| TapeJobError::Unknown { barcode: volume.to_string() })?;
    let mut waited = Duration::ZERO;
    let (mut library, number, mut drive) = loop {
        let options = shared.options.drive_options.clone();
        let mut library = TapeLibrary::open(&shared.options.library, &shared.inputs, options)?;
        let mounted = library.mount_volume(&known.description, shared.options.drive, &shared.progress);
        match mounted {
            Ok((number, drive)) => break (library, number, drive),
            Err(error) if errno(&error) == libc::EBUSY && waited < shared.options.drive_wait => {
                if shared.queue.is_stopped() {
                    return Ok(());
                }
                log::info!("recall waits: {}", crate::job::chain(&error));
                shared.inputs.clock.sleep(RETRY);
                waited += RETRY;
            }
            Err(error) => return Err(error),
        }
    };
    let served = read(shared, volume, &mut VolumeReader::open(&mut drive)?);
    drop(drive);
    // The next one to ask finds it in its slot, and the drive free.
    if let Err(error) = library.unload(number, None) {
        log::warn!("recall: {}", crate::job::chain(&error));
    }
    served
}

fn read(shared: &Shared, volume: FileId, reader: &mut VolumeReader<'_>) -> Result<(), TapeJobError> {
    let mut position = 0;
    let mut ahead_left = 0;
    loop {
        if shared.queue.is_stopped() {
            return Ok(());
        }
        if let Some(asked) = shared.queue.take(volume, position) {
            let is_sequential = asked.key.first_loi == position;
            let end = asked.key.first_loi + asked.blocks;
            load(shared, reader, &asked);
            position = end;
            // Who reads here and there needs no more than he asked for.
            ahead_left = if is_sequential { shared.options.ahead } else { 0 };
            continue;
        }
        if ahead_left > 0
            && let Ok((key, blocks)) = shared.run(volume, position)
        {
            ahead_left -= 1;
            if !shared.cache().contains(key) {
                let ticket = Arc::default();
                load(shared, reader, &Asked { key, blocks, ticket });
            }
            position = key.first_loi + blocks;
            continue;
        }
        ahead_left = 0;
        match shared.queue.wait(Some(shared.options.idle)) {
            Next::Volume(other) if other == volume => {}
            _ => return Ok(()),
        }
    }
}

// Reads a run into the cache and tells those who wait for it.
fn load(shared: &Shared, reader: &mut VolumeReader<'_>, asked: &Asked) {
    let Asked { key, blocks, ticket } = asked;
    if shared.cache().contains(*key) {
        return ticket.settle(Ok(()));
    }
    let result = load_run(shared, reader, *key, *blocks).map_err(|error| {
        log::warn!("recall: {error}");
        error.raw_os_error().unwrap_or(libc::EIO)
    });
    ticket.settle(result);
}

fn load_run(shared: &Shared, reader: &mut VolumeReader<'_>, key: ExtentKey, blocks: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(blocks).unwrap_or_default() * BLOCK_LEN];
    if let Err(error) = reader.read_blocks(key.first_loi, &mut bytes) {
        log::warn!("recall: {}", crate::job::chain(&error));
        return Err(io::Error::from_raw_os_error(libc::EIO));
    }
    shared.progress.add(0, bytes.len() as u64);
    shared.cache().insert(key, &bytes)
}
