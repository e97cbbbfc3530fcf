//! Cartridges as folders: a third connection to the kernel, mounted on the tree's `tapes` directory.
//!
//! ```text
//! <barcode>/<client>/<generation>/...
//! ```
//!
//! Trees come from the catalogue, so that listing moves no tape; data is recalled from the cartridge when it is
//! read. It is a connection of its own so that who waits for a tape is in nobody's way who reads from disk.
//!
//! ```text
//! tree      what is shown, put together from the views of the cartridges' sets
//! numbers   inode numbers that hold over restarts and new cartridges
//! volumes   the cartridges that the catalogue knows
//! places    where a cartridge is now
//! refusal   programs that must not move a tape
//! recall    data from tape, when it is first read
//! watch     tells the kernel of new cartridges
//! ```

mod numbers;
mod places;
mod recall;
mod refusal;
mod tree;
mod volumes;
mod watch;

pub(crate) use recall::open;
pub(crate) use watch::start as watch;
