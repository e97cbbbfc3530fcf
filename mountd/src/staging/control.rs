//! What commands that reach the server may do with the clients' trees.

use std::collections::HashSet;
use std::sync::Arc;

use reelfs::repo::staging::StagingTree;

use crate::bell::Bell;
use crate::staging::clients::Clients;
use crate::staging::handles::Handles;
use crate::staging::nodes::{self, Place};
use crate::wire::channel::Channel;

/// The clients' trees, for other threads of the server.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(super) clients: Arc<Clients>,
    pub(super) handles: Arc<Handles>,
    pub(super) channel: Arc<Channel>,
    pub(super) bell: Arc<Bell>,
}

impl Control {
    /// Makes the kernel forget all that it knows of a tree, after changes were discarded or another
    /// generation was put below. Not from the thread that answers requests.
    pub(crate) fn forget(&self, tree: &StagingTree) {
        // Not only what is open: a working directory or a watch holds an inode too.
        let open = self.handles.nodes().into_iter().filter_map(Place::of);
        let open = open.filter(|place| place.slot == tree.slot()).map(|place| place.number);
        let held: HashSet<u64> = open.chain(tree.held()).collect();
        for number in held {
            self.channel.forget(Place { slot: tree.slot(), number }.node(), true);
        }
        self.channel.forget_name(nodes::ROOT, tree.client().as_str().as_bytes());
        // Names below it that are held stay with it otherwise.
        self.channel.look_up_all_again();
    }
}
