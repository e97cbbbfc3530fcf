//! Commands that all devices have (SPC-4).

use crate::scsi::fields::u24;
use crate::scsi::opcode;

/// Which values MODE SENSE and LOG SENSE give (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageControl {
    /// 0: current; of a log page, thresholds.
    Current,
    /// 1: mask of what can be changed; of a log page, cumulative values.
    Changeable,
    /// 2: defaults.
    Default,
    /// 3: saved values.
    Saved,
}

impl PageControl {
    fn bits(self) -> u8 {
        match self {
            Self::Current => 0x00,
            Self::Changeable => 0x40,
            Self::Default => 0x80,
            Self::Saved => 0xc0,
        }
    }
}

/// Which pages a MODE SENSE asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeRequest {
    /// Page code; 3Fh for all.
    pub page: u8,
    /// Subpage code; FFh for all.
    pub subpage: u8,
    /// Which values.
    pub control: PageControl,
    /// Leave the block descriptor out.
    pub without_block_descriptors: bool,
}

/// TEST UNIT READY (SPC-4).
#[must_use]
pub fn test_unit_ready() -> [u8; 6] {
    [opcode::TEST_UNIT_READY, 0, 0, 0, 0, 0]
}

/// REQUEST SENSE (SPC-4).
#[must_use]
pub fn request_sense(descriptor_format: bool, allocation_len: u8) -> [u8; 6] {
    [opcode::REQUEST_SENSE, u8::from(descriptor_format), 0, 0, allocation_len, 0]
}

/// INQUIRY (SPC-4): standard data, or a page of vital product data.
#[must_use]
pub fn inquiry(vital_product_data_page: Option<u8>, allocation_len: u16) -> [u8; 6] {
    let [a, b] = allocation_len.to_be_bytes();
    let enable = u8::from(vital_product_data_page.is_some());
    [opcode::INQUIRY, enable, vital_product_data_page.unwrap_or(0), a, b, 0]
}

/// MODE SENSE(6) (SPC-4).
#[must_use]
pub fn mode_sense_6(request: &ModeRequest, allocation_len: u8) -> [u8; 6] {
    let page = request.control.bits() | request.page & 0x3f;
    let disable = u8::from(request.without_block_descriptors) << 3;
    [opcode::MODE_SENSE_6, disable, page, request.subpage, allocation_len, 0]
}

/// MODE SENSE(10) (SPC-4).
#[must_use]
pub fn mode_sense_10(request: &ModeRequest, allocation_len: u16) -> [u8; 10] {
    let [a, b] = allocation_len.to_be_bytes();
    let page = request.control.bits() | request.page & 0x3f;
    let disable = u8::from(request.without_block_descriptors) << 3;
    [opcode::MODE_SENSE_10, disable, page, request.subpage, 0, 0, 0, a, b, 0]
}

/// MODE SELECT(6) (SPC-4), of pages in the standard's format.
#[must_use]
pub fn mode_select_6(len: u8) -> [u8; 6] {
    [opcode::MODE_SELECT_6, 0x10, 0, 0, len, 0]
}

/// MODE SELECT(10) (SPC-4), of pages in the standard's format.
#[must_use]
pub fn mode_select_10(len: u16) -> [u8; 10] {
    let [a, b] = len.to_be_bytes();
    [opcode::MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, a, b, 0]
}

/// LOG SENSE (SPC-4) of cumulative values, from parameter `first` on.
#[must_use]
pub fn log_sense(page: u8, subpage: u8, first: u16, allocation_len: u16) -> [u8; 10] {
    let [a, b] = first.to_be_bytes();
    let [c, d] = allocation_len.to_be_bytes();
    [opcode::LOG_SENSE, 0, 0x40 | page & 0x3f, subpage, 0, a, b, c, d, 0]
}

/// PREVENT ALLOW MEDIUM REMOVAL (SPC-4; SMC-3 for changers).
#[must_use]
pub fn prevent_allow_medium_removal(prevent: bool) -> [u8; 6] {
    [opcode::PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, u8::from(prevent), 0]
}

/// PERSISTENT RESERVE IN (SPC-4).
#[must_use]
pub fn persistent_reserve_in(service_action: u8, allocation_len: u16) -> [u8; 10] {
    let [a, b] = allocation_len.to_be_bytes();
    [opcode::PERSISTENT_RESERVE_IN, service_action & 0x1f, 0, 0, 0, 0, 0, a, b, 0]
}

/// PERSISTENT RESERVE OUT (SPC-4), with the 24 bytes of its basic parameter list; the scope
/// is the logical unit.
#[must_use]
pub fn persistent_reserve_out(service_action: u8, kind: u8) -> [u8; 10] {
    [opcode::PERSISTENT_RESERVE_OUT, service_action & 0x1f, kind & 0x0f, 0, 0, 0, 0, 0, 24, 0]
}

/// REPORT SUPPORTED OPERATION CODES (SPC-4), all of them, with timeouts.
#[must_use]
pub fn report_supported_operation_codes(timeouts: bool, allocation_len: u32) -> [u8; 12] {
    let [a, b, c, d] = allocation_len.to_be_bytes();
    [opcode::MAINTENANCE_IN, 0x0c, u8::from(timeouts) << 7, 0, 0, 0, a, b, c, d, 0, 0]
}

/// REPORT LUNS (SPC-4), those with addresses only.
#[must_use]
pub fn report_luns(allocation_len: u32) -> [u8; 12] {
    let [a, b, c, d] = allocation_len.to_be_bytes();
    [opcode::REPORT_LUNS, 0, 0, 0, 0, 0, a, b, c, d, 0, 0]
}

/// READ ATTRIBUTE of values (SPC-4), from attribute `first` on.
#[must_use]
pub fn read_attribute(partition: u8, first: u16, allocation_len: u32) -> [u8; 16] {
    let [a, b] = first.to_be_bytes();
    let [c, d, e, f] = allocation_len.to_be_bytes();
    [opcode::READ_ATTRIBUTE, 0, 0, 0, 0, 0, 0, partition, a, b, c, d, e, f, 0, 0]
}

/// WRITE ATTRIBUTE (SPC-4); `write_through` reaches the cartridge memory before it ends.
#[must_use]
pub fn write_attribute(write_through: bool, partition: u8, len: u32) -> [u8; 16] {
    let [a, b, c, d] = len.to_be_bytes();
    [opcode::WRITE_ATTRIBUTE, u8::from(write_through), 0, 0, 0, 0, 0, partition, 0, 0, a, b, c, d, 0, 0]
}

/// READ BUFFER in vendor mode (SPC-4), which drives answer with a dump.
///
/// # Panics
/// If a number needs more than 24 bits.
#[must_use]
pub fn read_buffer(mode: u8, buffer: u8, offset: u32, allocation_len: u32) -> [u8; 10] {
    let [a, b, c] = u24(offset);
    let [d, e, f] = u24(allocation_len);
    [opcode::READ_BUFFER, mode & 0x1f, buffer, a, b, c, d, e, f, 0]
}
