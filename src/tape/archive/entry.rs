//! Entries of a pax archive as we write them: an extended header where one is needed, a ustar header,
//! content, padding.

use super::pax::encode_record;
use super::ustar::{Header, NAME_FIELD_LEN};
use super::{BLOCK_LEN, RECORD_LEN, padded_len};

/// Largest size that the ustar header itself can state.
const USTAR_SIZE_MAX: u64 = (1 << 33) - 1;

/// A regular file about to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry<'a> {
    /// Name, relative, with `/`.
    pub name: &'a str,
    /// Bytes of content that follow.
    pub size: u64,
    /// Time of change, seconds since 1970.
    pub mtime_seconds: i64,
    /// Keywords of ours.
    pub keywords: Vec<(&'a str, String)>,
}

impl NewEntry<'_> {
    /// Encodes the headers; the content and zeros to a whole record follow.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut records = Vec::new();
        if self.name.len() > NAME_FIELD_LEN || !self.name.is_ascii() {
            encode_record(&mut records, "path", self.name.as_bytes());
        }
        if self.size > USTAR_SIZE_MAX {
            encode_record(&mut records, "size", self.size.to_string().as_bytes());
        }
        if u64::try_from(self.mtime_seconds).map_or(true, |seconds| seconds > USTAR_SIZE_MAX) {
            encode_record(&mut records, "mtime", self.mtime_seconds.to_string().as_bytes());
        }
        for (name, value) in &self.keywords {
            encode_record(&mut records, name, value.as_bytes());
        }
        let mut bytes = Vec::new();
        if !records.is_empty() {
            put_records(&mut bytes, b'x', &format!("PaxHeaders/{}", self.name), &records, self.mtime_seconds);
        }
        let header = self.header(self.name, b'0', self.size);
        bytes.extend_from_slice(&header.encode());
        bytes
    }

    fn header(&self, name: &str, type_flag: u8, size: u64) -> Header {
        Header {
            name: name.as_bytes().to_vec(),
            mode: 0o644,
            size,
            mtime_seconds: self.mtime_seconds,
            type_flag,
            ..Header::default()
        }
    }
}

/// Encodes a global header with these keywords.
pub(super) fn encode_global(keywords: &[(&str, String)], mtime_seconds: i64) -> Vec<u8> {
    let mut records = Vec::new();
    for (name, value) in keywords {
        encode_record(&mut records, name, value.as_bytes());
    }
    let mut bytes = Vec::new();
    put_records(&mut bytes, b'g', "GlobalHead/REELFS", &records, mtime_seconds);
    bytes
}

fn put_records(bytes: &mut Vec<u8>, type_flag: u8, name: &str, records: &[u8], mtime_seconds: i64) {
    let header = Header {
        name: name.as_bytes().to_vec(),
        mode: 0o644,
        size: records.len() as u64,
        mtime_seconds,
        type_flag,
        ..Header::default()
    };
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(records);
    bytes.resize(bytes.len().next_multiple_of(RECORD_LEN), 0);
}

/// Bytes that an entry takes in an archive.
#[must_use]
pub fn entry_len(header_len: usize, size: u64) -> u64 {
    (header_len as u64).saturating_add(padded_len(size))
}

/// Zeros from the end of the last entry, `len` bytes into the archive, to the end of the last block: at
/// least two records, which end an archive.
#[must_use]
pub fn archive_end(len: u64) -> u64 {
    let ended = padded_len(len).saturating_add(2 * RECORD_LEN as u64);
    ended.next_multiple_of(BLOCK_LEN as u64).saturating_sub(len)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_archive_ends_with_two_records_of_zeros_and_a_full_block() {
        let block = BLOCK_LEN as u64;
        assert_eq!(archive_end(512), block - 512);
        assert_eq!(archive_end(block - 1024), 1024);
        assert_eq!(archive_end(block - 512), 512 + block);
        assert_eq!(archive_end(block - 1025), 1025);
        assert_eq!(archive_end(block), block);
    }
}
