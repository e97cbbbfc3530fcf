//! Archives on tape: generations copied whole onto cartridges, listed, verified, restored.

pub mod closure;
pub mod sealed;
