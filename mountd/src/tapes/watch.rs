//! Tells the kernel when cartridges come to be known, or hold more.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::tree::TapeTree;
use super::volumes::{Snapshot, times};
use crate::session::Notices;
use crate::view::ROOT;

const PERIOD: Duration = Duration::from_millis(500);

/// Starts the thread that watches the catalogue.
///
/// It ends with the tree.
pub(crate) fn start(tree: &Arc<TapeTree>, notices: Notices) -> io::Result<()> {
    let mut known = times(tree.catalogue());
    // As with generations: a change in the same tick of the clock does not show, so each is looked at twice.
    let mut is_fresh = true;
    let tree = Arc::downgrade(tree);
    thread::Builder::new().name("watch-tapes".to_owned()).spawn(move || {
        loop {
            thread::sleep(PERIOD);
            let Some(tree) = tree.upgrade() else { return };
            let now = times(tree.catalogue());
            let is_changed = now != known;
            let is_moved = tree.look();
            if is_changed || is_fresh || is_moved {
                let (before, after) = tree.refresh();
                tell(&notices, &before, &after);
            }
            is_fresh = is_changed;
            known = now;
        }
    })?;
    Ok(())
}

// What is below a cartridge is looked up again when its own name is.
fn tell(notices: &Notices, before: &Snapshot, after: &Snapshot) {
    for (name, _) in before.after(None).chain(after.after(None)) {
        notices.forget_name(ROOT, name);
    }
    notices.forget(ROOT);
}
