//! What is asked for and not yet there, in the order of the tape.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::extents::ExtentKey;
use crate::id::FileId;

/// What became of a request: nothing yet, done, or an errno.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    state: Mutex<Option<Result<(), i32>>>,
    settled: Condvar,
}

impl Ticket {
    /// Waits until the run is in the cache.
    pub(super) fn wait(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                Some(result) => return result.map_err(io::Error::from_raw_os_error),
                None => state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    pub(super) fn settle(&self, result: Result<(), i32>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.settled.notify_all();
    }
}

/// A run that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) key: ExtentKey,
    pub(super) blocks: u64,
    pub(super) ticket: Arc<Ticket>,
}

#[derive(Debug, Default)]
struct State {
    // In order of cartridges and of positions on them.
    asked: BTreeMap<ExtentKey, (u64, Arc<Ticket>)>,
    // Cartridges in the order in which they were first asked for.
    volumes: VecDeque<FileId>,
    is_stopped: bool,
}

/// The queue between readers and the thread that has the drive.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// What the thread finds when it has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// This cartridge is asked for.
    Volume(FileId),
    /// Nothing was asked for in that time.
    Idle,
    /// All is over.
    Stopped,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a run, or joins those who did.
    pub(super) fn ask(&self, key: ExtentKey, blocks: u64) -> Arc<Ticket> {
        let mut state = self.state();
        if state.is_stopped {
            let ticket = Arc::new(Ticket::default());
            ticket.settle(Err(libc::EIO));
            return ticket;
        }
        if !state.volumes.contains(&key.volume) {
            state.volumes.push_back(key.volume);
        }
        let (_, ticket) = state.asked.entry(key).or_insert_with(|| (blocks, Arc::default()));
        let ticket = Arc::clone(ticket);
        self.changed.notify_all();
        ticket
    }

    /// Waits for a cartridge to be asked for, the one that waits longest.
    pub(super) fn wait(&self, longest: Option<Duration>) -> Next {
        let mut state = self.state();
        loop {
            if state.is_stopped {
                return Next::Stopped;
            }
            let has_some =
                |state: &State, volume: FileId| state.asked.range(range(volume, 0)).next().is_some();
            while let Some(volume) = state.volumes.front().copied() {
                if has_some(&state, volume) {
                    return Next::Volume(volume);
                }
                state.volumes.pop_front();
            }
            state = match longest {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(longest) => {
                    let (state, timeout) =
                        self.changed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && state.asked.is_empty() {
                        return Next::Idle;
                    }
                    state
                }
            };
        }
    }

    /// Takes the next run on a cartridge from a position on, else the first one.
    pub(super) fn take(&self, volume: FileId, position: u64) -> Option<Asked> {
        let mut state = self.state();
        let from = |loi| state.asked.range(range(volume, loi)).next().map(|(key, _)| *key);
        let key = from(position).or_else(|| from(0))?;
        let (blocks, ticket) = state.asked.remove(&key)?;
        Some(Asked { key, blocks, ticket })
    }

    /// Takes all that is asked for of a cartridge: it is not to be had.
    pub(super) fn fail(&self, volume: FileId, errno: i32) {
        let mut state = self.state();
        let keys: Vec<ExtentKey> = state.asked.range(range(volume, 0)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some((_, ticket)) = state.asked.remove(&key) {
                ticket.settle(Err(errno));
            }
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// Ends everything; who waits is told so.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_stopped = true;
        for (_, (_, ticket)) in std::mem::take(&mut state.asked) {
            ticket.settle(Err(libc::EIO));
        }
        self.changed.notify_all();
    }
}

fn range(volume: FileId, loi: u64) -> std::ops::RangeInclusive<ExtentKey> {
    ExtentKey { volume, first_loi: loi }..=ExtentKey { volume, first_loi: u64::MAX }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn runs_are_taken_forward_from_the_position_and_then_from_the_beginning() {
        let queue = Queue::default();
        let [one, two] = [1, 2].map(|number| FileId([number; 16]));
        for (volume, loi) in [(two, 5), (one, 300), (one, 100), (one, 200), (one, 100)] {
            queue.ask(ExtentKey { volume, first_loi: loi }, 32);
        }
        assert_eq!(queue.wait(None), Next::Volume(two));
        let mut taken = Vec::new();
        let mut position = 150;
        while let Some(asked) = queue.take(one, position) {
            position = asked.key.first_loi + asked.blocks;
            taken.push(asked.key.first_loi);
        }
        assert_eq!(taken, [200, 300, 100]);
        assert_eq!(queue.take(two, 0).map(|asked| asked.key.first_loi), Some(5));
        assert_eq!(queue.wait(Some(Duration::ZERO)), Next::Idle);
    }

    #[test]
    fn who_waits_for_a_cartridge_that_is_not_to_be_had_is_told_so() {
        let queue = Queue::default();
        let volume = FileId([1; 16]);
        let ticket = queue.ask(ExtentKey { volume, first_loi: 1 }, 32);
        queue.fail(volume, libc::ENOMEDIUM);
        assert_eq!(ticket.wait().unwrap_err().raw_os_error(), Some(libc::ENOMEDIUM));
        let ticket = queue.ask(ExtentKey { volume, first_loi: 2 }, 32);
        queue.stop();
        assert_eq!(ticket.wait().unwrap_err().raw_os_error(), Some(libc::EIO));
        let late = queue.ask(ExtentKey { volume, first_loi: 3 }, 32);
        assert!(late.wait().is_err());
    }
}
