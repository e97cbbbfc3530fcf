//! The rows of staging, in a database of its own for each client: the one database that cannot be made again.

mod closed;
mod error;
mod places;
mod removed;
mod row;
mod settings;
mod state;
mod store;

pub use error::StagingStoreError;
pub use places::FrozenPlace;
pub use removed::{RemovedKey, RemovedName};
pub use row::{
    ContentRow, EntryRow, Home, LAYER_COUNT_MAX, LayerRow, ObjectRow, ObjectState, PINNED, RowDetail,
    ZEROED_COUNT_MAX,
};
pub use state::TreeState;
pub use store::{NumberSet, StagingBatch, StagingSnapshot, StagingStore};
