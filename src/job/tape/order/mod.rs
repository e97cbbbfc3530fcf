//! The names of a generation in the order in which their data stands on tape, as a table on disk.
//!
//! A mount takes the rank of an object for its inode number, and lists directories by rank: programs that sort what
//! they read by inode number go forward as much as those that take names as they are listed. A rank belongs to an
//! object, so that links of a file share it. First come objects without data, then files by the place of their first
//! byte; a directory has the place of the first byte of all that is below it, and comes right before what is there.
//!
//! The same tree at the same places gives the same table, byte by byte. So it can be removed at any time and is made
//! again when it is needed; what it was made from is in it, and one that was made from something else is made anew.
//!
//! ```text
//! sorter    sorts more than fits into memory
//! builder   names as they come become a table
//! table     the bytes of a table, and how it is asked
//! walk      the names of a generation
//! kept      the tables in the catalogue
//! ```

mod builder;
mod kept;
mod sorter;
mod table;
mod walk;

pub use self::kept::{KeptOrders, make_newest};
pub use self::table::{OrderError, TapeOrder};
pub(super) use self::walk::{DEPTH_MAX, Seen};
