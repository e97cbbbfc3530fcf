//! reelfs: backups that are read with `ls`, `cp`, `grep` and `rsync`.
//!
//! A module uses only modules of lower layers, and neighbours never use each other; what two of them
//! share moves down, what joins them moves up. `tests/tidy` holds the rule.
//!
//! ```text
//! 4  job                                  backup and restore as operations with progress
//! 3  repo                                 repository, generations, reading, writing, verifying
//! 2  index  live                          what is found quickly; live trees, read and written
//!    tape  library  emulator              drives and what is on tape; changers; both made of files
//! 1  format  chunk  storage  scsi         bytes; cutting and compressing; durable files; commands
//! 0  allocator  clock  codec  checksum  id  path  progress
//! ```
//!
//! The library never prints, never exits and reads neither the clock nor a source of randomness: both
//! are passed in.

#![deny(clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]

pub mod allocator;
pub mod checksum;
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod emulator;
pub mod format;
pub mod id;
pub mod index;
pub mod job;
pub mod library;
pub mod live;
pub mod path;
pub mod progress;
pub mod repo;
pub mod scsi;
pub mod storage;
pub mod tape;
