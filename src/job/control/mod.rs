//! Control of staging: what `reelfs commit`, `discard`, `stage` and `staging` ask for, and who does it.
//!
//! The daemon that serves the staging of a repository answers on a socket ([`ControlListener`]). Where no
//! daemon does, the command runs the same [`Service`] in its own process, on trees that it opens itself.
//! A request is one line of JSON, and so is each answer ([`Request`], [`Answer`]). Who hangs up before
//! the last answer cancels what was asked for.

mod connection;
mod discarding;
mod message;
mod refusal;
mod request;
mod service;
mod socket;
mod timetable;

pub use message::{
    Answer, ClientStatus, CommitAnswer, Counted, FileAnswer, Refusal, RefusalKind, Remarks, SetAsideAnswer,
};
pub use request::{CommitRequest, Request};
pub use service::{Emit, Service, Stagings};
pub use socket::{CONTROL, ControlClient, ControlListener};
