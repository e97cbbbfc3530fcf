//! Compression of frames and pages with zstd, with or without a prefix.

use std::cell::RefCell;

use thiserror::Error;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, get_error_name};

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompressError {
    /// zstd refused.
    #[error("zstd: {0}")]
    Zstd(&'static str),
    /// The decompressed length is not the one that was written down.
    #[error("decompressed to {actual} bytes, expected {expected}")]
    Length {
        /// Length written down.
        expected: usize,
        /// Length found.
        actual: usize,
    },
    /// What was compressed does not decompress to the same bytes; it must not be stored.
    #[error("compressed data does not decompress to what went in: a fault of memory or of zstd")]
    Mismatch,
}

fn zstd_error(code: usize) -> CompressError {
    CompressError::Zstd(get_error_name(code))
}

// Below this, trying costs more than compressing.
const PROBE_LEN_MIN: usize = 32 << 10;
const PROBE_LEN: usize = 4 << 10;

/// Compresses one payload after the other, and proves each by decompressing it again.
pub struct Compressor {
    context: CCtx<'static>,
    probe: CCtx<'static>,
    check: Decompressor,
    level: i32,
    scratch: Vec<u8>,
    output: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Compressor {
    /// Takes the zstd level; 0 compresses nothing.
    #[must_use]
    pub fn new(level: i32) -> Self {
        Self {
            context: CCtx::create(),
            probe: CCtx::create(),
            check: Decompressor::new(),
            level,
            scratch: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Compresses `plain`, with `prefix` as what went before; `None` if that saves less than 1/64.
    ///
    /// # Errors
    /// [`CompressError`] if zstd fails or the result does not decompress to `plain`.
    pub fn compress(&mut self, plain: &[u8], prefix: &[u8]) -> Result<Option<Vec<u8>>, CompressError> {
        if self.level == 0 || (prefix.is_empty() && self.is_incompressible(plain)) {
            return Ok(None);
        }
        let mut stored = std::mem::take(&mut self.output);
        stored.clear();
        stored.reserve_exact(zstd::zstd_safe::compress_bound(plain.len()));
        let compressed = if prefix.is_empty() {
            self.context.compress(&mut stored, plain, self.level).map(drop).map_err(zstd_error)
        } else {
            self.compress_with_prefix(&mut stored, plain, prefix)
        };
        let proven = compressed.and_then(|()| self.prove(&stored, plain, prefix));
        self.output = stored;
        Ok(proven?.then(|| self.output.clone()))
    }

    // Tells whether it is worth it, and then that it decompresses to the same bytes.
    fn prove(&mut self, stored: &[u8], plain: &[u8], prefix: &[u8]) -> Result<bool, CompressError> {
        if stored.len() + plain.len() / 64 >= plain.len() {
            return Ok(false);
        }
        // A compressor with a fault, or memory with one, has corrupted backups of others before.
        self.check.decompress_into(stored, plain.len(), prefix, &mut self.scratch)?;
        if self.scratch != plain {
            return Err(CompressError::Mismatch);
        }
        Ok(true)
    }

    fn compress_with_prefix(
        &self,
        stored: &mut Vec<u8>,
        plain: &[u8],
        prefix: &[u8],
    ) -> Result<(), CompressError> {
        // A context borrows its prefix, so each gets its own; `ref_prefix`, unlike a dictionary, takes
        // any bytes as they are.
        let mut context = CCtx::create();
        // The window must reach back over all of the prefix.
        let reach = (prefix.len() + plain.len()).next_power_of_two().ilog2().clamp(17, 26);
        context.set_parameter(CParameter::CompressionLevel(self.level)).map_err(zstd_error)?;
        context.set_parameter(CParameter::WindowLog(reach)).map_err(zstd_error)?;
        context.ref_prefix(prefix).map_err(zstd_error)?;
        context.compress2(stored, plain).map_err(zstd_error)?;
        Ok(())
    }

    // Three samples at the fastest setting tell data that is encrypted or compressed already.
    fn is_incompressible(&mut self, plain: &[u8]) -> bool {
        if plain.len() < PROBE_LEN_MIN {
            return false;
        }
        let mut output = [0_u8; PROBE_LEN + 512];
        [0, plain.len() / 2, plain.len() - PROBE_LEN].into_iter().all(|start| {
            let sample = plain.get(start..start + PROBE_LEN).unwrap_or_default();
            match self.probe.compress(&mut output[..], sample, -1) {
                Ok(len) => len >= PROBE_LEN - PROBE_LEN / 64,
                Err(_) => false,
            }
        })
    }
}

thread_local! {
    // To make a context costs as much as to decompress a small page.
    static CONTEXT: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// Decompresses `stored` into exactly `plain_len` bytes, with this thread's [`Decompressor`].
///
/// # Errors
/// [`CompressError`] if the data is damaged or has another length.
pub fn decompress(stored: &[u8], plain_len: usize, prefix: &[u8]) -> Result<Vec<u8>, CompressError> {
    CONTEXT.with_borrow_mut(|context| context.decompress(stored, plain_len, prefix))
}

/// Decompresses payloads of known length.
pub struct Decompressor {
    context: DCtx<'static>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// Makes one; it can be used again and again.
    #[must_use]
    pub fn new() -> Self {
        Self { context: DCtx::create() }
    }

    /// Decompresses `stored` into exactly `plain_len` bytes; memory use is bounded by that length.
    ///
    /// # Errors
    /// [`CompressError`] if the data is damaged or has another length.
    pub fn decompress(
        &mut self,
        stored: &[u8],
        plain_len: usize,
        prefix: &[u8],
    ) -> Result<Vec<u8>, CompressError> {
        let mut plain = Vec::new();
        self.decompress_into(stored, plain_len, prefix, &mut plain)?;
        Ok(plain)
    }

    fn decompress_into(
        &mut self,
        stored: &[u8],
        plain_len: usize,
        prefix: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        plain.clear();
        plain.reserve_exact(plain_len);
        if prefix.is_empty() {
            self.context.decompress(plain, stored).map_err(zstd_error)?;
        } else {
            let mut context = DCtx::create();
            // The output has its length already, so the window costs nothing more.
            context.set_parameter(DParameter::WindowLogMax(27)).map_err(zstd_error)?;
            context.ref_prefix(prefix).map_err(zstd_error)?;
            context.decompress(plain, stored).map_err(zstd_error)?;
        }
        if plain.len() == plain_len {
            return Ok(());
        }
        Err(CompressError::Length { expected: plain_len, actual: plain.len() })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_payload_comes_back_with_and_without_a_prefix() {
        let mut text = Vec::new();
        for number in 0..30_000_u64 {
            text.extend_from_slice(format!("{:x} ", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes());
        }
        let mut compressor = Compressor::new(3);
        let alone = compressor.compress(&text, &[]).expect("compresses").expect("shrinks");
        assert_eq!(Decompressor::new().decompress(&alone, text.len(), &[]).expect("decompresses"), text);
        let mut changed = text.clone();
        changed[200_000] ^= 0xff;
        let delta = compressor.compress(&changed, &text).expect("compresses").expect("shrinks");
        assert!(delta.len() * 20 < alone.len(), "{} against {}", delta.len(), alone.len());
        assert_eq!(Decompressor::new().decompress(&delta, text.len(), &text).expect("decompresses"), changed);
    }

    #[test]
    fn a_prefix_that_looks_like_a_dictionary_is_taken_as_plain_bytes() {
        let mut prefix = 0xec30_a437_u32.to_le_bytes().to_vec();
        prefix.extend((0..50_000_u32).flat_map(u32::to_le_bytes));
        let delta = Compressor::new(3).compress(&prefix, &prefix).expect("compresses").expect("shrinks");
        assert_eq!(Decompressor::new().decompress(&delta, prefix.len(), &prefix).expect("same"), prefix);
    }

    #[test]
    fn random_bytes_are_left_as_they_are() {
        let mut random = vec![0; 256 << 10];
        blake3::Hasher::new().update(b"seed").finalize_xof().fill(&mut random);
        assert_eq!(Compressor::new(3).compress(&random, &[]), Ok(None));
    }

    #[test]
    fn a_lying_length_stops_at_that_length() {
        let stored =
            Compressor::new(3).compress(&vec![0; 1 << 20], &[]).expect("compresses").expect("shrinks");
        assert!(Decompressor::new().decompress(&stored, 1000, &[]).is_err());
        assert!(Decompressor::new().decompress(&stored, 2 << 20, &[]).is_err());
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_was_said() {
        // A gigabyte of zeros, and a frame that wants a window of two gigabytes (RFC 8878, 3.1.1.1.2).
        let bomb = {
            let zeros = vec![0; 8 << 20];
            let block = Compressor::new(19).compress(&zeros, &[]).expect("compresses").expect("shrinks");
            block.repeat(128)
        };
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
        // What zstd wrote before its format was final (0.7): not read.
        let legacy = [0x27, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
        for stored in [&bomb[..], &window, &legacy] {
            for prefix in [&[][..], b"prefix"] {
                let mut plain = Vec::new();
                let mut decompressor = Decompressor::new();
                assert!(decompressor.decompress_into(stored, 1000, prefix, &mut plain).is_err());
                assert!(plain.capacity() <= 4096, "{} bytes", plain.capacity());
            }
        }
    }

    #[test]
    fn a_compressor_that_returns_other_data_or_nonsense_is_found_out() {
        let (plain, other) = (vec![b'a'; 50_000], vec![b'b'; 50_000]);
        let mut compressor = Compressor::new(3);
        let wrong = compressor.compress(&other, &[]).expect("compresses").expect("shrinks");
        assert_eq!(compressor.prove(&wrong, &plain, &[]), Err(CompressError::Mismatch));
        assert!(compressor.prove(&wrong[..wrong.len() - 1], &other, &[]).is_err());
        assert!(compressor.prove(b"nonsense", &plain, &[]).is_err());
    }
}
