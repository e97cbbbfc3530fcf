//! Buffers for blocks.

/// Alignment that lets a host adapter move data without a copy.
const ALIGNMENT: usize = 4096;

/// Bytes that begin at a page of memory.
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// So many zeros.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, len }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// The bytes, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_buffer_begins_at_a_page() {
        let mut buffer = AlignedBuffer::new(1000);
        assert_eq!(buffer.as_slice().as_ptr().addr() % ALIGNMENT, 0);
        assert_eq!(buffer.as_mut_slice().len(), 1000);
    }
}
