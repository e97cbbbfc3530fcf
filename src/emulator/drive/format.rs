//! FORMAT MEDIUM, ERASE, SET CAPACITY, ALLOW OVERWRITE, VERIFY and REPORT DENSITY SUPPORT (SSC-4, sections
//! 5.2, 7.1, 7.6, 7.9, 6.9 and 6.12).

use super::Drive;
use super::medium::Step;
use super::modes::PartitionPlan;
use super::reading::torn;
use crate::emulator::bytes::{padded, saturated_u16, saturated_u32, u8_at, u16_at, u24, u24_at, u64_at};
use crate::emulator::cartridge::CartridgeKind;
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::generation::{Access, Generation};
use crate::emulator::place::Place;
use crate::emulator::sense::{Sense, key};
use crate::emulator::tap::Object;

/// Smallest share of a cartridge that a partition has: one in so many.
const PARTITION_SHARE: u64 = 64;

impl Drive {
    // At the beginning of the first partition, or 5/3B/C5... that every drive says differently: POSITION
    // PAST BEGINNING OF MEDIUM.
    fn check_beginning(&mut self) -> Done {
        let loaded = self.mounted()?.loaded;
        let is_there = loaded.partition == 0 && loaded.place.object == 0;
        if is_there { Ok(()) } else { Err(Sense::illegal(0x3b, 0x0c).into()) }
    }

    /// FORMAT MEDIUM: one partition, or those of mode page 11h.
    pub(super) fn format_medium(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let format = u8_at(exchange.cdb, 2) & 0x0f;
        if format > 2 {
            return Err(Sense::invalid_field(2, Some(3)).into());
        }
        if u16_at(exchange.cdb, 3) != 0 {
            return Err(Sense::parameter_length().into());
        }
        self.check_writable()?;
        self.check_beginning()?;
        if self.mounted()?.cartridge.sidecar.kind == CartridgeKind::Worm {
            return Err(Sense::new(key::DATA_PROTECT, 0x30, 0x0c).into());
        }
        let plan = self.file.state.modes.partitions.unwrap_or_default();
        let mounted = self.mounted()?;
        let capacity = mounted.cartridge.sidecar.capacity_bytes;
        let sizes = if format == 0 { vec![capacity] } else { partition_sizes(capacity, plan) };
        mounted.cartridge.make_partitions(&sizes)?;
        mounted.cartridge.sidecar.change_reference =
            mounted.cartridge.sidecar.change_reference.wrapping_add(1);
        mounted.loaded.ends = vec![crate::emulator::place::EndOfData::default(); sizes.len()];
        mounted.loaded.place = Place::default();
        mounted.loaded.synchronize();
        self.changed();
        self.save_cartridge()?;
        self.file.state.modes.partitions = None;
        self.begin_motion(180_000_000_000);
        Ok(())
    }

    /// ERASE: what is behind the head is gone. LONG=1 is only allowed at the beginning.
    pub(super) fn erase(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let is_long = exchange.bit(1, 0);
        self.check_writable()?;
        if is_long && self.mounted()?.loaded.place.object != 0 {
            return Err(Sense::illegal(0x3b, 0x0c).into());
        }
        self.prepare_to_write()?;
        self.synchronize()?;
        if is_long {
            let figures = self.figures();
            let seconds = figures.capacity_bytes / figures.rate_bytes_per_s;
            self.begin_motion(seconds * 1_000_000_000);
        }
        Ok(())
    }

    /// SET CAPACITY: the cartridge is as large as this share of it, and empty.
    pub(super) fn set_capacity(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let proportion = u16_at(exchange.cdb, 3);
        self.check_writable()?;
        self.check_beginning()?;
        let mounted = self.mounted()?;
        if mounted.cartridge.sidecar.kind == CartridgeKind::Worm {
            return Err(Sense::new(key::DATA_PROTECT, 0x30, 0x0c).into());
        }
        // Zero stands for the smallest that there is.
        mounted.cartridge.sidecar.proportion = proportion.max(u16::MAX / 64);
        let capacity = mounted.cartridge.sidecar.capacity_bytes;
        mounted.cartridge.make_partitions(&[capacity])?;
        mounted.loaded.ends = vec![crate::emulator::place::EndOfData::default()];
        mounted.loaded.place = Place::default();
        mounted.loaded.synchronize();
        self.changed();
        self.save_cartridge()
    }

    /// ALLOW OVERWRITE: at the present position (1), or for FORMAT MEDIUM (2).
    pub(super) fn allow_overwrite(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let (allow, partition, object) = (u8_at(cdb, 2) & 0x0f, u8_at(cdb, 3), u64_at(cdb, 4));
        if allow > 2 {
            return Err(Sense::invalid_field(2, Some(3)).into());
        }
        self.check_ready()?;
        if !self.file.state.modes.append_only {
            // ILLEGAL OPERATION IN THIS MODE: COMMAND SEQUENCE ERROR.
            return Err(Sense::illegal(0x2c, 0).into());
        }
        let loaded = self.mounted()?.loaded;
        if allow == 1 && (usize::from(partition) != loaded.partition || object != loaded.place.object) {
            // SEQUENTIAL POSITIONING ERROR.
            return Err(Sense::illegal(0x3b, 0x00).into());
        }
        loaded.overwrite_at = match allow {
            0 => None,
            1 => Some(object),
            _ => Some(0),
        };
        Ok(())
    }

    /// VERIFY(6): reads without moving data, up to a count of bytes, a filemark (VBF) or the end (VTE).
    pub(super) fn verify(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let to_end = exchange.bit(1, 5);
        let by_filemark = exchange.bit(1, 3);
        let compares = exchange.bit(1, 1);
        let is_fixed = exchange.bit(1, 0);
        let len = u24_at(exchange.cdb, 2);
        if compares {
            return Err(Sense::invalid_field(1, Some(1)).into());
        }
        if exchange.bit(1, 4) && self.file.state.modes.protection_method == 0 {
            return Err(Sense::invalid_field(1, Some(4)).into());
        }
        let block_len = self.file.state.modes.block_len;
        if is_fixed && block_len == 0 {
            return Err(Sense::invalid_field(1, Some(0)).into());
        }
        self.check_readable()?;
        self.finish_writing()?;
        if to_end {
            return self.verify_to_end();
        }
        let count = if is_fixed || by_filemark { len } else { u32::from(len > 0) };
        let mut done = 0;
        while done < count {
            let left = i64::from(if is_fixed || by_filemark { count - done } else { len });
            let step = self.verify_object(left)?;
            if by_filemark {
                done += u32::from(step == Object::Filemark);
                continue;
            }
            done += 1;
            let wanted = if is_fixed { block_len } else { len };
            match step {
                Object::Filemark => {
                    return Err(Sense::new(key::NO_SENSE, 0, 1)
                        .with_filemark()
                        .with_information(left)
                        .into());
                }
                Object::Record { len: found, .. } if found != wanted => {
                    let left = if is_fixed { left } else { i64::from(wanted) - i64::from(found) };
                    return Err(Sense::default().with_ili().with_information(left).into());
                }
                Object::Record { .. } => {}
            }
        }
        Ok(())
    }

    fn verify_to_end(&mut self) -> Done {
        loop {
            match self.verify_object(0) {
                Ok(_) => {}
                Err(Halt::Sense(sense)) if sense.key == key::BLANK_CHECK && sense.code == (0, 5) => {
                    return Ok(());
                }
                Err(other) => return Err(other),
            }
        }
    }

    // One object, read and checked.
    fn verify_object(&mut self, left: i64) -> Result<Object, Halt> {
        let mut mounted = self.mounted()?;
        let tail = mounted.cartridge.sidecar.torn_tail;
        let unread = Sense::new(key::MEDIUM_ERROR, 0x11, 0).with_information(left);
        match mounted.step_forward()? {
            Step::Over(Object::Record { bad: true, .. }, _) => Err(unread.into()),
            Step::Over(Object::Record { len, bad }, start) => {
                let partition = mounted.loaded.partition;
                let is_whole =
                    mounted.cartridge.on_tap(partition, "read", |tap| tap.read(start, len, &mut []))?;
                if is_whole { Ok(Object::Record { len, bad }) } else { Err(unread.into()) }
            }
            Step::Over(Object::Filemark, _) => Ok(Object::Filemark),
            Step::Torn => Err(torn(tail).with_information(left).into()),
            Step::End | Step::Beginning => {
                Err(Sense::new(key::BLANK_CHECK, 0, 5).with_information(left).into())
            }
        }
    }

    /// REPORT DENSITY SUPPORT: of the drive, or of the cartridge (MEDIA=1).
    pub(super) fn report_density(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let len = usize::from(u16_at(exchange.cdb, 7));
        let (by_type, of_medium) = (exchange.bit(1, 1), exchange.bit(1, 0));
        let drive = self.generation();
        let chosen: Vec<Generation> = if of_medium {
            self.check_ready()?;
            vec![self.mounted()?.cartridge.sidecar.generation]
        } else {
            Generation::ALL.into_iter().filter(|known| drive.access(*known) != Access::None).collect()
        };
        let body: Vec<u8> = chosen
            .into_iter()
            .flat_map(
                |generation| {
                    if by_type { medium_descriptor(generation) } else { descriptor(drive, generation) }
                },
            )
            .collect();
        let mut bytes = saturated_u16(body.len() + 2).to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(body);
        exchange.answer(&bytes, len);
        Ok(())
    }
}

// Density support data block descriptor (SSC-4, table 71).
fn descriptor(drive: Generation, generation: Generation) -> Vec<u8> {
    let figures = generation.figures();
    let can_write = drive.access(generation) == Access::Write;
    let is_default = drive == generation;
    let mut bytes = vec![figures.density, figures.density];
    bytes.extend([u8::from(can_write) << 7 | u8::from(is_default) << 5, 0, 0]);
    bytes.extend(u24(figures.bits_per_mm));
    // Width of the medium in tenths of millimetres.
    bytes.extend(127_u16.to_be_bytes());
    bytes.extend(figures.tracks.to_be_bytes());
    bytes.extend(saturated_u32(figures.capacity_bytes / 1_000_000).to_be_bytes());
    bytes.extend(padded::<8>("LTO-CVE"));
    bytes.extend(padded::<8>(figures.density_name));
    bytes.extend(padded::<20>(&format!("Ultrium {}", figures.name)));
    bytes
}

// Medium type descriptor (SSC-4, table 73).
fn medium_descriptor(generation: Generation) -> Vec<u8> {
    let figures = generation.figures();
    let mut bytes = vec![figures.medium_type, 0, 0, 0x34, 1];
    bytes.extend([figures.density, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(127_u16.to_be_bytes());
    bytes.extend(saturated_u16(usize::try_from(figures.length_m).unwrap_or(0)).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(padded::<8>("LTO-CVE"));
    bytes.extend(padded::<8>(figures.density_name));
    bytes.extend(padded::<20>(&format!("Ultrium {}", figures.name)));
    bytes
}

// A partition that is too small is as large as the smallest; the other one has what is left.
fn partition_sizes(capacity: u64, plan: PartitionPlan) -> Vec<u64> {
    if plan.additional == 0 {
        return vec![capacity];
    }
    let least = capacity / PARTITION_SHARE;
    if plan.is_fixed {
        return vec![capacity - least, least];
    }
    let unit = 10_u64.pow(u32::from(plan.unit));
    let bytes = |size: u16| (u64::from(size) * unit).clamp(least, capacity - least);
    let [first, second] = plan.sizes;
    if first == u16::MAX {
        return vec![capacity - bytes(second), bytes(second)];
    }
    let second = if second == u16::MAX { capacity } else { bytes(second) };
    vec![bytes(first), second.min(capacity - bytes(first))]
}
