//! Whether somebody still waits for what a thread reads: a reader may have been killed, or have been told to stop.
//!
//! Between the reader and the tape are layers that know nothing of it, so the thread carries it.

use std::cell::RefCell;

type IsWanted = Box<dyn Fn() -> bool>;

thread_local! {
    static IS_WANTED: RefCell<Option<IsWanted>> = const { RefCell::new(None) };
}

/// Runs `act`; reads from tape within it end with `EINTR` soon after `is_wanted` becomes false.
pub fn while_wanted<T>(is_wanted: impl Fn() -> bool + 'static, act: impl FnOnce() -> T) -> T {
    struct Before(Option<IsWanted>);
    impl Drop for Before {
        fn drop(&mut self) {
            IS_WANTED.set(self.0.take());
        }
    }
    let _before = Before(IS_WANTED.replace(Some(Box::new(is_wanted))));
    act()
}

/// Whether somebody waits; who did not say is taken to wait.
pub(super) fn is_wanted() -> bool {
    IS_WANTED.with_borrow(|is_wanted| is_wanted.as_ref().is_none_or(|is_wanted| is_wanted()))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_is_wanted_holds_for_the_act_alone() {
        assert!(is_wanted());
        let inside = while_wanted(|| false, || (is_wanted(), while_wanted(|| true, is_wanted), is_wanted()));
        assert_eq!(inside, (false, true, false));
        assert!(is_wanted());
    }
}
