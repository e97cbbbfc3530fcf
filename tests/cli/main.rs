//! The command as a user meets it: exit codes, output, and what it leaves behind.

#![cfg(test)]

mod backup;
mod compare;
mod examples;
mod exit;
mod failed_syncs;
mod full_disk;
mod golden;
mod help;
mod interrupt;
mod interrupted_calls;
mod kill_points;
mod limits;
mod memory;
mod mounting;
#[path = "../shared/random.rs"]
mod random;
mod reading;
mod staging;
mod staging_commands;
mod staging_damage;
mod support;
mod tape;
mod thrash;
mod vtape;
