//! Tar and pax cartridges of other programs as trees: made by one scan, kept in the catalogue, listed without the
//! cartridge.
//!
//! ```text
//! node      what is known of one object, and its bytes in the table
//! table     the file in the catalogue: nodes, names, and how they are found; read as it is asked
//! builder   makes the table out of the entries of a scan
//! names     which names of entries can be shown, and where
//! xattrs    extended attributes and access lists out of pax headers
//! kept      what the catalogue keeps
//! content   bytes of a file by the places of its blocks
//! scan      a cartridge in a drive becomes a table
//! ```
//!
//! Each archive, which is a tape file, is a directory named after its number, four digits: what `mt fsf` counts. In it
//! is what extracting the archive in an empty directory would make: of two entries with one name the later one counts,
//! a hard link is another name of what had its target's name at that point, a leading `/` is left out, and what would
//! lead out of the directory is not there at all.

mod builder;
mod content;
mod kept;
mod names;
mod node;
mod scan;
mod table;
mod xattrs;

pub use builder::{Builder, Counts};
pub use content::read_content;
pub use node::{ForeignNode, NodeKind, Piece};
pub use scan::scan_foreign_volume;
pub use table::{ForeignTree, Link, ROOT_NODE, TreeError};
pub use xattrs::AclName;
