//! Commands of changers (SMC-3).

use crate::scsi::element::ElementKind;
use crate::scsi::fields::u24;
use crate::scsi::opcode;

/// INITIALIZE ELEMENT STATUS (SMC-3): looks at every element.
#[must_use]
pub fn initialize_element_status() -> [u8; 6] {
    [opcode::INITIALIZE_ELEMENT_STATUS, 0, 0, 0, 0, 0]
}

/// INITIALIZE ELEMENT STATUS WITH RANGE (SMC-3): looks at `count` elements from `first` on.
/// `fast` trusts what the changer remembers.
#[must_use]
pub fn initialize_element_status_with_range(first: u16, count: u16, fast: bool) -> [u8; 10] {
    let [a, b] = first.to_be_bytes();
    let [c, d] = count.to_be_bytes();
    [opcode::INITIALIZE_ELEMENT_STATUS_WITH_RANGE, u8::from(fast) << 1 | 1, a, b, 0, 0, c, d, 0, 0]
}

/// What READ ELEMENT STATUS asks for (SMC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementRequest {
    /// Kind of the elements: never all at once, since devices mix the pages up.
    pub kind: ElementKind,
    /// First address.
    pub first: u16,
    /// Most elements.
    pub count: u16,
    /// With volume tags.
    pub volume_tags: bool,
    /// With identifiers of drives.
    pub device_identifiers: bool,
    /// From memory, without a move.
    pub current_data: bool,
}

/// READ ELEMENT STATUS (SMC-3).
///
/// # Panics
/// If the allocation length needs more than 24 bits.
#[must_use]
pub fn read_element_status(request: &ElementRequest, allocation_len: u32) -> [u8; 12] {
    let [a, b] = request.first.to_be_bytes();
    let [c, d] = request.count.to_be_bytes();
    let [e, f, g] = u24(allocation_len);
    let kind = u8::from(request.volume_tags) << 4 | request.kind.code();
    let flags = u8::from(request.current_data) << 1 | u8::from(request.device_identifiers);
    [opcode::READ_ELEMENT_STATUS, kind, a, b, c, d, flags, e, f, g, 0, 0]
}

/// MOVE MEDIUM (SMC-3).
#[must_use]
pub fn move_medium(transport: u16, source: u16, destination: u16, invert: bool) -> [u8; 12] {
    let [a, b] = transport.to_be_bytes();
    let [c, d] = source.to_be_bytes();
    let [e, f] = destination.to_be_bytes();
    [opcode::MOVE_MEDIUM, 0, a, b, c, d, e, f, 0, 0, u8::from(invert), 0]
}

/// EXCHANGE MEDIUM (SMC-3): from `source` to `first_destination`, and what was there to
/// `second_destination`.
#[must_use]
pub fn exchange_medium(
    transport: u16,
    source: u16,
    first_destination: u16,
    second_destination: u16,
) -> [u8; 12] {
    let [a, b] = transport.to_be_bytes();
    let [c, d] = source.to_be_bytes();
    let [e, f] = first_destination.to_be_bytes();
    let [g, h] = second_destination.to_be_bytes();
    [opcode::EXCHANGE_MEDIUM, 0, a, b, c, d, e, f, g, h, 0, 0]
}

/// POSITION TO ELEMENT (SMC-3): moves the robot there.
#[must_use]
pub fn position_to_element(transport: u16, destination: u16, invert: bool) -> [u8; 10] {
    let [a, b] = transport.to_be_bytes();
    let [c, d] = destination.to_be_bytes();
    [opcode::POSITION_TO_ELEMENT, 0, a, b, c, d, 0, 0, u8::from(invert), 0]
}
