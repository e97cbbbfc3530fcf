//! Content-defined cutting with FastCDC (Xia and others, USENIX ATC 2016; the 2020 variant).
//!
//! A chunk ends where the bytes before its end say so, so that an insertion moves the cuts with the
//! content and the chunks around it stay the same.

use fastcdc::v2020;

/// Smallest, average and largest chunk of one file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    /// No chunk but the last is shorter.
    pub min: usize,
    /// About the average of a file with little repetition.
    pub average: usize,
    /// No chunk is longer.
    pub max: usize,
}

impl ChunkSizes {
    /// Sizes for a file of `file_len` bytes: 32 KiB for up to 16 MiB, 64 KiB up to 1 GiB, then
    /// doubling with each factor of four up to 1 MiB, so that pointers stay below 0.2 % of the data.
    ///
    /// The choice follows from `bench/chunk-sizes`: frames hold several chunks, therefore a small
    /// chunk costs a pointer but no compression.
    #[must_use]
    pub fn for_file(file_len: u64) -> Self {
        const SMALL_MAX: u64 = 16 << 20;
        const MIDDLE_MAX: u64 = 1 << 30;
        let average: usize = if file_len <= SMALL_MAX {
            32 << 10
        } else if file_len <= MIDDLE_MAX {
            64 << 10
        } else {
            let doublings = (file_len / MIDDLE_MAX).ilog2().div_ceil(2).clamp(1, 4);
            (64 << 10) << doublings
        };
        Self { min: average / 4, average, max: average * 4 }
    }
}

/// Finds cuts in data that comes in pieces.
#[derive(Debug)]
pub struct Splitter {
    sizes: ChunkSizes,
}

impl Splitter {
    /// Takes the sizes, which the file's length decides.
    #[must_use]
    pub fn new(sizes: ChunkSizes) -> Self {
        Self { sizes }
    }

    /// Most bytes that one cut can need to see.
    #[must_use]
    pub fn lookahead(&self) -> usize {
        self.sizes.max
    }

    /// Length of the first chunk of `data`, which is all that is left of the file or at least
    /// [`Splitter::lookahead`] bytes of it.
    #[must_use]
    pub fn cut(&self, data: &[u8]) -> usize {
        if data.len() <= self.sizes.min {
            return data.len();
        }
        let ChunkSizes { min, average, max } = self.sizes;
        let chunker = v2020::FastCDC::new(data, min, average, max);
        let (_, end) = chunker.cut(0, data.len().min(max));
        end.clamp(1, data.len())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn cuts(data: &[u8]) -> Vec<&[u8]> {
        let splitter = Splitter::new(ChunkSizes::for_file(data.len() as u64));
        let mut rest = data;
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(splitter.cut(rest));
            chunks.push(chunk);
            rest = after;
        }
        chunks
    }

    #[test]
    fn an_insertion_at_the_start_leaves_the_later_chunks_as_they_were() {
        let mut data = vec![0; 4 << 20];
        blake3::Hasher::new().update(b"seed").finalize_xof().fill(&mut data);
        let before = cuts(&data);
        let mut moved = b"inserted".to_vec();
        moved.extend_from_slice(&data);
        let after = cuts(&moved);
        let kept = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(kept + 3 >= after.len(), "{kept} of {}", after.len());
        assert_eq!(after.concat(), moved);
    }

    #[test]
    fn the_size_follows_the_file() {
        let average = |len: u64| ChunkSizes::for_file(len).average;
        assert_eq!(average(1 << 20), 32 << 10);
        assert_eq!(average(100 << 20), 64 << 10);
        assert_eq!(average(8 << 30), 256 << 10);
        assert_eq!(average(1 << 50), 1 << 20);
    }
}
