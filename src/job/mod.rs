//! Operations on a repository, with progress and cancellation.

pub mod backup;
pub mod commit;
pub mod control;
pub mod diff;
pub mod index;
mod object_set;
pub mod open_index;
pub mod problem;
pub mod restore;
pub mod store;
pub mod tape;
pub mod verify;
pub mod walk;

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
