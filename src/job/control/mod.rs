//! Control of staging: what `reelfs commit`, `discard`, `stage` and `staging` ask for, and who does it.
//!
//! The daemon that serves the staging of a repository answers on a socket ([`ControlListener`]). Of several mounts each
//! has one, and the one that has the client is asked ([`Daemon::find`]). Where no daemon has it, the command runs the same [`Service`] in its own process, on trees that it opens itself.
//! A request is one line of JSON, and so is each answer ([`Request`], [`Answer`]). Who hangs up before
//! the last answer cancels what was asked for.

mod connection;
mod discarding;
mod finding;
mod message;
mod refusal;
mod request;
mod service;
mod socket;
mod timetable;

pub use finding::{Daemon, has_others, served_by_other};
pub use message::{
    Answer, ClientStatus, CommitAnswer, Counted, FileAnswer, Refusal, RefusalKind, Remarks, ServedBy,
    SetAsideAnswer,
};
pub use request::{CommitRequest, Request};
pub use service::{Emit, Service, Stagings};
pub use socket::{CONTROL, ControlClient, ControlListener};
