//! The rows of staging, and an index that knows nothing: the real ones are in RocksDB.

use std::convert::Infallible;

use crate::format::frame::ChunkPointer;
use crate::id::Fingerprint;

pub mod staging {
    //! The rows of staging.

    #[path = "../../../../src/index/staging/row.rs"]
    mod row;
    #[path = "../../../../src/index/staging/state.rs"]
    mod state;

    pub use row::{
        ContentRow, EntryRow, Home, LAYER_COUNT_MAX, LayerRow, ObjectRow, ObjectState, PINNED, RowDetail,
        ZEROED_COUNT_MAX,
    };
    pub use state::TreeState;
}

/// An index in which nothing is.
#[derive(Debug)]
pub struct Index;

impl Index {
    /// Finds no chunk.
    ///
    /// # Errors
    /// Never.
    pub fn chunk(&self, _: &Fingerprint) -> Result<Option<ChunkPointer>, Infallible> {
        Ok(None)
    }
}
