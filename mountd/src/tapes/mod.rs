//! Cartridges as folders: a third connection to the kernel, mounted on the tree's `tapes` directory.
//!
//! ```text
//! <barcode>/<client>/<generation>/...      of a set of ours
//! <barcode>/<tape file, 4 digits>/...      tar and pax archives of other programs, after a scan
//! <barcode>/                               of ours, prepared: nothing is in it yet
//! <barcode>                                of others, and never scanned: nothing can be asked but its attributes
//! ```
//!
//! Trees come from the catalogue, so that listing moves no tape; data is recalled from the cartridge when it is
//! read. It is a connection of its own so that who waits for a tape is in nobody's way who reads from disk.
//!
//! ```text
//! tree      what is shown, put together from the views of the cartridges' sets
//! numbers   inode numbers that hold over restarts and new cartridges
//! volumes   the cartridges that the catalogue knows, and those in the library
//! empty     the tree of a cartridge that was only prepared
//! foreign   the tree of a cartridge of another program
//! places    where a cartridge is now
//! refusal   programs that must not move a tape
//! asker     whether a program still waits
//! recall    data from tape, when it is first read
//! watch     tells the kernel of new cartridges
//! ```

mod asker;
mod empty;
mod foreign;
mod numbers;
mod places;
mod recall;
mod refusal;
mod tree;
mod volumes;
mod watch;

pub(crate) use recall::open;
pub(crate) use watch::start as watch;
