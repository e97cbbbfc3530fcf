//! Files that nobody can write for a moment, whoever has them open.
//!
//! Linux has no call for that. But a read past its caches (`O_DIRECT`) shares a file's lock with other reads from
//! before it looks up the blocks until it has the memory that they go to, and a write wants the lock for itself. Here
//! that memory is a page that userfaultfd(2) keeps from being there: the read waits for it, and every write for the
//! read. Nothing is written and no time changes, and the lock goes with this process, whatever becomes of that.
//!
//! Shown for ext4 since its reads share that lock (Linux 4.9). Meanwhile it may be read through the caches, which takes
//! no lock there; whatever else takes it (`lseek` for data or holes, `fiemap`, `ftruncate`) waits behind writers that
//! wait. What is written through mappings is not held.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};

use super::write_back;

/// `f_type` of ext2, ext3 and ext4, as in statfs(2).
const EXT4: rustix::fs::FsWord = 0xef53;
/// Files that are held at once, at most: each takes a thread.
pub const COUNT_MAX: usize = 64;
/// Time in which a file is held, or is not.
const WAIT_MS: u32 = 40;
/// Bytes that are read of a file. Blocks of a disk are no longer.
const PAGE_LEN: usize = 4096;

// <linux/userfaultfd.h>.
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;
const UFFD_EVENT_PAGEFAULT: u8 = 0x12;
const MESSAGE_LEN: usize = 32;
const ADDRESS_OFFSET: usize = 16;

/// Files that are held until this is dropped.
#[derive(Debug)]
pub struct WriteHold {
    // Closed, it gives the pages to whoever waits for them.
    faults: Option<OwnedFd>,
    pages: Arc<Pages>,
    held: Vec<bool>,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for WriteHold {
    fn drop(&mut self) {
        self.faults = None;
        // Until they end they have the files open, and somebody may ask who has.
        for reader in self.readers.drain(..) {
            if reader.join().is_err() {
                log::error!("a thread that held a file failed");
            }
        }
    }
}

impl WriteHold {
    /// Holds files for as long as the result lives. One that cannot be held, as its file system is another one, it is
    /// empty, or somebody has the lock for tens of milliseconds, goes on being written ([`WriteHold::is_held`]), and
    /// so does each after the first [`COUNT_MAX`].
    ///
    /// # Errors
    /// If the system does not let this process do so: it takes root, or userfaultfd(2) for all.
    pub fn begin(files: &[Arc<File>]) -> io::Result<Self> {
        let files = files.get(..COUNT_MAX).unwrap_or(files);
        let pages = Arc::new(Pages::map(files.len())?);
        let faults = pages.keep_away()?;
        let (held, readers) = (vec![false; files.len()], Vec::new());
        let mut hold = Self { faults: Some(faults), pages, held, readers };
        let ended = Arc::new(AtomicUsize::new(0));
        for (at, file) in files.iter().enumerate() {
            if !is_lockable(file) {
                continue;
            }
            let (file, pages, ended) = (Arc::clone(file), Arc::clone(&hold.pages), Arc::clone(&ended));
            let read = move || {
                if let Err(error) = read_directly(&file, &pages, at) {
                    log::debug!("a file is not held: {error}");
                }
                ended.fetch_add(1, Ordering::AcqRel);
            };
            hold.readers.push(thread::Builder::new().name("hold".to_owned()).spawn(read)?);
        }
        let mut held_count = 0;
        for _ in 0..WAIT_MS {
            if held_count + ended.load(Ordering::Acquire) >= hold.readers.len() {
                break;
            }
            held_count += hold.take_faults()?;
        }
        Ok(hold)
    }

    /// Tells whether the file at this place of the list cannot be written now.
    #[must_use]
    pub fn is_held(&self, at: usize) -> bool {
        self.held.get(at).copied().unwrap_or(false)
    }

    // Waits a millisecond at most for reads that have come as far as to need their pages. Returns how many came.
    #[allow(unsafe_code, reason = "the call has no binding among the features that are built")]
    fn take_faults(&mut self) -> io::Result<usize> {
        let Some(faults) = &self.faults else { return Ok(0) };
        let mut asked = libc::pollfd { fd: faults.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the kernel reads and writes the one structure, which lives until it returns.
        if unsafe { libc::poll(&raw mut asked, 1, 1) } <= 0 {
            return Ok(0);
        }
        let mut count = 0;
        let mut message = [0; MESSAGE_LEN];
        while let Ok(MESSAGE_LEN) = rustix::io::read(faults, &mut message) {
            let address = message.get(ADDRESS_OFFSET..).and_then(<[u8]>::first_chunk).copied();
            let at = address.map(u64::from_ne_bytes).and_then(|address| self.pages.index(address));
            if message.first() == Some(&UFFD_EVENT_PAGEFAULT)
                && let Some(held) = at.and_then(|at| self.held.get_mut(at))
                && !std::mem::replace(held, true)
            {
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Tells whether a direct read of a file takes the lock that writers need.
fn is_lockable(file: &File) -> bool {
    let is_ext4 = rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type == EXT4);
    // Where data goes through a journal, or stands in the inode, a direct read is one through the caches, with no lock.
    is_ext4
        && rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).is_ok_and(|found| {
            let asked = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::DIOALIGN);
            asked && found.stx_dio_mem_align > 0 && found.stx_dio_offset_align as usize <= PAGE_LEN
        })
}

/// Reads a page of a file past the caches into a page that is not there.
#[allow(unsafe_code, reason = "the memory is no buffer: it must not be touched before")]
fn read_directly(file: &File, pages: &Pages, at: usize) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::NOATIME | OFlags::CLOEXEC;
    let direct = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let page = pages.address(at).ok_or(io::ErrorKind::InvalidInput)?;
    // What of the page is in memory is written to the disk first, under the lock: better one that is there already.
    let len = file.metadata()?.len();
    let last = len.saturating_sub(1) / PAGE_LEN as u64 * PAGE_LEN as u64;
    let middle = len / 2 / PAGE_LEN as u64 * PAGE_LEN as u64;
    let is_clean = |offset: &u64| !write_back::is_range_pending(file, *offset, PAGE_LEN as u64);
    let offset = [0, last, middle].into_iter().find(is_clean).unwrap_or(0);
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: `page` is `PAGE_LEN` bytes of a mapping that `pages` keeps and nobody else reads or writes.
    let read = unsafe { libc::pread(direct.as_raw_fd(), page.as_ptr(), PAGE_LEN, offset) };
    if read < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Pages of memory that nobody has touched.
#[derive(Debug)]
struct Pages {
    start: NonNull<libc::c_void>,
    // What the system gives and takes at a time, in bytes.
    step: usize,
    count: usize,
}

// SAFETY: only the kernel reads and writes what is there.
#[allow(unsafe_code, reason = "the memory is shared with threads by its address alone")]
unsafe impl Send for Pages {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "the memory is shared with threads by its address alone")]
unsafe impl Sync for Pages {}

impl Pages {
    #[allow(unsafe_code, reason = "the calls have no binding among the features that are built")]
    fn map(count: usize) -> io::Result<Self> {
        // SAFETY: the call takes a number.
        let step = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
        let count = count.max(1);
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping takes no address that is in use.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), step * count, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, step, count })
    }

    // Makes whoever touches a page wait until the result is closed.
    #[allow(unsafe_code, reason = "the calls have no binding among the features that are built")]
    fn keep_away(&self) -> io::Result<OwnedFd> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: the call takes a number.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just made it, for nobody else.
        let faults = unsafe { OwnedFd::from_raw_fd(fd) };
        // Version, and features and calls that are answered.
        let mut version = [UFFD_API, 0, 0];
        // SAFETY: the kernel reads and writes three integers of 64 bits, which live until it returns.
        if unsafe { libc::ioctl(fd, UFFDIO_API, version.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // Start, length, mode, and calls that are answered.
        let start = self.start.as_ptr().expose_provenance() as u64;
        let mut range = [start, (self.step * self.count) as u64, UFFDIO_REGISTER_MODE_MISSING, 0];
        // SAFETY: the kernel reads and writes four integers of 64 bits, which live until it returns.
        if unsafe { libc::ioctl(fd, UFFDIO_REGISTER, range.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(faults)
    }

    fn address(&self, at: usize) -> Option<NonNull<libc::c_void>> {
        let offset = self.step.checked_mul(at).filter(|_| at < self.count)?;
        NonNull::new(self.start.as_ptr().wrapping_byte_add(offset))
    }

    fn index(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.start.as_ptr().addr() as u64)?;
        usize::try_from(offset).ok().map(|offset| offset / self.step).filter(|at| *at < self.count)
    }
}

impl Drop for Pages {
    #[allow(unsafe_code, reason = "the call has no binding among the features that are built")]
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and who had its address is gone.
        let _gone = unsafe { libc::munmap(self.start.as_ptr(), self.step * self.count) };
    }
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::time::Duration;

    use super::*;

    // Of a file system that can be held, if there is one.
    fn new_file(len: usize) -> Option<Arc<File>> {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.write_all_at(&vec![0; len], 0).unwrap();
        is_lockable(&file).then_some(file)
    }

    #[test]
    fn a_file_that_is_held_stands_still_until_it_is_let_go() {
        let (Some(file), Some(other)) = (new_file(64 << 10), new_file(PAGE_LEN)) else { return };
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = {
            let (file, is_over, count) = (Arc::clone(&file), Arc::clone(&is_over), Arc::clone(&count));
            thread::spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    let number = count.fetch_add(1, Ordering::AcqRel);
                    file.write_all_at(&number.to_ne_bytes().repeat(8 << 10), 0).unwrap();
                }
            })
        };
        for _ in 0..20 {
            let before = count.load(Ordering::Acquire);
            while count.load(Ordering::Acquire) == before {
                thread::yield_now();
            }
            let times = file.metadata().unwrap();
            let Ok(hold) = WriteHold::begin(&[Arc::clone(&file), Arc::clone(&other)]) else { break };
            if !hold.is_held(0) {
                continue;
            }
            let read = || {
                let mut bytes = vec![0; 64 << 10];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            };
            let first = read();
            assert!(first.chunks_exact(8).all(|piece| piece == &first[..8]), "a write is not cut in two");
            thread::sleep(Duration::from_millis(10));
            assert!(first == read(), "it is written though it is held");
            drop(hold);
            assert!(file.metadata().unwrap().modified().unwrap() >= times.modified().unwrap());
        }
        let before = count.load(Ordering::Acquire);
        while count.load(Ordering::Acquire) < before + 3 {
            thread::yield_now();
        }
        is_over.store(true, Ordering::Release);
        writer.join().unwrap();
    }

    #[test]
    fn holding_a_file_changes_nothing_of_it() {
        let Some(file) = new_file(3 * PAGE_LEN) else { return };
        let status = || super::super::sparse::status(&file).unwrap();
        let before = status();
        // On a busy machine it may take too long, now and then.
        let mut holds = (0..20).map(|_| WriteHold::begin(std::slice::from_ref(&file)));
        let hold = match holds.find(|hold| hold.as_ref().map_or(true, |hold| hold.is_held(0))) {
            // This process may not.
            Some(Err(_)) => return,
            hold => hold.and_then(Result::ok).expect("nobody has its lock"),
        };
        assert_eq!(status().mtime, before.mtime);
        drop(hold);
        assert!(!super::super::openers::is_open_elsewhere(&file).unwrap(), "who held it has it open");
        assert_eq!((status().mtime, status().ctime, status().len), (before.mtime, before.ctime, before.len));
    }

    #[test]
    fn an_empty_file_is_not_held_and_nobody_waits_for_it() {
        let Some(file) = new_file(0) else { return };
        let Ok(hold) = WriteHold::begin(&[file]) else { return };
        assert!(!hold.is_held(0));
    }
}
