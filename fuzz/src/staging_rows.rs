//! The rows of staging.

#[path = "../../src/index/staging/row.rs"]
mod row;
#[path = "../../src/index/staging/state.rs"]
mod state;

pub use row::{
    ContentRow, EntryRow, Home, LAYER_COUNT_MAX, LayerRow, ObjectRow, ObjectState, PINNED, RowDetail,
    ZEROED_COUNT_MAX,
};
pub use state::TreeState;
