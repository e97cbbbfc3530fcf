//! Progress on a terminal: what is done, how fast, and how long it will take.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reelfs::progress::Progress;

const INTERVAL: Duration = Duration::from_millis(100);
const OPEN: &str = "{msg} {elapsed}  {prefix}, {binary_bytes} at {binary_bytes_per_sec}";
// Fits in 80 columns.
const BOUNDED: &str =
    "{msg} {percent:>3}% [{bar:10}] {prefix}, {binary_bytes} at {binary_bytes_per_sec}, {eta} left";

/// A line on standard error that a thread keeps current; it goes away when dropped.
#[derive(Debug)]
pub(crate) struct Display {
    stop: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Display {
    /// Starts the line, or nothing if it is not wanted.
    pub(crate) fn start(what: &'static str, progress: Arc<Progress>, wanted: bool) -> Self {
        if !wanted {
            return Self { stop: None };
        }
        let (stop, stopped) = channel();
        let show = move || {
            let bar = ProgressBar::new(0);
            bar.set_message(what);
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                update(&bar, &progress);
            }
            bar.finish_and_clear();
        };
        // Without a thread there is no progress, and the work goes on.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Self { stop: thread.map(|thread| (stop, thread)) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            drop(stop);
            // A panic in it was told by the panic itself.
            thread.join().unwrap_or_default();
        }
    }
}

fn update(bar: &ProgressBar, progress: &Progress) {
    let [items, bytes, total_bytes] = [&progress.done_items, &progress.done_bytes, &progress.total_bytes]
        .map(|counter| counter.load(Ordering::Relaxed));
    let template = if total_bytes > 0 { BOUNDED } else { OPEN };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(crate::human::count(items, "file"));
    if total_bytes > 0 {
        bar.set_length(shown_total(bytes, total_bytes));
    }
    bar.set_position(bytes);
}

// What was expected, or a little more than is done: the part that is done never becomes smaller, and all of it
// is done only in the end, when the line goes.
fn shown_total(done: u64, expected: u64) -> u64 {
    expected.max(done.saturating_add(done / 99).saturating_add(1))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_part_that_is_done_only_grows() {
        for expected in [1, 99, 1000, 1 << 40] {
            let mut before = 0;
            for step in 0..400_u64 {
                let done = expected / 200 * step + step;
                let percent = u128::from(done) * 100 / u128::from(shown_total(done, expected));
                assert!(percent >= before && percent < 100, "{done} of {expected}: {percent} after {before}");
                before = percent;
            }
        }
    }
}
