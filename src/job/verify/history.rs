//! Verifies that no generation is missing: each names the one before it, and a mark names the last.

use std::collections::HashSet;

use super::{Run, VerifyError};
use crate::id::{ClientName, Ordinal};
use crate::repo::{GenerationId, catalog, last};

/// What the marks say; read before the generations are listed, so that none can be newer than the list.
pub(super) struct Marks {
    all: Option<GenerationId>,
    clients: Vec<(ClientName, GenerationId)>,
}

impl Marks {
    /// Reads the marks of these clients, and with `all` that of the repository.
    pub(super) fn read(run: &Run<'_>, clients: &[ClientName], all: bool) -> Result<Self, VerifyError> {
        let storage = &**run.repository.storage();
        let mut marks = Self { all: None, clients: Vec::new() };
        if all {
            marks.all = last::marked(storage, None)?;
        }
        for client in clients {
            marks.clients.extend(last::marked(storage, Some(client))?.map(|id| (client.clone(), id)));
        }
        Ok(marks)
    }
}

/// Reports generations that are missing from these, which are all of each client.
pub(super) fn verify(
    run: &Run<'_>,
    marks: &Marks,
    clients: &[ClientName],
    generations: &[(ClientName, GenerationId)],
) -> Result<(), VerifyError> {
    let mut known: HashSet<Ordinal> = generations.iter().map(|(_, id)| id.ordinal).collect();
    for client in clients {
        known.extend(last::removed(&**run.repository.storage(), client)?.iter().map(|id| id.ordinal));
    }
    for (client, id) in &marks.clients {
        if known.insert(id.ordinal) {
            run.damage(&catalog::dtf_name(client, *id), 0, "this generation is missing".to_owned());
        }
    }
    if let Some(id) = marks.all.filter(|id| !known.contains(&id.ordinal)) {
        let what = format!("generation {} number {} is missing, with its client", id.time, id.ordinal);
        run.damage(catalog::CLIENTS, 0, what);
    }
    for (client, id) in generations {
        // One that cannot be opened is told of as damage of its own.
        let Ok(generation) = run.repository.generation(id.ordinal) else { continue };
        let before = generation.footer.predecessor.or(generation.header.previous);
        if let Some(before) = before.filter(|before| known.insert(*before)) {
            let what = format!("the generation before it, number {before}, is missing");
            run.damage(&catalog::dtf_name(client, *id), 0, what);
        }
    }
    Ok(())
}
