//! Stores files as frames and records: what a backup of a live tree and a commit of staging share.
//!
//! One thread, the driver, decides what is to be stored and gives tasks. Workers read, fingerprint, find
//! what is stored already, and compress. The driver writes their frames in the order of the tasks, and
//! the records of files when the places of their chunks are known.

pub(in crate::job) mod batch;
pub(in crate::job) mod claims;
pub(in crate::job) mod dedup;
pub(in crate::job) mod emission;
mod error;
pub(in crate::job) mod large;
mod large_file;
mod names;
pub(in crate::job) mod pipeline;
pub(in crate::job) mod prepare;
pub(in crate::job) mod queue;
pub(in crate::job) mod record;
mod report;
pub(in crate::job) mod signature;
pub(in crate::job) mod source;
pub(in crate::job) mod spilling;
mod summary;

pub use error::StoreError;
pub use report::{FileReport, Method};
pub(in crate::job) use summary::Unread;
pub use summary::{Count, Summary};
