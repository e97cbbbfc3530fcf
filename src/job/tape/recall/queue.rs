//! What is asked for and not yet there, in the order of the tape; and which cartridge is whose turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::extents::ExtentKey;
use super::parts::Run;
use crate::id::FileId;

/// What became of a request: nothing yet, done, or an errno.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    state: Mutex<Option<Result<(), i32>>>,
    settled: Condvar,
}

impl Ticket {
    /// Waits until the run is in the cache or cannot be had; `None` if that takes longer.
    pub(super) fn wait_for(&self, longest: Duration) -> Option<Result<(), i32>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.settled.wait_timeout_while(state, longest, |state| state.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn settle(&self, result: Result<(), i32>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.settled.notify_all();
    }
}

/// A run that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) run: Run,
    pub(super) ticket: Arc<Ticket>,
}

#[derive(Debug, Default)]
struct State {
    // In order of cartridges and of positions on them.
    asked: BTreeMap<ExtentKey, Asked>,
    // Cartridges that no thread serves, in the order in which they were first asked for.
    waiting: VecDeque<FileId>,
    // Cartridges that a thread serves, and whether it has a drive for it.
    served: BTreeMap<FileId, bool>,
    // Of those that wait, those that gave their drive up while another one looked for a drive.
    gave_way: BTreeSet<FileId>,
    is_stopped: bool,
}

impl State {
    fn is_asked_for(&self, volume: FileId) -> bool {
        self.asked.range(range(volume, 0)).next().is_some()
    }

    // Whether another cartridge is asked for that has no drive.
    fn is_other_waiting(&self, volume: FileId) -> bool {
        let without_drive =
            self.served.iter().filter(|(_, has_drive)| !**has_drive).map(|(volume, _)| volume);
        self.waiting.iter().chain(without_drive).any(|other| *other != volume && self.is_asked_for(*other))
    }

    // Whether a thread looks for a drive for another cartridge.
    fn is_other_looking(&self, volume: FileId) -> bool {
        self.served
            .iter()
            .any(|(other, has_drive)| *other != volume && !*has_drive && self.is_asked_for(*other))
    }

    // Takes the cartridge whose turn it is. One that gave way would have the drive back before the other one has
    // looked again: it comes when that one has a drive, or nobody asks for it.
    fn take_waiting(&mut self) -> Option<FileId> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|volume| self.is_asked_for(*volume));
        let is_free = |volume: &FileId| !self.gave_way.contains(volume) || !self.is_other_looking(*volume);
        let taken = waiting.iter().position(is_free).and_then(|index| waiting.remove(index));
        self.waiting = waiting;
        if let Some(volume) = taken {
            self.gave_way.remove(&volume);
            self.served.insert(volume, false);
        }
        taken
    }
}

/// The queue between readers and the threads that have drives.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// Why a thread that serves a cartridge went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    /// The cartridge is asked for.
    Asked,
    /// Another one is, and has no drive.
    OtherWaits,
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
    pub(super) fn ask(&self, run: Run) -> Arc<Ticket> {
        let mut state = self.state();
        if state.is_stopped {
            let ticket = Arc::new(Ticket::default());
            ticket.settle(Err(libc::EIO));
            return ticket;
        }
        let volume = run.key.volume;
        if !state.served.contains_key(&volume) && !state.waiting.contains(&volume) {
            state.waiting.push_back(volume);
        }
        let asked = state.asked.entry(run.key).or_insert_with(|| Asked { run, ticket: Arc::default() });
        let ticket = Arc::clone(&asked.ticket);
        self.changed.notify_all();
        ticket
    }

    /// Takes a request back, unless others have joined it.
    pub(super) fn leave(&self, key: ExtentKey, ticket: Arc<Ticket>) {
        let mut state = self.state();
        let is_alone = state
            .asked
            .get(&key)
            .is_some_and(|asked| Arc::ptr_eq(&asked.ticket, &ticket) && Arc::strong_count(&ticket) == 2);
        if is_alone {
            state.asked.remove(&key);
            self.changed.notify_all();
        }
    }

    /// Waits for a cartridge that is asked for and that nobody serves, the one that waits longest, and serves it
    /// until [`Queue::finish`]; `None` if all is over.
    pub(super) fn next(&self) -> Option<FileId> {
        let mut state = self.state();
        loop {
            if state.is_stopped {
                return None;
            }
            if let Some(volume) = state.take_waiting() {
                return Some(volume);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Serves a cartridge no more; if it is asked for still, its turn comes again.
    pub(super) fn finish(&self, volume: FileId) {
        let mut state = self.state();
        state.served.remove(&volume);
        if state.is_asked_for(volume) {
            state.waiting.push_back(volume);
        }
        if state.is_other_looking(volume) {
            state.gave_way.insert(volume);
        } else {
            state.gave_way.remove(&volume);
        }
        self.changed.notify_all();
    }

    /// Takes note whether the thread that serves a cartridge has a drive for it.
    pub(super) fn set_has_drive(&self, volume: FileId, has_drive: bool) {
        let mut state = self.state();
        if state.served.contains_key(&volume) {
            state.served.insert(volume, has_drive);
        }
        self.changed.notify_all();
    }

    /// Tells whether a thread looks for a drive for a cartridge in vain.
    pub(super) fn lacks_drive(&self, volume: FileId) -> bool {
        self.state().served.get(&volume) == Some(&false)
    }

    /// Tells whether a thread has another cartridge in a drive.
    pub(super) fn has_other_in_drive(&self, volume: FileId) -> bool {
        self.state().served.iter().any(|(other, has_drive)| *other != volume && *has_drive)
    }

    /// Tells whether another cartridge is asked for that has no drive.
    pub(super) fn is_other_waiting(&self, volume: FileId) -> bool {
        self.state().is_other_waiting(volume)
    }

    /// Waits until a cartridge is asked for again, or, if `heeds_others`, another one that has no drive.
    pub(super) fn wait_more(&self, volume: FileId, longest: Duration, heeds_others: bool) -> More {
        let look = |state: &State| {
            if state.is_stopped {
                More::Stopped
            } else if state.is_asked_for(volume) {
                More::Asked
            } else if heeds_others && state.is_other_waiting(volume) {
                More::OtherWaits
            } else {
                More::Idle
            }
        };
        let waited =
            self.changed.wait_timeout_while(self.state(), longest, |state| look(state) == More::Idle);
        look(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Waits for a while, or until nobody asks for a cartridge any more; `false` in that case.
    pub(super) fn pause(&self, volume: FileId, longest: Duration) -> bool {
        let goes_on = |state: &State| !state.is_stopped && state.is_asked_for(volume);
        let waited = self.changed.wait_timeout_while(self.state(), longest, |state| goes_on(state));
        goes_on(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Takes the next run on a cartridge from a position on, else the first one.
    pub(super) fn take(&self, volume: FileId, position: u64) -> Option<Asked> {
        let mut state = self.state();
        let from = |loi| state.asked.range(range(volume, loi)).next().map(|(key, _)| *key);
        let key = from(position).or_else(|| from(0))?;
        state.asked.remove(&key)
    }

    /// Takes all that is asked for of a cartridge: it is not to be had.
    pub(super) fn fail(&self, volume: FileId, errno: i32) {
        let mut state = self.state();
        let keys: Vec<ExtentKey> = state.asked.range(range(volume, 0)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(asked) = state.asked.remove(&key) {
                asked.ticket.settle(Err(errno));
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
        for (_, asked) in std::mem::take(&mut state.asked) {
            asked.ticket.settle(Err(libc::EIO));
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

    const ONE: FileId = FileId([1; 16]);
    const TWO: FileId = FileId([2; 16]);

    fn run(volume: FileId, first_loi: u64) -> Run {
        Run { key: ExtentKey { volume, first_loi }, blocks: 32, block_len: 512 << 10 }
    }

    #[test]
    fn runs_are_taken_forward_from_the_position_and_then_from_the_beginning() {
        let queue = Queue::default();
        let mut tickets = Vec::new();
        for (volume, loi) in [(TWO, 5), (ONE, 300), (ONE, 100), (ONE, 200), (ONE, 100)] {
            tickets.push(queue.ask(run(volume, loi)));
        }
        assert_eq!(queue.next(), Some(TWO));
        assert_eq!(queue.next(), Some(ONE));
        let mut taken = Vec::new();
        let mut position = 150;
        while let Some(asked) = queue.take(ONE, position) {
            position = asked.run.end();
            taken.push(asked.run.key.first_loi);
        }
        assert_eq!(taken, [200, 300, 100]);
        assert_eq!(queue.take(TWO, 0).map(|asked| asked.run.key.first_loi), Some(5));
        assert_eq!(queue.wait_more(TWO, Duration::ZERO, true), More::Idle);
    }

    #[test]
    fn a_cartridge_that_waits_for_a_drive_is_seen_by_who_has_one_and_turns_go_round() {
        let queue = Queue::default();
        let _tickets = [queue.ask(run(ONE, 1)), queue.ask(run(TWO, 1))];
        assert_eq!(queue.next(), Some(ONE));
        queue.set_has_drive(ONE, true);
        assert!(queue.is_other_waiting(ONE), "nobody serves the second");
        assert_eq!(queue.next(), Some(TWO));
        assert!(queue.is_other_waiting(ONE) && queue.lacks_drive(TWO) && queue.has_other_in_drive(TWO));
        queue.set_has_drive(TWO, true);
        assert!(!queue.is_other_waiting(ONE));
        queue.finish(ONE);
        queue.finish(TWO);
        assert_eq!([queue.next(), queue.next()], [Some(ONE), Some(TWO)]);
    }

    #[test]
    fn a_cartridge_that_gave_its_drive_up_comes_again_when_the_other_one_has_it() {
        let queue = Queue::default();
        let [_one, two] = [queue.ask(run(ONE, 1)), queue.ask(run(TWO, 1))];
        assert_eq!([queue.next(), queue.next()], [Some(ONE), Some(TWO)]);
        queue.set_has_drive(ONE, true);
        queue.finish(ONE);
        assert_eq!(queue.state().take_waiting(), None, "the drive is for the other one");
        queue.set_has_drive(TWO, true);
        assert_eq!(queue.state().take_waiting(), Some(ONE));
        // Nobody wants the other one any more.
        queue.set_has_drive(TWO, false);
        queue.finish(ONE);
        assert_eq!(queue.state().take_waiting(), None);
        queue.leave(run(TWO, 1).key, two);
        assert_eq!(queue.state().take_waiting(), Some(ONE));
    }

    #[test]
    fn who_waits_for_a_cartridge_that_is_not_to_be_had_is_told_so() {
        let queue = Queue::default();
        let ticket = queue.ask(run(ONE, 1));
        assert_eq!(ticket.wait_for(Duration::ZERO), None);
        queue.fail(ONE, libc::ENOMEDIUM);
        assert_eq!(ticket.wait_for(Duration::ZERO), Some(Err(libc::ENOMEDIUM)));
        let ticket = queue.ask(run(ONE, 2));
        queue.stop();
        assert_eq!(ticket.wait_for(Duration::ZERO), Some(Err(libc::EIO)));
        assert_eq!(queue.ask(run(ONE, 3)).wait_for(Duration::ZERO), Some(Err(libc::EIO)));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_request_that_all_have_left_moves_nothing() {
        let queue = Queue::default();
        let [first, second] = [queue.ask(run(ONE, 1)), queue.ask(run(ONE, 1))];
        queue.leave(run(ONE, 1).key, first);
        assert!(queue.state().is_asked_for(ONE), "another waits for it");
        queue.leave(run(ONE, 1).key, second);
        assert!(!queue.state().is_asked_for(ONE));
        assert!(!queue.pause(ONE, Duration::ZERO));
    }
}
