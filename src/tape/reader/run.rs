//! Runs of blocks, of whatever cartridge.

use crate::tape::TapeError;
use crate::tape::drive::{AlignedBuffer, Drive, DriveError, Read};

/// Longest block that is passed by reading, in bytes.
const PASSED_LEN_MAX: usize = 8 << 20;

/// Fills `buffer` with blocks of `block_len` bytes from `loi` on; reading on from where the last read ended moves
/// nothing. Returns how many bytes there are: the last block may be shorter than the others, as is the last one of an
/// archive of some programs.
///
/// # Errors
/// [`TapeError`] if a block cannot be read, or has another length and is not the last one.
pub fn read_run(
    drive: &mut Drive,
    loi: u64,
    block_len: usize,
    buffer: &mut [u8],
) -> Result<usize, TapeError> {
    drive.go_to(loi)?;
    let mut len = 0;
    let count = buffer.len().div_ceil(block_len.max(1));
    for (number, target) in buffer.chunks_mut(block_len.max(1)).enumerate() {
        let read = drive.read_block(target)?;
        let len_bytes = if let Read::Block(len) = read { len } else { 0 };
        len += len_bytes;
        let is_short_end = number + 1 == count && len_bytes > 0 && len_bytes < target.len();
        if len_bytes != target.len() && !is_short_end {
            let (device, loi) = (drive.name().to_owned(), loi.saturating_add(number as u64));
            return Err(TapeError::BlockLength { device, loi, len_bytes, expected_bytes: target.len() });
        }
    }
    Ok(len)
}

/// Goes forward to `loi` by reading if at most `count_max` blocks and filemarks lie between: a LOCATE would stop the
/// tape. Farther away, or back, it does nothing: [`read_run`] goes there.
///
/// # Errors
/// [`TapeError`] if one of them cannot be read; the position is not known then.
pub fn pass_to(drive: &mut Drive, loi: u64, count_max: u64) -> Result<(), TapeError> {
    let Some(here) = drive.expected_loi() else { return Ok(()) };
    if loi.checked_sub(here).is_none_or(|between| between == 0 || between > count_max) {
        return Ok(());
    }
    let mut block = AlignedBuffer::new(drive.transfer_len_max().min(PASSED_LEN_MAX));
    while drive.expected_loi().is_some_and(|here| here < loi) {
        match drive.read_block(block.as_mut_slice()) {
            Ok(Read::Block(_) | Read::Filemark) => {}
            Ok(Read::EndOfData) | Err(DriveError::BlockTooLong { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
