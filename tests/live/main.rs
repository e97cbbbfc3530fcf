//! Live trees on the file systems of this machine: what a backup sees, what a restore writes, and what
//! hostile names and neighbours cannot do.

#![cfg(test)]

mod hostile;
mod policy;
mod race;
mod round_trip;
mod scan;
mod tree;
mod unprivileged;
