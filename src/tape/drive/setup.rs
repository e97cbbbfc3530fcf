//! How a session begins and ends.

use super::{AlignedBuffer, Drive, DriveError, DriveIdentity};
use crate::scsi::CommandError;
use crate::scsi::inquiry::DeviceType;
use crate::scsi::mode::{
    BlockDescriptor, DataCompression, DeviceConfiguration, DeviceConfigurationExtension,
    LogicalBlockProtection, MediumPartition, ModeForm, ModePage, ModeParameters, ProtectionMethod,
};
use crate::tape::archive::BLOCK_LEN;

/// Length of the CRC of a block.
pub(super) const PROTECTION_LEN: usize = 4;
/// Answers that must agree before one is believed: some drives say GOOD once after a failover.
const STABLE_ANSWERS: u32 = 3;
/// Attempts to set up a drive that says in between that it was reset or has another cartridge.
pub(super) const SET_UP_ATTEMPTS: u32 = 4;
/// Most questions until they do.
const STABLE_QUESTIONS_MAX: u32 = 60;

impl Drive {
    /// Sets up a drive that may be reset, or given another cartridge, meanwhile.
    pub(super) fn set_up(&mut self) -> Result<(), DriveError> {
        for _ in 1..SET_UP_ATTEMPTS {
            match self.set_up_first() {
                Err(error) if error.is_attention() => log::info!("{error}; setting up again"),
                other => return other,
            }
        }
        self.set_up_first()
    }

    fn set_up_first(&mut self) -> Result<(), DriveError> {
        self.settle()?;
        let identity = self.read_identity()?;
        self.identity = identity;
        if let Err(error) = self.unit.learn_timeouts() {
            log::debug!("{}: no timeouts told: {error}", self.unit.name());
        }
        self.reserve()?;
        match self.passing_attentions(|drive| drive.unit.read_block_limits()) {
            Ok(limits) if limits.max_bytes > 0 => {
                self.block_len_max = usize::try_from(limits.max_bytes).unwrap_or(self.block_len_max);
            }
            Ok(_) => {}
            Err(error) if error.is_attention() => return Err(error),
            Err(error) => log::debug!("{}: no limits of blocks told: {error}", self.unit.name()),
        }
        self.set_up_modes()
    }

    /// Asks whether the drive is ready until it gives the same answer three times, without a unit attention.
    pub(super) fn settle(&mut self) -> Result<(), DriveError> {
        let mut last = None;
        let mut agreed = 0;
        let mut has_reserved = false;
        for _ in 0..STABLE_QUESTIONS_MAX {
            let answer = match self.unit.test_unit_ready() {
                Ok(()) => Some((0, 0, 0)),
                Err(CommandError::Check { sense, .. }) if sense.meaning().is_unit_attention() => None,
                Err(CommandError::Check { sense, .. }) => Some(sense.codes()),
                // Perhaps of a session that is over.
                Err(error) if error.is_reservation_conflict() => {
                    if self.reservation_key.is_none() || has_reserved {
                        return Err(self.reserved());
                    }
                    has_reserved = true;
                    self.reserve()?;
                    None
                }
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
        let inquiry = self.passing_attentions(|drive| drive.unit.inquiry())?;
        if inquiry.device_type != DeviceType::SequentialAccess {
            return Err(DriveError::NotADrive { device: self.device() });
        }
        let serial = self.passing_attentions(|drive| match drive.unit.serial_number() {
            Err(error) if error.is_unsupported() => Ok(String::new()),
            other => other,
        })?;
        let trimmed = |text: &str| text.trim().to_owned();
        Ok(DriveIdentity {
            vendor: trimmed(&inquiry.vendor),
            product: trimmed(&inquiry.product),
            revision: trimmed(&inquiry.revision),
            serial: trimmed(&serial),
        })
    }

    /// Variable blocks, answers from the buffer, no compression, protection, and the early warning that was asked for.
    pub(super) fn set_up_modes(&mut self) -> Result<(), DriveError> {
        self.set_variable_blocks()?;
        let compression = self.change_mode_page(DataCompression::CODE, |page| {
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
        if let Some(distance_mb) = self.early_warning_mb {
            self.set_early_warning(distance_mb)?;
        }
        self.is_unset = false;
        self.is_unchecked = true;
        Ok(())
    }

    fn set_variable_blocks(&mut self) -> Result<(), DriveError> {
        let page = self.mode_page(DeviceConfiguration::CODE)?;
        // Without this page the settings are in the header of any other.
        let page = match page {
            Some(page) => Some(page),
            None => self.mode_page(DataCompression::CODE)?,
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
        self.passing_attentions(|drive| drive.unit.mode_select(form, &parameters))
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
        let changed = self.change_mode_page(LogicalBlockProtection::CODE, |page| wanted.apply(page));
        if !self.tolerate("protection of blocks", changed)? {
            return Ok(false);
        }
        // A drive may take the page and mean another method.
        let now = self.mode_page(LogicalBlockProtection::CODE)?;
        let (page, subpage) = LogicalBlockProtection::CODE;
        let now = now
            .and_then(|(_, parameters)| LogicalBlockProtection::parse(parameters.page(page, subpage)?).ok());
        Ok(now == Some(wanted))
    }

    /// Sets how far before the early warning the programmable one is, in units of 10^6 bytes, for as long as the
    /// cartridge is in the drive; `false` if the drive has none.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn set_early_warning(&mut self, distance_mb: u16) -> Result<bool, DriveError> {
        self.early_warning_mb = Some(distance_mb);
        let changed = self.change_mode_page(DeviceConfigurationExtension::CODE, |page| {
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
        let modes = self.mode_page(MediumPartition::CODE)?;
        let partitions = modes
            .and_then(|(_, parameters)| MediumPartition::parse(parameters.page(page, subpage)?).ok())
            .map_or(0, |partitions| partitions.additional);
        if partitions == 0 {
            return Ok(());
        }
        log::info!("{}: making one partition of {}", self.unit.name(), u16::from(partitions) + 1);
        self.expected = None;
        self.passing_attentions(|drive| drive.unit.format_medium(0, false))?;
        self.locate(0).map(drop)
    }

    // What a drive may lack: `false` then, and no error.
    pub(super) fn tolerate(
        &mut self,
        what: &str,
        result: Result<bool, DriveError>,
    ) -> Result<bool, DriveError> {
        match result {
            Err(DriveError::Command { source })
                if source.sense().is_some_and(|sense| sense.key.number() == 5) =>
            {
                log::debug!("{}: {what}: {source}", self.unit.name());
                Ok(false)
            }
            other => other,
        }
    }

    /// Asks for a mode page; `None` if the drive lacks it.
    pub(super) fn mode_page(
        &mut self,
        code: (u8, u8),
    ) -> Result<Option<(ModeForm, ModeParameters)>, DriveError> {
        self.passing_attentions(|drive| drive.unit.mode_page(code))
    }

    fn change_mode_page(
        &mut self,
        code: (u8, u8),
        change: impl Fn(&mut ModePage),
    ) -> Result<bool, DriveError> {
        self.passing_attentions(|drive| drive.unit.change_mode_page(code, &change))
    }

    pub(super) fn tear_down(&mut self) -> Result<(), DriveError> {
        // The next program would find four bytes too many in each block.
        let protection = if self.is_protected { self.set_protection(false).map(drop) } else { Ok(()) };
        let removal = self.set_removal_prevented(false);
        let released = self.release();
        protection.and(removal).and(released)
    }
}
