//! READ (SSC-4, section 6.3).

use super::medium::Step;
use super::{BLOCK_LEN_MAX, Drive};
use crate::emulator::bytes::u24_at;
use crate::emulator::cartridge::TornTail;
use crate::emulator::exchange::{Done, Exchange};
use crate::emulator::sense::{Sense, key};
use crate::emulator::tap::Object;

/// What a READ asks for.
#[derive(Debug, Clone, Copy)]
struct Request {
    is_fixed: bool,
    /// Suppress incorrect-length indication.
    is_suppressed: bool,
    /// Bytes of each block.
    len: u32,
    /// Blocks.
    count: u32,
}

impl Drive {
    /// READ(6).
    pub(super) fn read(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let request = self.request(exchange)?;
        self.check_readable()?;
        self.finish_writing()?;
        let done = self.read_blocks(exchange, request);
        // What the head has passed is on tape: a reset takes nothing of it.
        self.mounted()?.loaded.synchronize();
        done
    }

    fn read_blocks(&mut self, exchange: &mut Exchange<'_>, request: Request) -> Done {
        for done in 0..request.count {
            let left = if request.is_fixed { request.count - done } else { request.len };
            self.read_block(exchange, request, i64::from(left))?;
        }
        Ok(())
    }

    fn request(&self, exchange: &Exchange<'_>) -> Result<Request, Sense> {
        let (is_fixed, is_suppressed) = (exchange.bit(1, 0), exchange.bit(1, 1));
        let len = u24_at(exchange.cdb, 2);
        if is_fixed && is_suppressed {
            return Err(Sense::invalid_field(1, Some(1)));
        }
        let block_len = self.file.state.modes.block_len;
        if is_fixed && block_len == 0 {
            return Err(Sense::invalid_field(1, Some(0)));
        }
        if is_fixed {
            return Ok(Request { is_fixed, is_suppressed, len: block_len, count: len });
        }
        if len > BLOCK_LEN_MAX {
            return Err(Sense::invalid_field(2, None));
        }
        Ok(Request { is_fixed, is_suppressed, len, count: u32::from(len > 0) })
    }

    // `left` is what INFORMATION says if this block is not read.
    fn read_block(&mut self, exchange: &mut Exchange<'_>, request: Request, left: i64) -> Done {
        let protection_len = if self.file.state.modes.protects_reads { 4 } else { 0 };
        let fixed_len = self.file.state.modes.block_len;
        let mut mounted = self.mounted()?;
        let (len, bad, start) = match mounted.step_forward()? {
            Step::Over(Object::Record { len, bad }, start) => (len, bad, start),
            Step::Over(Object::Filemark, _) => {
                return Err(Sense::new(key::NO_SENSE, 0, 1).with_filemark().with_information(left).into());
            }
            Step::Torn => {
                let tail = mounted.cartridge.sidecar.torn_tail;
                return Err(torn(tail).with_information(left).into());
            }
            Step::End | Step::Beginning => {
                return Err(Sense::new(key::BLANK_CHECK, 0, 5).with_information(left).into());
            }
        };
        let partition = mounted.loaded.partition;
        let room = exchange.room();
        let wanted = room.len().min(usize::try_from(request.len.min(len)).unwrap_or(0));
        let room = room.get_mut(..wanted).unwrap_or_default();
        if bad {
            return Err(Sense::new(key::MEDIUM_ERROR, 0x11, 0).with_information(left).into());
        }
        mounted.cartridge.on_tap(partition, "read", |tap| tap.read(start, room))?;
        let shown_len = len + protection_len;
        let is_short = shown_len < request.len;
        // Bytes of a block of another length are not moved in fixed mode.
        if request.is_fixed && shown_len != request.len {
            return Err(Sense::default().with_ili().with_information(left).into());
        }
        let checksum =
            if protection_len > 0 { crate::checksum::crc32c(&[room]).to_le_bytes() } else { [0; 4] };
        exchange.transferred += wanted;
        if protection_len > 0 && wanted == usize::try_from(len).unwrap_or(0) {
            let fits = usize::try_from(request.len - len.min(request.len)).unwrap_or(0);
            exchange.append(checksum.get(..fits.min(4)).unwrap_or_default());
        }
        mounted.loaded.read_bytes += u64::from(len);
        mounted.cartridge.sidecar.read_bytes += u64::from(len);
        self.streamed_in(start, u64::from(len));
        self.file.state.counters.blocks_read += 1;
        self.file.state.counters.bytes_read += u64::from(len);
        let is_reported = !request.is_suppressed || (!is_short && fixed_len != 0);
        if shown_len != request.len && is_reported {
            let difference = i64::from(request.len) - i64::from(shown_len);
            return Err(Sense::default().with_ili().with_information(difference).into());
        }
        Ok(())
    }
}

/// What is met behind the last whole record when there is no end-of-data mark.
pub(super) fn torn(tail: TornTail) -> Sense {
    match tail {
        TornTail::EndOfDataNotFound => Sense::new(key::BLANK_CHECK, 0x14, 3),
        TornTail::ReadError => Sense::new(key::MEDIUM_ERROR, 0x11, 0),
    }
}
