//! Commands that every device has (SPC-4).

use super::cdb::spc as cdb;
use super::cdb::spc::{ModeRequest, PageControl};
use super::inquiry::{
    Designator, Inquiry, parse_designators, parse_manufacturer_serial_number, parse_serial_number,
    parse_vital_product_data, parse_worm_capable,
};
use super::log_page::LogPage;
use super::lun::parse_luns;
use super::mam::{Attribute, encode_attributes, parse_attributes};
use super::meaning::Meaning;
use super::mode::{ModeForm, ModePage, ModeParameters};
use super::opcode;
use super::operation_codes::{SupportedCommand, parse_supported_commands};
use super::reservation::{
    Registrant, Reservation, ReservationKind, ReserveAction, encode_reserve_parameters, parse_full_status,
    parse_keys, parse_reservation,
};
use super::sense::{SENSE_LEN_MAX, Sense};
use super::transport::Data;
use super::unit::{CommandError, LogicalUnit};

/// Standard INQUIRY data: the 36 bytes that all have, with what drives add.
const INQUIRY_LEN: u16 = 96;
/// A page of vital product data, as long as a field of one byte once allowed; few are longer.
const VITAL_PRODUCT_DATA_LEN: u16 = 1024;
/// Mode pages by MODE SENSE(10).
const MODE_LEN: u16 = 4096;
/// A log page can have as much as its length says.
const LOG_LEN: u16 = u16::MAX;
/// Registrants: 4 KiB are more than seventy.
const RESERVATION_LEN: u16 = 8192;
/// Operation codes with timeouts: twenty bytes each.
const OPERATION_CODES_LEN: u32 = 32_768;
/// All attributes: memories of cartridges have 16 KiB.
const ATTRIBUTES_LEN: u32 = 65_536;
/// Logical units: 2,047 are more than any library has.
const LUNS_LEN: u32 = 16_384;
/// Unit attentions that a device can have stored up, with room.
const UNIT_ATTENTIONS_MAX: usize = 20;

impl LogicalUnit {
    /// Asks whether the device is ready.
    ///
    /// # Errors
    /// [`CommandError`] if it is not; [`CommandError::meaning`] says why.
    pub fn test_unit_ready(&mut self) -> Result<(), CommandError> {
        self.execute(&cdb::test_unit_ready(), Data::None).map(drop)
    }

    /// Asks whether the device is ready until it tells of nothing that happened before, and returns what
    /// it told, oldest first. Whether it is ready is not of interest here.
    ///
    /// # Errors
    /// [`CommandError`] if no status came back, or the device does not come to an end.
    pub fn clear_unit_attentions(&mut self) -> Result<Vec<Sense>, CommandError> {
        let mut told = Vec::new();
        loop {
            match self.test_unit_ready() {
                Err(error) => match error.sense() {
                    Some(sense)
                        if sense.meaning().is_unit_attention() && told.len() < UNIT_ATTENTIONS_MAX =>
                    {
                        told.push(*sense);
                    }
                    Some(sense) if !sense.meaning().is_unit_attention() => return Ok(told),
                    _ => return Err(error),
                },
                Ok(()) => return Ok(told),
            }
        }
    }

    /// Asks for sense data: of a long operation, how far it is.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn request_sense(&mut self) -> Result<Sense, CommandError> {
        const LEN: u8 = 252;
        const { assert!(LEN as usize == SENSE_LEN_MAX) };
        let reply = self.query(&cdb::request_sense(false, LEN), LEN.into())?;
        // No data means no sense.
        Ok(Sense::parse(&reply).unwrap_or_else(|| Sense::new(super::sense::SenseKey::NoSense, 0, 0)))
    }

    /// Asks what the device is.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn inquiry(&mut self) -> Result<Inquiry, CommandError> {
        let reply = self.query(&cdb::inquiry(None, INQUIRY_LEN), INQUIRY_LEN.into())?;
        self.decoded(opcode::INQUIRY, Inquiry::parse(&reply))
    }

    /// Asks for a page of vital product data, with its header.
    ///
    /// # Errors
    /// [`CommandError`] if the device lacks the page.
    pub fn vital_product_data(&mut self, page: u8) -> Result<Vec<u8>, CommandError> {
        self.query(&cdb::inquiry(Some(page), VITAL_PRODUCT_DATA_LEN), VITAL_PRODUCT_DATA_LEN.into())
    }

    /// Asks which pages of vital product data there are: page 00h.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn supported_vital_product_data(&mut self) -> Result<Vec<u8>, CommandError> {
        let reply = self.vital_product_data(0x00)?;
        self.decoded(opcode::INQUIRY, parse_vital_product_data(0x00, &reply).map(<[u8]>::to_vec))
    }

    /// Asks for the serial number of the device: page 80h.
    ///
    /// # Errors
    /// [`CommandError`] if the device lacks the page.
    pub fn serial_number(&mut self) -> Result<String, CommandError> {
        let reply = self.vital_product_data(0x80)?;
        self.decoded(opcode::INQUIRY, parse_serial_number(&reply))
    }

    /// Asks for the names of the device: page 83h.
    ///
    /// # Errors
    /// [`CommandError`] if the device lacks the page.
    pub fn designators(&mut self) -> Result<Vec<Designator>, CommandError> {
        let reply = self.vital_product_data(0x83)?;
        self.decoded(opcode::INQUIRY, parse_designators(&reply))
    }

    /// Asks whether the drive can do WORM: page B0h.
    ///
    /// # Errors
    /// [`CommandError`] if the device lacks the page.
    pub fn is_worm_capable(&mut self) -> Result<bool, CommandError> {
        let reply = self.vital_product_data(0xb0)?;
        self.decoded(opcode::INQUIRY, parse_worm_capable(&reply))
    }

    /// Asks for the serial number that the manufacturer gave: page B1h.
    ///
    /// # Errors
    /// [`CommandError`] if the device lacks the page.
    pub fn manufacturer_serial_number(&mut self) -> Result<String, CommandError> {
        let reply = self.vital_product_data(0xb1)?;
        self.decoded(opcode::INQUIRY, parse_manufacturer_serial_number(&reply))
    }

    /// Asks for mode parameters.
    ///
    /// # Errors
    /// [`CommandError`] if the device lacks the page, or this form of the command.
    pub fn mode_sense(
        &mut self,
        form: ModeForm,
        request: &ModeRequest,
    ) -> Result<ModeParameters, CommandError> {
        let (operation_code, reply) = match form {
            ModeForm::Six => {
                let reply = self.query(&cdb::mode_sense_6(request, u8::MAX), u8::MAX.into())?;
                (opcode::MODE_SENSE_6, reply)
            }
            ModeForm::Ten => {
                let reply = self.query(&cdb::mode_sense_10(request, MODE_LEN), MODE_LEN.into())?;
                (opcode::MODE_SENSE_10, reply)
            }
        };
        self.decoded(operation_code, ModeParameters::parse(form, &reply))
    }

    /// Asks for the current values of one page, by the form that the device has, with the block
    /// descriptor; `None` if the device lacks the page.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done for another reason.
    pub fn mode_page(
        &mut self,
        (page, subpage): (u8, u8),
    ) -> Result<Option<(ModeForm, ModeParameters)>, CommandError> {
        let request =
            ModeRequest { page, subpage, control: PageControl::Current, without_block_descriptors: false };
        for form in [ModeForm::Ten, ModeForm::Six] {
            match self.mode_sense(form, &request) {
                Ok(parameters) if parameters.page(page, subpage).is_some() => {
                    return Ok(Some((form, parameters)));
                }
                Ok(_) => return Ok(None),
                Err(error) if error.meaning() == Some(Meaning::UnsupportedCommand) => {}
                Err(error) if error.is_unsupported() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Sets mode parameters.
    ///
    /// # Errors
    /// [`CommandError`] if the device does not take them.
    pub fn mode_select(&mut self, form: ModeForm, parameters: &ModeParameters) -> Result<(), CommandError> {
        let list = parameters.encode(form);
        let too_long = |unit: &Self, operation_code, max| unit.too_long(operation_code, list.len(), max);
        match form {
            ModeForm::Six => {
                let len = u8::try_from(list.len())
                    .map_err(|_| too_long(self, opcode::MODE_SELECT_6, u8::MAX.into()))?;
                self.execute(&cdb::mode_select_6(len), Data::Out(&list)).map(drop)
            }
            ModeForm::Ten => {
                let len = u16::try_from(list.len())
                    .map_err(|_| too_long(self, opcode::MODE_SELECT_10, u16::MAX.into()))?;
                self.execute(&cdb::mode_select_10(len), Data::Out(&list)).map(drop)
            }
        }
    }

    /// Reads one page, lets `change` change it, and sets it if that made a difference; `false` if the
    /// device lacks the page.
    ///
    /// # Errors
    /// [`CommandError`] if the device does not take the change.
    pub fn change_mode_page(
        &mut self,
        code: (u8, u8),
        change: impl FnOnce(&mut ModePage),
    ) -> Result<bool, CommandError> {
        let Some((form, mut parameters)) = self.mode_page(code)? else {
            return Ok(false);
        };
        parameters.pages.retain(|page| (page.page, page.subpage) == code);
        let before = parameters.pages.clone();
        if let Some(page) = parameters.page_mut(code.0, code.1) {
            change(page);
        }
        if parameters.pages != before {
            self.mode_select(form, &parameters)?;
        }
        Ok(true)
    }

    /// Asks for a log page; `None` if the device lacks it.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done for another reason.
    pub fn log_page(&mut self, page: u8, subpage: u8) -> Result<Option<LogPage>, CommandError> {
        match self.query(&cdb::log_sense(page, subpage, 0, LOG_LEN), LOG_LEN.into()) {
            Ok(reply) => {
                let decoded = self.decoded(opcode::LOG_SENSE, LogPage::parse(&reply))?;
                Ok((decoded.page == page && decoded.subpage == subpage).then_some(decoded))
            }
            Err(error) if error.is_unsupported() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks the cartridge in, or the door of a changer, or releases it.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn prevent_medium_removal(&mut self, prevent: bool) -> Result<(), CommandError> {
        self.execute(&cdb::prevent_allow_medium_removal(prevent), Data::None).map(drop)
    }

    /// Asks for the registered keys.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn reservation_keys(&mut self) -> Result<Vec<u64>, CommandError> {
        let reply = self.query(&cdb::persistent_reserve_in(0, RESERVATION_LEN), RESERVATION_LEN.into())?;
        self.decoded(opcode::PERSISTENT_RESERVE_IN, parse_keys(&reply))
    }

    /// Asks for the reservation that is held.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn reservation(&mut self) -> Result<Option<Reservation>, CommandError> {
        let reply = self.query(&cdb::persistent_reserve_in(1, RESERVATION_LEN), RESERVATION_LEN.into())?;
        self.decoded(opcode::PERSISTENT_RESERVE_IN, parse_reservation(&reply))
    }

    /// Asks for all registrants, and who holds the reservation.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn registrants(&mut self) -> Result<Vec<Registrant>, CommandError> {
        let reply = self.query(&cdb::persistent_reserve_in(3, RESERVATION_LEN), RESERVATION_LEN.into())?;
        self.decoded(opcode::PERSISTENT_RESERVE_IN, parse_full_status(&reply))
    }

    /// Changes registrations or the reservation. `key` is the one registered by us, `new_key` the one to
    /// register, or that of the holder to take over from.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done; [`CommandError::is_reservation_conflict`] if the key is
    /// not ours.
    pub fn persistent_reserve(
        &mut self,
        action: ReserveAction,
        kind: ReservationKind,
        key: u64,
        new_key: u64,
    ) -> Result<(), CommandError> {
        let list = encode_reserve_parameters(key, new_key);
        self.execute(&cdb::persistent_reserve_out(action.code(), kind.code()), Data::Out(&list)).map(drop)
    }

    /// Asks which logical units the target has; those with an address of another form than a plain number
    /// are left out.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn report_luns(&mut self) -> Result<Vec<u16>, CommandError> {
        let reply = self.query(&cdb::report_luns(LUNS_LEN), LUNS_LEN as usize)?;
        self.decoded(opcode::REPORT_LUNS, parse_luns(&reply))
    }

    /// Asks which commands there are, and how long they take.
    ///
    /// # Errors
    /// [`CommandError`] if the device lacks this command.
    pub fn supported_commands(&mut self) -> Result<Vec<SupportedCommand>, CommandError> {
        let cdb = cdb::report_supported_operation_codes(true, OPERATION_CODES_LEN);
        let reply = self.query(&cdb, OPERATION_CODES_LEN as usize)?;
        self.decoded(opcode::MAINTENANCE_IN, parse_supported_commands(&reply))
    }

    /// Asks how long commands take, and raises the timeouts accordingly; `false` if the device does not
    /// tell. Unit attentions are to be cleared before.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done for another reason than that the device lacks it.
    pub fn learn_timeouts(&mut self) -> Result<bool, CommandError> {
        let commands = match self.supported_commands() {
            Ok(commands) => commands,
            Err(error) if error.is_unsupported() => return Ok(false),
            Err(error) => return Err(error),
        };
        for command in &commands {
            self.timeouts_mut().raise(
                command.operation_code,
                command.service_action,
                command.recommended_timeout_s,
            );
        }
        Ok(true)
    }

    /// Asks for all attributes in the cartridge's memory, from `first` on.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn attributes(&mut self, partition: u8, first: u16) -> Result<Vec<Attribute>, CommandError> {
        let reply =
            self.query(&cdb::read_attribute(partition, first, ATTRIBUTES_LEN), ATTRIBUTES_LEN as usize)?;
        self.decoded(opcode::READ_ATTRIBUTE, parse_attributes(&reply))
    }

    /// Asks for one attribute; `None` if the cartridge has none, or the drive no such command.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done for another reason.
    pub fn attribute(&mut self, partition: u8, id: u16) -> Result<Option<Attribute>, CommandError> {
        match self.attributes(partition, id) {
            Ok(attributes) => Ok(attributes.into_iter().find(|attribute| attribute.id == id)),
            Err(error) if error.is_unsupported() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes attributes into the cartridge's memory; a value of no bytes removes one.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn write_attributes(&mut self, partition: u8, attributes: &[Attribute]) -> Result<(), CommandError> {
        let list = encode_attributes(attributes);
        let len = u32::try_from(list.len())
            .map_err(|_| self.too_long(opcode::WRITE_ATTRIBUTE, list.len(), u32::MAX as usize))?;
        self.execute(&cdb::write_attribute(true, partition, len), Data::Out(&list)).map(drop)
    }
}
