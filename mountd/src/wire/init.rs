//! What is agreed on with the kernel at the beginning of a connection.

use crate::wire::answer::Body;

const MAJOR: u32 = 7;
const MINOR: u32 = 45;
/// Longest content of one request, in bytes; also what a buffer must hold besides headers.
pub(crate) const CONTENT_LEN_MAX: u32 = 1 << 20;
const PAGE_COUNT_MAX: u16 = 256;
const BACKGROUND_COUNT_MAX: u16 = 64;
const CONGESTED_COUNT: u16 = 48;
const INIT_LEN: usize = 64;
// A backing file lies on a plain file system; nothing stacks on this mount.
const STACK_DEPTH: u32 = 1;

const ASYNC_READ: u64 = 1;
const ATOMIC_O_TRUNC: u64 = 1 << 3;
const BIG_WRITES: u64 = 1 << 5;
const DONT_MASK: u64 = 1 << 6;
const DO_READDIRPLUS: u64 = 1 << 13;
const READDIRPLUS_AUTO: u64 = 1 << 14;
const ASYNC_DIO: u64 = 1 << 15;
const PARALLEL_DIROPS: u64 = 1 << 18;
const POSIX_ACL: u64 = 1 << 20;
const MAX_PAGES: u64 = 1 << 22;
const CACHE_SYMLINKS: u64 = 1 << 23;
const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
const SETXATTR_EXT: u64 = 1 << 29;
const INIT_EXT: u64 = 1 << 30;
const PASSTHROUGH: u64 = 1 << 37;
const HAS_RESEND: u64 = 1 << 39;

const WANTED: u64 = ASYNC_READ
    | ATOMIC_O_TRUNC
    | BIG_WRITES
    | DONT_MASK
    | DO_READDIRPLUS
    | READDIRPLUS_AUTO
    | ASYNC_DIO
    | PARALLEL_DIROPS
    | POSIX_ACL
    | MAX_PAGES
    | CACHE_SYMLINKS
    | EXPLICIT_INVAL_DATA
    | HANDLE_KILLPRIV_V2
    | SETXATTR_EXT
    | INIT_EXT
    | HAS_RESEND;
// Without these, messages have another form or rights would not be kept.
const NEEDED: u64 = DONT_MASK | HANDLE_KILLPRIV_V2 | SETXATTR_EXT | ATOMIC_O_TRUNC;

/// What was agreed on. It holds for servers after the first too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Flags of the protocol.
    pub(crate) flags: u64,
}

impl Agreed {
    /// Agrees on what both sides know, or not at all if the kernel is too old.
    pub(crate) fn new(offered: u64, wants_passthrough: bool) -> Option<Self> {
        let wanted = WANTED | if wants_passthrough { PASSTHROUGH } else { 0 };
        let flags = wanted & offered;
        (flags & NEEDED == NEEDED).then_some(Self { flags })
    }

    /// The kernel may be given backing files.
    pub(crate) fn has_passthrough(self) -> bool {
        self.flags & PASSTHROUGH != 0
    }

    /// The answer to INIT.
    pub(crate) fn answer(self, minor: u32, read_ahead_len: u32) -> Body {
        let mut body = Body::default();
        let low = u32::try_from(self.flags & u64::from(u32::MAX)).unwrap_or_default();
        let high = u32::try_from(self.flags >> 32).unwrap_or_default();
        for value in [MAJOR, MINOR.min(minor), read_ahead_len, low] {
            body.u32(value);
        }
        body.u16(BACKGROUND_COUNT_MAX);
        body.u16(CONGESTED_COUNT);
        body.u32(CONTENT_LEN_MAX);
        // Times are kept to the nanosecond.
        body.u32(1);
        body.u16(PAGE_COUNT_MAX);
        // Alignment of mappings, which are not used.
        body.u16(0);
        body.u32(high);
        body.u32(if self.has_passthrough() { STACK_DEPTH } else { 0 });
        while body.bytes().len() < INIT_LEN {
            body.u16(0);
        }
        body
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_what_is_offered_is_agreed_on_and_an_old_kernel_is_refused() {
        let agreed = Agreed::new(u64::MAX, true).unwrap();
        assert!(agreed.has_passthrough());
        assert_eq!(agreed.answer(31, 4096).bytes().len(), INIT_LEN);
        assert!(!Agreed::new(u64::MAX, false).unwrap().has_passthrough());
        assert!(!Agreed::new(!PASSTHROUGH, true).unwrap().has_passthrough());
        assert_eq!(Agreed::new(!SETXATTR_EXT, true), None);
    }
}
