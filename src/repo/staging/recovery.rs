//! After a loss of power: backing files that are shorter than what their rows say, or gone.

use super::error::StagingError;
use super::stack::refused;
use super::tree::StagingTree;

impl StagingTree {
    /// Gives layers back the length that they were made with, so that what is below them is seen whole: their
    /// own length may not have reached the disk. A truncation that was synced is in the row too.
    pub(super) fn restore_lengths(&self) -> Result<(), StagingError> {
        for row in self.store.all_objects(0) {
            let (_, row) = row?;
            let Some(content) = row.object.as_ref().and_then(|state| state.content()) else { continue };
            for layer in &content.layers {
                let file = match self.data.open_file(layer.file) {
                    Ok(file) => file,
                    Err(error) if error.is_not_found() => self.data.create(layer.file)?,
                    Err(error) => return Err(error.into()),
                };
                let len = file.metadata().map_err(refused("look up", layer.file))?.len();
                if len < layer.below_len {
                    file.set_len(layer.below_len).map_err(refused("extend", layer.file))?;
                }
            }
        }
        Ok(())
    }
}
