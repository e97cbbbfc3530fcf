//! Faults by script.

/// How no status reaches the initiator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(dead_code, reason = "struck by faults")]
pub(super) enum Breakdown {
    /// No answer in time.
    Timeout,
    /// The operating system had no memory.
    NoMemory,
    /// The way to the device broke.
    ConnectionLost,
}
