//! Operation codes (SPC-4, annex of operation codes; SSC-4; SMC-3).

/// TEST UNIT READY.
pub const TEST_UNIT_READY: u8 = 0x00;
/// REWIND.
pub const REWIND: u8 = 0x01;
/// REQUEST SENSE.
pub const REQUEST_SENSE: u8 = 0x03;
/// FORMAT MEDIUM.
pub const FORMAT_MEDIUM: u8 = 0x04;
/// READ BLOCK LIMITS.
pub const READ_BLOCK_LIMITS: u8 = 0x05;
/// INITIALIZE ELEMENT STATUS, of a changer.
pub const INITIALIZE_ELEMENT_STATUS: u8 = 0x07;
/// READ(6).
pub const READ_6: u8 = 0x08;
/// WRITE(6).
pub const WRITE_6: u8 = 0x0a;
/// SET CAPACITY.
pub const SET_CAPACITY: u8 = 0x0b;
/// WRITE FILEMARKS(6).
pub const WRITE_FILEMARKS_6: u8 = 0x10;
/// SPACE(6).
pub const SPACE_6: u8 = 0x11;
/// INQUIRY.
pub const INQUIRY: u8 = 0x12;
/// VERIFY(6).
pub const VERIFY_6: u8 = 0x13;
/// MODE SELECT(6).
pub const MODE_SELECT_6: u8 = 0x15;
/// ERASE(6).
pub const ERASE_6: u8 = 0x19;
/// MODE SENSE(6).
pub const MODE_SENSE_6: u8 = 0x1a;
/// LOAD UNLOAD.
pub const LOAD_UNLOAD: u8 = 0x1b;
/// PREVENT ALLOW MEDIUM REMOVAL.
pub const PREVENT_ALLOW_MEDIUM_REMOVAL: u8 = 0x1e;
/// LOCATE(10), of a drive.
pub const LOCATE_10: u8 = 0x2b;
/// POSITION TO ELEMENT, of a changer.
pub const POSITION_TO_ELEMENT: u8 = 0x2b;
/// READ POSITION.
pub const READ_POSITION: u8 = 0x34;
/// INITIALIZE ELEMENT STATUS WITH RANGE, of a changer.
pub const INITIALIZE_ELEMENT_STATUS_WITH_RANGE: u8 = 0x37;
/// READ BUFFER.
pub const READ_BUFFER: u8 = 0x3c;
/// REPORT DENSITY SUPPORT.
pub const REPORT_DENSITY_SUPPORT: u8 = 0x44;
/// LOG SENSE.
pub const LOG_SENSE: u8 = 0x4d;
/// MODE SELECT(10).
pub const MODE_SELECT_10: u8 = 0x55;
/// MODE SENSE(10).
pub const MODE_SENSE_10: u8 = 0x5a;
/// PERSISTENT RESERVE IN.
pub const PERSISTENT_RESERVE_IN: u8 = 0x5e;
/// PERSISTENT RESERVE OUT.
pub const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
/// ALLOW OVERWRITE.
pub const ALLOW_OVERWRITE: u8 = 0x82;
/// READ ATTRIBUTE.
pub const READ_ATTRIBUTE: u8 = 0x8c;
/// WRITE ATTRIBUTE.
pub const WRITE_ATTRIBUTE: u8 = 0x8d;
/// SPACE(16).
pub const SPACE_16: u8 = 0x91;
/// LOCATE(16).
pub const LOCATE_16: u8 = 0x92;
/// REPORT LUNS.
pub const REPORT_LUNS: u8 = 0xa0;
/// MAINTENANCE IN.
pub const MAINTENANCE_IN: u8 = 0xa3;
/// MOVE MEDIUM, of a changer.
pub const MOVE_MEDIUM: u8 = 0xa5;
/// EXCHANGE MEDIUM, of a changer.
pub const EXCHANGE_MEDIUM: u8 = 0xa6;
/// READ ELEMENT STATUS, of a changer.
pub const READ_ELEMENT_STATUS: u8 = 0xb8;
