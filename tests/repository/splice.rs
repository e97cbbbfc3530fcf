//! Overwrites in place against the bytes themselves.

use proptest::prelude::*;
use reelfs::format::frame::{ChunkPointer, Location};
use reelfs::format::record::Extent;
use reelfs::format::splice::{overwrite, punch};
use reelfs::id::{FileId, Fingerprint};

const FILE_LEN: usize = 4096;

fn extent(number: u32, offset: u64, len: u64) -> Extent {
    let location = Location { file: FileId([0; 16]), frame: 0, start: number };
    let len_of_chunk = u32::try_from(len).unwrap() + 16;
    let fingerprint = Fingerprint::of(&number.to_le_bytes());
    Extent { offset, len, skip: 16, chunk: ChunkPointer { fingerprint, len: len_of_chunk, location } }
}

// Which byte of which chunk stands at each offset.
fn bytes(extents: &[Extent]) -> Vec<Option<(u32, u64)>> {
    let mut bytes = vec![None; FILE_LEN * 2];
    for extent in extents {
        assert!(extent.len > 0 && u64::from(extent.skip) + extent.len <= extent.chunk.len.into());
        for at in 0..extent.len {
            let target = &mut bytes[usize::try_from(extent.offset + at).unwrap()];
            assert_eq!(*target, None, "extents overlap");
            *target = Some((extent.chunk.location.start, u64::from(extent.skip) + at));
        }
    }
    assert!(extents.is_sorted_by_key(|extent| extent.offset));
    bytes
}

proptest! {
    #[test]
    fn an_overwrite_changes_its_own_bytes_and_no_others(
        changes in prop::collection::vec((0..FILE_LEN as u64, 0..600_u64, any::<bool>()), 1..30),
    ) {
        let mut extents = Vec::new();
        let mut model = vec![None; FILE_LEN * 2];
        for (number, (offset, len, is_hole)) in (0..).zip(changes) {
            let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
            if is_hole {
                extents = punch(&extents, offset, len);
                model[range].fill(None);
            } else {
                extents = overwrite(&extents, extent(number, offset, len));
                for (at, target) in (0..).zip(&mut model[range]) {
                    *target = Some((number, 16 + at));
                }
            }
            prop_assert_eq!(&bytes(&extents), &model);
        }
    }
}

#[test]
fn a_small_overwrite_in_a_large_chunk_keeps_the_rest_of_it_in_use() {
    let whole = extent(1, 0, 1 << 20);
    let spliced = overwrite(&[whole], extent(2, 500_000, 8192));
    let parts: Vec<_> =
        spliced.iter().map(|part| (part.offset, part.len, part.skip, part.chunk.location.start)).collect();
    assert_eq!(parts, [(0, 500_000, 16, 1), (500_000, 8192, 16, 2), (508_192, 540_384, 508_208, 1)]);
}
