//! Staging: a client's latest generation as a file system that takes any change, kept until a commit makes
//! a generation of them or they are discarded.
//!
//! A tree stands on a *base*, a generation or nothing. What was never touched is read from the base; what
//! was touched has rows in a database ([`crate::index::staging`]) and, for content, backing files.
//! Nothing here knows FUSE: objects are known by numbers, whoever serves them to a kernel maps numbers
//! to node ids.
//!
//! **Numbers.** Each object has one number of 52 bits for its life:
//!
//! ```text
//! 1                 root directory
//! 2 .. 2^39         file with several names in the base: its object id
//! 2^39 .. 2^40      directory: its object id, in the base and in all generations to come
//! 2^40 .. 2^51      made in staging: a counter
//! 2^51 .. 2^52      any other untouched entry of the base: a hash of directory and name
//! ```
//!
//! A record that a commit writes keeps the number of its object
//! ([`crate::format::record::Inode::is_staging_number`]).

mod attributes;
mod ballast;
mod base;
mod claims;
mod content;
mod damage;
mod databases;
mod direct;
mod directory;
mod directory_names;
mod epochs;
mod error;
mod frozen;
mod frozen_content;
mod frozen_names;
mod handle;
mod holding;
mod layers;
mod lengths;
mod listing;
mod mapped;
mod names;
mod nodes;
mod objects;
mod options;
mod pending;
mod privileges;
mod reclaim;
mod recovery;
mod removal;
mod removed;
mod rename;
mod search;
mod space;
mod stack;
mod terms;
mod tree;
mod unsynced;
mod usage;
mod watching;
mod writing;
mod xattrs;

pub use attributes::{Attributes, Caller, Entry, SetAttributes, SetTime};
pub use ballast::Room;
pub use claims::{MOUNTED, MountClaims};
pub use damage::SetAside;
pub use direct::LetGo;
pub use error::StagingError;
pub use frozen::{FrozenChange, FrozenEpoch, FrozenObject, FrozenTarget};
pub use frozen_content::{FrozenBase, FrozenContent, Segment};
pub use handle::{FileHandle, PreparedFile};
pub use listing::{FIRST_COOKIE, Listed, Listing, cookie_of};
pub use mapped::WriteBack;
pub use options::{Limits, OpenMode, StagingOptions};
pub use stack::SegmentKind;
pub use terms::{AllocateMode, Looks, Pending, RenameMode, SeekFrom, Space, Synced, XattrMode};
pub use tree::StagingTree;
pub use watching::Writer;

/// Directory of the clients' staging directories.
pub const STAGING: &str = "staging";
/// Number of the root directory.
pub const ROOT: u64 = crate::format::record::ROOT_OBJECT;
/// Numbers are below this.
pub const NUMBER_MAX: u64 = 1 << 52;
