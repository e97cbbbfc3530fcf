//! Faults that strike a drive.

use super::Drive;
use super::logs::alert;
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::fault::FaultKind;
use crate::emulator::nexus::POWER_ON;
use crate::emulator::place::{EndOfData, Place};
use crate::emulator::sense::{Sense, key};

const WRITE: u8 = 0x0a;
const WRITE_FILEMARKS: u8 = 0x10;
/// In the place of the object that a deferred error lost: none.
const NOTHING_LOST: u64 = u64::MAX;

impl Drive {
    /// Faults that strike this command.
    pub(super) fn strikes(&mut self, exchange: &Exchange<'_>) -> Vec<FaultKind> {
        let object = self.head().1.object;
        let is_loaded = self.file.state.loaded.is_some();
        let kinds = self.faults.strikes(&mut self.file.state.unit, exchange.cdb, object, is_loaded);
        self.file.state.counters.fault_count += u64::try_from(kinds.len()).unwrap_or(0);
        kinds
    }

    /// What happens before the command, or instead of it.
    pub(super) fn strike_before(&mut self, kind: &FaultKind, exchange: &Exchange<'_>) -> Done {
        match *kind {
            FaultKind::PositionMoved { object } => {
                let mut mounted = self.mounted()?;
                mounted.loaded.synchronize();
                mounted.go_to_object(object)?;
                mounted.loaded.synchronize();
            }
            FaultKind::EarlyWarning { bytes } => {
                self.mounted()?.cartridge.sidecar.early_warning_bytes = bytes
            }
            FaultKind::MediumError { .. } => {
                let is_write = exchange.operation_code() == WRITE;
                self.raise(if is_write { alert::WRITE_FAILURE } else { alert::READ_FAILURE });
                return Err(Sense::new(key::MEDIUM_ERROR, if is_write { 0x0c } else { 0x11 }, 0).into());
            }
            FaultKind::Sense { key: sense_key, asc, ascq, executed: false } => {
                if sense_key == key::HARDWARE_ERROR {
                    self.raise(alert::HARDWARE_A);
                }
                return Err(Sense::new(sense_key, asc, ascq).into());
            }
            FaultKind::Attention { asc, ascq } => return Err(Sense::attention((asc, ascq)).into()),
            FaultKind::AttentionsStolen => self.file.state.unit.nexuses.steal_attentions(exchange.nexus),
            FaultKind::Reset => return self.strike_reset(exchange),
            FaultKind::PowerLoss => return self.strike_power_loss(exchange),
            FaultKind::EndOfDataMissing => self.tear(0)?,
            FaultKind::NotReady { count } => {
                if let Some(loaded) = self.file.state.loaded.as_mut() {
                    loaded.becoming_ready = count;
                }
            }
            FaultKind::LoadFails => {
                self.raise(alert::LOADING_FAILURE);
                if let Some(loaded) = self.file.state.loaded.as_mut() {
                    loaded.obstacle = Some((key::HARDWARE_ERROR, 0x53, 0));
                }
            }
            FaultKind::UnloadFails if exchange.bit(4, 0) => {}
            FaultKind::UnloadFails => {
                self.raise(alert::EJECT_FAILURE);
                return Err(Sense::new(key::HARDWARE_ERROR, 0x53, 0).into());
            }
            FaultKind::UnloadedByOthers => {
                self.file.state.unit.nexuses.allow_removal();
                self.unload()?;
            }
            FaultKind::GuardMismatch if exchange.operation_code() == WRITE => {
                return Err(Sense::new(key::HARDWARE_ERROR, 0x10, 1).into());
            }
            _ => {}
        }
        match kind.breakdown() {
            Some((breakdown, false)) => Err(Halt::Breakdown(breakdown)),
            _ => Ok(()),
        }
    }

    /// What becomes of the result of the command; `before` is where the tape was.
    pub(super) fn strike_after(
        &mut self,
        kind: &FaultKind,
        exchange: &mut Exchange<'_>,
        before: Place,
        done: Done,
    ) -> Done {
        match *kind {
            FaultKind::WrongResidual { bytes } => {
                exchange.transferred =
                    exchange.transferred.saturating_add_signed(isize::try_from(bytes).unwrap_or(0));
            }
            FaultKind::DeferredError { key: sense_key, asc, ascq } if done.is_ok() => {
                self.file.state.deferred = Some((sense_key, asc, ascq));
                let is_write = matches!(exchange.operation_code(), WRITE | WRITE_FILEMARKS);
                self.file.state.deferred_object = if is_write { before.object } else { NOTHING_LOST };
            }
            FaultKind::Sense { key: sense_key, asc, ascq, executed: true } => {
                return Err(Sense::new(sense_key, asc, ascq).into());
            }
            FaultKind::GuardMismatch => exchange.spoil_last_byte(),
            FaultKind::ExtraFilemark if done.is_ok() => self.append_filemarks(1)?,
            _ => {}
        }
        match kind.breakdown() {
            Some((breakdown, true)) => Err(Halt::Breakdown(breakdown)),
            _ => done,
        }
    }

    /// An error of an earlier command is told now, and what it lost is gone (SSC-4, section 4.2.17).
    pub(super) fn tell_deferred(&mut self, operation: u8) -> Done {
        const UNTOUCHED: [u8; 4] = [0x03, 0x12, 0xa0, 0x5e];
        if UNTOUCHED.contains(&operation) {
            return Ok(());
        }
        let Some((sense_key, asc, ascq)) = self.file.state.deferred.take() else { return Ok(()) };
        let object = self.file.state.deferred_object;
        if object != NOTHING_LOST {
            let mut mounted = self.mounted()?;
            mounted.go_to_object(object)?;
            mounted.cut_here()?;
            mounted.loaded.synchronize();
            self.changed();
            self.raise(alert::WRITE_FAILURE);
        }
        Err(Sense { deferred: true, ..Sense::new(sense_key, asc, ascq) }.into())
    }

    // What is in the buffer is lost; the tape is rewound; everybody hears of it.
    fn strike_reset(&mut self, exchange: &Exchange<'_>) -> Done {
        self.lose_buffer()?;
        self.restart(exchange)
    }

    fn strike_power_loss(&mut self, exchange: &Exchange<'_>) -> Done {
        let was_filled = self.lose_buffer()?;
        let is_writing = matches!(exchange.operation_code(), WRITE | WRITE_FILEMARKS);
        if was_filled || is_writing {
            // Of the record that was being written only a part is there.
            self.tear(1000)?;
        }
        self.restart(exchange)
    }

    // Returns whether something was in the buffer; nothing is while the tape is read.
    fn lose_buffer(&mut self) -> Result<bool, Halt> {
        if self.file.state.loaded.is_none() {
            return Ok(false);
        }
        let mut mounted = self.mounted()?;
        let is_filled = mounted.loaded.synced.object < mounted.loaded.place.object;
        if is_filled {
            mounted.loaded.place = mounted.loaded.synced;
            mounted.cut_here()?;
            self.changed();
        }
        Ok(is_filled)
    }

    fn restart(&mut self, exchange: &Exchange<'_>) -> Done {
        let state = &mut self.file.state;
        state.modes = super::modes::Modes::default();
        state.deferred = None;
        state.unit.reset(POWER_ON);
        if let Some(loaded) = state.loaded.as_mut() {
            loaded.partition = 0;
            loaded.place = Place::default();
            loaded.synchronize();
        }
        state.unit.nexuses.take_attention(exchange.nexus).map_or(Ok(()), |sense| Err(sense.into()))
    }

    // Puts the beginning of a record behind the end of data, which is then not marked as such.
    fn tear(&mut self, len: usize) -> Done {
        let mounted = self.mounted()?;
        let partition = mounted.loaded.partition;
        let place = mounted.loaded.end().place;
        mounted.cartridge.on_tap(partition, "write", |tap| tap.write_torn(place.offset, len))?;
        let file_len = mounted.cartridge.on_tap(partition, "read", crate::emulator::tap::Tap::len)?;
        if let Some(end) = mounted.loaded.ends.get_mut(partition) {
            *end = EndOfData { place, file_len, is_torn: true };
        }
        self.changed();
        Ok(())
    }
}
