//! A repository: creating one, opening one, and what is in it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::fcntl::{Flock, FlockArg};
use quick_cache::sync::Cache;

use super::attribute_lists::{AttributeLists, read_list};
use super::catalog::{self, GenerationId};
use super::content::ContentReader;
use super::error::{ReadError, RepoError};
use super::frames::FrameReader;
use super::generation::{self, Generation};
use super::last;
use super::locator::ChunkLocator;
use super::node::Node;
use super::pages::PageReader;
use super::staging::STAGING;
use crate::format::bdf::Area;
use crate::format::config::{self, Config};
use crate::format::record::{Content, Detail, Inode, XattrList, Xattrs};
use crate::id::{ClientName, FileId, GenerationTime, Ordinal};
use crate::path;
use crate::storage::{LocalStorage, ReadFile, Storage, StorageError};

// Open generations hold a header and a footer each.
const OPEN_GENERATION_COUNT_MAX: usize = 256;
const LOCK: &str = "lock";
/// Directory of the index.
pub const INDEX: &str = "index";

/// Bounds of the caches of one open repository, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBytes {
    /// Decompressed pages.
    pub pages: u64,
    /// Decompressed frames.
    pub frames: u64,
}

impl Default for CacheBytes {
    fn default() -> Self {
        Self { pages: 16 << 20, frames: 32 << 20 }
    }
}

/// An open repository; shared by threads.
#[derive(Debug)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    root: Option<PathBuf>,
    config: Config,
    pages: PageReader,
    frames: FrameReader,
    generations: Cache<Ordinal, Arc<Generation>>,
    attribute_lists: OnceLock<Arc<dyn AttributeLists>>,
}

impl Repository {
    /// Makes a repository in a new or empty directory.
    ///
    /// # Errors
    /// [`RepoError`] if the directory is in use or cannot be written.
    pub fn create(root: &Path, id: FileId) -> Result<Self, RepoError> {
        let shown = path::display(root.as_os_str().as_encoded_bytes());
        let refused = |source: io::Error| StorageError { operation: "create", path: shown.clone(), source };
        let above: Vec<&Path> = root.ancestors().skip(1).collect();
        let missing_count = above.iter().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing_count = missing_count.count();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(refused)?;
        if fs::read_dir(root).map_err(refused)?.next().is_some() {
            return Err(RepoError::NotEmpty { path: shown });
        }
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage::new(root));
        Self::initialise(&storage, id)?;
        // Its own name, and those of the directories that were made with it.
        for path in above.into_iter().take(missing_count + 1) {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(refused)?;
        }
        Self::open(root, CacheBytes::default())
    }

    /// Writes the directories and the configuration of a new repository.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses.
    pub fn initialise(storage: &Arc<dyn Storage>, id: FileId) -> Result<(), RepoError> {
        storage.create_directory(catalog::CLIENTS)?;
        for area in Area::ALL {
            storage.create_directory(area.directory())?;
        }
        let partial = format!("{}.partial", config::FILE_NAME);
        let mut file = storage.create(&partial)?;
        file.append(Config::new(id).to_text().as_bytes())?;
        file.sync()?;
        storage.rename(&partial, config::FILE_NAME)?;
        storage.sync_directory("")?;
        Ok(())
    }

    /// Opens a repository in a directory.
    ///
    /// # Errors
    /// [`RepoError`] if there is none, others can write to it, or its configuration is not valid.
    pub fn open(root: &Path, cache: CacheBytes) -> Result<Self, RepoError> {
        if matches!(root.join(config::FILE_NAME).try_exists(), Ok(false)) {
            return Err(RepoError::NoRepository { path: path::display(root.as_os_str().as_encoded_bytes()) });
        }
        check_owner(root)?;
        let mut repository = Self::open_storage(Arc::new(LocalStorage::new(root)), cache)?;
        repository.root = Some(root.canonicalize().map_err(|source| StorageError {
            operation: "open",
            path: path::display(root.as_os_str().as_encoded_bytes()),
            source,
        })?);
        Ok(repository)
    }

    /// Opens a repository in a directory, with its durable files reached through `storage`: the seam for
    /// faults where staging, which needs a directory, is part of what is tried.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open_over(root: &Path, storage: Arc<dyn Storage>, cache: CacheBytes) -> Result<Self, RepoError> {
        let mut repository = Self::open(root, cache)?;
        repository.pages = PageReader::new(Arc::clone(&storage), repository.id(), cache.pages);
        repository.frames = FrameReader::new(Arc::clone(&storage), repository.id(), cache.frames);
        repository.storage = storage;
        Ok(repository)
    }

    /// Opens a repository in any storage.
    ///
    /// # Errors
    /// [`RepoError`] if there is none or its configuration is not valid.
    pub fn open_storage(storage: Arc<dyn Storage>, cache: CacheBytes) -> Result<Self, RepoError> {
        let file = storage.open(config::FILE_NAME).map_err(|error| {
            if error.is_not_found() {
                let path = error.path.strip_suffix(&format!("/{}", config::FILE_NAME)).unwrap_or(&error.path);
                return RepoError::NoRepository { path: path.to_owned() };
            }
            error.into()
        })?;
        let config = parse_config(&*file)?;
        let id = config.repository_id();
        Ok(Self {
            pages: PageReader::new(Arc::clone(&storage), id, cache.pages),
            frames: FrameReader::new(Arc::clone(&storage), id, cache.frames),
            generations: Cache::new(OPEN_GENERATION_COUNT_MAX),
            attribute_lists: OnceLock::new(),
            storage,
            root: None,
            config,
        })
    }

    /// Where the repository is on the local file system, if it is there.
    #[must_use]
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Reads the configuration file again, for policies that may have changed since the repository was opened.
    ///
    /// # Errors
    /// [`RepoError`] if it cannot be read or is not valid.
    pub fn read_config(&self) -> Result<Config, RepoError> {
        parse_config(&*self.storage.open(config::FILE_NAME)?)
    }

    /// The configuration as it was when the repository was opened.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Identity of the repository.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.config.repository_id()
    }

    /// The storage.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The reader of DTF pages.
    #[must_use]
    pub fn pages(&self) -> &PageReader {
        &self.pages
    }

    /// The reader of BDF frames.
    #[must_use]
    pub fn frames(&self) -> &FrameReader {
        &self.frames
    }

    /// Says who knows other places of a chunk that is damaged where it was written, such as the index.
    pub fn set_chunk_locator(&self, locator: Arc<dyn ChunkLocator>) {
        self.frames.set_locator(locator);
    }

    /// Says where long lists of extended attributes are kept; BDFs are read no more for them. Only the first call
    /// counts.
    pub fn set_attribute_lists(&self, lists: Arc<dyn AttributeLists>) {
        // A second one would be as good as the first.
        let _kept = self.attribute_lists.set(lists);
    }

    /// Becomes the one writer of the repository until the lock is dropped.
    ///
    /// # Errors
    /// [`RepoError::Locked`] if another process is.
    pub fn lock(&self) -> Result<Option<WriterLock>, RepoError> {
        let Some(root) = &self.root else { return Ok(None) };
        let path = root.join(LOCK);
        let shown = path::display(root.as_os_str().as_encoded_bytes());
        let open = || {
            use std::os::unix::fs::OpenOptionsExt;
            let mut options = fs::OpenOptions::new();
            // A planted link must not make a file elsewhere.
            options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            options.open(&path)
        };
        let file =
            open().map_err(|source| StorageError { operation: "lock", path: shown.clone(), source })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(WriterLock { _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(RepoError::Locked { path: shown }),
            Err((_, errno)) => {
                Err(StorageError { operation: "lock", path: shown, source: io::Error::from(errno) }.into())
            }
        }
    }

    /// All clients that have a directory, in order of names.
    ///
    /// # Errors
    /// [`RepoError`] if they cannot be listed.
    pub fn clients(&self) -> Result<Vec<ClientName>, RepoError> {
        Ok(catalog::clients(&*self.storage)?)
    }

    /// What lies among the clients' directories and does not belong there, by name, in order.
    ///
    /// # Errors
    /// [`RepoError`] if it cannot be listed.
    pub fn strays(&self) -> Result<Vec<String>, RepoError> {
        Ok(catalog::strays(&*self.storage)?)
    }

    /// All generations of a client, oldest first.
    ///
    /// # Errors
    /// [`RepoError`] if they cannot be listed.
    pub fn generations(&self, client: &ClientName) -> Result<Vec<GenerationId>, RepoError> {
        let found = catalog::generations(&*self.storage, client)?;
        self.pages.found(&found);
        Ok(found)
    }

    /// Finds one generation: by name, by a prefix of it, `latest`, or `-2` for the one before the last.
    ///
    /// # Errors
    /// [`RepoError`] if there is none or more than one.
    pub fn resolve(&self, client: &ClientName, wanted: &str) -> Result<GenerationId, RepoError> {
        let all = self.generations(client)?;
        if all.is_empty() && !self.clients()?.contains(client) {
            return Err(RepoError::NoClient { client: client.clone() });
        }
        let none = || RepoError::NoGeneration { client: client.clone(), generation: wanted.to_owned() };
        if wanted == "latest" {
            return all.last().copied().ok_or_else(none);
        }
        if let Some(back) = wanted.strip_prefix('-').and_then(|number| number.parse::<usize>().ok()) {
            let index = all.len().checked_sub(back).filter(|_| back > 0).ok_or_else(none)?;
            return all.get(index).copied().ok_or_else(none);
        }
        let mut matching = all.iter().filter(|id| id.time.to_string().starts_with(wanted));
        let first = *matching.next().filter(|_| !wanted.is_empty()).ok_or_else(none)?;
        match matching.next() {
            None => Ok(first),
            Some(second) => Err(RepoError::Ambiguous {
                client: client.clone(),
                prefix: wanted.to_owned(),
                first: first.time,
                second: second.time,
            }),
        }
    }

    /// Opens a generation by number, or takes the open one.
    ///
    /// # Errors
    /// [`ReadError`] if its DTF is missing or damaged.
    pub fn generation(&self, ordinal: Ordinal) -> Result<Arc<Generation>, ReadError> {
        if let Some(found) = self.generations.get(&ordinal) {
            return Ok(found);
        }
        let opened = Arc::new(Generation::open(&self.pages, ordinal)?);
        self.generations.insert(ordinal, Arc::clone(&opened));
        Ok(opened)
    }

    /// Reads the object that an inode number stands for.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn inode(&self, node: Node) -> Result<Inode, ReadError> {
        match node {
            Node::Synthetic(object) => Err(ReadError::NoObject { object }),
            Node::Object { ordinal, object } => self.generation(ordinal)?.object(&self.pages, object),
            Node::Entry(address) => generation::inode_at(&self.pages, address),
        }
    }

    /// The content of a regular file; `None` for another kind.
    #[must_use]
    pub fn content<'a>(&'a self, inode: &'a Inode) -> Option<ContentReader<'a>> {
        match &inode.detail {
            Detail::Regular { size, content, .. } => {
                Some(ContentReader::new(&self.pages, &self.frames, content, *size))
            }
            _ => None,
        }
    }

    /// The extended attributes of an object in ascending order of names.
    ///
    /// # Errors
    /// [`ReadError`] if they are kept in a BDF, or where [`Repository::set_attribute_lists`] says, and cannot be read.
    pub fn xattrs(&self, inode: &Inode) -> Result<XattrList, ReadError> {
        self.stored_xattrs(&inode.xattrs)
    }

    /// Extended attributes in ascending order of names, wherever they are kept.
    ///
    /// # Errors
    /// As [`Repository::xattrs`].
    pub fn stored_xattrs(&self, xattrs: &Xattrs) -> Result<XattrList, ReadError> {
        match xattrs {
            Xattrs::Inline(list) => Ok(list.clone()),
            Xattrs::Stored { len, extents } => {
                let list_len = usize::try_from(*len).unwrap_or_default();
                let bytes = if let Some(lists) = self.attribute_lists.get() {
                    read_list(&**lists, extents, list_len)?
                } else {
                    let content = Content::Inline(extents.clone());
                    ContentReader::new(&self.pages, &self.frames, &content, *len).read(0, list_len)?
                };
                Xattrs::decode_list(&bytes).map_err(|source| ReadError::Format {
                    path: "extended attributes".to_owned(),
                    offset: 0,
                    source,
                })
            }
        }
    }

    /// The next free generation number: one more than any that is or was in use, finished or not.
    ///
    /// # Errors
    /// [`RepoError`] if the directories cannot be listed or all numbers are used up.
    pub fn next_ordinal(&self) -> Result<Ordinal, RepoError> {
        let mut highest = last::marked(&*self.storage, None)?.map_or(0, |id| id.ordinal.get());
        for client in self.clients()? {
            for entry in self.storage.list(&catalog::client_directory(&client))? {
                highest = highest.max(last::ordinal_of(&entry.name).map_or(0, Ordinal::get));
            }
        }
        Ordinal::new(highest + 1).ok_or(RepoError::OrdinalsExhausted)
    }

    /// Time for a client's next generation: `now`, or a second after the last one.
    ///
    /// # Errors
    /// [`RepoError`] if the generations cannot be listed.
    pub fn next_time(&self, client: &ClientName, now: GenerationTime) -> Result<GenerationTime, RepoError> {
        let last = self.generations(client)?.last().map(|last| last.time);
        // A clock that went back must not put a new generation before an old one.
        Ok(last.map_or(now, |last| now.max(last.next())))
    }
}

fn parse_config(file: &dyn ReadFile) -> Result<Config, RepoError> {
    let mut bytes = vec![0; usize::try_from(file.len().min(1 << 20)).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    Config::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|source| RepoError::Config { path: file.path().to_owned(), source })
}

/// The right to write to a repository, given back when dropped or when the process ends.
#[derive(Debug)]
pub struct WriterLock {
    _lock: Flock<fs::File>,
}

fn check_owner(root: &Path) -> Result<(), RepoError> {
    let shown = || path::display(root.as_os_str().as_encoded_bytes());
    match fs::metadata(root) {
        Ok(metadata) if metadata.mode() & 0o002 != 0 => {
            Err(RepoError::Insecure { path: shown(), mode: metadata.mode() & 0o7777 })
        }
        Ok(_) => check_links(root),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(RepoError::NoRepository { path: shown() })
        }
        Err(source) => Err(StorageError { operation: "open", path: shown(), source }.into()),
    }
}

// A directory that is a link leads writers elsewhere.
fn check_links(root: &Path) -> Result<(), RepoError> {
    let areas = Area::ALL.iter().map(|area| area.directory());
    for name in areas.chain([catalog::CLIENTS, INDEX, STAGING]) {
        let path = root.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(RepoError::Linked { path: path::display(path.as_os_str().as_encoded_bytes()) });
        }
    }
    Ok(())
}
