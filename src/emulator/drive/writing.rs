//! WRITE and WRITE FILEMARKS (SSC-4, sections 5.6 and 5.7), and the zones before the end of a partition.

use super::{BLOCK_LEN_MAX, Drive};
use crate::emulator::bytes::u24_at;
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::sense::{Sense, key};
use crate::emulator::tap::{Object, Tap};

/// Offsets at which the zones of a partition begin, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zones {
    /// Programmable early warning; that of early warning if there is none.
    pub(super) programmable: u64,
    /// Early warning.
    pub(super) early_warning: u64,
    /// The end.
    pub(super) end: u64,
}

impl Drive {
    /// The zones of the present partition.
    pub(super) fn zones(&mut self) -> Result<Zones, Halt> {
        let programmable_bytes = u64::from(self.file.state.modes.early_warning_mb) * 1_000_000;
        let mounted = self.mounted()?;
        let sidecar = &mounted.cartridge.sidecar;
        let capacity = mounted.partition().map_or(0, |partition| partition.capacity_bytes);
        let end = capacity / u64::from(u16::MAX) * u64::from(sidecar.proportion)
            + capacity % u64::from(u16::MAX) * u64::from(sidecar.proportion) / u64::from(u16::MAX);
        let early_warning = end - sidecar.early_warning_bytes.min(end / 2);
        let programmable = early_warning.saturating_sub(programmable_bytes);
        Ok(Zones { programmable, early_warning, end })
    }

    /// WRITE(6).
    pub(super) fn write(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let is_fixed = exchange.bit(1, 0);
        let len = u24_at(exchange.cdb, 2);
        let block_len = if is_fixed { self.file.state.modes.block_len } else { len };
        if is_fixed && block_len == 0 {
            return Err(Sense::invalid_field(1, Some(0)).into());
        }
        if block_len > BLOCK_LEN_MAX {
            return Err(Sense::invalid_field(2, None).into());
        }
        let count = if is_fixed { len } else { u32::from(len > 0) };
        let total = u64::from(block_len) * u64::from(count);
        self.check_writable()?;
        let data = exchange.parameters(usize::try_from(total).unwrap_or(usize::MAX))?;
        if data.is_empty() {
            return Ok(());
        }
        let zones = self.zones()?;
        let before = self.mounted()?.loaded.place.offset;
        self.streamed_out(before, total);
        for (index, block) in data.chunks(usize::try_from(block_len).unwrap_or(1).max(1)).enumerate() {
            let done = u32::try_from(index).unwrap_or(u32::MAX);
            let left = if is_fixed { count - done } else { len };
            self.write_block(block, zones, i64::from(left))?;
        }
        self.warn(zones, before)
    }

    fn write_block(&mut self, block: &[u8], zones: Zones, left: i64) -> Done {
        let block = self.unprotected(block)?;
        self.prepare_to_write()?;
        let buffer_bytes = self.figures().buffer_bytes;
        let mounted = self.mounted()?;
        let (offset, partition) = (mounted.loaded.place.offset, mounted.loaded.partition);
        let len = u64::try_from(block.len()).unwrap_or(u64::MAX);
        if offset.saturating_add(len + 8 + len % 2) > zones.end {
            return Err(Sense::new(key::VOLUME_OVERFLOW, 0, 2).with_eom().with_information(left).into());
        }
        let written = mounted
            .cartridge
            .on_tap(partition, "write", |tap| or_cut(tap, offset, tap.write_record(offset, block)));
        let mut mounted = self.mounted()?;
        let end = written?;
        let object = Object::Record { len: u32::try_from(block.len()).unwrap_or(0), bad: false };
        mounted.wrote(object, end, 1, buffer_bytes);
        mounted.loaded.written_bytes += len;
        mounted.cartridge.sidecar.written_bytes += len;
        self.file.state.counters.blocks_written += 1;
        self.file.state.counters.bytes_written += len;
        Ok(())
    }

    // The block without its checksum, if writes are protected.
    fn unprotected<'b>(&self, block: &'b [u8]) -> Result<&'b [u8], Sense> {
        if !self.file.state.modes.protects_writes {
            return Ok(block);
        }
        let (data, checksum) = block.split_last_chunk::<4>().ok_or(Sense::invalid_field(2, None))?;
        if data.is_empty() {
            return Err(Sense::invalid_field(2, None));
        }
        if crate::checksum::crc32c(&[data]).to_le_bytes() != *checksum {
            // LOGICAL BLOCK GUARD CHECK FAILED.
            return Err(Sense::new(key::HARDWARE_ERROR, 0x10, 1));
        }
        Ok(data)
    }

    /// Makes the present place the end of data.
    pub(super) fn prepare_to_write(&mut self) -> Done {
        let is_cut = self.mounted()?.cut_here()?;
        if is_cut {
            self.changed();
        }
        let Some(loaded) = self.file.state.loaded.as_mut() else { return Ok(()) };
        loaded.overwrite_at = None;
        if !loaded.is_written {
            loaded.is_written = true;
            loaded.synchronize();
            let mounted = self.mounted()?;
            mounted.cartridge.sidecar.change_reference =
                mounted.cartridge.sidecar.change_reference.wrapping_add(1);
        }
        Ok(())
    }

    // The command has succeeded; says in which zone the tape is now.
    fn warn(&mut self, zones: Zones, before: u64) -> Done {
        let here = self.mounted()?.loaded.place.offset;
        if here > zones.early_warning {
            return Err(Sense::new(key::NO_SENSE, 0, 2).with_eom().with_information(0).into());
        }
        if before <= zones.programmable
            && here > zones.programmable
            && zones.programmable < zones.early_warning
        {
            return Err(Sense::new(key::NO_SENSE, 0, 7).into());
        }
        Ok(())
    }

    /// WRITE FILEMARKS(6); with IMMED=0 everything is on stable storage afterwards.
    pub(super) fn write_filemarks(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let is_immediate = exchange.bit(1, 0);
        let count = u24_at(exchange.cdb, 2);
        self.check_writable()?;
        let zones = self.zones()?;
        let before = self.mounted()?.loaded.place.offset;
        let room = u32::try_from(zones.end.saturating_sub(before) / 4).unwrap_or(u32::MAX);
        self.append_filemarks(count.min(room))?;
        if room < count {
            let left = i64::from(count - room);
            return Err(Sense::new(key::VOLUME_OVERFLOW, 0, 2).with_eom().with_information(left).into());
        }
        if !is_immediate {
            self.synchronize()?;
        }
        self.warn(zones, before)
    }

    /// Writes filemarks here.
    pub(super) fn append_filemarks(&mut self, count: u32) -> Done {
        if count == 0 {
            return Ok(());
        }
        self.prepare_to_write()?;
        let buffer_bytes = self.figures().buffer_bytes;
        let mounted = self.mounted()?;
        let (offset, partition) = (mounted.loaded.place.offset, mounted.loaded.partition);
        let write = |tap: &Tap| or_cut(tap, offset, tap.write_filemarks(offset, count));
        let end = mounted.cartridge.on_tap(partition, "write", write)?;
        self.mounted()?.wrote(Object::Filemark, end, count, buffer_bytes);
        self.file.state.counters.filemarks_written += u64::from(count);
        Ok(())
    }

    /// Brings everything to stable storage.
    pub(super) fn synchronize(&mut self) -> Done {
        self.flush_stream();
        let mounted = self.mounted()?;
        let partition = mounted.loaded.partition;
        mounted.cartridge.on_tap(partition, "sync", Tap::sync)?;
        mounted.loaded.synchronize();
        self.file.state.counters.synchronize_count += 1;
        self.save_cartridge()
    }

    /// The tape is about to move otherwise than by writing: the buffer goes to tape first.
    pub(super) fn finish_writing(&mut self) -> Done {
        let mounted = self.mounted()?;
        if mounted.loaded.synced != mounted.loaded.place {
            mounted.loaded.synchronize();
        }
        Ok(())
    }
}

// What a failed write has left is cut off again.
fn or_cut(tap: &Tap, offset: u64, written: std::io::Result<u64>) -> std::io::Result<u64> {
    if written.is_err() {
        tap.truncate(offset)?;
    }
    written
}
