//! REWIND, SPACE and LOCATE (SSC-4, sections 6.8, 6.10, 7.3 and 7.4).

use super::Drive;
use super::medium::{Mounted, Step};
use super::reading::torn;
use crate::emulator::bytes::{u8_at, u16_at, u24_at, u32_at, u64_at};
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::place::Place;
use crate::emulator::sense::{Sense, key};
use crate::emulator::tap::Object;

impl Drive {
    /// REWIND: to the beginning of the present partition.
    pub(super) fn rewind(&mut self) -> Done {
        self.check_ready()?;
        self.finish_writing()?;
        let from = self.head();
        let mounted = self.mounted()?;
        mounted.loaded.place = Place::default();
        mounted.loaded.synchronize();
        self.file.state.counters.rewind_count += 1;
        self.travel(from);
        Ok(())
    }

    /// SPACE(6) and SPACE(16).
    pub(super) fn space(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let count = if exchange.operation_code() == 0x11 {
            // Sign of 24 bits.
            i64::from(u24_at(cdb, 2) << 8).wrapping_shl(32).wrapping_shr(40)
        } else {
            if u16_at(cdb, 12) != 0 {
                return Err(Sense::invalid_field(12, None).into());
            }
            i64::from_be_bytes(u64_at(cdb, 4).to_be_bytes())
        };
        let code = u8_at(cdb, 1) & 0x0f;
        if code > 3 {
            return Err(Sense::invalid_field(1, Some(3)).into());
        }
        self.check_readable()?;
        self.finish_writing()?;
        let from = self.head();
        let mut mounted = self.mounted()?;
        let result = match code {
            0 => space_blocks(&mut mounted, count),
            1 => space_filemarks(&mut mounted, count),
            2 => space_sequential_filemarks(&mut mounted, count),
            _ => to_end_of_data(&mut mounted),
        };
        mounted.loaded.synchronize();
        self.file.state.counters.locate_count += 1;
        self.travel(from);
        result
    }

    /// LOCATE(10): to a logical object identifier.
    pub(super) fn locate_10(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let partition = exchange.bit(1, 1).then(|| u8_at(exchange.cdb, 8));
        let object = u64::from(u32_at(exchange.cdb, 3));
        self.locate(partition, |mounted| to_object(mounted, object), 8)
    }

    /// LOCATE(16): to an object, a file or the end of data.
    pub(super) fn locate_16(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let partition = exchange.bit(1, 1).then(|| u8_at(exchange.cdb, 3));
        let identifier = u64_at(exchange.cdb, 4);
        match u8_at(exchange.cdb, 1) >> 3 & 3 {
            0 => self.locate(partition, |mounted| to_object(mounted, identifier), 3),
            1 => self.locate(partition, |mounted| to_file(mounted, identifier), 3),
            3 => self.locate(partition, to_end_of_data, 3),
            _ => Err(Sense::invalid_field(1, Some(4)).into()),
        }
    }

    fn locate(
        &mut self,
        partition: Option<u8>,
        go: impl FnOnce(&mut Mounted<'_>) -> Done,
        partition_field: u16,
    ) -> Done {
        self.check_readable()?;
        self.finish_writing()?;
        let from = self.head();
        let mut mounted = self.mounted()?;
        if let Some(partition) = partition.map(usize::from) {
            if partition >= mounted.loaded.ends.len() {
                return Err(Sense::invalid_field(partition_field, None).into());
            }
            if partition != mounted.loaded.partition {
                mounted.loaded.partition = partition;
                mounted.loaded.place = Place::default();
            }
        }
        let result = go(&mut mounted);
        mounted.loaded.synchronize();
        self.file.state.counters.locate_count += 1;
        self.travel(from);
        result
    }
}

fn blank(end: Step, mounted: &Mounted<'_>) -> Sense {
    match end {
        Step::Torn => torn(mounted.cartridge.sidecar.torn_tail),
        _ => Sense::new(key::BLANK_CHECK, 0, 5),
    }
}

fn to_object(mounted: &mut Mounted<'_>, object: u64) -> Done {
    match mounted.go_to_object(object)? {
        Step::Over(..) => Ok(()),
        other => Err(blank(other, mounted).into()),
    }
}

// The beginning of a file is the end-of-partition side of the filemark before it.
fn to_file(mounted: &mut Mounted<'_>, file: u64) -> Done {
    match mounted.go_behind_filemark(file)? {
        Step::Over(..) => Ok(()),
        other => Err(blank(other, mounted).into()),
    }
}

fn to_end_of_data(mounted: &mut Mounted<'_>) -> Done {
    let end = mounted.loaded.end();
    mounted.loaded.place = end.place;
    if end.is_torn { Err(blank(Step::Torn, mounted).into()) } else { Ok(()) }
}

fn space_blocks(mounted: &mut Mounted<'_>, count: i64) -> Done {
    let wanted = count.unsigned_abs();
    for done in 0..wanted {
        let left = i64::try_from(wanted - done).unwrap_or(i64::MAX);
        match if count > 0 { mounted.step_forward()? } else { mounted.step_back()? } {
            Step::Over(Object::Record { .. }, _) => {}
            Step::Over(Object::Filemark, _) => {
                return Err(Sense::new(key::NO_SENSE, 0, 1).with_filemark().with_information(left).into());
            }
            other => return Err(stopped(other, mounted, left)),
        }
    }
    Ok(())
}

fn stopped(step: Step, mounted: &Mounted<'_>, left: i64) -> Halt {
    match step {
        Step::Beginning => Sense::new(key::NO_SENSE, 0, 4).with_eom().with_information(left).into(),
        other => blank(other, mounted).with_information(left).into(),
    }
}

fn space_filemarks(mounted: &mut Mounted<'_>, count: i64) -> Done {
    let (here, last) = (mounted.loaded.place.filemarks, mounted.loaded.end().place.filemarks);
    let wanted = count.unsigned_abs();
    let signed = |left: u64| i64::try_from(left).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(());
    }
    if count > 0 {
        let target = here.saturating_add(wanted);
        let step = mounted.go_behind_filemark(target)?;
        return match step {
            Step::Over(..) => Ok(()),
            other => Err(stopped(other, mounted, signed(target - last.min(target)))),
        };
    }
    let Some(target) = here.checked_sub(wanted) else {
        mounted.loaded.place = Place::default();
        return Err(stopped(Step::Beginning, mounted, signed(wanted - here)));
    };
    // The beginning-of-partition side of the filemark.
    match mounted.go_behind_filemark(target + 1)? {
        Step::Over(..) => mounted.step_back().map(|_| ()),
        other => Err(stopped(other, mounted, signed(wanted))),
    }
}

// To the first place with so many filemarks one after the other: behind the last of them, or backwards on the
// beginning-of-partition side. How many were missing is not told.
fn space_sequential_filemarks(mounted: &mut Mounted<'_>, count: i64) -> Done {
    let wanted = count.unsigned_abs();
    let mut run = 0;
    while run < wanted {
        let step = if count > 0 { mounted.step_forward()? } else { mounted.step_back()? };
        match step {
            Step::Over(Object::Filemark, _) => run += 1,
            Step::Over(Object::Record { .. }, _) => {
                run = 0;
                // The next filemark may be far; in front of it, or behind it on the way back.
                let behind = mounted.loaded.place.filemarks + u64::from(count > 0);
                let step = mounted.go_behind_filemark(behind)?;
                match (step, count > 0) {
                    (Step::Over(..), true) => run = 1,
                    (Step::Over(..), false) => {}
                    (other, _) => return Err(blank(other, mounted).into()),
                }
            }
            Step::Beginning => return Err(Sense::new(key::NO_SENSE, 0, 4).with_eom().into()),
            other => return Err(blank(other, mounted).into()),
        }
    }
    Ok(())
}
