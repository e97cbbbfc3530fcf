//! One partition of a cartridge as a SIMH magnetic tape image (`.tap`).
//!
//! A record is its length in four bytes, little-endian, its data, a byte of padding if the length is
//! odd, and the length again; a filemark is four zero bytes. The top four bits of a length are a class: 0 good,
//! 8 bad, others are skipped. FFFFFFFEh is a gap, FFFFFFFFh the end of the medium, as is the end of the file.
//! ("SIMH Magtape Representation and Handling", 17 January 2022.)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Longest record that is taken for one, in bytes: READ and WRITE count to 2^24 - 1.
const RECORD_LEN_MAX: u32 = (1 << 24) - 1;
/// Longest run of gaps and foreign objects that is skipped for one object, in words.
const SKIPPED_MAX: u32 = 1 << 20;
const END_OF_MEDIUM: u32 = 0xffff_ffff;

/// What stands on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// A block of so many bytes; `bad` if it cannot be read.
    Record {
        /// Bytes of data.
        len: u32,
        /// Class 8.
        bad: bool,
    },
    /// A filemark.
    Filemark,
}

/// What is found in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// An object; it starts at `start` and ends at `end`, offsets in bytes.
    Object {
        /// What it is.
        object: Object,
        /// First byte.
        start: u64,
        /// Byte after the last one.
        end: u64,
    },
    /// Nothing more, and the tape ends as it should.
    End,
    /// Something that is no object: a record cut short by a power failure, or foreign bytes.
    Torn,
}

/// An image file.
#[derive(Debug)]
pub(super) struct Tap {
    file: File,
}

impl Tap {
    /// Opens a file, makes it if there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A planted symbolic link or FIFO must neither lead elsewhere nor block.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file })
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn word(&self, at: u64) -> io::Result<Option<u32>> {
        let mut bytes = [0; 4];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(Some(u32::from_le_bytes(bytes))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The object that starts at `offset` or after gaps; `file_len` is the length of the file in bytes.
    pub(super) fn next(&self, offset: u64, file_len: u64) -> io::Result<Found> {
        let mut at = offset;
        for _ in 0..SKIPPED_MAX {
            let Some(word) = self.word(at)? else {
                return Ok(if at >= file_len { Found::End } else { Found::Torn });
            };
            at = match word {
                0 => return Ok(Found::Object { object: Object::Filemark, start: at, end: at + 4 }),
                END_OF_MEDIUM => return Ok(Found::End),
                // Parts of gaps: what follows cannot be told apart from data.
                0xfffe_0000..=0xffff_fffd => return Ok(Found::Torn),
                word if word >> 28 == 0xf || word >> 28 == 7 => at + 4,
                word => {
                    let (len, class) = (word & 0x0fff_ffff, word >> 28);
                    let end = at + 8 + u64::from(len) + u64::from(len % 2);
                    if len > RECORD_LEN_MAX || end > file_len || self.word(end - 4)? != Some(word) {
                        return Ok(Found::Torn);
                    }
                    if class == 0 || class == 8 {
                        let object = Object::Record { len, bad: class == 8 };
                        return Ok(Found::Object { object, start: at, end });
                    }
                    end
                }
            };
        }
        Ok(Found::Torn)
    }

    /// The object that ends at `offset` or before gaps.
    pub(super) fn previous(&self, offset: u64) -> io::Result<Found> {
        let mut end = offset;
        for _ in 0..SKIPPED_MAX {
            let Some(at) = end.checked_sub(4) else {
                return Ok(if end == 0 { Found::End } else { Found::Torn });
            };
            let Some(word) = self.word(at)? else { return Ok(Found::Torn) };
            end = match word {
                0 => return Ok(Found::Object { object: Object::Filemark, start: at, end }),
                word if word >> 28 == 0xf || word >> 28 == 7 => at,
                word => {
                    let (len, class) = (word & 0x0fff_ffff, word >> 28);
                    let start = end.checked_sub(8 + u64::from(len) + u64::from(len % 2));
                    let Some(start) = start.filter(|_| len <= RECORD_LEN_MAX) else {
                        return Ok(Found::Torn);
                    };
                    if class == 0 || class == 8 {
                        let object = Object::Record { len, bad: class == 8 };
                        return Ok(Found::Object { object, start, end });
                    }
                    start
                }
            };
        }
        Ok(Found::Torn)
    }

    /// Reads the first bytes of the record that starts at `start`, as many as the buffer has.
    pub(super) fn read(&self, start: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, start + 4)
    }

    /// Writes a record at `offset`; the trailing length goes last, so that what a crash leaves is seen to be torn.
    /// Returns the offset after it.
    pub(super) fn write_record(&self, offset: u64, data: &[u8]) -> io::Result<u64> {
        let len = u32::try_from(data.len()).ok().filter(|len| *len <= RECORD_LEN_MAX && *len > 0);
        let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no length of a record"))?;
        self.file.write_all_at(&len.to_le_bytes(), offset)?;
        // Zeros at the end of the file need no room: what is written behind them leaves a hole.
        let is_hole = data.iter().all(|byte| *byte == 0) && self.len()? <= offset + 4;
        if !is_hole {
            self.file.write_all_at(data, offset + 4)?;
        }
        let end = offset + 4 + u64::from(len);
        if len % 2 == 0 {
            self.file.write_all_at(&len.to_le_bytes(), end)?;
            return Ok(end + 4);
        }
        let [a, b, c, d] = len.to_le_bytes();
        self.file.write_all_at(&[0, a, b, c, d], end)?;
        Ok(end + 5)
    }

    /// Writes filemarks at `offset`; returns the offset after them.
    pub(super) fn write_filemarks(&self, offset: u64, count: u32) -> io::Result<u64> {
        let mut at = offset;
        let mut left = u64::from(count);
        while left > 0 {
            let now = left.min(4096);
            let zeros = [0; 4 * 4096];
            let bytes = zeros.get(..usize::try_from(4 * now).unwrap_or(0)).unwrap_or_default();
            self.file.write_all_at(bytes, at)?;
            at += 4 * now;
            left -= now;
        }
        Ok(at)
    }

    /// Cuts the tape at `offset`.
    pub(super) fn truncate(&self, offset: u64) -> io::Result<()> {
        self.file.set_len(offset)
    }

    /// Marks the record at `start` as one that cannot be read.
    pub(super) fn spoil(&self, start: u64, len: u32) -> io::Result<()> {
        let word = (0x8000_0000 | len).to_le_bytes();
        self.file.write_all_at(&word, start)?;
        self.file.write_all_at(&word, start + 4 + u64::from(len) + u64::from(len % 2))
    }

    /// Writes the beginning of a record of 64 KiB, `len` bytes of its data, as a power failure leaves it.
    pub(super) fn write_torn(&self, offset: u64, len: usize) -> io::Result<()> {
        let mut bytes = 0x0001_0000_u32.to_le_bytes().to_vec();
        bytes.resize(4 + len.min(0xffff), 0x55);
        self.file.set_len(offset)?;
        self.file.write_all_at(&bytes, offset)
    }

    /// Waits until everything is on stable storage.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
