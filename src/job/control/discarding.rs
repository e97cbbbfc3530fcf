//! Dropping what is staged; what is damaged is set aside, as nobody can say what is in it.

use std::path::Path;

use super::message::{Answer, Refusal, RefusalKind, SetAsideAnswer};
use super::service::{Emit, Service};
use crate::id::{ClientName, GenerationTime};
use crate::job::chain;
use crate::path;
use crate::progress::Progress;
use crate::repo::staging::STAGING;

impl Service {
    pub(super) fn discard(&self, client: &ClientName, emit: Emit<'_>) -> Result<(), Refusal> {
        let policy = self.config()?.staging_policy(client);
        let _running = self.begin(client, false, &Progress::new())?;
        let damage = match self.tree(client, &policy) {
            Ok(tree) => match tree.check().and_then(|()| tree.discard()) {
                Ok(()) => {
                    self.stagings.forget(&tree);
                    let (client, generation) = (client.to_string(), self.base_name(&tree)?);
                    emit(Answer::Staged { client, generation, aside: None });
                    return Ok(());
                }
                Err(error) if error.is_damage() => chain(&error),
                Err(error) => return Err(error.into()),
            },
            Err(refusal) if refusal.kind == RefusalKind::StagingDamaged => refusal.text,
            Err(refusal) => return Err(refusal),
        };
        let aside = self.set_aside(client, damage)?;
        let tree = self.stagings.create(client)?;
        let (client, generation) = (client.to_string(), self.base_name(&tree)?);
        emit(Answer::Staged { client, generation, aside: Some(aside) });
        Ok(())
    }

    fn set_aside(&self, client: &ClientName, damage: String) -> Result<SetAsideAnswer, Refusal> {
        let now = GenerationTime::from_seconds(self.outside.now().seconds);
        let mark = now.map_or_else(|| "of-unknown-time".to_owned(), |now| now.to_string());
        let aside = self.stagings.set_aside(client, &mark)?;
        let (path, file_count, bytes) = (shown(&aside.path), aside.file_count, aside.bytes);
        Ok(SetAsideAnswer { damage, path, file_count, bytes })
    }

    /// The refusal with client and place, if it tells of damage of a client's staging.
    pub(super) fn told_damage(&self, client: &str, refusal: Refusal) -> Refusal {
        if refusal.kind != RefusalKind::StagingDamaged {
            return refusal;
        }
        let place = self.repository().root().map(|root| root.join(STAGING).join(client));
        let place = place.map_or_else(String::new, |place| format!(" ({})", shown(&place)));
        Refusal::new(refusal.kind, format!("staging of {client}{place} is damaged: {}", refusal.text))
    }
}

fn shown(place: &Path) -> String {
    path::display(place.as_os_str().as_encoded_bytes())
}
