//! The mount daemon: shows a repository, or one generation of it, as a read-only file system, and staging as
//! one that can be written.
//!
//! ```text
//! cli           arguments, and those of mount(8)
//! launch        checks what was asked for, starts the supervisor, waits until the mount is ready
//! supervisor    mounts, keeps the FUSE descriptor, starts the server again when it dies
//! server        the process that answers: session, read-ahead, watching for new generations
//! lister        a process that lists directories of staging for the kernel's sake
//! session       the connection to the kernel, begun or taken over
//! filesystem    the adapter to fuser: decodes, asks the view, replies
//! view          the tree that is shown; knows nothing of FUSE
//! shown         what a read-only connection needs of a tree
//! plain         clients without extended attributes: a connection that is never asked for any
//! tapes         cartridges as folders: a third connection
//! staging       the writable tree: a second connection, on the protocol in wire
//! ```

#![deny(clippy::indexing_slicing)]

pub mod attributes;
mod bell;
pub mod cli;
pub mod clients;
pub mod control;
pub mod damage;
mod data_order;
mod directories;
pub mod errno;
pub mod filesystem;
mod fuse_fd;
pub mod fusermount;
mod handover;
pub mod launch;
mod lister;
mod listing;
pub mod logger;
pub mod mountpoint;
pub mod options;
mod plain;
mod pool;
mod reading;
mod server;
mod session;
mod shown;
mod spin;
pub mod staging;
pub mod supervisor;
mod tapes;
pub mod view;
mod watch;
mod wire;
