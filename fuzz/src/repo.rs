//! Of the repository, what reads sealed files.

#[path = "../../src/repo/address.rs"]
pub mod address;
#[path = "../../src/repo/bdf_file.rs"]
pub mod bdf_file;
#[path = "../../src/repo/catalog.rs"]
pub mod catalog;
#[path = "../../src/repo/content.rs"]
pub mod content;
#[path = "../../src/repo/damaged_chunks.rs"]
pub mod damaged_chunks;
#[path = "../../src/repo/error.rs"]
pub mod error;
#[path = "../../src/repo/frames.rs"]
pub mod frames;
#[path = "../../src/repo/generation.rs"]
pub mod generation;
#[path = "../../src/repo/last.rs"]
pub mod last;
#[path = "../../src/repo/locator.rs"]
pub mod locator;
#[path = "../../src/repo/node.rs"]
pub mod node;
#[path = "../../src/repo/pages.rs"]
pub mod pages;
#[path = "../../src/repo/read_ahead.rs"]
mod read_ahead;
#[path = "../../src/repo/tree.rs"]
pub mod tree;

pub use address::Address;
pub use catalog::GenerationId;
pub use error::{ReadError, RepoError};
pub use generation::{Entry, Generation};
pub use node::Node;
