//! READ POSITION (SSC-4, section 7.7) and READ BLOCK LIMITS (section 6.5).

use super::{BLOCK_LEN_MAX, Drive};
use crate::emulator::bytes::{saturated_u32, u8_at, u16_at, u24};
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::place::Place;
use crate::emulator::sense::Sense;

/// Beginning of partition.
const BOP: u8 = 0x80;
/// End of partition: between early warning and the end.
const EOP: u8 = 0x40;
/// Position does not fit in the short form.
const PERR: u8 = 0x02;
/// Beyond programmable early warning.
const BPEW: u8 = 0x01;

#[derive(Debug, Clone, Copy)]
struct Position {
    flags: u8,
    partition: u8,
    place: Place,
    synced: Place,
}

impl Drive {
    /// READ BLOCK LIMITS: no granularity, 1 byte to 8 MiB.
    pub(super) fn read_block_limits(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let [a, b, c] = u24(BLOCK_LEN_MAX);
        exchange.answer(&[0, a, b, c, 0, 1], 6);
        Ok(())
    }

    /// READ POSITION: short (00h), long (06h) and extended form (08h).
    pub(super) fn read_position(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let allocation_len = usize::from(u16_at(exchange.cdb, 7));
        let form = u8_at(exchange.cdb, 1) & 0x1f;
        if !matches!(form, 0 | 1 | 6 | 8) {
            return Err(Sense::invalid_field(1, Some(4)).into());
        }
        // Only the extended form has an allocation length.
        if form != 8 && allocation_len != 0 {
            return Err(Sense::invalid_field(7, None).into());
        }
        self.check_ready()?;
        let position = self.position()?;
        match form {
            6 => exchange.answer(&long(position), 32),
            8 => exchange.answer(&extended(position), allocation_len),
            _ => exchange.answer(&short(position), 20),
        }
        Ok(())
    }

    fn position(&mut self) -> Result<Position, Halt> {
        let zones = self.zones()?;
        let has_warning = self.file.state.modes.early_warning_mb > 0;
        let mounted = self.mounted()?;
        let (place, synced) = (mounted.loaded.place, mounted.loaded.synced);
        let mut flags = if place.object == 0 { BOP } else { 0 };
        if place.offset > zones.early_warning {
            flags |= EOP;
        }
        if has_warning && place.offset > zones.programmable {
            flags |= BPEW;
        }
        let partition = u8::try_from(mounted.loaded.partition).unwrap_or(0);
        // What is behind the head was read, not written.
        let synced = if synced.object > place.object { place } else { synced };
        Ok(Position { flags, partition, place, synced })
    }
}

fn short(position: Position) -> [u8; 20] {
    let mut bytes = [0; 20];
    let (first, last) = (u32::try_from(position.place.object), u32::try_from(position.synced.object));
    let (Ok(first), Ok(last)) = (first, last) else {
        put(&mut bytes, 0, &[position.flags | PERR, position.partition]);
        return bytes;
    };
    put(&mut bytes, 0, &[position.flags, position.partition]);
    put(&mut bytes, 4, &first.to_be_bytes());
    put(&mut bytes, 8, &last.to_be_bytes());
    put(&mut bytes, 13, &u24((first - last).min(0x00ff_ffff)));
    put(
        &mut bytes,
        16,
        &saturated_u32(position.place.offset.saturating_sub(position.synced.offset)).to_be_bytes(),
    );
    bytes
}

fn long(position: Position) -> [u8; 32] {
    let mut bytes = [0; 32];
    put(&mut bytes, 0, &[position.flags]);
    put(&mut bytes, 4, &u32::from(position.partition).to_be_bytes());
    put(&mut bytes, 8, &position.place.object.to_be_bytes());
    put(&mut bytes, 16, &position.place.filemarks.to_be_bytes());
    bytes
}

fn extended(position: Position) -> [u8; 32] {
    let mut bytes = [0; 32];
    let buffered = position.place.object - position.synced.object;
    put(&mut bytes, 0, &[position.flags, position.partition, 0, 0x1c]);
    put(&mut bytes, 5, &u24(saturated_u32(buffered).min(0x00ff_ffff)));
    put(&mut bytes, 8, &position.place.object.to_be_bytes());
    put(&mut bytes, 16, &position.synced.object.to_be_bytes());
    put(&mut bytes, 24, &(position.place.offset.saturating_sub(position.synced.offset)).to_be_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(field) {
        *to = *from;
    }
}
