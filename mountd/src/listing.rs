//! Listing of directories, from any place in them.
//!
//! A cookie says where to go on: 1 after `.`, 2 after `..`, else the number of the record of the entry that
//! was returned last, or its place in the order of a tape. Nothing is kept between two calls, and going on costs no more than starting.

use std::sync::atomic::Ordering;

use reelfs::format::record::{FileKind, ROOT_OBJECT};
use reelfs::repo::{Entry, Node};

use crate::attributes::Attributes;
use crate::clients::Client;
use crate::control::ControlName;
use crate::errno::{ViewError, chain};
use crate::view::{
    CLIENTS_NAME, CONTROL_FILES, CONTROL_NAME, LATEST_NAME, Lifetime, ListEntry, Place, STAGING_NAME,
    TAPES_NAME, View, time_of,
};

const AFTER_DOT: u64 = 1;
/// After `..`; cookies of names follow.
pub(crate) const AFTER_DOT_DOT: u64 = 2;

impl View {
    /// Lists a directory after the entry with the cookie `after`, 0 from the start, until `take` returns
    /// `false` or the directory ends.
    ///
    /// # Errors
    /// [`ViewError`] if it is no directory or cannot be read; [`ViewError::PartlyListed`] at the end of a
    /// directory of which a part could not be read, so that nobody takes the listing for the whole.
    pub fn list(
        &self,
        number: u64,
        after: u64,
        with_attributes: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        self.counters.listings.fetch_add(1, Ordering::Relaxed);
        let place = self.place(number)?;
        if after < AFTER_DOT && !take(named(self.bare(number, FileKind::Directory), b".", AFTER_DOT)) {
            return Ok(());
        }
        if after < AFTER_DOT_DOT {
            let parent = self.parent(&place)?;
            if !take(named(self.bare(parent, FileKind::Directory), b"..", AFTER_DOT_DOT)) {
                return Ok(());
            }
        }
        match &place {
            Place::Top => self.list_fixed(after, take),
            Place::Staging | Place::Tapes => Ok(()),
            Place::Control => list_control(after, take, self),
            Place::Clients => self.list_clients(after, take),
            Place::Client(client) => self.list_generations(client, after, with_attributes, take),
            Place::Node(node) => self.list_node(*node, after, with_attributes, take),
            Place::Text(_) | Place::Latest(_) => Err(ViewError::NotDirectory),
        }
    }

    // Enough for a listing without attributes.
    fn bare(&self, number: u64, kind: FileKind) -> Attributes {
        let mut attributes = Attributes::directory(number, 0, self.started);
        attributes.kind = kind;
        attributes
    }

    fn list_fixed(&self, after: u64, mut take: impl FnMut(ListEntry<'_>) -> bool) -> Result<(), ViewError> {
        let places = [
            (Place::Control, CONTROL_NAME, true),
            (Place::Clients, CLIENTS_NAME, true),
            (Place::Staging, STAGING_NAME, self.has_staging),
            (Place::Tapes, TAPES_NAME, self.has_tapes),
        ];
        for (cookie, (place, name, is_there)) in (AFTER_DOT_DOT + 1..).zip(places) {
            if cookie <= after || !is_there {
                continue;
            }
            let (attributes, _) = self.attributes_at(&place)?;
            if !take(named(attributes, name.as_bytes(), cookie)) {
                break;
            }
        }
        Ok(())
    }

    fn list_clients(&self, after: u64, mut take: impl FnMut(ListEntry<'_>) -> bool) -> Result<(), ViewError> {
        let snapshot = self.clients.refresh_names(&self.repository)?;
        let last = (after > AFTER_DOT_DOT).then(|| snapshot.by_number(after).map(|client| &client.name));
        if last == Some(None) {
            return Ok(());
        }
        for client in snapshot.clients() {
            if last.flatten().is_some_and(|last| client.name <= *last) {
                continue;
            }
            let (attributes, _) = self.attributes_at(&Place::Client(client.clone()))?;
            if !take(named(attributes, client.name.as_str().as_bytes(), client.number)) {
                break;
            }
        }
        Ok(())
    }

    fn list_generations(
        &self,
        client: &Client,
        after: u64,
        with_attributes: bool,
        mut take: impl FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        let snapshot = self.clients.refresh_client(&self.repository, &client.name)?;
        let Some(client) = snapshot.get(&client.name) else { return Ok(()) };
        let done = match Node::from_number(after) {
            Some(Node::Object { ordinal, .. }) => {
                client.generations.iter().position(|known| known.ordinal == ordinal).map(|index| index + 1)
            }
            _ => Some(0),
        };
        // After `latest`, which comes last, or after a generation that is gone.
        let is_over = after > AFTER_DOT_DOT && done.is_none_or(|done| done == 0);
        if is_over {
            return Ok(());
        }
        for generation in client.generations.iter().skip(done.unwrap_or_default()) {
            let number = Node::Object { ordinal: generation.ordinal, object: ROOT_OBJECT }.to_number();
            let (attributes, lifetime) = if with_attributes {
                self.generation_attributes(*generation)
            } else {
                (self.bare(number, FileKind::Directory), Lifetime::None)
            };
            let name = generation.time.to_string();
            if !take(ListEntry { cookie: number, name: name.as_bytes(), attributes, lifetime }) {
                return Ok(());
            }
        }
        if let Some(latest) = client.latest() {
            let mut attributes = self.bare(client.latest_number, FileKind::Symlink);
            attributes.permissions = 0o777;
            attributes.size = latest.time.to_string().len() as u64;
            attributes.mtime = time_of(latest.time);
            attributes.ctime = attributes.mtime;
            attributes.atime = attributes.mtime;
            let attributes = self.owners.apply(attributes);
            take(named(attributes, LATEST_NAME.as_bytes(), client.latest_number));
        }
        Ok(())
    }

    fn list_node(
        &self,
        node: Node,
        after: u64,
        with_attributes: bool,
        mut take: impl FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        let Node::Object { ordinal, object } = node else { return Err(ViewError::NotDirectory) };
        let damaged = |error| self.damaged(node, error);
        let generation = self.repository.generation(ordinal).map_err(damaged)?;
        if let Some(order) = self.listed_order(&generation, after) {
            let of = (&*order, &*generation);
            return self.list_in_order(of, (node, object), after, with_attributes, &mut take);
        }
        let last = match Node::from_number(after) {
            Some(Node::Entry(address)) => Some(address),
            _ if after <= AFTER_DOT_DOT => None,
            _ => return Err(ViewError::NoPosition),
        };
        for entry in generation.list(self.repository.pages(), object, last).map_err(damaged)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.damage.add_directory(node);
                    self.damage.add(&self.repository, node, None, &chain(&error));
                    continue;
                }
            };
            let (attributes, lifetime) = self.entry_attributes(&entry, object, with_attributes);
            let cookie = Node::Entry(entry.address).to_number();
            if !take(ListEntry { cookie, name: &entry.name, attributes, lifetime }) {
                return Ok(());
            }
        }
        if self.damage.is_partly_listed(node) {
            return Err(ViewError::PartlyListed);
        }
        Ok(())
    }

    pub(crate) fn entry_attributes(
        &self,
        entry: &Entry,
        directory: u64,
        with_attributes: bool,
    ) -> (Attributes, Lifetime) {
        if with_attributes {
            let shown = match &entry.inode {
                Some(inode) => Ok(self.shown(inode, entry.node)),
                None => self.entry_inode(entry, directory).map(|inode| self.shown(&inode, entry.node)),
            };
            match shown {
                Ok(attributes) => return (attributes, Lifetime::Unlimited),
                Err(error) => drop(self.damaged(entry.node, error)),
            }
        }
        // The name is listed all the same; who asks for the attributes then gets the error.
        (self.bare(self.number(entry.node), entry.kind), Lifetime::None)
    }
}

fn named(attributes: Attributes, name: &[u8], cookie: u64) -> ListEntry<'_> {
    ListEntry { cookie, name, attributes, lifetime: Lifetime::Unlimited }
}

fn list_control(
    after: u64,
    mut take: impl FnMut(ListEntry<'_>) -> bool,
    view: &View,
) -> Result<(), ViewError> {
    for (number, name) in (CONTROL_FILES..).zip(ControlName::ALL) {
        if number <= after {
            continue;
        }
        let attributes = view.bare(number, FileKind::Regular);
        let entry = ListEntry {
            cookie: number,
            name: name.as_str().as_bytes(),
            attributes,
            lifetime: Lifetime::None,
        };
        if !take(entry) {
            break;
        }
    }
    Ok(())
}
