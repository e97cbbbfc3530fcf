//! Directory tree file (DTF): header, pages ([`super::page`]), footer, seal ([`super::seal`]).
//!
//! Header, 192 bytes:
//!
//! ```text
//! offset len  field
//!      0   8  magic: "REELDTF\0"
//!      8   2  format version
//!     10   2  length of the header: 192
//!     12   4  ordinal of the generation
//!     16  16  file id, random
//!     32  16  id of the repository
//!     48   8  time of the generation, seconds since 1970, signed
//!     56   4  ordinal of the client's generation before, 0 if this is the first
//!     60  64  client name, padded with NUL
//!    124  64  reserved
//!    188   4  CRC-32 of bytes 0..188
//! ```
//!
//! Footer: magic `"RFOOTDTF"`, then varints and length-prefixed bytes in this order: root page
//! (ordinal, offset / 64, stored length), next id for a file with several names, next id for a
//! directory, counts of files, directories, symbolic
//! links, other objects and objects with several names, bytes of file content, entries with extended
//! attributes, files kept as inconsistent, bytes added to BDFs, message, source path, ordinal of the
//! client's generation before (0 or nothing at all: none). A later minor addition goes after these; readers ignore what they do not know.

use super::bdf::decode_client;
use super::kind::FileKind;
use super::page::PageRef;
use super::{FORMAT_VERSION, FormatError, check_crc, check_magic, check_version};
use crate::checksum::crc32;
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::id::{ClientName, FileId, GenerationTime, Ordinal};

/// First bytes of a DTF.
pub const MAGIC: &[u8; 8] = b"REELDTF\0";
/// First bytes of the footer.
pub const FOOTER_MAGIC: &[u8; 8] = b"RFOOTDTF";
const STRUCTURE: &str = "DTF header";
const FOOTER: &str = "DTF footer";

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 192;
/// Longest message and longest source path, in bytes.
pub const TEXT_LEN_MAX: usize = 4096;

/// The header of a DTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtfHeader {
    /// Identity of the file.
    pub file: FileId,
    /// Repository that it belongs to.
    pub repository: FileId,
    /// Number of the generation.
    pub ordinal: Ordinal,
    /// The client's generation before, if there is one.
    pub previous: Option<Ordinal>,
    /// Client whose generation it is.
    pub client: ClientName,
    /// Time of the generation.
    pub time: GenerationTime,
}

impl DtfHeader {
    /// Encodes the first 192 bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&192_u16.to_le_bytes());
        bytes.extend_from_slice(&self.ordinal.get().to_le_bytes());
        bytes.extend_from_slice(&self.file.0);
        bytes.extend_from_slice(&self.repository.0);
        bytes.extend_from_slice(&self.time.seconds().to_le_bytes());
        bytes.extend_from_slice(&self.previous.map_or(0, Ordinal::get).to_le_bytes());
        bytes.extend_from_slice(self.client.as_str().as_bytes());
        bytes.resize(HEADER_LEN - 4, 0);
        let crc = crc32(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the first 192 bytes of a file.
    ///
    /// # Errors
    /// [`FormatError`] if they are not a header of a known version.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FormatError> {
        let malformed = FormatError::malformed;
        let mut reader = Reader::new(bytes);
        check_magic(STRUCTURE, reader.bytes("magic", 8).map_err(malformed(STRUCTURE))?, MAGIC)?;
        let mut fields = || -> Result<_, DecodeError> {
            let version = reader.u16("version")?;
            reader.u16("header length")?;
            let ordinal = reader.u32("ordinal")?;
            let ids = [FileId(reader.array("file id")?), FileId(reader.array("repository id")?)];
            let seconds = reader.u64("time")?.cast_signed();
            let previous = reader.u32("previous ordinal")?;
            let client = reader.bytes("client", ClientName::LEN_MAX)?;
            reader.bytes("reserved", 64)?;
            Ok((version, ordinal, ids, seconds, previous, client, reader.u32("CRC")?))
        };
        let (version, ordinal, [file, repository], seconds, previous, client, crc) =
            fields().map_err(malformed(STRUCTURE))?;
        check_crc(STRUCTURE, crc, crc32(&[bytes.get(..HEADER_LEN - 4).unwrap_or_default()]))?;
        check_version(STRUCTURE, version)?;
        let unknown = |field, value| FormatError::Unknown { structure: STRUCTURE, field, value };
        let ordinal = Ordinal::new(ordinal).ok_or_else(|| unknown("ordinal", ordinal.into()))?;
        let previous = match previous {
            0 => None,
            number => Some(Ordinal::new(number).ok_or_else(|| unknown("previous ordinal", number.into()))?),
        };
        let client = decode_client(client).ok_or_else(|| unknown("client name", 0))?;
        let time =
            GenerationTime::from_seconds(seconds).ok_or_else(|| unknown("time", seconds.cast_unsigned()))?;
        Ok(Self { file, repository, ordinal, previous, client, time })
    }
}

/// Counts of what a generation holds; each is kept up by adding and taking away records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Names of regular files, each link counted.
    pub file_count: u64,
    /// Directories, the root included.
    pub directory_count: u64,
    /// Names of symbolic links.
    pub symlink_count: u64,
    /// Names of devices, FIFOs and sockets.
    pub other_count: u64,
    /// Objects with more than one name, each once.
    pub linked_count: u64,
    /// Bytes of file content, a file with several names once, holes included.
    pub content_bytes: u64,
    /// Objects with extended attributes.
    pub xattr_count: u64,
    /// Files that changed while they were read.
    pub inconsistent_count: u64,
}

impl Totals {
    /// The count of names of objects of a kind.
    pub(crate) fn names_of(&mut self, kind: FileKind) -> &mut u64 {
        match kind {
            FileKind::Directory => &mut self.directory_count,
            FileKind::Regular => &mut self.file_count,
            FileKind::Symlink => &mut self.symlink_count,
            _ => &mut self.other_count,
        }
    }

    /// Names of all but directories.
    #[must_use]
    pub fn name_count(&self) -> u64 {
        self.file_count.saturating_add(self.symlink_count).saturating_add(self.other_count)
    }

    fn fields(&self) -> [u64; 8] {
        [
            self.file_count,
            self.directory_count,
            self.symlink_count,
            self.other_count,
            self.linked_count,
            self.content_bytes,
            self.xattr_count,
            self.inconsistent_count,
        ]
    }

    fn from_fields(fields: [u64; 8]) -> Self {
        let [
            file_count,
            directory_count,
            symlink_count,
            other_count,
            linked_count,
            content_bytes,
            xattr_count,
            inconsistent_count,
        ] = fields;
        Self {
            file_count,
            directory_count,
            symlink_count,
            other_count,
            linked_count,
            content_bytes,
            xattr_count,
            inconsistent_count,
        }
    }

    fn zip(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let mut fields = self.fields();
        for (field, other) in fields.iter_mut().zip(other.fields()) {
            *field = combine(*field, other);
        }
        Self::from_fields(fields)
    }

    /// Adds the counts of records that came in.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// Takes away the counts of records that went out.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }
}

/// The footer of a DTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtfFooter {
    /// Root page of the directory tree.
    pub root: PageRef,
    /// Object id that the next file with several names gets.
    pub next_linked: u64,
    /// Object id that the next directory gets.
    pub next_directory: u64,
    /// What the generation holds.
    pub totals: Totals,
    /// Bytes that this generation added to BDFs.
    pub added_bytes: u64,
    /// The client's generation before, whether this one builds on it or not; none if there is none, or in a
    /// DTF that was made before this field was.
    pub predecessor: Option<Ordinal>,
    /// What the user said of it.
    pub message: Vec<u8>,
    /// Path that was backed up.
    pub source: Vec<u8>,
}

impl DtfFooter {
    /// Encodes the footer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = FOOTER_MAGIC.to_vec();
        self.root.put(&mut bytes);
        put_varint(&mut bytes, self.next_linked);
        put_varint(&mut bytes, self.next_directory);
        for field in self.totals.fields() {
            put_varint(&mut bytes, field);
        }
        put_varint(&mut bytes, self.added_bytes);
        put_prefixed(&mut bytes, &self.message);
        put_prefixed(&mut bytes, &self.source);
        if let Some(predecessor) = self.predecessor {
            put_varint(&mut bytes, predecessor.get().into());
        }
        bytes
    }

    /// Decodes the footer, whose CRC-32 the seal holds.
    ///
    /// # Errors
    /// [`FormatError`] if the checksum or a field is wrong.
    pub fn decode(bytes: &[u8], crc: u32) -> Result<Self, FormatError> {
        let malformed = FormatError::malformed;
        check_crc(FOOTER, crc, crc32(&[bytes]))?;
        let mut reader = Reader::new(bytes);
        check_magic(FOOTER, reader.bytes("magic", 8).map_err(malformed(FOOTER))?, FOOTER_MAGIC)?;
        let mut fields = || -> Result<Self, DecodeError> {
            let root = PageRef::read(&mut reader)?;
            let next_linked = reader.varint("next linked file")?;
            let next_directory = reader.varint("next directory")?;
            let mut totals = [0; 8];
            for field in &mut totals {
                *field = reader.varint("count")?;
            }
            let added_bytes = reader.varint("added bytes")?;
            let message = reader.prefixed("message", TEXT_LEN_MAX)?.to_vec();
            let source = reader.prefixed("source path", TEXT_LEN_MAX)?.to_vec();
            let predecessor = match reader.remaining() == 0 {
                true => None,
                false => read_predecessor(&mut reader)?,
            };
            Ok(Self {
                root,
                next_linked,
                next_directory,
                totals: Totals::from_fields(totals),
                added_bytes,
                predecessor,
                message,
                source,
            })
        };
        fields().map_err(malformed(FOOTER))
    }
}

fn read_predecessor(reader: &mut Reader<'_>) -> Result<Option<Ordinal>, DecodeError> {
    let offset = reader.offset();
    let value = reader.varint_u32("generation before")?;
    match (value, Ordinal::new(value)) {
        (0, _) => Ok(None),
        (_, Some(ordinal)) => Ok(Some(ordinal)),
        (_, None) => Err(DecodeError::Range { what: "generation before", offset, value: value.into() }),
    }
}
