//! The way along a tape: forward as long as it goes, and what is passed is kept as far as the cache has room for it.
//!
//! To find a place costs a drive seconds, in which it reads a gigabyte. So what is not far ahead is reached by reading,
//! and who reads in order finds what comes next in the cache.

use std::{fmt, io};

use super::Shared;
use super::parts::{Parts, RUN_BYTES, Run};
use super::queue::Asked;
use crate::id::FileId;
use crate::job::tape::extents::ExtentKey;
use crate::tape::TapeError;
use crate::tape::drive::{Drive, DriveError};
use crate::tape::reader::{is_damage, pass_to, read_run};

/// Farthest place that is reached by reading, in bytes: less time than a LOCATE takes.
const PASS_BYTES_MAX: u64 = 512 << 20;
/// Most blocks without content, filemarks among them, between parts that are read one after the other.
const PASS_BLOCKS_MAX: u64 = 64;

/// A cartridge in a drive, and where on it the drive is.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    shared: &'a Shared,
    volume: FileId,
    drive: &'a mut Drive,
    position: u64,
    // Bytes that are read ahead while nobody asks: now, and after the next request that goes forward.
    ahead_left: u64,
    ahead: u64,
}

impl<'a> Passage<'a> {
    pub(super) fn new(shared: &'a Shared, volume: FileId, drive: &'a mut Drive) -> Self {
        let position = drive.expected_loi().unwrap_or(0);
        Self { shared, volume, drive, position, ahead_left: 0, ahead: 0 }
    }

    /// The block that comes next.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads a run into the cache and tells those who wait for it; `false` if the session with the drive is over.
    pub(super) fn serve(&mut self, asked: &Asked) -> bool {
        let run = asked.run;
        let is_forward = self.pass(&run);
        let loaded = self.load(&run);
        let is_over = matches!(loaded, Err(Refused::Drive(_)));
        asked.ticket.settle(loaded.map_err(|refused| {
            log::warn!("recall: {refused}");
            refused.errno()
        }));
        // Who reads here and there needs no more than he asked for.
        let most = self.shared.options.ahead_bytes_max.min(self.kept_bytes_max());
        self.ahead = if is_forward { (self.ahead * 2).max(RUN_BYTES).min(most) } else { 0 };
        self.ahead_left = self.ahead;
        !is_over
    }

    /// Reads a run ahead of who reads in order; `false` if that is not worth it.
    pub(super) fn read_ahead(&mut self) -> bool {
        let Ok(parts) = self.shared.parts(self.volume) else { return false };
        let next = parts.run(self.volume, self.position).or_else(|| self.next_part(&parts, self.position));
        let is_worth = |run: &Run| run.len_bytes() <= self.ahead_left && self.has_room(run.len_bytes());
        let Some(run) = next.filter(is_worth) else {
            self.ahead_left = 0;
            return false;
        };
        self.ahead_left -= run.len_bytes();
        if let Err(error) = self.load(&run) {
            log::info!("recall: {error}");
            self.ahead_left = 0;
        }
        true
    }

    // The first run of the next part, if that is near.
    fn next_part(&self, parts: &Parts, at: u64) -> Option<Run> {
        let first = parts.next_first(at)?;
        (first - at <= PASS_BLOCKS_MAX).then(|| parts.run(self.volume, first)).flatten()
    }

    // What is kept besides must not drive out of the cache what is used.
    fn kept_bytes_max(&self) -> u64 {
        self.shared.options.cache_bytes_max / 3
    }

    // A large cache is full of what nobody comes back for; of a small one each run may still be read.
    fn has_room(&self, len: u64) -> bool {
        len <= self.shared.options.cache_bytes_max / 4 || self.shared.cache().room_bytes() >= len
    }

    // Reads up to a run if it is ahead and not far; tells whether it is. Of what lies between, the first is kept: who
    // jumps forward and comes back goes on there.
    fn pass(&mut self, target: &Run) -> bool {
        let Ok(parts) = self.shared.parts(self.volume) else { return false };
        let mut between = Vec::new();
        let (mut at, mut len) = (self.position, 0);
        while at < target.key.first_loi {
            let next = parts.run(self.volume, at).or_else(|| self.next_part(&parts, at));
            let Some(run) = next else { return false };
            if run.key == target.key {
                break;
            }
            at = run.end();
            len += run.len_bytes();
            if len > PASS_BYTES_MAX {
                return false;
            }
            if len <= self.kept_bytes_max() && self.has_room(len + target.len_bytes()) {
                between.push(run);
            }
        }
        if at > target.end() || target.key.first_loi < self.position {
            return false;
        }
        for run in between {
            if let Err(error) = self.load(&run) {
                log::info!("recall: {error}");
                return false;
            }
        }
        true
    }

    // What is there already is not read again; the tape goes past it when it goes on.
    fn load(&mut self, run: &Run) -> Result<(), Refused> {
        if self.shared.cache().contains(run.key) {
            return Ok(());
        }
        let (bytes, bad_blocks) = self.read(run).map_err(Refused::Drive)?;
        self.position = run.end();
        self.shared.progress.add(0, bytes.len() as u64);
        self.shared.cache().insert(run.key, &bytes, bad_blocks).map_err(Refused::Cache)
    }

    // The bytes, and the numbers of the blocks that are damaged on tape. A drive that fails says nothing about the tape,
    // and nothing of it is kept.
    fn read(&mut self, run: &Run) -> Result<(Vec<u8>, Vec<u32>), TapeError> {
        let mut bytes = vec![0; usize::try_from(run.len_bytes()).unwrap_or_default()];
        let block_len = run.block_len as usize;
        // Between may be filemarks, and what is in the cache. A LOCATE follows where that fails, and tells what is
        // wrong.
        let count_max = PASS_BYTES_MAX / u64::from(run.block_len.max(1));
        if let Err(error) = pass_to(self.drive, run.key.first_loi, count_max) {
            log::info!("recall: {}", crate::job::chain(&error));
        }
        match read_run(self.drive, run.key.first_loi, block_len, &mut bytes) {
            Ok(len) => {
                bytes.truncate(len);
                Ok((bytes, Vec::new()))
            }
            Err(error) if is_damage(&error) => {
                log::warn!("recall: {}", crate::job::chain(&error));
                let bad_blocks = self.read_blocks(run.key, block_len, &mut bytes)?;
                Ok((bytes, bad_blocks))
            }
            Err(error) => Err(error),
        }
    }

    // One bad spot must not cost what is around it: block by block, with the numbers of those that cannot be read.
    fn read_blocks(
        &mut self,
        key: ExtentKey,
        block_len: usize,
        bytes: &mut [u8],
    ) -> Result<Vec<u32>, TapeError> {
        let mut bad_blocks = Vec::new();
        for (number, block) in bytes.chunks_mut(block_len).enumerate() {
            match read_run(self.drive, key.first_loi + number as u64, block_len, block) {
                Ok(_) => {}
                Err(error) if is_damage(&error) => {
                    log::debug!("recall: {}", crate::job::chain(&error));
                    block.fill(0);
                    bad_blocks.push(u32::try_from(number).unwrap_or(u32::MAX));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bad_blocks)
    }
}

/// Why a run is not in the cache.
#[derive(Debug)]
enum Refused {
    /// The drive failed, or the session with it is lost for good.
    Drive(TapeError),
    /// The file of the cache.
    Cache(io::Error),
}

impl Refused {
    fn errno(&self) -> i32 {
        match self {
            Self::Drive(TapeError::Drive(DriveError::Empty { .. } | DriveError::MediumChanged { .. })) => {
                libc::ENOMEDIUM
            }
            Self::Drive(_) => libc::EIO,
            Self::Cache(error) => error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drive(error) => f.write_str(&crate::job::chain(error)),
            Self::Cache(error) => error.fmt(f),
        }
    }
}
