//! When a commit is made without being asked for (rows H2 and J9): after write silence, and by time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::outside::since;
use crate::format::record::Time;
use crate::format::staging_policy::{CommitPolicy, When};
use crate::id::ClientName;

// A commit that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(60);

/// Why a commit is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing was written for as long as the policy says.
    Silence,
    /// There was no silence for as long as the policy says.
    SilenceLimit,
    /// So long was no commit made.
    Every,
}

impl Due {
    /// As people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "write silence",
            Self::SilenceLimit => "no write silence for long",
            Self::Every => "schedule",
        }
    }
}

/// What a client's staging looks like at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The time.
    pub now: Time,
    /// Grows with each change.
    pub change_count: u64,
    /// Last write to a file that is open for writing; such writes may not be counted.
    pub last_write: Option<Time>,
    /// Something differs from the base.
    pub is_changed: bool,
    /// When the base was made.
    pub base_time: Option<Time>,
}

#[derive(Debug)]
struct State {
    change_count: u64,
    last_write: Option<Time>,
    // First and last change since the last commit, as far as seen.
    first_change: Option<Time>,
    last_change: Time,
    last_commit: Time,
    not_before: Option<Time>,
}

impl State {
    // What lies ahead of a clock that was set back would be waited for until then.
    fn keep_behind(&mut self, now: Time) {
        self.last_change = self.last_change.min(now);
        self.last_commit = self.last_commit.min(now);
        self.first_change = self.first_change.map(|first_change| first_change.min(now));
        self.not_before = self.not_before.filter(|not_before| since(now, *not_before) <= RETRY);
    }
}

/// The clients and what was seen of them. Time is passed in.
#[derive(Debug, Default)]
pub struct Schedule {
    clients: HashMap<ClientName, State>,
    // Clients that could not be looked at the last time.
    unseen: HashSet<ClientName>,
}

impl Schedule {
    /// Starts without a client.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of what a client's staging looks like, and tells whether a commit is due.
    pub fn observe(&mut self, client: &ClientName, policy: &CommitPolicy, seen: &Observation) -> Option<Due> {
        self.unseen.remove(client);
        let Observation { now, change_count, last_write, is_changed, base_time } = *seen;
        let state = self.clients.entry(client.clone()).or_insert_with(|| State {
            change_count,
            last_write,
            first_change: None,
            last_change: now,
            last_commit: base_time.unwrap_or(now),
            not_before: None,
        });
        let is_written = state.change_count != change_count || state.last_write != last_write;
        (state.change_count, state.last_write) = (change_count, last_write);
        state.keep_behind(now);
        if !is_changed {
            state.first_change = None;
            return None;
        }
        if is_written || state.first_change.is_none() {
            state.last_change = now;
            state.first_change.get_or_insert(now);
        }
        if state.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let first_change = state.first_change.unwrap_or(now);
        if policy.when == When::Silence {
            if since(state.last_change, now) >= policy.silence.duration() {
                return Some(Due::Silence);
            }
            if since(first_change, now) >= policy.silence_limit.duration() {
                return Some(Due::SilenceLimit);
            }
        }
        let every = policy.every.duration();
        (!every.is_zero() && since(state.last_commit, now) >= every).then_some(Due::Every)
    }

    /// Takes note that a client's staging cannot be looked at, and tells whether that is news.
    pub fn failed_to_observe(&mut self, client: &ClientName) -> bool {
        self.unseen.insert(client.clone())
    }

    /// Takes note that a commit was made, or found nothing to do.
    pub fn done(&mut self, client: &ClientName, now: Time) {
        if let Some(state) = self.clients.get_mut(client) {
            (state.first_change, state.last_commit, state.not_before) = (None, now, None);
        }
    }

    /// Takes note that a commit failed; it is tried again after a while.
    pub fn failed(&mut self, client: &ClientName, now: Time) {
        if let Some(state) = self.clients.get_mut(client) {
            let seconds = now.seconds.saturating_add(RETRY.as_secs().cast_signed());
            state.not_before = Some(Time { seconds, ..now });
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::format::staging_policy::Span;

    fn client() -> ClientName {
        "web1".parse().expect("a name")
    }

    fn at(milliseconds: i64) -> Time {
        let nanoseconds = u32::try_from(milliseconds.rem_euclid(1000)).expect("small") * 1_000_000;
        Time { seconds: milliseconds.div_euclid(1000), nanoseconds }
    }

    fn seen(milliseconds: i64, change_count: u64) -> Observation {
        Observation {
            now: at(milliseconds),
            change_count,
            last_write: None,
            is_changed: change_count > 0,
            base_time: Some(at(0)),
        }
    }

    fn silence() -> CommitPolicy {
        CommitPolicy { when: When::Silence, ..CommitPolicy::default() }
    }

    #[test]
    fn that_a_client_cannot_be_looked_at_is_news_once_and_again_after_it_could_be() {
        let mut schedule = Schedule::new();
        assert!(schedule.failed_to_observe(&client()));
        assert!(!schedule.failed_to_observe(&client()));
        schedule.observe(&client(), &silence(), &seen(0, 0));
        assert!(schedule.failed_to_observe(&client()));
    }

    #[test]
    fn silence_of_three_seconds_makes_a_commit_and_no_second_one() {
        let mut schedule = Schedule::new();
        let (client, policy) = (client(), silence());
        assert_eq!(schedule.observe(&client, &policy, &seen(0, 0)), None);
        for step in 1..=5 {
            assert_eq!(schedule.observe(&client, &policy, &seen(step * 1000, step.cast_unsigned())), None);
        }
        assert_eq!(schedule.observe(&client, &policy, &seen(7900, 5)), None);
        assert_eq!(schedule.observe(&client, &policy, &seen(8000, 5)), Some(Due::Silence));
        schedule.done(&client, at(8100));
        let committed = Observation { is_changed: false, ..seen(20_000, 5) };
        assert_eq!(schedule.observe(&client, &policy, &committed), None);
    }

    #[test]
    fn writers_that_are_never_silent_are_committed_after_eighty_seconds() {
        let mut schedule = Schedule::new();
        let (client, policy) = (client(), silence());
        for second in 1..=80_i64 {
            assert_eq!(
                schedule.observe(&client, &policy, &seen(second * 1000, second.cast_unsigned())),
                None
            );
        }
        assert_eq!(schedule.observe(&client, &policy, &seen(81_000, 81)), Some(Due::SilenceLimit));
    }

    #[test]
    fn writes_that_are_not_counted_break_the_silence_too() {
        let mut schedule = Schedule::new();
        let (client, policy) = (client(), silence());
        for second in 1..=10_i64 {
            let writing = Observation { last_write: Some(at(second * 1000)), ..seen(second * 1000, 1) };
            assert_eq!(schedule.observe(&client, &policy, &writing), None, "{second}");
        }
        let closed = Observation { last_write: Some(at(10_000)), ..seen(13_000, 1) };
        assert_eq!(schedule.observe(&client, &policy, &closed), Some(Due::Silence));
    }

    #[test]
    fn every_hour_counts_from_the_last_generation_and_needs_a_change() {
        let mut schedule = Schedule::new();
        let client = client();
        let policy = CommitPolicy { every: Span::from_secs(3600), ..CommitPolicy::default() };
        assert_eq!(schedule.observe(&client, &policy, &seen(3_700_000, 0)), None);
        assert_eq!(schedule.observe(&client, &policy, &seen(3_701_000, 1)), Some(Due::Every));
        schedule.done(&client, at(3_702_000));
        assert_eq!(schedule.observe(&client, &policy, &seen(3_703_000, 2)), None);
        assert_eq!(schedule.observe(&client, &policy, &seen(7_302_000, 2)), Some(Due::Every));
    }

    #[test]
    fn a_commit_that_failed_is_tried_again_after_a_minute() {
        let mut schedule = Schedule::new();
        let (client, policy) = (client(), silence());
        schedule.observe(&client, &policy, &seen(0, 1));
        assert_eq!(schedule.observe(&client, &policy, &seen(3000, 1)), Some(Due::Silence));
        schedule.failed(&client, at(3000));
        assert_eq!(schedule.observe(&client, &policy, &seen(62_000, 1)), None);
        assert_eq!(schedule.observe(&client, &policy, &seen(63_000, 1)), Some(Due::Silence));
    }

    #[test]
    fn a_clock_that_was_wrong_puts_no_commit_off() {
        const YEAR: i64 = 365 * 24 * 3600 * 1000;
        let client = client();
        // The last generation is from a time to come.
        let every = CommitPolicy { every: Span::from_secs(3600), ..CommitPolicy::default() };
        let ahead = |milliseconds| Observation { base_time: Some(at(10 * YEAR)), ..seen(milliseconds, 1) };
        let mut schedule = Schedule::new();
        assert_eq!(schedule.observe(&client, &every, &ahead(0)), None);
        assert_eq!(schedule.observe(&client, &every, &ahead(3_600_000)), Some(Due::Every));
        // It is set back by a year after a change, and after a commit that failed.
        let mut schedule = Schedule::new();
        assert_eq!(schedule.observe(&client, &silence(), &seen(YEAR, 1)), None);
        assert_eq!(schedule.observe(&client, &silence(), &seen(0, 1)), None);
        assert_eq!(schedule.observe(&client, &silence(), &seen(3000, 1)), Some(Due::Silence));
        schedule.failed(&client, at(YEAR));
        assert_eq!(schedule.observe(&client, &silence(), &seen(4000, 1)), Some(Due::Silence));
    }

    #[test]
    fn without_a_policy_nothing_is_committed_unasked() {
        let mut schedule = Schedule::new();
        for second in 0..1000 {
            let due = schedule.observe(&client(), &CommitPolicy::default(), &seen(second * 1000, 1));
            assert_eq!(due, None);
        }
    }
}
