//! What is said to the kernel: the bodies of answers.

use std::time::Duration;

/// Attributes of an object as the kernel takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Inode number.
    pub(crate) number: u64,
    pub(crate) size: u64,
    /// Units of 512 bytes.
    pub(crate) block_count: u64,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) atime: (i64, u32),
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
    /// Type and permissions as in `st_mode`.
    pub(crate) mode: u32,
    pub(crate) link_count: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In the kernel's encoding of 12 bits major and 20 bits minor.
    pub(crate) device: u32,
}

// Preferred length of a request.
const BLOCK_LEN: u32 = 128 << 10;
const NAME_LEN_MAX: u32 = 255;
const ENTRY_ALIGNMENT: usize = 8;
const PLUS_HEADER_LEN: usize = 128;
const ENTRY_HEADER_LEN: usize = 24;

/// A body under construction.
#[derive(Debug, Default)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    fn time(&mut self, time: Duration) {
        self.u64(time.as_secs());
    }

    fn attributes(&mut self, attributes: &Attributes) {
        self.u64(attributes.number);
        self.u64(attributes.size);
        self.u64(attributes.block_count);
        for (seconds, _) in [attributes.atime, attributes.mtime, attributes.ctime] {
            self.i64(seconds);
        }
        for (_, nanoseconds) in [attributes.atime, attributes.mtime, attributes.ctime] {
            self.u32(nanoseconds);
        }
        for value in [attributes.mode, attributes.link_count, attributes.uid, attributes.gid] {
            self.u32(value);
        }
        for value in [attributes.device, BLOCK_LEN, 0] {
            self.u32(value);
        }
    }

    fn entry(&mut self, attributes: &Attributes, name_kept: Duration, kept: Duration) {
        self.u64(attributes.number);
        // Inode numbers are not used twice, but those of a client that was removed, after thousands of others.
        self.u64(0);
        self.time(name_kept);
        self.time(kept);
        self.u32(name_kept.subsec_nanos());
        self.u32(kept.subsec_nanos());
        self.attributes(attributes);
    }

    fn opened(&mut self, handle: u64, flags: u32, backing: u32) {
        self.u64(handle);
        self.u32(flags);
        self.u32(backing);
    }

    fn pad(&mut self) {
        let len = self.0.len().next_multiple_of(ENTRY_ALIGNMENT);
        self.0.resize(len, 0);
    }
}

/// Attributes, and how long the kernel may keep them.
pub(crate) fn attributes(attributes: &Attributes, kept: Duration) -> Body {
    let mut body = Body(Vec::with_capacity(104));
    body.time(kept);
    body.u32(kept.subsec_nanos());
    body.u32(0);
    body.attributes(attributes);
    body
}

/// A name that was found or made, and how long the kernel may keep it and the attributes.
pub(crate) fn entry(attributes: &Attributes, name_kept: Duration, kept: Duration) -> Body {
    let mut body = Body(Vec::with_capacity(144));
    body.entry(attributes, name_kept, kept);
    body
}

/// There is no such name, and the kernel may keep that.
pub(crate) fn no_entry(kept: Duration) -> Body {
    let mut body = Body::default();
    body.u64(0);
    body.u64(0);
    body.time(kept);
    body.0.resize(PLUS_HEADER_LEN, 0);
    body
}

/// An opened file: number of the handle, flags `OPENED_*`, number of the backing file.
pub(crate) fn opened(handle: u64, flags: u32, backing: u32) -> Body {
    let mut body = Body(Vec::with_capacity(16));
    body.opened(handle, flags, backing);
    body
}

/// A file that was created and opened.
pub(crate) fn created(entry: Body, handle: u64, flags: u32, backing: u32) -> Body {
    let mut body = entry;
    body.opened(handle, flags, backing);
    body
}

/// A count of bytes, written or needed for a value.
pub(crate) fn count(count: u32) -> Body {
    let mut body = Body(Vec::with_capacity(8));
    body.u32(count);
    body.u32(0);
    body
}

/// A position in a file.
pub(crate) fn position(offset: u64) -> Body {
    let mut body = Body(Vec::with_capacity(8));
    body.u64(offset);
    body
}

/// Room of a file system, in fragments and files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) blocks: u64,
    pub(crate) free_blocks: u64,
    pub(crate) available_blocks: u64,
    pub(crate) files: u64,
    pub(crate) free_files: u64,
    pub(crate) block_len: u32,
    pub(crate) fragment_len: u32,
}

/// Room of the file system.
pub(crate) fn room(room: &Room) -> Body {
    let mut body = Body(Vec::with_capacity(80));
    for value in [room.blocks, room.free_blocks, room.available_blocks, room.files, room.free_files] {
        body.u64(value);
    }
    for value in [room.block_len, NAME_LEN_MAX, room.fragment_len] {
        body.u32(value);
    }
    body.0.resize(80, 0);
    body
}

/// A part of a directory, no longer than the kernel asked for.
#[derive(Debug)]
pub(crate) struct Listing {
    body: Body,
    len_max: usize,
    is_plus: bool,
}

impl Listing {
    pub(crate) fn new(len_max: u32, is_plus: bool) -> Self {
        let len_max = usize::try_from(len_max).unwrap_or(usize::MAX);
        Self { body: Body(Vec::with_capacity(len_max.min(64 << 10))), len_max, is_plus }
    }

    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    /// Length of one more entry with this name.
    pub(crate) fn has_room(&self, name: &[u8]) -> bool {
        let plus = if self.is_plus { PLUS_HEADER_LEN } else { 0 };
        let len = plus + (ENTRY_HEADER_LEN + name.len()).next_multiple_of(ENTRY_ALIGNMENT);
        self.body.0.len() + len <= self.len_max
    }

    /// Adds an entry; `kept` is absent if the kernel shall not count it as looked up.
    pub(crate) fn add(
        &mut self,
        name: &[u8],
        cookie: u64,
        attributes: &Attributes,
        kept: Option<(Duration, Duration)>,
    ) {
        if self.is_plus {
            match kept {
                Some((name_kept, kept)) => self.body.entry(attributes, name_kept, kept),
                // Number 0: only the name is listed.
                None => {
                    let len = self.body.0.len() + PLUS_HEADER_LEN;
                    self.body.0.resize(len, 0);
                }
            }
        }
        self.body.u64(attributes.number);
        self.body.u64(cookie);
        self.body.u32(u32::try_from(name.len()).unwrap_or(NAME_LEN_MAX));
        // The type of `d_type` is the upper part of the mode.
        self.body.u32((attributes.mode & libc::S_IFMT) >> 12);
        self.body.0.extend_from_slice(name);
        self.body.pad();
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const ATTRIBUTES: Attributes = Attributes {
        number: 5,
        size: 10,
        block_count: 8,
        atime: (1, 2),
        mtime: (3, 4),
        ctime: (5, 6),
        mode: libc::S_IFREG | 0o644,
        link_count: 1,
        uid: 7,
        gid: 8,
        device: 0,
    };

    // Lengths of struct fuse_attr_out, fuse_entry_out, fuse_open_out, fuse_statfs_out of protocol 7.45.
    #[test]
    fn bodies_have_the_lengths_of_the_protocol() {
        let second = Duration::from_secs(1);
        assert_eq!(attributes(&ATTRIBUTES, second).bytes().len(), 104);
        assert_eq!(entry(&ATTRIBUTES, second, second).bytes().len(), 128);
        assert_eq!(no_entry(second).bytes().len(), 128);
        assert_eq!(opened(1, 0, 0).bytes().len(), 16);
        assert_eq!(created(entry(&ATTRIBUTES, second, second), 1, 0, 0).bytes().len(), 144);
        assert_eq!(count(1).bytes().len(), 8);
    }

    #[test]
    fn a_listing_is_aligned_and_never_longer_than_asked() {
        for (is_plus, len_max) in [(false, 32 + 40), (true, 160 + 168)] {
            let mut listing = Listing::new(len_max, is_plus);
            for (cookie, name) in (1..).zip([&b"a"[..], b"123456789"]) {
                assert!(listing.has_room(name));
                listing.add(name, cookie, &ATTRIBUTES, Some((Duration::ZERO, Duration::ZERO)));
            }
            assert!(!listing.has_room(b""));
            assert_eq!(listing.into_body().bytes().len(), len_max as usize);
        }
    }
}
