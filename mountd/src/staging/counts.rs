//! How often the kernel asked for what.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::opcode::{OPCODE_COUNT, name};

/// Requests of staging, by kind.
#[derive(Debug)]
pub struct Counts([AtomicU64; OPCODE_COUNT]);

impl Default for Counts {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; OPCODE_COUNT])
    }
}

impl Counts {
    pub(crate) fn count(&self, opcode: u32) {
        let index = usize::try_from(opcode).unwrap_or(OPCODE_COUNT);
        if let Some(count) = self.0.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Names of kinds and counts, of those that came.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().enumerate().filter_map(|(opcode, count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then(|| (name(opcode).unwrap_or("other"), count))
        })
    }
}
