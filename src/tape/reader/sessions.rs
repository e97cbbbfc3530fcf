//! The sessions of a cartridge: what was archived to it, and when.

use super::identify::is_damage;
use super::list::load_index;
use super::{VolumeIndex, VolumeReader};
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::IndexKind;

/// A session: what one archive has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSummary {
    /// For people: who, what.
    pub text: String,
    /// Time of its last index, seconds since 1970.
    pub written_seconds: i64,
    /// First block of its last index.
    pub index_loi: u64,
    /// Commits.
    pub commits: u64,
    /// Segments of all its commits.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// It ended with a closing index.
    pub is_closed: bool,
}

impl VolumeReader<'_> {
    /// Goes from the newest index back to the first one and tells of the sessions, oldest first. One whose indexes
    /// cannot be read is left out, with those before it.
    ///
    /// # Errors
    /// [`TapeError`] if the drive failed, or `progress` was cancelled.
    pub fn sessions(
        &mut self,
        index: &VolumeIndex,
        progress: &Progress,
    ) -> Result<Vec<SessionSummary>, TapeError> {
        let mut sessions: Vec<SessionSummary> = Vec::new();
        let mut next = index.index_loi;
        while let Some(loi) = next {
            progress.check()?;
            let part = match load_index(self.drive, loi, self.description.volume, progress) {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(error) if is_damage(&error) => {
                    log::warn!("{error}; earlier sessions are left out");
                    break;
                }
                Err(error) => return Err(error),
            };
            // Each lies before the one that points to it: no endless chain.
            next = part.index.previous_loi.filter(|previous| *previous < loi);
            let is_closing = part.index.kind == IndexKind::Closing;
            let is_same = sessions.last().is_some_and(|session| session.text == part.index.session);
            if is_closing || !is_same {
                sessions.push(SessionSummary {
                    text: part.index.session.clone(),
                    written_seconds: part.index.written_seconds,
                    index_loi: loi,
                    commits: 0,
                    segments: 0,
                    bytes: 0,
                    is_closed: is_closing,
                });
            }
            // A closing index lists everything again.
            if let (false, Some(session)) = (is_closing, sessions.last_mut()) {
                session.commits += 1;
                session.segments += part.segments.len() as u64;
                session.bytes += part.segments.iter().map(|segment| segment.len).sum::<u64>();
            }
        }
        sessions.reverse();
        Ok(sessions)
    }
}
