//! The tree that is shown: places, their attributes, names and content.
//!
//! ```text
//! clients/<client>/<generation>/...    clients/<client>/latest    .reelfs/status    .reelfs/damaged
//! ```
//!
//! Nothing is kept for an inode that the kernel knows: its number says where it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reelfs::format::record::{Detail, FileKind, Inode, ROOT_OBJECT, Time, XattrList};
use reelfs::id::{ClientName, GenerationTime, Ordinal};
use reelfs::job::tape::order::KeptOrders;
use reelfs::repo::generation::check_place;
use reelfs::repo::{Entry, GenerationId, Node, ReadError, Repository};

use crate::attributes::{Attributes, OwnerMap};
use crate::bell::Bell;
use crate::clients::{Client, Clients, Snapshot};
use crate::control::{ControlName, ControlText, ControlTexts};
use crate::damage::DamageLog;
use crate::directories::Directories;
use crate::errno::{ViewError, chain};
use crate::staging::Counts;

/// Inode number of the root.
pub const ROOT: u64 = 1;
/// Inode number of `clients`.
pub const CLIENTS: u64 = 2;
pub(crate) const CONTROL: u64 = 3;
// In listings only; a lookup gives the number of the text.
pub(crate) const CONTROL_FILES: u64 = 4;

// After the numbers of control files.
pub(crate) const STAGING: u64 = 8;
pub(crate) const TAPES: u64 = 9;

pub(crate) const STAGING_NAME: &str = "staging";
pub(crate) const TAPES_NAME: &str = "tapes";
pub(crate) const CLIENTS_NAME: &str = "clients";
pub(crate) const CONTROL_NAME: &str = ".reelfs";
pub(crate) const LATEST_NAME: &str = "latest";
const SELINUX_LABEL: &[u8] = b"security.selinux";

/// What the root of the mount is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// All clients, and `.reelfs`.
    All,
    /// One client with its generations.
    Client(ClientName),
    /// A directory of one generation; `.reelfs` can be named there but is not listed.
    Directory {
        /// The generation.
        ordinal: Ordinal,
        /// The directory.
        object: u64,
    },
}

/// How long the kernel may keep what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is told otherwise.
    Unlimited,
    /// Not at all.
    None,
}

/// An entry of a listing.
#[derive(Debug)]
pub struct ListEntry<'a> {
    /// Where to go on after this entry.
    pub cookie: u64,
    /// Name.
    pub name: &'a [u8],
    /// Attributes; if they were not asked for or cannot be read, only number and kind hold.
    pub attributes: Attributes,
    /// How long they hold.
    pub lifetime: Lifetime,
}

/// Counts of what was asked.
#[derive(Debug, Default)]
pub struct Counters {
    /// Names looked up.
    pub lookups: AtomicU64,
    /// Attributes asked for.
    pub attributes: AtomicU64,
    /// Parts of directories listed.
    pub listings: AtomicU64,
    /// Reads.
    pub reads: AtomicU64,
    /// Bytes read.
    pub read_bytes: AtomicU64,
    /// Extended attributes asked for.
    pub xattrs: AtomicU64,
}

/// The tree that is shown.
#[derive(Debug)]
pub struct View {
    pub(crate) repository: Arc<Repository>,
    pub(crate) root: Root,
    pub(crate) owners: OwnerMap,
    pub(crate) clients: Clients,
    pub(crate) damage: DamageLog,
    pub(crate) directories: Directories,
    pub(crate) orders: Option<KeptOrders>,
    pub(crate) texts: ControlTexts,
    pub(crate) started: Time,
    /// There is a directory for staging to be mounted on.
    pub has_staging: bool,
    /// There is a directory for cartridges to be mounted on.
    pub has_tapes: bool,
    /// Rung when a generation was made here.
    pub(crate) bell: Arc<Bell>,
    /// Counts of what was asked of staging.
    pub staging_counts: Arc<Counts>,
    /// Counts of what was asked.
    pub counters: Counters,
}

pub(crate) enum Place {
    Top,
    Clients,
    Control,
    Staging,
    Tapes,
    Text(Arc<ControlText>),
    Client(Arc<Client>),
    Latest(Arc<Client>),
    Node(Node),
}

impl View {
    /// Shows a repository.
    ///
    /// # Errors
    /// [`ViewError`] if its clients cannot be listed.
    pub fn new(
        repository: Arc<Repository>,
        root: Root,
        owners: OwnerMap,
        started: Time,
    ) -> Result<Self, ViewError> {
        let clients = Clients::default();
        clients.refresh(&repository)?;
        Ok(Self {
            repository,
            root,
            owners,
            clients,
            damage: DamageLog::default(),
            directories: Directories::default(),
            orders: None,
            texts: ControlTexts::default(),
            started,
            has_staging: false,
            has_tapes: false,
            bell: Arc::default(),
            staging_counts: Arc::default(),
            counters: Counters::default(),
        })
    }

    /// Tells whether nothing that is shown can have extended attributes.
    #[must_use]
    pub fn is_without_xattrs(&self) -> bool {
        match self.root {
            Root::Directory { ordinal, .. } => self.is_plain(ordinal),
            Root::All | Root::Client(_) => false,
        }
    }

    /// Tells whether new generations appear.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        !matches!(self.root, Root::Directory { .. })
    }

    /// Inode number by which a client's directory is shown.
    #[must_use]
    pub fn client_number(&self, client: &Client) -> u64 {
        match &self.root {
            Root::Client(name) if *name == client.name => ROOT,
            _ => client.number,
        }
    }

    pub(crate) fn number(&self, node: Node) -> u64 {
        match (&self.root, node) {
            (Root::Directory { ordinal, object }, Node::Object { ordinal: of, object: is })
                if of == *ordinal && is == *object =>
            {
                ROOT
            }
            _ => node.to_number(),
        }
    }

    pub(crate) fn place(&self, number: u64) -> Result<Place, ViewError> {
        if number == ROOT {
            return match &self.root {
                Root::All => Ok(Place::Top),
                Root::Client(name) => {
                    self.clients.snapshot().get(name).cloned().map(Place::Client).ok_or(ViewError::NoNumber)
                }
                Root::Directory { ordinal, object } => {
                    Ok(Place::Node(Node::Object { ordinal: *ordinal, object: *object }))
                }
            };
        }
        match Node::from_number(number).ok_or(ViewError::NoNumber)? {
            Node::Synthetic(CLIENTS) if self.root == Root::All => Ok(Place::Clients),
            Node::Synthetic(CONTROL) => Ok(Place::Control),
            Node::Synthetic(STAGING) if self.has_staging => Ok(Place::Staging),
            Node::Synthetic(TAPES) if self.has_tapes => Ok(Place::Tapes),
            Node::Synthetic(number) => {
                if let Some(text) = self.texts.get(number) {
                    return Ok(Place::Text(text));
                }
                let find = |snapshot: Arc<Snapshot>| snapshot.by_number(number).cloned();
                let client = find(self.clients.snapshot())
                    .or_else(|| self.clients.refresh(&self.repository).ok().and_then(find))
                    .ok_or(ViewError::NoNumber)?;
                let is_directory = client.number == number;
                Ok(if is_directory { Place::Client(client) } else { Place::Latest(client) })
            }
            node => Ok(Place::Node(node)),
        }
    }

    /// Attributes of the object with this inode number.
    ///
    /// # Errors
    /// [`ViewError`] if there is none or it cannot be read.
    pub fn attributes(&self, number: u64) -> Result<(Attributes, Lifetime), ViewError> {
        let place = self.place(number)?;
        self.attributes_at(&place)
    }

    pub(crate) fn attributes_at(&self, place: &Place) -> Result<(Attributes, Lifetime), ViewError> {
        let directory = |number, permissions, time| {
            Ok((self.owners.apply(Attributes::directory(number, permissions, time)), Lifetime::Unlimited))
        };
        match place {
            Place::Top => directory(ROOT, 0o755, self.latest_time()),
            Place::Clients => directory(CLIENTS, 0o755, self.latest_time()),
            Place::Control => directory(CONTROL, 0o700, self.started),
            Place::Staging => directory(STAGING, 0o755, self.started),
            Place::Tapes => directory(TAPES, 0o755, self.started),
            Place::Text(text) => {
                let mut attributes = Attributes::directory(text.number, 0o400, text.time);
                attributes.kind = FileKind::Regular;
                attributes.size = text.text.len() as u64;
                attributes.block_count = attributes.size.div_ceil(512);
                Ok((self.owners.apply(attributes), Lifetime::None))
            }
            Place::Client(client) => directory(self.client_number(client), 0o755, self.client_time(client)),
            Place::Latest(client) => {
                let latest = client.latest().ok_or(ViewError::NoNumber)?;
                let time = time_of(latest.time);
                let mut attributes = Attributes::directory(client.latest_number, 0o777, time);
                attributes.kind = FileKind::Symlink;
                attributes.size = latest.time.to_string().len() as u64;
                Ok((self.owners.apply(attributes), Lifetime::Unlimited))
            }
            Place::Node(Node::Object { ordinal, object: ROOT_OBJECT }) if self.is_changing() => {
                let snapshot = self.clients.snapshot();
                snapshot.find(*ordinal).map(|id| self.generation_attributes(id)).ok_or(ViewError::NoNumber)
            }
            Place::Node(node) => {
                let inode = self.inode(*node)?;
                Ok((self.shown(&inode, *node), Lifetime::Unlimited))
            }
        }
    }

    fn latest_time(&self) -> Time {
        self.clients.snapshot().latest_time().map_or(self.started, time_of)
    }

    fn client_time(&self, client: &Client) -> Time {
        client.latest().map_or(self.started, |latest| time_of(latest.time))
    }

    pub(crate) fn inode(&self, node: Node) -> Result<Inode, ViewError> {
        self.repository.inode(node).map_err(|error| self.damaged(node, error))
    }

    // The date of a generation's directory is the generation's, unless the generation is all that is shown:
    // then nothing may differ from the source.
    pub(crate) fn shown(&self, inode: &Inode, node: Node) -> Attributes {
        let mut attributes = Attributes::of(inode, self.number(node));
        if let Node::Object { ordinal, object: ROOT_OBJECT } = node
            && self.is_changing()
            && let Ok(generation) = self.repository.generation(ordinal)
        {
            attributes.mtime = time_of(generation.header.time);
        }
        self.owners.apply(attributes)
    }

    pub(crate) fn damaged(&self, node: Node, error: ReadError) -> ViewError {
        if error.is_damage() {
            self.damage.add(&self.repository, node, None, &chain(&error));
        } else {
            log::warn!("inode {}: {}", node.to_number(), chain(&error));
        }
        ViewError::Read(error)
    }

    /// Finds a name in a directory.
    ///
    /// # Errors
    /// [`ViewError`] if there is none or it cannot be read.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        self.counters.lookups.fetch_add(1, Ordering::Relaxed);
        let place = self.place(parent)?;
        match name {
            b"." => return self.attributes_at(&place),
            b".." => return self.attributes(self.parent(&place)?),
            _ => {}
        }
        let found = match &place {
            Place::Top if name == CLIENTS_NAME.as_bytes() => Place::Clients,
            Place::Top if name == CONTROL_NAME.as_bytes() => Place::Control,
            Place::Top if name == STAGING_NAME.as_bytes() && self.has_staging => Place::Staging,
            Place::Top if name == TAPES_NAME.as_bytes() && self.has_tapes => Place::Tapes,
            Place::Clients => Place::Client(self.find_client(name)?),
            Place::Control => {
                let name = ControlName::ALL.into_iter().find(|known| known.as_str().as_bytes() == name);
                Place::Text(self.text(name.ok_or(ViewError::NoName)?))
            }
            Place::Client(client) if name == LATEST_NAME.as_bytes() && client.latest().is_some() => {
                Place::Latest(Arc::clone(client))
            }
            Place::Client(client) => return self.lookup_generation(client, name),
            Place::Node(node) => return self.lookup_entry(*node, name),
            Place::Top | Place::Staging | Place::Tapes => return Err(ViewError::NoName),
            Place::Text(_) | Place::Latest(_) => return Err(ViewError::NotDirectory),
        };
        self.attributes_at(&found)
    }

    fn find_client(&self, name: &[u8]) -> Result<Arc<Client>, ViewError> {
        let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let name: ClientName = name.ok_or(ViewError::NoName)?;
        if let Some(client) = self.clients.snapshot().get(&name) {
            return Ok(Arc::clone(client));
        }
        self.clients.refresh_names(&self.repository)?.get(&name).cloned().ok_or(ViewError::NoName)
    }

    fn lookup_generation(&self, client: &Client, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        let time = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let time: GenerationTime = time.ok_or(ViewError::NoName)?;
        let found = match client.find(time) {
            Some(found) => found,
            // It may be newer than what is known.
            None => self
                .clients
                .refresh_client(&self.repository, &client.name)?
                .get(&client.name)
                .and_then(|client| client.find(time))
                .ok_or(ViewError::NoName)?,
        };
        Ok(self.generation_attributes(found))
    }

    // A generation that cannot be read is shown all the same; opening it then says why.
    pub(crate) fn generation_attributes(&self, generation: GenerationId) -> (Attributes, Lifetime) {
        let node = Node::Object { ordinal: generation.ordinal, object: ROOT_OBJECT };
        if let Ok(inode) = self.inode(node) {
            return (self.shown(&inode, node), Lifetime::Unlimited);
        }
        let bare = Attributes::directory(node.to_number(), 0o700, time_of(generation.time));
        (self.owners.apply(bare), Lifetime::None)
    }

    fn lookup_entry(&self, node: Node, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        let Node::Object { ordinal, object } = node else { return Err(ViewError::NotDirectory) };
        let damaged = |error| self.damaged(node, error);
        let generation = self.repository.generation(ordinal).map_err(damaged)?;
        let entry = generation.lookup(self.repository.pages(), object, name).map_err(damaged)?;
        match entry {
            Some(entry) => {
                let inode = self.entry_inode(&entry, object).map_err(damaged)?;
                Ok((self.shown(&inode, entry.node), Lifetime::Unlimited))
            }
            None if name == CONTROL_NAME.as_bytes() && self.number(node) == ROOT => {
                self.attributes_at(&Place::Control)
            }
            None => Err(ViewError::NoName),
        }
    }

    /// The object of an entry of the directory with this object id.
    pub(crate) fn entry_inode(&self, entry: &Entry, directory: u64) -> Result<Inode, ReadError> {
        let inode = entry.inode.clone().map_or_else(|| self.repository.inode(entry.node), Ok)?;
        if let Node::Object { object, .. } = entry.node {
            check_place(object, entry.kind, &inode, directory)?;
            if entry.kind == FileKind::Directory
                && !self.directories.is_only_name(entry.node, Node::Entry(entry.address))
            {
                return Err(ReadError::DirectoryElsewhere { object });
            }
        }
        Ok(inode)
    }

    /// Tells whether the kernel may keep that a name is not there.
    #[must_use]
    pub fn keeps_missing_names(&self, parent: u64) -> bool {
        matches!(
            self.place(parent),
            Ok(Place::Node(_) | Place::Top | Place::Control | Place::Staging | Place::Tapes)
        )
    }

    /// Inode number of the directory above.
    pub(crate) fn parent(&self, place: &Place) -> Result<u64, ViewError> {
        let above = match place {
            Place::Top | Place::Clients | Place::Control | Place::Staging | Place::Tapes => ROOT,
            Place::Client(client) if self.client_number(client) == ROOT => ROOT,
            Place::Client(_) => CLIENTS,
            Place::Node(node) if self.number(*node) == ROOT => ROOT,
            Place::Node(node @ Node::Object { ordinal, object }) => {
                let generation = self.repository.generation(*ordinal)?;
                if *object == ROOT_OBJECT {
                    let snapshot = self.clients.snapshot();
                    let client = snapshot.get(&generation.header.client).ok_or(ViewError::NoNumber)?;
                    return Ok(self.client_number(client));
                }
                match self.inode(*node)?.detail {
                    Detail::Directory { parent } => {
                        self.number(Node::Object { ordinal: *ordinal, object: parent })
                    }
                    _ => return Err(ViewError::NotDirectory),
                }
            }
            Place::Node(_) | Place::Text(_) | Place::Latest(_) => return Err(ViewError::NotDirectory),
        };
        Ok(above)
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// [`ViewError`] if it is no link or cannot be read.
    pub fn target(&self, number: u64) -> Result<Vec<u8>, ViewError> {
        match self.place(number)? {
            Place::Latest(client) => {
                let latest = client.latest().ok_or(ViewError::NoNumber)?;
                Ok(latest.time.to_string().into_bytes())
            }
            Place::Node(node) => match self.inode(node)?.detail {
                Detail::Symlink { target } => Ok(target),
                _ => Err(ViewError::WrongKind),
            },
            _ => Err(ViewError::WrongKind),
        }
    }

    /// An extended attribute of an object.
    ///
    /// # Errors
    /// [`ViewError`] if there is none or it cannot be read.
    pub fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, ViewError> {
        let found = self.xattrs(number)?.into_iter().find(|(known, _)| known == name);
        match found {
            Some((_, value)) => Ok(value),
            None if name == SELINUX_LABEL => Err(ViewError::NoLabel),
            None => Err(ViewError::NoXattr),
        }
    }

    /// Extended attributes of an object.
    ///
    /// # Errors
    /// [`ViewError`] if they cannot be read.
    pub fn xattrs(&self, number: u64) -> Result<XattrList, ViewError> {
        self.counters.xattrs.fetch_add(1, Ordering::Relaxed);
        match self.place(number)? {
            Place::Node(node) => {
                let inode = self.inode(node)?;
                let list = self.repository.xattrs(&inode).map_err(|error| self.damaged(node, error))?;
                Ok(self.owners.apply_to_xattrs(list))
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// A generation's time as a file's.
pub(crate) fn time_of(time: GenerationTime) -> Time {
    Time { seconds: time.seconds(), nanoseconds: 0 }
}
