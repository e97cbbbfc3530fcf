//! Inode numbers: 64-bit names of objects that hold over remounts and need no table.
//!
//! ```text
//! bit  63     0
//! bit  62     1 object, 0 entry
//! bits 40-61  ordinal of a generation (0: a directory that the mount itself makes)
//! bits  0-39  object: the object id
//!             entry: offset / 64 of the leaf page in the DTF of that ordinal (30 bits), slot (10 bits)
//! ```
//!
//! A directory and whatever has several names are objects, and their number has the ordinal of the
//! generation in which they are seen: all links of a file are one inode within a generation and
//! different ones in different generations. Every other entry is known by the place of its record. An
//! entry whose page two generations share is the same inode in both, with one page cache: its
//! content is the same.

use crate::format::page::{ALIGNMENT, OFFSET_MAX, RECORD_COUNT_MAX};
use crate::format::record::OBJECT_MAX;
use crate::id::Ordinal;

const OBJECT_BIT: u64 = 1 << 62;
const ORDINAL_SHIFT: u32 = 40;
const SLOT_BITS: u32 = 10;

/// Place of a record: a leaf page and the index in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordAddress {
    /// DTF of the page.
    pub ordinal: Ordinal,
    /// Offset of the page.
    pub offset: u64,
    /// Index of the record.
    pub slot: u16,
}

/// What an inode number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    /// A directory or file that the mount itself makes; the number is the mount's own, below 2^40.
    Synthetic(u64),
    /// A directory, or what has several names, in one generation.
    Object {
        /// The generation.
        ordinal: Ordinal,
        /// The object id.
        object: u64,
    },
    /// Any other entry.
    Entry(RecordAddress),
}

impl Node {
    /// The inode number.
    ///
    /// # Panics
    /// If a part is out of the range that formats allow.
    #[must_use]
    pub fn to_number(self) -> u64 {
        match self {
            Self::Synthetic(number) => {
                assert!(number < OBJECT_MAX, "synthetic inode numbers have 40 bits");
                number
            }
            Self::Object { ordinal, object } => {
                assert!(object < OBJECT_MAX, "object ids have 40 bits");
                OBJECT_BIT | u64::from(ordinal.get()) << ORDINAL_SHIFT | object
            }
            Self::Entry(RecordAddress { ordinal, offset, slot }) => {
                assert!(offset < OFFSET_MAX && usize::from(slot) < RECORD_COUNT_MAX, "pages are bounded");
                u64::from(ordinal.get()) << ORDINAL_SHIFT
                    | (offset / ALIGNMENT) << SLOT_BITS
                    | u64::from(slot)
            }
        }
    }

    /// What a number stands for, if it can be one of ours.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let low = number & (OBJECT_MAX - 1);
        let ordinal = u32::try_from((number & !OBJECT_BIT) >> ORDINAL_SHIFT).ok()?;
        if ordinal == 0 {
            return (number & OBJECT_BIT == 0).then_some(Self::Synthetic(low));
        }
        let ordinal = Ordinal::new(ordinal)?;
        if number & OBJECT_BIT != 0 {
            return Some(Self::Object { ordinal, object: low });
        }
        let slot = u16::try_from(low & ((1 << SLOT_BITS) - 1)).ok()?;
        Some(Self::Entry(RecordAddress { ordinal, offset: (low >> SLOT_BITS) * ALIGNMENT, slot }))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_node_comes_back_from_its_number() {
        let last = Ordinal::new(Ordinal::MAX).expect("in range");
        let nodes = [
            Node::Synthetic(1),
            Node::Synthetic(OBJECT_MAX - 1),
            Node::Object { ordinal: last, object: OBJECT_MAX - 1 },
            Node::Entry(RecordAddress { ordinal: last, offset: OFFSET_MAX - ALIGNMENT, slot: 1022 }),
        ];
        for node in nodes {
            assert_eq!(Node::from_number(node.to_number()), Some(node));
            assert!(node.to_number() < 1 << 63, "some programs read inode numbers as signed");
        }
        assert_eq!(Node::from_number(1 << 63), None);
    }
}
