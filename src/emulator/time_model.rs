//! How long things take.

use serde::{Deserialize, Serialize};

/// Time as a drive sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct DriveTime {
    /// What the drive would have taken beyond what the clock shows, in nanoseconds.
    pub(super) skew_ns: u64,
}
