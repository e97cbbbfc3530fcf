//! Content of a file as pages, and changes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What is written as a whole or not at all, in bytes.
pub(crate) const PAGE_LEN: u64 = 4096;

/// A change of content.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Bytes within one page.
    Write { offset: u64, bytes: Arc<[u8]> },
    /// Another length.
    SetLen(u64),
    /// A hole.
    Punch { offset: u64, end: u64 },
}

impl Change {
    /// A write, page by page.
    pub(crate) fn of_write(offset: u64, bytes: &[u8]) -> Vec<Self> {
        let (mut changes, mut offset, mut left) = (Vec::new(), offset, bytes);
        while !left.is_empty() {
            let (piece, rest) = left.split_at(left.len().min((PAGE_LEN - offset % PAGE_LEN) as usize));
            changes.push(Self::Write { offset, bytes: piece.into() });
            (offset, left) = (offset + piece.len() as u64, rest);
        }
        changes
    }
}

/// Bytes of a file; a page that is not there is a hole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8]>>,
}

impl Content {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that take space.
    pub(crate) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE_LEN
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => {
                self.fill(*offset, bytes);
                self.len = self.len.max(offset + bytes.len() as u64);
            }
            Change::SetLen(len) => {
                self.pages.split_off(&len.div_ceil(PAGE_LEN));
                if *len < self.len {
                    self.zero(*len, len.next_multiple_of(PAGE_LEN));
                }
                self.len = *len;
            }
            Change::Punch { offset, end } => {
                let (first, last) = (offset.next_multiple_of(PAGE_LEN), end - end % PAGE_LEN);
                if first >= last {
                    self.zero(*offset, (*end).min(first));
                    self.zero(last.max(*offset), *end);
                    return;
                }
                self.zero(*offset, first);
                self.zero(last, *end);
                let mut punched = self.pages.split_off(&(first / PAGE_LEN));
                self.pages.append(&mut punched.split_off(&(last / PAGE_LEN)));
            }
        }
    }

    // Bytes within one page.
    fn fill(&mut self, offset: u64, bytes: &[u8]) {
        let start = (offset % PAGE_LEN) as usize;
        let page = self.pages.entry(offset / PAGE_LEN).or_insert_with(|| vec![0; PAGE_LEN as usize].into());
        let mut changed = page.to_vec();
        changed[start..start + bytes.len()].copy_from_slice(bytes);
        *page = changed.into();
    }

    // Makes a part of a page zeros, if it is there.
    fn zero(&mut self, from: u64, upto: u64) {
        if from < upto && self.pages.contains_key(&(from / PAGE_LEN)) {
            self.fill(from, &vec![0; (upto - from) as usize]);
        }
    }

    /// Up to `len` bytes.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = self.len.min(offset.saturating_add(len as u64));
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for (number, page) in
            self.pages.range(offset / PAGE_LEN..end.div_ceil(PAGE_LEN).max(offset / PAGE_LEN))
        {
            let begin = number * PAGE_LEN;
            let (from, upto) = (begin.max(offset), (begin + PAGE_LEN).min(end));
            if from < upto {
                bytes[(from - offset) as usize..(upto - offset) as usize]
                    .copy_from_slice(&page[(from - begin) as usize..(upto - begin) as usize]);
            }
        }
        bytes
    }

    /// The next byte from `offset` on that is not in a hole.
    pub(crate) fn seek_data(&self, offset: u64) -> Option<u64> {
        let (number, _) = self.pages.range(offset / PAGE_LEN..).next()?;
        Some(offset.max(number * PAGE_LEN)).filter(|found| *found < self.len)
    }

    /// The next byte from `offset` on that is in a hole; the end counts as one.
    pub(crate) fn seek_hole(&self, offset: u64) -> Option<u64> {
        if offset >= self.len {
            return None;
        }
        let mut number = offset / PAGE_LEN;
        while self.pages.contains_key(&number) {
            number += 1;
        }
        Some((number * PAGE_LEN).max(offset).min(self.len))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::random::Random;

    #[test]
    fn content_is_as_a_plain_list_of_bytes_would_be() {
        println!("seed 7");
        let mut random = Random(7);
        let (mut content, mut plain) = (Content::default(), Vec::new());
        for _ in 0..3000 {
            let (offset, len) = (random.below(40_000), random.below(12_000));
            match random.below(4) {
                0 | 1 => {
                    let bytes = random.bytes(len as usize);
                    Change::of_write(offset, &bytes).iter().for_each(|change| content.apply(change));
                    let end = (offset + len) as usize;
                    if len > 0 && plain.len() < end {
                        plain.resize(end, 0);
                    }
                    if len > 0 {
                        plain[offset as usize..end].copy_from_slice(&bytes);
                    }
                }
                2 => {
                    content.apply(&Change::SetLen(offset));
                    plain.resize(offset as usize, 0);
                }
                _ => {
                    content.apply(&Change::Punch { offset, end: offset + len });
                    let end = plain.len().min((offset + len) as usize);
                    plain[(offset as usize).min(end)..end].fill(0);
                }
            }
            assert!(content.read(0, 100_000) == plain);
        }
    }
}
