//! What a writer left that was killed after its data had final names and before its DTF had: BDFs that nothing
//! points to.
//!
//! The partial DTF tells the number of the generation that was never made, and each BDF the one that it was
//! written for. As long as no generation came after it, no other can have met that data.

use super::bdf_file::BdfFile;
use super::bdf_writer::area_directory;
use super::catalog::{self, GenerationId};
use super::error::RepoError;
use super::last;
use super::repository::Repository;
use crate::format::bdf::Area;
use crate::id::{ClientName, Ordinal};

/// Removes the BDFs of generations of any client that were never made, and their partial DTFs; the caller holds
/// the writer lock.
///
/// # Errors
/// [`RepoError`] if the storage refuses.
pub(super) fn remove(repository: &Repository) -> Result<(), RepoError> {
    let storage = &**repository.storage();
    let mut highest = last::marked(storage, None)?.map(|id| id.ordinal);
    let mut unfinished = Vec::new();
    for client in repository.clients()? {
        for entry in storage.list(&catalog::client_directory(&client))? {
            match catalog::parse_dtf_name(&entry.name, ".partial") {
                Some(id) => unfinished.push((client.clone(), id)),
                None => highest = highest.max(last::ordinal_of(&entry.name)),
            }
        }
    }
    for (client, id) in unfinished.iter().filter(|(_, id)| highest < Some(id.ordinal)) {
        remove_one(repository, client, *id)?;
    }
    Ok(())
}

fn remove_one(repository: &Repository, client: &ClientName, id: GenerationId) -> Result<(), RepoError> {
    let storage = repository.storage();
    // A name that was taken back, and came again when the power was lost, would be a generation without data.
    storage.sync_directory(&catalog::client_directory(client))?;
    for area in Area::ALL {
        let directory = area_directory(area, client.as_str());
        for entry in storage.list(&directory)? {
            let name = format!("{directory}/{}", entry.name);
            let is_orphan =
                entry.name.ends_with(".bdf") && written_for(repository, &name) == Some(id.ordinal);
            if is_orphan || entry.name.ends_with(".partial") {
                storage.remove(&name)?;
            }
        }
    }
    storage.remove(&catalog::partial_name(client, id))?;
    Ok(())
}

// The generation that a BDF was written for; none if its header cannot be read.
fn written_for(repository: &Repository, name: &str) -> Option<Ordinal> {
    let id = name.rsplit('/').next()?.strip_suffix(".bdf")?.parse().ok()?;
    let bdf = BdfFile::open(&**repository.storage(), repository.id(), name, id).ok()?;
    Some(bdf.header().ordinal)
}
