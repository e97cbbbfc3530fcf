//! Commits that nobody asks for: by the policies of the clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::message::{Answer, Refusal, RefusalKind};
use super::request::{CommitRequest, Request};
use super::service::Service;
use crate::format::record::Time;
use crate::format::staging_policy::{StagingPolicy, When};
use crate::id::ClientName;
use crate::job::commit::{Due, Observation, Schedule};
use crate::progress::Progress;
use crate::repo::RepoError;
use crate::repo::staging::Limits;

const PERIOD: Duration = Duration::from_millis(500);

impl Service {
    /// Makes the commits that the policies ask for, until `stop` is set. A commit under way is cancelled by
    /// `progress`.
    pub fn run_schedule(&self, stop: &AtomicBool, progress: &Progress) {
        let mut schedule = Schedule::new();
        while !stop.load(Ordering::Relaxed) {
            self.look(&mut schedule, progress);
            self.outside.sleep(PERIOD);
        }
    }

    /// Looks at all clients once, and makes the commits that are due.
    pub fn look(&self, schedule: &mut Schedule, progress: &Progress) {
        let (Ok(config), Ok(names)) = (self.config(), self.stagings.names()) else { return };
        for client in names {
            let policy = config.staging_policy(&client);
            if let Some(tree) = self.stagings.opened(&client) {
                tree.set_limits(Limits::of(&policy.space));
            }
            if policy.commit.when == When::Asked && policy.commit.every.duration().is_zero() {
                continue;
            }
            if !self.stagings.is_scheduled(&client) {
                continue;
            }
            match self.observe(&client, &policy) {
                Ok(seen) => {
                    if let Some(due) = schedule.observe(&client, &policy.commit, &seen) {
                        self.commit_due(&client, due, schedule, progress);
                    }
                }
                Err(refusal) if matches!(refusal.kind, RefusalKind::Locked | RefusalKind::Mounted) => {
                    log::debug!("staging of {client} cannot be looked at yet: {refusal}");
                }
                Err(refusal) if schedule.failed_to_observe(&client) => {
                    log::warn!("staging of {client} cannot be looked at, and no commit is made: {refusal}");
                }
                Err(_) => {}
            }
        }
    }

    fn observe(&self, client: &ClientName, policy: &StagingPolicy) -> Result<Observation, Refusal> {
        let tree = self.tree(client, policy)?;
        let writers = tree.writers()?;
        let base_time = match tree.base() {
            Some(base) => {
                let generation = self.stagings.repository().generation(base).map_err(RepoError::from)?;
                Some(Time { seconds: generation.header.time.seconds(), nanoseconds: 0 })
            }
            None => None,
        };
        Ok(Observation {
            now: self.outside.now(),
            change_count: tree.change_count(),
            last_write: writers.iter().map(|writer| writer.last_write).max(),
            is_changed: tree.is_changed()?,
            base_time,
        })
    }

    fn commit_due(&self, client: &ClientName, due: Due, schedule: &mut Schedule, progress: &Progress) {
        let message = due.as_str().to_owned();
        let request = CommitRequest { client: client.to_string(), message, ..CommitRequest::default() };
        let mut emit = |answer| match answer {
            Answer::Commit(done) => {
                let generation = done.generation.unwrap_or_else(|| "nothing".to_owned());
                log::info!("committed {client}: {generation} ({})", due.as_str());
            }
            Answer::Note { text } => log::warn!("{text}"),
            _ => {}
        };
        match self.perform(&Request::Commit(request), progress, &mut emit) {
            Ok(()) => schedule.done(client, self.outside.now()),
            // Another commit, or a backup: the next look may find its end.
            Err(refusal) if matches!(refusal.kind, RefusalKind::Committing | RefusalKind::Locked) => {
                log::debug!("commit of {client} is put off: {refusal}");
            }
            Err(refusal) => {
                log::warn!("commit of {client} failed and is tried again: {refusal}");
                schedule.failed(client, self.outside.now());
            }
        }
    }
}
