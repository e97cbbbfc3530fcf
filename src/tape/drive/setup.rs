//! How a session begins and ends.

use super::{AlignedBuffer, Drive, DriveError, DriveIdentity};
use crate::scsi::CommandError;
use crate::scsi::inquiry::DeviceType;
use crate::scsi::mode::{
    BlockDescriptor, DataCompression, DeviceConfiguration, DeviceConfigurationExtension,
    LogicalBlockProtection, MediumPartition, ProtectionMethod,
};
use crate::scsi::reservation::{ReservationKind, ReserveAction};
use crate::tape::archive::BLOCK_LEN;

/// Length of the CRC of a block.
pub(super) const PROTECTION_LEN: usize = 4;
/// Answers that must agree before one is believed: some drives say GOOD once after a failover.
const STABLE_ANSWERS: u32 = 3;
/// Most questions until they do.
const STABLE_QUESTIONS_MAX: u32 = 60;

impl Drive {
    pub(super) fn set_up_first(&mut self) -> Result<(), DriveError> {
        self.settle()?;
        let identity = self.read_identity()?;
        self.identity = identity;
        if let Err(error) = self.unit.learn_timeouts() {
            log::debug!("{}: no timeouts told: {error}", self.unit.name());
        }
        self.reserve()?;
        match self.unit.read_block_limits() {
            Ok(limits) if limits.max_bytes > 0 => {
                self.block_len_max = usize::try_from(limits.max_bytes).unwrap_or(self.block_len_max);
            }
            Ok(_) => {}
            Err(error) => log::debug!("{}: no limits of blocks told: {error}", self.unit.name()),
        }
        self.set_up_modes()
    }

    /// Asks whether the drive is ready until it gives the same answer three times, without a unit attention.
    pub(super) fn settle(&mut self) -> Result<(), DriveError> {
        let mut last = None;
        let mut agreed = 0;
        for _ in 0..STABLE_QUESTIONS_MAX {
            let answer = match self.unit.test_unit_ready() {
                Ok(()) => Some((0, 0, 0)),
                Err(CommandError::Check { sense, .. }) if sense.meaning().is_unit_attention() => None,
                Err(CommandError::Check { sense, .. }) => Some(sense.codes()),
                Err(error) if error.is_reservation_conflict() => return Err(self.reserved()),
                Err(error @ CommandError::Status { .. }) => {
                    log::debug!("{}: {error}", self.unit.name());
                    self.clock.sleep(std::time::Duration::from_millis(200));
                    None
                }
                Err(error) => return Err(self.failed(error)),
            };
            agreed =
                if answer.is_some() && answer == last { agreed + 1 } else { u32::from(answer.is_some()) };
            last = answer;
            if agreed >= STABLE_ANSWERS {
                return Ok(());
            }
        }
        Err(DriveError::Unusable { device: self.device(), state: "does not come to rest" })
    }

    pub(super) fn read_identity(&mut self) -> Result<DriveIdentity, DriveError> {
        let inquiry = self.unit.inquiry().map_err(|error| self.failed(error))?;
        if inquiry.device_type != DeviceType::SequentialAccess {
            return Err(DriveError::NotADrive { device: self.device() });
        }
        let serial = match self.unit.serial_number() {
            Ok(serial) => serial,
            Err(error) if error.is_unsupported() => String::new(),
            Err(error) => return Err(self.failed(error)),
        };
        let trimmed = |text: &str| text.trim().to_owned();
        Ok(DriveIdentity {
            vendor: trimmed(&inquiry.vendor),
            product: trimmed(&inquiry.product),
            revision: trimmed(&inquiry.revision),
            serial: trimmed(&serial),
        })
    }

    /// Variable blocks, answers from the buffer, no compression, protection.
    pub(super) fn set_up_modes(&mut self) -> Result<(), DriveError> {
        self.set_variable_blocks()?;
        let compression = self.unit.change_mode_page(DataCompression::CODE, |page| {
            DataCompression::set_compress(page, false);
        });
        self.tolerate("compression", compression)?;
        self.is_protected = false;
        if self.options.use_protection {
            self.is_protected = self.set_protection(true)?;
        }
        let len = if self.is_protected { BLOCK_LEN + PROTECTION_LEN } else { 0 };
        if self.protected.as_slice().len() < len {
            self.protected = AlignedBuffer::new(len);
        }
        self.is_unchecked = true;
        Ok(())
    }

    fn set_variable_blocks(&mut self) -> Result<(), DriveError> {
        let page = self.unit.mode_page(DeviceConfiguration::CODE).map_err(|error| self.failed(error))?;
        // Without this page the settings are in the header of any other.
        let page = match page {
            Some(page) => Some(page),
            None => self.unit.mode_page(DataCompression::CODE).map_err(|error| self.failed(error))?,
        };
        let Some((form, mut parameters)) = page else {
            log::debug!("{}: no mode pages: block length is taken to be variable", self.unit.name());
            return Ok(());
        };
        let density_code = parameters.block_descriptor.map_or(0, |descriptor| descriptor.density_code);
        let is_set = parameters.buffered_mode() == 1
            && parameters.block_descriptor.is_some_and(|descriptor| descriptor.block_len_bytes == 0);
        if is_set {
            return Ok(());
        }
        parameters.pages.clear();
        parameters.set_buffered_mode(1);
        parameters.block_descriptor =
            Some(BlockDescriptor { density_code, block_count: 0, block_len_bytes: 0 });
        self.unit.mode_select(form, &parameters).map_err(|error| self.failed(error))
    }

    // Switches the protection of blocks; `false` if the drive has none that we compute.
    fn set_protection(&mut self, is_on: bool) -> Result<bool, DriveError> {
        let fits = self.unit.transfer_len_max() >= BLOCK_LEN + PROTECTION_LEN;
        if is_on && !fits {
            return Ok(false);
        }
        let wanted = LogicalBlockProtection {
            method: if is_on { ProtectionMethod::Crc32c } else { ProtectionMethod::None },
            information_len_bytes: if is_on { 4 } else { 0 },
            on_write: is_on,
            on_read: is_on,
        };
        let changed = self.unit.change_mode_page(LogicalBlockProtection::CODE, |page| wanted.apply(page));
        if !self.tolerate("protection of blocks", changed)? {
            return Ok(false);
        }
        // A drive may take the page and mean another method.
        let now = self.unit.mode_page(LogicalBlockProtection::CODE).map_err(|error| self.failed(error))?;
        let (page, subpage) = LogicalBlockProtection::CODE;
        let now = now
            .and_then(|(_, parameters)| LogicalBlockProtection::parse(parameters.page(page, subpage)?).ok());
        Ok(now == Some(wanted))
    }

    /// Sets how far before the early warning the programmable one is, in units of 10^6 bytes; `false` if
    /// the drive has none.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn set_early_warning(&mut self, distance_mb: u16) -> Result<bool, DriveError> {
        let changed = self.unit.change_mode_page(DeviceConfigurationExtension::CODE, |page| {
            DeviceConfigurationExtension::set_programmable_early_warning(page, distance_mb);
        });
        self.tolerate("programmable early warning", changed)
    }

    /// Makes one partition of a cartridge that has several, as those of LTFS have; all on it is gone then.
    /// The drive must be at the beginning of the first one.
    ///
    /// # Errors
    /// [`DriveError`] if the drive refuses.
    pub fn make_one_partition(&mut self) -> Result<(), DriveError> {
        let (page, subpage) = MediumPartition::CODE;
        let modes = self.unit.mode_page(MediumPartition::CODE).map_err(|error| self.failed(error))?;
        let partitions = modes
            .and_then(|(_, parameters)| MediumPartition::parse(parameters.page(page, subpage)?).ok())
            .map_or(0, |partitions| partitions.additional);
        if partitions == 0 {
            return Ok(());
        }
        log::info!("{}: making one partition of {}", self.unit.name(), u16::from(partitions) + 1);
        self.expected = None;
        self.unit.format_medium(0, false).map_err(|error| self.failed(error))?;
        self.locate(0).map(drop)
    }

    // What a drive may lack: `false` then, and no error.
    fn tolerate(&mut self, what: &str, result: Result<bool, CommandError>) -> Result<bool, DriveError> {
        match result {
            Ok(done) => Ok(done),
            Err(error) if error.sense().is_some_and(|sense| sense.key.number() == 5) => {
                log::debug!("{}: {what}: {error}", self.unit.name());
                Ok(false)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    pub(super) fn reserve(&mut self) -> Result<(), DriveError> {
        let Some(key) = self.options.reservation_key else {
            return Ok(());
        };
        let kind = ReservationKind::ExclusiveAccess;
        let result = self
            .unit
            .persistent_reserve(ReserveAction::RegisterAndIgnoreExistingKey, kind, 0, key)
            .and_then(|()| self.unit.persistent_reserve(ReserveAction::Reserve, kind, key, 0));
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_reservation_conflict() => Err(self.reserved()),
            Err(error) => self.tolerate("reservation", Err(error)).map(drop),
        }
    }

    fn reserved(&mut self) -> DriveError {
        let holder = match self.unit.registrants() {
            Ok(registrants) => registrants
                .iter()
                .find(|registrant| registrant.holds.is_some())
                .map_or_else(|| "not told".to_owned(), |registrant| registrant.initiator()),
            Err(_) => "not told".to_owned(),
        };
        DriveError::Reserved { device: self.device(), holder }
    }

    pub(super) fn tear_down(&mut self) -> Result<(), DriveError> {
        // The next program would find four bytes too many in each block.
        let protection = if self.is_protected { self.set_protection(false).map(drop) } else { Ok(()) };
        let removal = self.unit.prevent_medium_removal(false);
        let removal = self.tolerate("removal", removal.map(|()| true)).map(drop);
        let released = match self.options.reservation_key {
            Some(key) => {
                let kind = ReservationKind::ExclusiveAccess;
                let released =
                    self.unit.persistent_reserve(ReserveAction::RegisterAndIgnoreExistingKey, kind, key, 0);
                self.tolerate("reservation", released.map(|()| true)).map(drop)
            }
            None => Ok(()),
        };
        protection.and(removal).and(released)
    }
}
