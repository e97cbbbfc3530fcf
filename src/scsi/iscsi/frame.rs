//! Frames: a PDU with its data segment, padding and digests, on a stream (RFC 7143, section 11.2).

use std::io::{self, Read, Write};

use thiserror::Error;

use crate::checksum::crc32c;
use crate::codec::len_u32;

/// Length of the basic header segment.
pub const HEADER_LEN: usize = 48;
/// Padding and digests go by words of four bytes.
const WORD: usize = 4;

/// The basic header segment.
pub type Header = [u8; HEADER_LEN];

/// Which parts of a frame carry a CRC32C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    /// The header.
    pub header: bool,
    /// The data.
    pub data: bool,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Basic header segment.
    pub header: Header,
    /// Additional header segments; nobody here has a use for them.
    pub additional: Vec<u8>,
    /// Data segment, without its padding.
    pub data: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Self { header: [0; HEADER_LEN], additional: Vec::new(), data: Vec::new() }
    }
}

/// Why a frame could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream failed, or ended within a frame.
    #[error("the connection failed")]
    Stream(#[from] io::Error),
    /// The other end closed the connection between two frames.
    #[error("the other end closed the connection")]
    Closed,
    /// A digest does not fit.
    #[error("{part} digest is {found:08x}, computed {computed:08x}")]
    Digest {
        /// `header` or `data`.
        part: &'static str,
        /// Digest on the wire.
        found: u32,
        /// Digest of the bytes.
        computed: u32,
    },
    /// The data segment is longer than was agreed.
    #[error("a data segment of {len_bytes} bytes, at most {len_max_bytes} were agreed on")]
    TooLong {
        /// Length that the header gives.
        len_bytes: usize,
        /// Length that was agreed on.
        len_max_bytes: usize,
    },
}

impl Frame {
    /// Reads the next frame into this one, whose buffers are used again.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no use afterwards.
    pub fn read(
        &mut self,
        source: &mut impl Read,
        digests: Digests,
        data_len_max: usize,
    ) -> Result<(), FrameError> {
        read_header(source, &mut self.header)?;
        let [_, _, _, _, additional_words, a, b, c, ..] = self.header;
        self.additional.resize(usize::from(additional_words) * WORD, 0);
        source.read_exact(&mut self.additional)?;
        if digests.header {
            check(source, "header", crc32c(&[&self.header, &self.additional]))?;
        }
        let len_bytes = u32::from_be_bytes([0, a, b, c]) as usize;
        if len_bytes > data_len_max {
            return Err(FrameError::TooLong { len_bytes, len_max_bytes: data_len_max });
        }
        self.data.resize(len_bytes.next_multiple_of(WORD), 0);
        source.read_exact(&mut self.data)?;
        if digests.data && !self.data.is_empty() {
            check(source, "data", crc32c(&[&self.data]))?;
        }
        self.data.truncate(len_bytes);
        Ok(())
    }
}

// An end between two frames is a farewell, an end within one is a failure.
fn read_header(source: &mut impl Read, header: &mut Header) -> Result<(), FrameError> {
    let mut first = 0;
    while first == 0 {
        match source.read(header) {
            Ok(0) => return Err(FrameError::Closed),
            Ok(count) => first = count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    source.read_exact(header.get_mut(first..).unwrap_or_default())?;
    Ok(())
}

fn check(source: &mut impl Read, part: &'static str, computed: u32) -> Result<(), FrameError> {
    let mut digest = [0; WORD];
    source.read_exact(&mut digest)?;
    match u32::from_le_bytes(digest) {
        found if found == computed => Ok(()),
        found => Err(FrameError::Digest { part, found, computed }),
    }
}

/// Writes a frame with `data` as its data segment; the header's length fields are set here.
///
/// # Errors
/// The error of the stream.
///
/// # Panics
/// If the data needs more than 24 bits for its length: both ends agree on less.
pub fn write(target: &mut impl Write, header: &Header, data: &[u8], digests: Digests) -> io::Result<()> {
    assert!(data.len() < 1 << 24, "a data segment of {} bytes", data.len());
    let [_, a, b, c] = len_u32(data.len()).to_be_bytes();
    let mut header = *header;
    for (byte, value) in header.iter_mut().skip(4).zip([0, a, b, c]) {
        *byte = value;
    }
    let padding = [0; WORD];
    let padding = padding.get(..data.len().next_multiple_of(WORD) - data.len()).unwrap_or_default();
    let mut head = header.to_vec();
    if digests.header {
        head.extend_from_slice(&crc32c(&[&header]).to_le_bytes());
    }
    let mut tail = padding.to_vec();
    if digests.data && !data.is_empty() {
        tail.extend_from_slice(&crc32c(&[data, padding]).to_le_bytes());
    }
    // One piece for what is short: a small packet would wait for the acknowledgement of the last one.
    if data.len() <= 4096 {
        head.extend_from_slice(data);
        head.extend_from_slice(&tail);
        return target.write_all(&head);
    }
    target.write_all(&head)?;
    target.write_all(data)?;
    target.write_all(&tail)
}
