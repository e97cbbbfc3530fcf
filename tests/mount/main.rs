//! Real mounts of real repositories, in temporary directories. Skipped where this process cannot mount.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers in tests are small"
)]

#[path = "../shared/chain.rs"]
mod chain;
mod damage;
mod export;
mod leftovers;
mod life;
mod plain;
#[path = "../shared/random.rs"]
mod random;
mod rights;
mod shown;
mod staging;
mod support;
mod traps;
mod tree;
mod unprivileged;
