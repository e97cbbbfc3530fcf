//! The signature of a file whose bytes come in pieces.

use crate::id::{Fingerprint, FingerprintHasher};

/// Hashes a large file as it goes by.
#[derive(Debug, Default)]
pub(in crate::job) struct SignatureHasher {
    hasher: FingerprintHasher,
    zeros_left: u64,
    given_up: bool,
}

impl SignatureHasher {
    // Hashing more zeros than this would take longer than the backup of the data.
    const HOLE_LEN_MAX: u64 = 256 << 20;

    pub(in crate::job) fn new() -> Self {
        Self { zeros_left: Self::HOLE_LEN_MAX, ..Self::default() }
    }

    pub(in crate::job) fn data(&mut self, bytes: &[u8]) {
        if !self.given_up {
            self.hasher.update(bytes);
        }
    }

    pub(in crate::job) fn hole(&mut self, len: u64) {
        if self.given_up || len > self.zeros_left {
            self.given_up = true;
            return;
        }
        self.zeros_left -= len;
        let zeros = [0; 64 << 10];
        let mut left = len;
        while left > 0 {
            let piece = left.min(zeros.len() as u64);
            self.hasher.update(zeros.get(..usize::try_from(piece).unwrap_or_default()).unwrap_or_default());
            left -= piece;
        }
    }

    pub(in crate::job) fn finish(&self) -> Option<Fingerprint> {
        (!self.given_up).then(|| self.hasher.finish())
    }
}
