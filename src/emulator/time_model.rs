//! How long things take: a tape that is streamed, stopped, and wound to a place.
//!
//! Tape lies in wraps, there and back. Data goes through a buffer; the drive matches its speed to the host
//! between a slowest and the native rate. When the buffer runs empty while writing, or full while reading ahead, the
//! tape stops, goes back, and starts again: a *back-hitch*.

use serde::{Deserialize, Serialize};

use super::generation::Figures;

/// Fixed part of a LOCATE, in nanoseconds.
const SETTLE_NS: u64 = 2_000_000_000;
/// Time that a back-hitch takes, in nanoseconds.
pub(super) const BACK_HITCH_NS: u64 = 4_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Time as a drive sees it, and its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct DriveTime {
    /// What the drive would have taken beyond what the clock shows, in nanoseconds.
    pub(super) skew_ns: u64,
    /// When the last long operation began, in nanoseconds of the drive's time.
    pub(super) busy_since_ns: u64,
    pub(super) stream: Stream,
}

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    /// The tape stands.
    #[default]
    Stopped,
    /// From the buffer to tape.
    Writing,
    /// From tape to the buffer.
    Reading,
}

/// The buffer between host and tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Stream {
    direction: Direction,
    /// The tape moves.
    is_moving: bool,
    /// Bytes in the buffer at `at_ns`.
    buffered_bytes: u64,
    at_ns: u64,
}

/// What a transfer cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cost {
    /// The host had to wait so long, in nanoseconds.
    pub(super) wait_ns: u64,
    /// The tape had stopped since the last transfer.
    pub(super) back_hitches: u64,
}

impl Stream {
    /// The host writes `bytes` at `now_ns`.
    pub(super) fn write(&mut self, figures: &Figures, now_ns: u64, bytes: u64) -> Cost {
        let mut cost = Cost::default();
        if self.direction != Direction::Writing {
            *self = Self { direction: Direction::Writing, at_ns: now_ns, ..Self::default() };
        }
        let elapsed_ns = now_ns.saturating_sub(self.at_ns);
        if self.is_moving {
            let least = moved(elapsed_ns, figures.rate_min_bytes_per_s);
            if least > self.buffered_bytes {
                self.is_moving = false;
                self.buffered_bytes = 0;
                cost.back_hitches = 1;
            } else {
                let most = moved(elapsed_ns, self.matched_rate(figures));
                self.buffered_bytes -= most.min(self.buffered_bytes);
            }
        }
        self.buffered_bytes = self.buffered_bytes.saturating_add(bytes);
        let excess = self.buffered_bytes.saturating_sub(figures.buffer_bytes);
        // The drive starts when there is enough to go on with.
        self.is_moving |= self.buffered_bytes >= figures.buffer_bytes / 4;
        cost.wait_ns = duration_ns(excess, figures.rate_bytes_per_s);
        self.buffered_bytes -= excess;
        self.at_ns = now_ns.saturating_add(cost.wait_ns);
        cost
    }

    // Faster the fuller the buffer is.
    fn matched_rate(&self, figures: &Figures) -> u64 {
        let span = figures.rate_bytes_per_s - figures.rate_min_bytes_per_s;
        let filled = u128::from(self.buffered_bytes) * u128::from(span) / u128::from(figures.buffer_bytes);
        figures.rate_min_bytes_per_s + u64::try_from(filled).unwrap_or(span).min(span)
    }

    /// The host reads `bytes` at `now_ns`.
    pub(super) fn read(&mut self, figures: &Figures, now_ns: u64, bytes: u64) -> Cost {
        let mut cost = Cost::default();
        if self.direction != Direction::Reading {
            *self = Self { direction: Direction::Reading, is_moving: true, at_ns: now_ns, buffered_bytes: 0 };
        }
        let elapsed_ns = now_ns.saturating_sub(self.at_ns);
        let least = moved(elapsed_ns, figures.rate_min_bytes_per_s);
        if self.buffered_bytes.saturating_add(least) > figures.buffer_bytes {
            // Read ahead until there was no room.
            cost.back_hitches = 1;
            self.buffered_bytes = figures.buffer_bytes;
        } else {
            let room = figures.buffer_bytes - self.buffered_bytes;
            self.buffered_bytes += moved(elapsed_ns, figures.rate_bytes_per_s).min(room);
        }
        let missing = bytes.saturating_sub(self.buffered_bytes);
        cost.wait_ns = duration_ns(missing, figures.rate_bytes_per_s);
        self.buffered_bytes = self.buffered_bytes.saturating_sub(bytes);
        self.at_ns = now_ns.saturating_add(cost.wait_ns);
        cost
    }

    /// The buffer is written out; how long that takes in nanoseconds.
    pub(super) fn flush(&mut self, figures: &Figures, now_ns: u64) -> u64 {
        let mut left = 0;
        if self.direction == Direction::Writing {
            let elapsed_ns = if self.is_moving { now_ns.saturating_sub(self.at_ns) } else { 0 };
            left = self.buffered_bytes.saturating_sub(moved(elapsed_ns, self.matched_rate(figures)));
        }
        *self = Self::default();
        duration_ns(left, figures.rate_bytes_per_s)
    }
}

fn moved(elapsed_ns: u64, bytes_per_s: u64) -> u64 {
    let bytes = u128::from(elapsed_ns) * u128::from(bytes_per_s) / u128::from(SECOND_NS);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How long `bytes` take, in nanoseconds.
pub(super) fn duration_ns(bytes: u64, bytes_per_s: u64) -> u64 {
    let ns = u128::from(bytes) * u128::from(SECOND_NS) / u128::from(bytes_per_s);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

fn bytes_per_wrap(figures: &Figures) -> u64 {
    figures.capacity_bytes / figures.wraps
}

/// Where an offset is along the tape, in millimetres from its beginning.
pub(super) fn along_mm(figures: &Figures, offset: u64) -> u64 {
    let wrap_bytes = bytes_per_wrap(figures);
    let length_mm = figures.length_m * 1000;
    let (wrap, within) = (offset / wrap_bytes, offset % wrap_bytes);
    let mm = u64::try_from(u128::from(within) * u128::from(length_mm) / u128::from(wrap_bytes)).unwrap_or(0);
    if wrap % 2 == 0 { mm } else { length_mm - mm }
}

/// Tape that passes the head while so many bytes are moved from an offset on, in millimetres.
pub(super) fn streamed_mm(figures: &Figures, offset: u64, bytes: u64) -> u64 {
    let length_mm = u128::from(figures.length_m) * 1000;
    let at = |bytes: u64| u128::from(bytes) * length_mm / u128::from(bytes_per_wrap(figures));
    u64::try_from(at(offset.saturating_add(bytes)) - at(offset)).unwrap_or(u64::MAX)
}

/// How long winding over a distance takes, in nanoseconds.
pub(super) fn wind_ns(figures: &Figures, distance_mm: u64) -> u64 {
    if distance_mm == 0 {
        return 0;
    }
    let average_ns = figures.locate_average_ms * 1_000_000 - SETTLE_NS;
    let half_mm = figures.length_m * 500;
    let ns = u128::from(average_ns) * u128::from(distance_mm) / u128::from(half_mm);
    SETTLE_NS + u64::try_from(ns).unwrap_or(u64::MAX)
}
