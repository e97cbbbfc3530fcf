//! The one row that tells where a staging tree stands.

use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::id::Ordinal;

const VERSION: u64 = 1;
const BOOT_LEN_MAX: usize = 128;

/// Where a staging tree stands. Encoded as varints in the order of the fields, after the version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeState {
    /// Generation that the tree stands on.
    pub base: Option<Ordinal>,
    /// Epoch in which rows are written now, at least 1.
    pub epoch: u32,
    /// Rows of this epoch and of those before are void: the base has what they say.
    pub committed_epoch: u32,
    /// Layers of this epoch and of those before may lack what was written to them: power may have been lost.
    pub untrusted_epoch: u32,
    /// All numbers of the counter that were given out are below this.
    pub next_number: u64,
    /// All directory ids that were given out are below this.
    pub next_directory: u64,
    /// All ids of files with several names that were given out are below this.
    pub next_linked: u64,
    /// A commit of that epoch that will be done when the generation exists.
    pub announced: Option<(u32, Ordinal)>,
    /// The tree was closed.
    pub closed: bool,
    /// Run of the machine in which it was opened last.
    pub boot: Vec<u8>,
}

impl TreeState {
    /// Encodes the value of the row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        put_varint(&mut bytes, VERSION);
        put_varint(&mut bytes, self.base.map_or(0, |base| base.get().into()));
        for epoch in [self.epoch, self.committed_epoch, self.untrusted_epoch] {
            put_varint(&mut bytes, epoch.into());
        }
        for next in [self.next_number, self.next_directory, self.next_linked] {
            put_varint(&mut bytes, next);
        }
        let (epoch, ordinal) = self.announced.map_or((0, 0), |(epoch, ordinal)| (epoch, ordinal.get()));
        put_varint(&mut bytes, epoch.into());
        put_varint(&mut bytes, ordinal.into());
        put_varint(&mut bytes, self.closed.into());
        put_prefixed(&mut bytes, &self.boot);
        bytes
    }

    /// Decodes the value of the row.
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed or of a later version.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let version = reader.varint("version")?;
        if version != VERSION {
            return Err(DecodeError::Range { what: "version", offset: 0, value: version });
        }
        let base = Ordinal::new(reader.varint_u32("base")?);
        let (epoch, committed_epoch) = (reader.varint_u32("epoch")?, reader.varint_u32("committed epoch")?);
        let untrusted_epoch = reader.varint_u32("untrusted epoch")?;
        let next_number = reader.varint("next number")?;
        let next_directory = reader.varint("next directory")?;
        let next_linked = reader.varint("next linked file")?;
        let announced_epoch = reader.varint_u32("announced epoch")?;
        let announced = Ordinal::new(reader.varint_u32("announced generation")?);
        let closed = reader.varint("closed")? != 0;
        let boot = reader.prefixed("run of the machine", BOOT_LEN_MAX)?.to_vec();
        reader.finish("state")?;
        Ok(Self {
            base,
            epoch,
            committed_epoch,
            untrusted_epoch,
            next_number,
            next_directory,
            next_linked,
            announced: announced.map(|ordinal| (announced_epoch, ordinal)),
            closed,
            boot,
        })
    }
}
