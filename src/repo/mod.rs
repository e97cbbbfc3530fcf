//! The repository: generations of clients, read from DTFs and BDFs and written into them.

pub mod address;
mod attribute_lists;
pub mod bdf_file;
pub mod bdf_writer;
pub mod catalog;
mod change_log;
pub mod content;
mod content_writer;
pub mod damaged_chunks;
pub mod error;
pub mod extent_list;
pub mod frames;
pub mod generation;
pub mod generation_writer;
pub mod last;
pub mod locator;
pub mod node;
mod orphans;
pub mod pages;
mod read_ahead;
pub mod repository;
pub mod staging;
pub mod tree;
pub mod tree_changes;
pub mod tree_writer;

pub use address::Address;
pub use attribute_lists::AttributeLists;
pub use catalog::GenerationId;
pub use error::{ReadError, RepoError};
pub use generation::{Entry, Generation};
pub use node::Node;
pub use repository::{CacheBytes, Repository};
