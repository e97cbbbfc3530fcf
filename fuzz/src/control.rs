//! Requests over the control socket.

#[path = "../../src/job/control/request.rs"]
mod request;

pub use request::{CommitRequest, Request};
