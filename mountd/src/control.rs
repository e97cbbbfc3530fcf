//! The files in `.reelfs`: status and damage as they were when the name was looked up.
//!
//! The kernel keeps what it has read of an inode. So that nobody reads old text, each new text is a new inode.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use reelfs::format::record::Time;

// Inode numbers of texts have this bit and not the one above, which clients have.
const TEXT_BIT: u64 = 1 << 38;
// A reader of a text older than so many others gets ESTALE.
const TEXT_COUNT_MAX: usize = 64;

/// A file in `.reelfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlName {
    /// JSON: version, repository, counters.
    Status,
    /// Damaged places, one in a line.
    Damaged,
}

impl ControlName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Status, Self::Damaged];

    /// Name in the directory.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Damaged => "damaged",
        }
    }
}

/// One text of a control file.
#[derive(Debug)]
pub struct ControlText {
    /// Inode number.
    pub number: u64,
    /// When it was made.
    pub time: Time,
    /// The file.
    pub name: ControlName,
    /// The text.
    pub text: String,
}

/// The last texts.
#[derive(Debug, Default)]
pub struct ControlTexts {
    texts: Mutex<VecDeque<Arc<ControlText>>>,
}

impl ControlTexts {
    /// Keeps a text, under the number that it has already if it is the present one.
    pub fn put(&self, name: ControlName, text: String) -> Arc<ControlText> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = texts.iter().rev().find(|known| known.name == name)
            && same.text == text
        {
            return Arc::clone(same);
        }
        let time = now();
        // Numbers by the clock: a server that takes over must not use those of the one before.
        let ticks = time.seconds.cast_unsigned().wrapping_mul(1000) + u64::from(time.nanoseconds) / 1_000_000;
        let last = texts.back().map_or(0, |last| last.number % TEXT_BIT);
        let number = (ticks % TEXT_BIT).max(last + 1) % TEXT_BIT + TEXT_BIT;
        let made = Arc::new(ControlText { number, time, name, text });
        if texts.len() >= TEXT_COUNT_MAX {
            texts.pop_front();
        }
        texts.push_back(Arc::clone(&made));
        made
    }

    /// The text with this inode number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Arc<ControlText>> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.iter().find(|text| text.number == number).cloned()
    }
}

/// The time.
#[must_use]
pub fn now() -> Time {
    #[allow(clippy::disallowed_methods, reason = "the daemon is the edge at which time comes in")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: since.as_secs().cast_signed(), nanoseconds: since.subsec_nanos() }
}
