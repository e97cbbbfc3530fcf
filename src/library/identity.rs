//! Who a device says it is.

use crate::scsi::inquiry::{Designator, DeviceType, Inquiry};
use crate::scsi::{CommandError, LogicalUnit};

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Standard INQUIRY data.
    pub inquiry: Inquiry,
    /// Serial number of page 80h, if it has one.
    pub serial: Option<String>,
    /// Names of page 83h; may be none.
    pub designators: Vec<Designator>,
}

impl DeviceIdentity {
    /// Asks the device, which answers whatever state it is in.
    ///
    /// # Errors
    /// [`CommandError`] if it does not answer an INQUIRY; pages that it lacks are left out.
    pub fn read(unit: &mut LogicalUnit) -> Result<Self, CommandError> {
        let inquiry = unit.inquiry()?;
        let serial = match unit.serial_number() {
            Ok(serial) => Some(serial).filter(|serial| !serial.is_empty()),
            Err(CommandError::Transport { operation_code, source }) => {
                return Err(CommandError::Transport { operation_code, source });
            }
            Err(_) => None,
        };
        let designators = unit.designators().unwrap_or_default();
        Ok(Self { inquiry, serial, designators })
    }

    /// Whether it is a changer.
    #[must_use]
    pub fn is_changer(&self) -> bool {
        self.inquiry.connected && self.inquiry.device_type == DeviceType::MediumChanger
    }

    /// Whether it is a tape drive.
    #[must_use]
    pub fn is_drive(&self) -> bool {
        self.inquiry.connected && self.inquiry.device_type == DeviceType::SequentialAccess
    }

    /// Vendor and product, as people know it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.inquiry.vendor, self.inquiry.product).trim().to_owned()
    }
}
