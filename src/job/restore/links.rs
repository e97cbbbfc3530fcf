//! Files with several names: the first name is written, the others become links to it.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::live::Identity;

// A group is forgotten when its last name was seen. Beyond this many at once, further groups fall
// apart into files of their own, which is told.
const GROUP_COUNT_MAX: usize = 1 << 20;

/// Where the first name of a file is.
#[derive(Debug, Clone)]
pub(super) struct FirstName {
    /// Path of its directory below the target's root.
    pub(super) directory: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) identity: Identity,
}

/// What is to be done about a name.
#[derive(Debug)]
pub(super) enum Role {
    /// It is the first; the caller writes the file and calls [`Links::written`].
    First,
    /// The file is there already.
    Further(FirstName),
    /// The first name could not be written, or there are too many groups.
    Alone,
}

#[derive(Debug)]
enum State {
    Writing,
    Written(FirstName),
    Failed,
}

#[derive(Debug)]
struct Group {
    state: State,
    names_left: u32,
}

/// All files of which some names are still to come.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: Mutex<HashMap<u64, Group>>,
    changed: Condvar,
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what is to be done about a name; waits while another thread writes the first one.
    pub(super) fn enter(&self, object: u64, link_count: u32) -> Role {
        let mut groups = self.lock();
        loop {
            let len = groups.len();
            let Some(group) = groups.get_mut(&object) else {
                if len >= GROUP_COUNT_MAX {
                    return Role::Alone;
                }
                groups.insert(object, Group { state: State::Writing, names_left: link_count });
                return Role::First;
            };
            let role = match &group.state {
                // The writer of the first name waits for nobody, so this ends.
                State::Writing => {
                    groups = self.changed.wait(groups).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                State::Written(first) => Role::Further(first.clone()),
                State::Failed => Role::Alone,
            };
            Self::seen(&mut groups, object);
            return role;
        }
    }

    /// Tells the others where the first name is, or that it is nowhere.
    pub(super) fn written(&self, object: u64, first: Option<FirstName>) {
        let mut groups = self.lock();
        if let Some(group) = groups.get_mut(&object) {
            group.state = first.map_or(State::Failed, State::Written);
            Self::seen(&mut groups, object);
        }
        self.changed.notify_all();
    }

    fn seen(groups: &mut HashMap<u64, Group>, object: u64) {
        if let Some(group) = groups.get_mut(&object) {
            group.names_left = group.names_left.saturating_sub(1);
            if group.names_left == 0 {
                groups.remove(&object);
            }
        }
    }
}
