//! Replies to READ POSITION.

use crate::codec::DecodeError;
use crate::scsi::fields::Fields;

/// Position in the long form (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// At the beginning of the partition.
    pub beginning_of_partition: bool,
    /// Between early warning and the end of the partition.
    pub end_of_partition: bool,
    /// Behind the programmable early warning.
    pub beyond_programmable_early_warning: bool,
    /// Partition.
    pub partition: u32,
    /// Identifier of the next logical object, blocks and filemarks counted from 0; `None` if the drive
    /// does not know.
    pub object: Option<u64>,
    /// Count of filemarks between the beginning of the partition and here; `None` if the drive does not
    /// know.
    pub file: Option<u64>,
}

impl Position {
    /// Decodes the reply.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(reply: &[u8]) -> Result<Self, DecodeError> {
        let fields = Fields::new("long position data", reply);
        let flags = fields.u8(0)?;
        let (object, file) = (fields.u64(8)?, fields.u64(16)?);
        Ok(Self {
            beginning_of_partition: flags & 0x80 != 0,
            end_of_partition: flags & 0x40 != 0,
            beyond_programmable_early_warning: flags & 0x01 != 0,
            partition: fields.u32(4)?,
            object: (flags & 0x04 == 0).then_some(object),
            file: (flags & 0x08 == 0).then_some(file),
        })
    }
}

/// Position in the short form (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortPosition {
    /// At the beginning of the partition.
    pub beginning_of_partition: bool,
    /// Between early warning and the end of the partition.
    pub end_of_partition: bool,
    /// Partition.
    pub partition: u8,
    /// Identifier of the next logical object for the host; `None` if the drive does not know or 32 bits
    /// do not suffice.
    pub object: Option<u32>,
    /// Identifier of the next logical object between buffer and tape; `None` as before.
    pub object_on_medium: Option<u32>,
}

impl ShortPosition {
    /// Decodes the reply.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(reply: &[u8]) -> Result<Self, DecodeError> {
        let fields = Fields::new("short position data", reply);
        let flags = fields.u8(0)?;
        // LOLU: the locations are unknown; PERR: they overflow the field.
        let known = flags & 0x06 == 0;
        let (object, on_medium) = (fields.u32(4)?, fields.u32(8)?);
        Ok(Self {
            beginning_of_partition: flags & 0x80 != 0,
            end_of_partition: flags & 0x40 != 0,
            partition: fields.u8(1)?,
            object: known.then_some(object),
            object_on_medium: known.then_some(on_medium),
        })
    }
}

/// Position in the extended form (SSC-4): what of the data is only in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferedPosition {
    /// At the beginning of the partition.
    pub beginning_of_partition: bool,
    /// Between early warning and the end of the partition.
    pub end_of_partition: bool,
    /// Behind the programmable early warning.
    pub beyond_programmable_early_warning: bool,
    /// Partition.
    pub partition: u8,
    /// Identifier of the next logical object for the host; `None` if the drive does not know.
    pub object: Option<u64>,
    /// Identifier of the first logical object that is not on tape: all before it is safe; `None` if
    /// the drive does not know.
    pub object_on_medium: Option<u64>,
    /// Logical objects in the buffer, unless unknown.
    pub buffered_objects: Option<u32>,
    /// Bytes in the buffer, unless unknown.
    pub buffered_bytes: Option<u64>,
}

impl BufferedPosition {
    /// Decodes the reply.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(reply: &[u8]) -> Result<Self, DecodeError> {
        let fields = Fields::new("extended position data", reply);
        let flags = fields.u8(0)?;
        let known = flags & 0x06 == 0;
        let (object, on_medium) = (fields.u64(8)?, fields.u64(16)?);
        let (objects, bytes) = (fields.u24(5)?, fields.u64(24)?);
        Ok(Self {
            beginning_of_partition: flags & 0x80 != 0,
            end_of_partition: flags & 0x40 != 0,
            beyond_programmable_early_warning: flags & 0x01 != 0,
            partition: fields.u8(1)?,
            object: known.then_some(object),
            object_on_medium: known.then_some(on_medium),
            buffered_objects: (flags & 0x20 == 0).then_some(objects),
            buffered_bytes: (flags & 0x10 == 0).then_some(bytes),
        })
    }
}
