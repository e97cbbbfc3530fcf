//! How a staging tree is opened.

use std::sync::Arc;

use super::claims::MountClaims;
use crate::format::staging_policy::SpacePolicy;

/// What becomes of objects that are open without a name, and of handles given out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Nobody has anything open: objects without a name are removed.
    Fresh,
    /// The process that served the tree died and the kernel still holds numbers and open files.
    Takeover,
}

/// Bounds on what staging takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that stay free on the disk, so that a commit or a discard is still possible.
    pub reserve_bytes: u64,
    /// Most bytes that the client's backing files may take; `u64::MAX` for no bound.
    pub cap_bytes: u64,
}

impl Limits {
    /// The bounds that a policy sets.
    #[must_use]
    pub fn of(policy: &SpacePolicy) -> Self {
        let cap_bytes = if policy.cap_bytes == 0 { u64::MAX } else { policy.cap_bytes };
        Self { reserve_bytes: policy.reserve_bytes, cap_bytes }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { reserve_bytes: 256 << 20, cap_bytes: u64::MAX }
    }
}

/// How a staging tree is opened.
#[derive(Debug, Clone)]
pub struct StagingOptions {
    /// What the kernel still holds.
    pub mode: OpenMode,
    /// The mount that serves the tree; absent: none does, and a tree that a mount serves is not opened.
    pub mount: Option<Arc<MountClaims>>,
    /// Bounds.
    pub limits: Limits,
    /// Identity of this run of the machine (`/proc/sys/kernel/random/boot_id`): when it differs from that of
    /// the last opening and the tree was not closed, power may have been lost.
    pub boot: Vec<u8>,
    /// Most bytes of decoded rows kept in memory.
    pub cache_bytes: u64,
}

impl StagingOptions {
    /// Options without a mount, with default bounds.
    #[must_use]
    pub fn new(mode: OpenMode, boot: Vec<u8>) -> Self {
        Self { mode, mount: None, limits: Limits::default(), boot, cache_bytes: 16 << 20 }
    }
}
