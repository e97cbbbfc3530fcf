//! Calls those who look for new generations from time to time, and waits until they have looked.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

// Who asked for a commit is answered all the same.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    rung_count: u64,
    // For each who listens, how many of the rings were answered.
    answered: BTreeMap<u64, u64>,
    next: u64,
}

/// A bell that several threads listen for.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

/// A thread that listens, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    bell: Arc<Bell>,
    number: u64,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen: what was rung for before is known.
    pub(crate) fn listen(self: &Arc<Self>) -> Listener {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let rung_count = state.rung_count;
        state.answered.insert(number, rung_count);
        Listener { bell: Arc::clone(self), number }
    }

    /// Rings, and returns when all who listen have looked since, or take too long.
    pub(crate) fn ring(&self) {
        let mut state = self.state();
        state.rung_count += 1;
        let count = state.rung_count;
        self.changed.notify_all();
        let is_left = |state: &mut State| state.answered.values().any(|answered| *answered < count);
        let waited = self.changed.wait_timeout_while(state, PATIENCE, is_left);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            log::warn!("the kernel was not told of a new generation within {} s", PATIENCE.as_secs());
        }
    }
}

impl Listener {
    /// Waits for a ring, for a while; returns how often was rung, if that was not answered yet.
    pub(crate) fn wait(&self, period: Duration) -> Option<u64> {
        let is_silent = |state: &mut State| state.answered.get(&self.number) >= Some(&state.rung_count);
        let waited = self.bell.changed.wait_timeout_while(self.bell.state(), period, is_silent);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then_some(state.rung_count)
    }

    /// Says that it has looked since so many rings.
    pub(crate) fn answer(&self, rung_count: u64) {
        self.bell.state().answered.insert(self.number, rung_count);
        self.bell.changed.notify_all();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.bell.state().answered.remove(&self.number);
        self.bell.changed.notify_all();
    }
}

#[cfg(test)]
mod test {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn who_rings_goes_on_when_all_have_looked() {
        let bell = Arc::new(Bell::default());
        bell.ring();
        let looked = Arc::new(AtomicUsize::new(0));
        let listeners: Vec<_> = (0..3).map(|_| bell.listen()).collect();
        let threads: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let looked = Arc::clone(&looked);
                std::thread::spawn(move || {
                    let rung = listener.wait(Duration::from_secs(60));
                    looked.fetch_add(1, Ordering::SeqCst);
                    listener.answer(rung.expect("it is rung"));
                })
            })
            .collect();
        bell.ring();
        assert_eq!(looked.load(Ordering::SeqCst), 3);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Nobody listens any more.
        bell.ring();
        assert_eq!(bell.listen().wait(Duration::ZERO), None);
    }
}
