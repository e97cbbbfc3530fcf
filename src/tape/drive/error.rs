//! Why a drive did not do what it should.

use thiserror::Error;

/// Why a drive did not do what it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriveError {
    /// No cartridge.
    #[error("{device}: no cartridge")]
    Empty {
        /// Drive.
        device: String,
    },
}
