//! Numbers that look random and are the same in every run.

use std::fmt::Debug;

/// A generator (xorshift, Marsaglia 2003); the state must not be 0.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Takes any seed.
    #[allow(dead_code, reason = "not every suite has seeds that may be 0")]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Bytes that cannot be compressed; the length is of any kind of number.
    pub(crate) fn bytes(&mut self, len: impl TryInto<usize, Error: Debug>) -> Vec<u8> {
        let len = len.try_into().expect("a length that fits into memory");
        let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
