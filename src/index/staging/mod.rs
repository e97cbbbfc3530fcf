//! The rows of staging, in a database of its own for each client: the one database that cannot be made again.

mod error;

pub use error::StagingStoreError;
