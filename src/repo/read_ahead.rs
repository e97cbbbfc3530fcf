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

/// Knows what is being read in order, and has threads that load what comes next.
#[derive(Debug)]
pub(super) struct ReadAhead {
    wishes: SyncSender<FrameKey>,
    // The frames that come next in what is being read in order, the last used at the back.
    streams: VecDeque<FrameKey>,
}

impl ReadAhead {
    /// Starts the threads, which end when it is dropped; `load` loads a frame and returns the next one.
    pub(super) fn start(
        thread_count: usize,
        load: impl Fn(FrameKey) -> Result<FrameKey, ReadError> + Send + Sync + 'static,
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

    /// Takes note that a frame was used for the first time, and wishes for the next one if the one before
    /// this was used not long ago: who reads here and there needs no more than he asked for.
    pub(super) fn used(&mut self, frame: FrameKey, next: FrameKey) {
        let stream = self.streams.iter().position(|expected| *expected == frame);
        if let Some(index) = stream {
            self.streams.remove(index);
        } else if self.streams.len() >= STREAM_COUNT_MAX {
            self.streams.pop_front();
        }
        self.streams.push_back(next);
        if stream.is_some() {
            // A full queue means that the threads are behind; then the reader is as quick itself.
            let _full = self.wishes.try_send(next);
        }
    }
}

fn serve(receiver: &Mutex<Receiver<FrameKey>>, load: &dyn Fn(FrameKey) -> Result<FrameKey, ReadError>) {
    loop {
        let wish = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut frame) = wish else { return };
        for _ in 0..FRAME_COUNT {
            match load(frame) {
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
