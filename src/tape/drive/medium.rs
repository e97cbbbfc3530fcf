//! The cartridge in the drive: whether it is there, what is known of it, its memory.

use std::time::Duration;

use super::setup::SET_UP_ATTEMPTS;
use super::{Drive, DriveError};
use crate::progress::Progress;
use crate::scsi::mam::{Attribute, attribute_id};
use crate::scsi::mode::DeviceConfiguration;
use crate::scsi::{CommandError, Meaning, cdb};

/// Log page of volume statistics (SSC-4, 8.3.8), and of capacity for drives before LTO-6.
const VOLUME_STATISTICS: u8 = 0x17;
const TAPE_CAPACITY: u8 = 0x31;
/// TapeAlert log page (SSC-4, 8.3.3).
const TAPE_ALERT: u8 = 0x2e;
/// What a capacity is when the drive does not know it.
const UNKNOWN_MB: u64 = 0xffff_ffff;
const POLL: Duration = Duration::from_secs(1);

/// Whether there is a cartridge that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriveState {
    /// Ready.
    Ready,
    /// No cartridge.
    Empty,
    /// Loading, threading, calibrating; progress in units of 1/65536 if the drive tells.
    BecomingReady(Option<u16>),
    /// There is one that is not threaded: [`Drive::load`] does it.
    Unloaded,
    /// A cleaning cartridge.
    Cleaning,
    /// A cartridge that this drive cannot use.
    Incompatible,
    /// Not ready, and only a person can help.
    Intervention,
}

/// What is known of the cartridge in the drive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Medium {
    /// Density code, 60h is LTO-9; 0 if the drive does not tell.
    pub density: u8,
    /// Whether it cannot be written.
    pub is_write_protected: bool,
    /// Whether it can be written once only.
    pub is_worm: bool,
    /// Serial number of the cartridge (MAM 0401h).
    pub serial: Option<String>,
    /// Barcode in its memory (MAM 0806h), which an application wrote.
    pub barcode: Option<String>,
    /// Volume change reference (MAM 0009h): another value means that something was written.
    pub change_reference: Option<u64>,
    /// Capacity of the partition in units of 10^6 bytes.
    pub capacity_mb: Option<u64>,
    /// Remaining capacity in units of 10^6 bytes.
    pub remaining_mb: Option<u64>,
    /// Times loaded.
    pub load_count: Option<u64>,
}

impl Drive {
    /// Asks whether there is a cartridge that can be used; passes over unit attentions.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn state(&mut self) -> Result<DriveState, DriveError> {
        for _ in 0..16 {
            let result = self.unit.test_unit_ready();
            let Err(error) = result else {
                return Ok(DriveState::Ready);
            };
            let Some(sense) = error.sense().copied() else {
                return Err(self.failed(error));
            };
            return Ok(match sense.meaning() {
                meaning if meaning.is_unit_attention() => {
                    self.note_attention(meaning);
                    continue;
                }
                Meaning::NoMedium => DriveState::Empty,
                Meaning::BecomingReady => DriveState::BecomingReady(sense.progress),
                Meaning::LoadRequired => DriveState::Unloaded,
                Meaning::CleaningCartridge => DriveState::Cleaning,
                Meaning::IncompatibleMedium => DriveState::Incompatible,
                Meaning::InterventionRequired | Meaning::NotReady => DriveState::Intervention,
                _ => return Err(self.failed(error)),
            });
        }
        Err(DriveError::Unusable { device: self.device(), state: "does not come to rest" })
    }

    // Position and settings are not what they were.
    pub(super) fn note_attention(&mut self, meaning: Meaning) {
        if matches!(meaning, Meaning::MediumChanged | Meaning::Reset) {
            self.expected = None;
            self.is_unset = true;
        }
        self.is_unchecked = true;
    }

    /// Waits until a cartridge is ready, loads it if it lies in the drive, and sets the modes again: a new
    /// cartridge brings its own.
    ///
    /// # Errors
    /// [`DriveError`] if there is none, or it does not become ready in time.
    pub fn wait_ready(&mut self, progress: &Progress) -> Result<(), DriveError> {
        let start = self.clock.now();
        let mut is_load_sent = false;
        let mut attempts = 0;
        loop {
            progress.check()?;
            let device = self.device();
            match self.state()? {
                DriveState::Ready => {
                    attempts += 1;
                    match self.set_up_modes() {
                        Err(error) if error.is_attention() && attempts < SET_UP_ATTEMPTS => {
                            log::info!("{error}; setting up again");
                            continue;
                        }
                        other => return other,
                    }
                }
                DriveState::Empty => return Err(DriveError::Empty { device }),
                DriveState::Unloaded if !is_load_sent => {
                    is_load_sent = true;
                    self.load_command(true)?;
                    continue;
                }
                DriveState::BecomingReady(_) | DriveState::Unloaded => {}
                DriveState::Cleaning => {
                    return Err(DriveError::Unusable { device, state: "a cleaning cartridge is in it" });
                }
                DriveState::Incompatible => {
                    let state = "the cartridge is of a generation that it does not take";
                    return Err(DriveError::Unusable { device, state });
                }
                DriveState::Intervention => {
                    return Err(DriveError::Unusable { device, state: "needs the help of a person" });
                }
            }
            let waited = self.clock.now().saturating_sub(start);
            if waited >= self.options.ready_timeout {
                return Err(DriveError::NotReady { device, waited_s: waited.as_secs() });
            }
            self.clock.sleep(POLL);
        }
    }

    /// Threads the cartridge that lies in the drive.
    ///
    /// # Errors
    /// [`DriveError`] if the drive refuses.
    pub fn load(&mut self) -> Result<(), DriveError> {
        self.load_command(true)
    }

    /// Unthreads the cartridge and gives it out; what is in the buffer is written first.
    ///
    /// # Errors
    /// [`DriveError`] if the drive refuses.
    pub fn unload(&mut self) -> Result<(), DriveError> {
        self.mark = None;
        self.early_warning_mb = None;
        self.set_removal_prevented(false)?;
        self.load_command(false)
    }

    pub(super) fn load_command(&mut self, is_load: bool) -> Result<(), DriveError> {
        self.expected = None;
        let flags = cdb::ssc::LoadFlags { load: is_load, ..Default::default() };
        for _ in 0..8 {
            match self.unit.load_unload(flags) {
                Ok(()) => return Ok(()),
                // The load itself is told of so.
                Err(error) if error.meaning() == Some(Meaning::MediumChanged) && is_load => return Ok(()),
                Err(error) if error.meaning().is_some_and(Meaning::is_unit_attention) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(DriveError::Unusable { device: self.device(), state: "does not come to rest" })
    }

    /// Locks the cartridge in, or not; it stays so when the drive is reset.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed; a drive without such a lock is no error.
    pub fn set_removal_prevented(&mut self, prevented: bool) -> Result<(), DriveError> {
        self.is_removal_prevented = prevented;
        self.passing_attentions(|drive| match drive.unit.prevent_medium_removal(prevented) {
            Err(error) if error.is_unsupported() => Ok(()),
            other => other,
        })
    }

    /// Asks what is known of the cartridge.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed; what it does not know is `None`.
    pub fn medium(&mut self) -> Result<Medium, DriveError> {
        let modes = self.resuming(|drive| drive.mode_page(DeviceConfiguration::CODE))?;
        let mut medium = Medium::default();
        if let Some((_, parameters)) = modes {
            medium.is_write_protected = parameters.is_write_protected();
            medium.density = parameters.block_descriptor.map_or(0, |descriptor| descriptor.density_code);
        }
        let text = |attribute: Option<Attribute>| {
            attribute.map(|attribute| attribute.shown().trim().to_owned()).filter(|text| !text.is_empty())
        };
        medium.serial = text(self.attribute(attribute_id::MEDIUM_SERIAL_NUMBER)?);
        medium.barcode = text(self.attribute(attribute_id::BARCODE)?);
        let number = |attribute: Option<Attribute>| attribute.and_then(|attribute| attribute.unsigned());
        medium.change_reference = number(self.attribute(attribute_id::VOLUME_CHANGE_REFERENCE)?);
        medium.load_count = number(self.attribute(attribute_id::LOAD_COUNT)?);
        medium.is_worm = number(self.attribute(attribute_id::MEDIUM_TYPE)?) == Some(0x80);
        (medium.capacity_mb, medium.remaining_mb) = self.capacity()?;
        Ok(medium)
    }

    /// Capacity and remaining capacity of the first partition, in units of 10^6 bytes, as far as known.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn capacity(&mut self) -> Result<(Option<u64>, Option<u64>), DriveError> {
        let statistics = self.log_page(VOLUME_STATISTICS)?;
        let value = |code| {
            let parameter = statistics.as_ref()?.parameter(code)?;
            first_partition(&parameter.value).filter(|value| *value != UNKNOWN_MB)
        };
        let (capacity, remaining) = (value(0x0202), value(0x0204));
        if capacity.is_some() {
            return Ok((capacity, remaining));
        }
        // MiB there.
        let page = self.log_page(TAPE_CAPACITY)?;
        let value = |code| Some(page.as_ref()?.unsigned(code)?.saturating_mul(1 << 20) / 1_000_000);
        Ok((value(0x0003), value(0x0001)))
    }

    /// Whether the drive says that the end of data of the first partition is missing.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn is_end_of_data_missing(&mut self) -> Result<bool, DriveError> {
        let statistics = self.log_page(VOLUME_STATISTICS)?;
        let used = statistics.as_ref().and_then(|page| first_partition(&page.parameter(0x0203)?.value));
        Ok(used == Some(UNKNOWN_MB))
    }

    /// Numbers of the TapeAlert flags that are set, 1 to 64; reading clears them in many drives.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn alerts(&mut self) -> Result<Vec<u8>, DriveError> {
        let page = self.log_page(TAPE_ALERT)?;
        let parameters = page.map(|page| page.parameters).unwrap_or_default();
        let set =
            parameters.iter().filter(|parameter| parameter.value.first().is_some_and(|flag| flag & 1 != 0));
        Ok(set.filter_map(|parameter| u8::try_from(parameter.code).ok()).collect())
    }

    fn log_page(&mut self, page: u8) -> Result<Option<crate::scsi::LogPage>, DriveError> {
        self.passing_attentions(|drive| drive.unit.log_page(page, 0))
    }

    /// An attribute of the cartridge's memory; `None` if it is not there. A session that is lost meanwhile is begun again.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn attribute(&mut self, id: u16) -> Result<Option<Attribute>, DriveError> {
        self.resuming(|drive| drive.passing_attentions(|drive| drive.unit.attribute(0, id)))
    }

    /// Writes attributes into the cartridge's memory one by one; returns how many were not taken: the
    /// memory is a cache, and some drives and libraries refuse it.
    ///
    /// # Errors
    /// [`DriveError`] if the session was lost.
    pub fn write_attributes(&mut self, attributes: &[Attribute]) -> Result<usize, DriveError> {
        let mut refused = 0;
        for attribute in attributes {
            let one = std::slice::from_ref(attribute);
            match self.passing_attentions(|drive| drive.unit.write_attributes(0, one)) {
                Ok(()) => {}
                Err(DriveError::Command { source }) => {
                    log::debug!("attribute {:04x}h: {source}", attribute.id);
                    refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    // Repeats a command that asks for something, once for each unit attention in its way.
    pub(super) fn passing_attentions<T>(
        &mut self,
        mut command: impl FnMut(&mut Self) -> Result<T, CommandError>,
    ) -> Result<T, DriveError> {
        for _ in 0..16 {
            match command(self) {
                Ok(value) => return Ok(value),
                Err(error) => match error.meaning() {
                    Some(meaning @ (Meaning::MediumChanged | Meaning::Reset)) => {
                        self.note_attention(meaning);
                        return Err(self.failed(error));
                    }
                    Some(meaning) if meaning.is_unit_attention() => self.note_attention(meaning),
                    _ => return Err(self.failed(error)),
                },
            }
        }
        Err(DriveError::Unusable { device: self.device(), state: "does not come to rest" })
    }

    /// A cartridge whose end of data is missing gets a new one in front of block `loi`, which begins a tape
    /// file; the way that drives are known to accept is to unload, load and locate first.
    ///
    /// # Errors
    /// [`DriveError`] if the drive does not take it.
    pub fn repair_end(&mut self, loi: u64, progress: &Progress) -> Result<(), DriveError> {
        self.set_removal_prevented(false)?;
        self.load_command(false)?;
        self.load_command(true)?;
        self.wait_ready(progress)?;
        self.set_removal_prevented(true)?;
        // Not every drive goes in front of a block that it cannot read, but over the filemark before it.
        self.locate(loi.saturating_sub(1))?;
        self.space_filemarks(1)?;
        if self.expected != Some(loi) {
            return Err(DriveError::BeyondEnd { device: self.device(), loi, end: self.expected });
        }
        self.passing_attentions(|drive| drive.unit.erase(false, false))?;
        self.expected = None;
        self.is_unchecked = true;
        Ok(())
    }
}

// Value of a partition record (SSC-4, 8.3.8.3): length 1, reserved 1, partition 2, value 4; the first.
fn first_partition(value: &[u8]) -> Option<u64> {
    let (_, counter) = value.get(..8)?.split_last_chunk::<4>()?;
    Some(u64::from(u32::from_be_bytes(*counter)))
}
