//! Commands to a changer (SMC-3).

use super::cdb::smc as cdb;
use super::cdb::smc::ElementRequest;
use super::element::ElementReport;
use super::opcode;
use super::transport::Data;
use super::unit::{CommandError, LogicalUnit};

/// Longest report that is asked for: 64 KiB elements of 84 bytes, with room.
const REPORT_LEN_MAX: usize = 8 << 20;
/// What the command's field can hold; above the longest report.
const ALLOCATION_MAX: u32 = (1 << 24) - 1;
const _: () = assert!(REPORT_LEN_MAX <= ALLOCATION_MAX as usize);

impl LogicalUnit {
    /// Asks for the status of elements of one kind, all that the request names.
    ///
    /// `allocation_len` is what the first attempt has room for; if the device has more, the command is
    /// repeated with as much as it says.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done or the report makes no sense.
    pub fn read_element_status(
        &mut self,
        request: &ElementRequest,
        allocation_len: usize,
    ) -> Result<ElementReport, CommandError> {
        let len_max = self.transfer_len_max().min(REPORT_LEN_MAX);
        let mut len = allocation_len.clamp(ElementReport::HEADER_LEN, len_max);
        loop {
            let allocation = u32::try_from(len).unwrap_or(u32::MAX).min(ALLOCATION_MAX);
            let reply = self.query(&cdb::read_element_status(request, allocation), len)?;
            let report = self.decoded(opcode::READ_ELEMENT_STATUS, ElementReport::parse(&reply))?;
            let wanted = report.available_bytes.min(len_max);
            if wanted <= len {
                return Ok(report);
            }
            len = wanted;
        }
    }

    /// Lets the changer look at every element.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn initialize_element_status(&mut self) -> Result<(), CommandError> {
        self.execute(&cdb::initialize_element_status(), Data::None).map(drop)
    }

    /// Lets the changer look at `count` elements from `first` on; `fast` trusts what it remembers.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn initialize_element_status_with_range(
        &mut self,
        first: u16,
        count: u16,
        fast: bool,
    ) -> Result<(), CommandError> {
        self.execute(&cdb::initialize_element_status_with_range(first, count, fast), Data::None).map(drop)
    }

    /// Moves a cartridge; a transport address of 0 stands for the default robot.
    ///
    /// # Errors
    /// [`CommandError`] if it was not moved.
    pub fn move_medium(&mut self, transport: u16, source: u16, destination: u16) -> Result<(), CommandError> {
        self.execute(&cdb::move_medium(transport, source, destination, false), Data::None).map(drop)
    }

    /// Moves a cartridge, and the one in its way to `second_destination`.
    ///
    /// # Errors
    /// [`CommandError`] if they were not moved.
    pub fn exchange_medium(
        &mut self,
        transport: u16,
        source: u16,
        first_destination: u16,
        second_destination: u16,
    ) -> Result<(), CommandError> {
        let cdb = cdb::exchange_medium(transport, source, first_destination, second_destination);
        self.execute(&cdb, Data::None).map(drop)
    }

    /// Moves the robot to an element.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn position_to_element(&mut self, transport: u16, destination: u16) -> Result<(), CommandError> {
        self.execute(&cdb::position_to_element(transport, destination, false), Data::None).map(drop)
    }
}
