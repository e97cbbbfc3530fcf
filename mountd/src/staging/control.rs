//! What commands that reach the server may do with the clients' trees.

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
        for node in self.handles.nodes() {
            if Place::of(node).is_some_and(|place| place.slot == tree.slot()) {
                self.channel.forget(node, true);
            }
        }
        self.channel.forget_name(nodes::ROOT, tree.client().as_str().as_bytes());
    }
}
