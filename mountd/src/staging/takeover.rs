//! What a server has to do with what the one before it left: files that are open, numbers whose places only the kernel
//! knows, requests that were not answered.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use crate::staging::adapter::{Adapter, Refusal, Target};
use crate::staging::content::restorer;
use crate::staging::handles::{OpenFile, Record};
use crate::staging::nodes::Place;
use crate::wire::request::Header;

// Files that were said to be stale, so that their names are looked up.
const REFUSED_COUNT_MAX: usize = 4096;

impl Adapter {
    /// Opens again what was open when the server before this one died.
    pub(super) fn restore(&self) {
        let inherited = self.handles.inherited();
        let used: HashSet<u32> = inherited.iter().map(|(_, record)| record.backing).collect();
        self.backings.take_back_lost(|number| used.contains(&number));
        self.find_all(&inherited);
        for (number, record) in inherited {
            let Ok(target) = self.target(record.node) else { continue };
            match target.tree.open_file(target.place.number, record.is_writable, false, restorer()) {
                Ok(handle) => {
                    // How it was opened is not known any more.
                    handle.set_mappable();
                    if record.backing != 0 {
                        handle.set_passthrough();
                    }
                    self.handles.restore(number, OpenFile { tree: target.tree, handle });
                }
                Err(error) => log::warn!("an open file is lost: {}", crate::errno::chain(&error)),
            }
        }
    }

    // Each tree is searched once for all of them.
    fn find_all(&self, inherited: &[(u64, Record)]) {
        let mut numbers: HashMap<u16, Vec<u64>> = HashMap::new();
        for place in inherited.iter().filter_map(|(_, record)| Place::of(record.node)) {
            numbers.entry(place.slot).or_default().push(place.number);
        }
        for (slot, numbers) in numbers {
            let Ok(tree) = self.clients.by_slot(slot) else { continue };
            if let Err(error) = tree.search_all(&numbers) {
                log::warn!("open files of {}: {}", tree.client(), crate::errno::chain(&error));
            }
        }
    }

    // After a takeover only the kernel knows where it had found the file. Told that it is stale, it looks the name up
    // again and then asks again; or it asks again at once, if it has come by no name (/proc/PID/fd).
    pub(super) fn want_place(&self, node: u64, target: &Target) -> Result<(), Refusal> {
        if !target.tree.must_search(target.place.number)? {
            return Ok(());
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.remove(&node) {
            return Ok(());
        }
        if refused.len() >= REFUSED_COUNT_MAX {
            refused.clear();
        }
        refused.insert(node);
        Err(Refusal(libc::ESTALE))
    }

    // A server that died may have opened a file for a request that is sent again: nobody would close that. Returns
    // the number of the file.
    pub(super) fn close_unanswered(&self, header: &Header) -> Option<u64> {
        if !header.is_resent() {
            return None;
        }
        let handle = self.handles.unanswered(header.sent_first())?;
        self.close_handle(handle).and_then(Place::of).map(|place| place.number)
    }
}
