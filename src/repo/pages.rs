//! Reads pages of DTFs, verified, through a cache bounded in bytes.

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::catalog::{self, Catalog, GenerationId};
use super::error::ReadError;
use crate::chunk::compress;
use crate::format::FormatError;
use crate::format::dtf::{self, DtfFooter, DtfHeader};
use crate::format::frame::Codec;
use crate::format::page::{HEADER_LEN, Page, PageHeader, PageRef};
use crate::format::seal::{SEAL_LEN, Seal};
use crate::id::{ClientName, FileId, Ordinal};
use crate::storage::{ReadFile, Storage};

// Each open DTF holds a file descriptor.
const OPEN_DTF_COUNT_MAX: usize = 128;

type PageKey = (Ordinal, u64);

#[derive(Debug, Clone)]
struct PageWeight;

impl Weighter<PageKey, Arc<Page>> for PageWeight {
    fn weight(&self, _: &PageKey, page: &Arc<Page>) -> u64 {
        page.memory_len() as u64 + 64
    }
}

/// An open DTF whose header was verified.
#[derive(Debug)]
pub struct DtfFile {
    file: Box<dyn ReadFile>,
    header: DtfHeader,
}

impl DtfFile {
    /// Opens a DTF and verifies that it is the generation that its name says.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read, is damaged, or is another one.
    pub fn open(
        storage: &dyn Storage,
        repository: FileId,
        client: &ClientName,
        generation: GenerationId,
    ) -> Result<Self, ReadError> {
        Self::open_named(storage, repository, &catalog::dtf_name(client, generation), client, generation)
    }

    /// Opens a DTF under any name.
    ///
    /// # Errors
    /// As [`DtfFile::open`].
    pub fn open_named(
        storage: &dyn Storage,
        repository: FileId,
        name: &str,
        client: &ClientName,
        generation: GenerationId,
    ) -> Result<Self, ReadError> {
        let file = storage.open(name)?;
        let format = |offset, source| ReadError::Format { path: file.path().to_owned(), offset, source };
        let mut bytes = [0; dtf::HEADER_LEN];
        file.read_exact_at(&mut bytes, 0)?;
        let header = DtfHeader::decode(&bytes).map_err(|source| format(0, source))?;
        if header.repository != repository {
            let (expected, actual) = (repository, header.repository);
            let source = FormatError::Identity { structure: "repository of the DTF", expected, actual };
            return Err(format(0, source));
        }
        if header.client != *client || header.time != generation.time || header.ordinal != generation.ordinal
        {
            let value = header.ordinal.get().into();
            let source =
                FormatError::Unknown { structure: "DTF header", field: "ordinal, time or client", value };
            return Err(format(0, source));
        }
        Ok(Self { file, header })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &DtfHeader {
        &self.header
    }

    /// The file's bytes.
    #[must_use]
    pub fn file(&self) -> &dyn ReadFile {
        &*self.file
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// Never true: the file has a header at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Path as people know it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.file.path()
    }

    /// Reads and verifies seal and footer.
    ///
    /// # Errors
    /// [`ReadError`] if the file was never finished or is damaged there.
    pub fn footer(&self) -> Result<DtfFooter, ReadError> {
        let (seal, footer) = read_sealed(&*self.file, self.header.file)?;
        DtfFooter::decode(&footer, seal.footer_crc).map_err(|source| ReadError::Format {
            path: self.path().to_owned(),
            offset: seal.footer_offset,
            source,
        })
    }

    // `base` is asked for the page that this one was compressed against.
    fn read_page(
        &self,
        page: PageRef,
        base: impl FnOnce(PageRef) -> Result<Arc<Page>, ReadError>,
    ) -> Result<Page, ReadError> {
        let mut bytes = vec![0; HEADER_LEN + page.stored_len as usize];
        self.file.read_exact_at(&mut bytes, page.offset)?;
        let format = |source| ReadError::Format { path: self.path().to_owned(), offset: page.offset, source };
        let (header, stored) = PageHeader::decode(&bytes, self.header.file, page.offset).map_err(format)?;
        let base = header.base.map(base).transpose()?;
        let prefix = base.as_ref().map_or(&[][..], |base| base.payload());
        let payload = match header.codec {
            Codec::Raw => stored.to_vec(),
            Codec::Zstd => {
                let plain_len = header.plain_len as usize;
                compress::decompress(stored, plain_len, prefix).map_err(|source| ReadError::Compress {
                    path: self.path().to_owned(),
                    offset: page.offset,
                    source,
                })?
            }
        };
        Page::new(&header, payload).map_err(format)
    }
}

/// Reads the seal and the footer's bytes of a BDF or DTF; the footer's checksum is left to its decoder.
///
/// # Errors
/// [`ReadError`] if there is no seal of this file.
pub fn read_sealed(file: &dyn ReadFile, id: FileId) -> Result<(Seal, Vec<u8>), ReadError> {
    let format = |offset, source| ReadError::Format { path: file.path().to_owned(), offset, source };
    let seal_offset = file.len().saturating_sub(SEAL_LEN as u64);
    let mut bytes = [0; SEAL_LEN];
    file.read_exact_at(&mut bytes, seal_offset)?;
    let seal = Seal::decode(&bytes, file.len()).map_err(|source| format(seal_offset, source))?;
    if seal.file != id {
        let source = FormatError::Identity { structure: "seal", expected: id, actual: seal.file };
        return Err(format(seal_offset, source));
    }
    let footer_len = usize::try_from(seal.footer_len).unwrap_or(usize::MAX);
    let mut footer = vec![0; footer_len];
    file.read_exact_at(&mut footer, seal.footer_offset)?;
    Ok((seal, footer))
}

/// Reads pages of all DTFs of a repository.
#[derive(Debug)]
pub struct PageReader {
    storage: Arc<dyn Storage>,
    repository: FileId,
    catalog: Catalog,
    files: Cache<Ordinal, Arc<DtfFile>>,
    pages: Cache<PageKey, Arc<Page>, PageWeight>,
    // Ordinals whose DTF could not be opened are not looked for again and again.
    missing: Mutex<Vec<Ordinal>>,
}

impl PageReader {
    /// Takes the bound of the page cache in bytes.
    ///
    /// # Panics
    /// Never: the options are complete.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, repository: FileId, cache_bytes: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(4)
            .estimated_items_capacity(usize::try_from(cache_bytes / (24 << 10)).unwrap_or(1 << 20))
            .weight_capacity(cache_bytes)
            .build()
            .expect("capacities are set");
        Self {
            catalog: Catalog::new(Arc::clone(&storage)),
            storage,
            repository,
            files: Cache::new(OPEN_DTF_COUNT_MAX),
            pages: Cache::with_options(
                options,
                PageWeight,
                quick_cache::DefaultHashBuilder::default(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            missing: Mutex::default(),
        }
    }

    /// The generations known by number.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Opens a DTF, or takes the open one.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn dtf(&self, ordinal: Ordinal) -> Result<Arc<DtfFile>, ReadError> {
        if let Some(file) = self.files.get(&ordinal) {
            return Ok(file);
        }
        let missing = ReadError::NoDtf { ordinal };
        if self.missing.lock().unwrap_or_else(PoisonError::into_inner).contains(&ordinal) {
            return Err(missing);
        }
        let mut opened = Err(missing);
        for (client, generation) in self.catalog.find(ordinal)? {
            opened = DtfFile::open(&*self.storage, self.repository, &client, generation);
            if opened.is_ok() {
                break;
            }
        }
        // A higher one than all that are known may come yet; a lower one is gone.
        let is_gone = self.catalog.highest().is_some_and(|highest| ordinal < highest);
        if is_gone && matches!(opened, Err(ReadError::NoDtf { .. })) {
            let mut known = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() < 1024 {
                known.push(ordinal);
            }
        }
        let file = Arc::new(opened?);
        self.files.insert(ordinal, Arc::clone(&file));
        Ok(file)
    }

    /// Takes note that these generations are there: a number that was missing may have come.
    pub fn found(&self, generations: &[GenerationId]) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.retain(|ordinal| !generations.iter().any(|generation| generation.ordinal == *ordinal));
    }

    /// Reads a page, or takes it from the cache.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn page(&self, page: PageRef) -> Result<Arc<Page>, ReadError> {
        let key = (page.ordinal, page.offset);
        if let Some(found) = self.pages.get(&key) {
            return Ok(found);
        }
        let base = |base| self.base(page, base);
        let read = Arc::new(self.dtf(page.ordinal)?.read_page(page, base)?);
        self.pages.insert(key, Arc::clone(&read));
        Ok(read)
    }

    /// Reads a page that will not be asked for again soon; it takes nothing out of the cache.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn page_once(&self, page: PageRef) -> Result<Arc<Page>, ReadError> {
        if let Some(found) = self.pages.peek(&(page.ordinal, page.offset)) {
            return Ok(found);
        }
        let base = |base| self.base(page, base);
        Ok(Arc::new(self.dtf(page.ordinal)?.read_page(page, base)?))
    }

    // A base has no base: a damaged page that names itself cannot lead round in a circle.
    fn base(&self, page: PageRef, base: PageRef) -> Result<Arc<Page>, ReadError> {
        let deep = |_| {
            let (ordinal, offset) = (page.ordinal, page.offset);
            Err(ReadError::PageMismatch { ordinal, offset, what: "its base has a base itself" })
        };
        let key = (base.ordinal, base.offset);
        if let Some(found) = self.pages.get(&key) {
            return if found.base().is_none() { Ok(found) } else { deep(base) };
        }
        let read = Arc::new(self.dtf(base.ordinal)?.read_page(base, deep)?);
        self.pages.insert(key, Arc::clone(&read));
        Ok(read)
    }

    /// Reads a page of which only the place is known, as an inode number has it.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn page_at(&self, ordinal: Ordinal, offset: u64) -> Result<Arc<Page>, ReadError> {
        if let Some(found) = self.pages.get(&(ordinal, offset)) {
            return Ok(found);
        }
        let dtf = self.dtf(ordinal)?;
        let mut header = [0; HEADER_LEN];
        dtf.file.read_exact_at(&mut header, offset)?;
        let stored_len = PageHeader::peek_stored_len(&header).map_err(|source| ReadError::Format {
            path: dtf.path().to_owned(),
            offset,
            source,
        })?;
        self.page(PageRef { ordinal, offset, stored_len })
    }
}
