//! Loss of power under the programs (F5, F6): the repository lies on a file system that forgets what was not
//! synced, bytes and names, in any order. Skipped where this process cannot mount.
//!
//! A history is made once, with images of the disk taken at random moments of it. Each image then is what a
//! machine finds that starts again: what was promised up to that moment must hold.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "the disk has a clock, as disks on real machines have")]
#![allow(clippy::cast_possible_truncation, reason = "numbers in tests are small")]

mod backup;
mod content;
mod cuts;
mod disk;
mod filesystem;
mod machine;
mod promises;
mod random;
mod seen;
mod staging;
