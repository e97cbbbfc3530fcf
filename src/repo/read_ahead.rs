//! Decompresses frames ahead of those who read in order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::error::ReadError;
use super::frames::FrameKey;

// More than this many wishes are dropped, not queued: they would come too late.
const QUEUE_LEN: usize = 16;
// So many files or directories may be read in order at the same time.
const STREAM_COUNT_MAX: usize = 32;
// So many frames are decompressed ahead of a reader.
const FRAME_COUNT: usize = 2;
// So many frames in a row are used by a short read, too.
const RANDOM_RUN_LEN_MAX: usize = 2;

/// Knows what is being read in order, and has threads that load what comes next.
#[derive(Debug)]
pub(super) struct ReadAhead {
    wishes: SyncSender<Wish>,
    // What is being read in order, the last used at the back.
    streams: VecDeque<Stream>,
}

#[derive(Debug)]
struct Wish {
    frame: FrameKey,
    // Where the frame may end, if that is known.
    next: Option<u64>,
    // How many frames to load, from this one on.
    count: usize,
}

#[derive(Debug)]
struct Stream {
    // The frame that comes next.
    expected: FrameKey,
    // How many were used one after the other.
    run_len: usize,
}

impl ReadAhead {
    /// Starts the threads, which end when it is dropped; `load` loads a frame and returns the next one.
    pub(super) fn start(
        thread_count: usize,
        load: impl Fn(FrameKey, Option<u64>) -> Result<FrameKey, ReadError> + Send + Sync + 'static,
    ) -> Self {
        let (wishes, receiver) = sync_channel(QUEUE_LEN);
        let (receiver, load) = (Arc::new(Mutex::new(receiver)), Arc::new(load));
        for _ in 0..thread_count {
            let (receiver, load) = (Arc::clone(&receiver), Arc::clone(&load));
            let name = "read-ahead".to_owned();
            let spawned = thread::Builder::new().name(name).spawn(move || serve(&receiver, &*load));
            if let Err(error) = spawned {
                log::warn!("no thread to read ahead: {error}");
            }
        }
        Self { wishes, streams: VecDeque::new() }
    }

    /// Takes note that a frame was used for the first time, and wishes for the next ones if those before this
    /// were used not long ago: who reads here and there needs no more than he asked for. Two frames in a row
    /// are not enough, as a short read at the end of a frame needs two.
    pub(super) fn used(&mut self, frame: FrameKey, next: FrameKey) {
        let stream = self.streams.iter().position(|stream| stream.expected == frame);
        let before = stream.and_then(|index| self.streams.remove(index));
        if before.is_none() && self.streams.len() >= STREAM_COUNT_MAX {
            self.streams.pop_front();
        }
        let run_len = before.map_or(1, |stream| stream.run_len.saturating_add(1));
        self.streams.push_back(Stream { expected: next, run_len });
        if run_len > RANDOM_RUN_LEN_MAX {
            self.send(Wish { frame: next, next: None, count: FRAME_COUNT });
        }
    }

    /// Wishes for one frame that is known to be needed; `next` is where it may end.
    pub(super) fn wish(&mut self, frame: FrameKey, next: Option<u64>) {
        self.send(Wish { frame, next, count: 1 });
    }

    fn send(&self, wish: Wish) {
        // A full queue means that the threads are behind; then the reader is as quick itself.
        let _full = self.wishes.try_send(wish);
    }
}

fn serve(
    receiver: &Mutex<Receiver<Wish>>,
    load: &dyn Fn(FrameKey, Option<u64>) -> Result<FrameKey, ReadError>,
) {
    loop {
        let wish = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Wish { mut frame, mut next, count }) = wish else { return };
        for _ in 0..count {
            match load(frame, next.take()) {
                Ok(next) => frame = next,
                Err(error) => {
                    // Damage is the reader's to report.
                    log::trace!("nothing to read ahead: {error}");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod test {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::id::FileId;

    fn frame(index: u64) -> FrameKey {
        (FileId([1; 16]), index)
    }

    #[test]
    fn only_the_third_frame_in_a_row_has_the_next_ones_read() {
        let (loads, loaded) = channel();
        let mut ahead = ReadAhead::start(1, move |(file, index), next| {
            loads.send((index, next)).expect("the test listens");
            Ok((file, index + 1))
        });
        // As short reads do: frames here and there, now and then two in a row.
        for (used, next) in [(50, 51), (20, 21), (21, 22), (70, 71)] {
            ahead.used(frame(used), frame(next));
        }
        // What is needed now is read, and nothing was before it.
        ahead.wish(frame(90), Some(91));
        assert_eq!(loaded.recv().expect("a load"), (90, Some(91)));
        ahead.used(frame(22), frame(23));
        assert_eq!(
            [loaded.recv().expect("a load"), loaded.recv().expect("a load")],
            [(23, None), (24, None)]
        );
    }
}
