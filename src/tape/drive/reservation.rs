//! The reservation of a drive: as long as a session lasts, no other initiator moves its tape or writes
//! (SPC-4, 5.9; tape.md, 0.3).

use std::fmt;

use super::{Drive, DriveError};
use crate::scsi::reservation::{ReservationKind, ReserveAction};

/// Attempts to take over from sessions that are over, while others try the same.
const PREEMPT_ATTEMPTS: u32 = 3;

/// Keys of reservations: which process has a drive, and whether it still has.
pub trait ReservationKeys: Send + Sync + fmt::Debug {
    /// A key for a new session, not 0. No other session that lasts has it.
    fn begin(&self) -> u64;

    /// The session with this key is over.
    fn end(&self, key: u64);

    /// Whether the session with this key is over for certain; `false` if nobody can tell from here.
    fn is_over(&self, key: u64) -> bool;

    /// Whose key it is, for people.
    fn describe(&self, key: u64) -> String;
}

/// Who holds a drive.
struct Holder {
    key: u64,
    // As its transport names it, if the drive tells.
    initiator: Option<String>,
}

impl Drive {
    /// Reserves the drive for this session; takes it over from one that is over for certain. A drive without
    /// reservations is left as it is.
    ///
    /// # Errors
    /// [`DriveError::Reserved`] if another holds it; [`DriveError`] if the drive failed.
    pub(super) fn reserve(&mut self) -> Result<(), DriveError> {
        let Some(key) = self.reservation_key else {
            return Ok(());
        };
        let registered = self.reserve_out(ReserveAction::RegisterAndIgnoreExistingKey, 0, key);
        if !self.tolerate("reservation", registered.map(|()| true))? {
            return Ok(());
        }
        for _ in 0..=PREEMPT_ATTEMPTS {
            match self.reserve_out(ReserveAction::Reserve, key, 0) {
                Err(DriveError::Reserved { .. }) => {}
                reserved => return self.tolerate("reservation", reserved.map(|()| true)).map(drop),
            }
            // Without a holder it was given up just now.
            let Some(holder) = self.holder()? else { continue };
            if !self.may_preempt(key, &holder) {
                break;
            }
            log::warn!("{}: taken over from {}", self.device(), self.describe(&holder));
            match self.reserve_out(ReserveAction::PreemptAndAbort, key, holder.key) {
                // Another process was faster.
                Ok(()) | Err(DriveError::Reserved { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let refused = self.reserved();
        if let Err(error) = self.reserve_out(ReserveAction::RegisterAndIgnoreExistingKey, key, 0) {
            log::debug!("{}: registration: {error}", self.device());
        }
        Err(refused)
    }

    /// Gives the reservation up.
    pub(super) fn release(&mut self) -> Result<(), DriveError> {
        let Some(key) = self.reservation_key else {
            return Ok(());
        };
        let released = self.reserve_out(ReserveAction::RegisterAndIgnoreExistingKey, key, 0);
        self.tolerate("reservation", released.map(|()| true)).map(drop)
    }

    fn reserve_out(&mut self, action: ReserveAction, key: u64, new_key: u64) -> Result<(), DriveError> {
        let kind = ReservationKind::ExclusiveAccess;
        self.passing_attentions(|drive| drive.unit.persistent_reserve(action, kind, key, new_key))
    }

    // The key of this session is that of its former connection.
    fn may_preempt(&self, own: u64, holder: &Holder) -> bool {
        let is_over = self.options.reservations.as_ref().is_some_and(|keys| keys.is_over(holder.key));
        holder.key == own || is_over || self.options.preempts
    }

    // Some drives list the registrants, all others tell the key at least.
    fn holder(&mut self) -> Result<Option<Holder>, DriveError> {
        let listed = self.passing_attentions(|drive| match drive.unit.registrants() {
            Err(error) if error.is_unsupported() => Ok(None),
            other => other.map(Some),
        })?;
        if let Some(registrants) = listed {
            let holding = registrants.iter().find(|registrant| registrant.holds.is_some());
            return Ok(holding.map(|holder| Holder { key: holder.key, initiator: Some(holder.initiator()) }));
        }
        let held = self.passing_attentions(|drive| drive.unit.reservation())?;
        Ok(held.map(|held| Holder { key: held.key, initiator: None }))
    }

    fn describe(&self, holder: &Holder) -> String {
        let who = match &self.options.reservations {
            Some(keys) => keys.describe(holder.key),
            None => "another program".to_owned(),
        };
        match &holder.initiator {
            Some(initiator) => format!("{who} (initiator {initiator}, key {:016x})", holder.key),
            None => format!("{who} (key {:016x})", holder.key),
        }
    }

    /// The drive is not for this session: says who has it.
    pub(super) fn reserved(&mut self) -> DriveError {
        let holder = match self.holder() {
            Ok(Some(holder)) => self.describe(&holder),
            Ok(None) | Err(_) => "another program, which the drive does not name".to_owned(),
        };
        DriveError::Reserved { device: self.device(), holder }
    }
}
