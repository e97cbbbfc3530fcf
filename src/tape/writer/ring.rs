//! From files to the drive: threads read ahead into a ring of buffers, one hashes, and the drive's thread
//! takes them in order.
//!
//! A tape that stops has to go back before it can start again. So the drive is given data only when much
//! is there (high water), goes on until little is (low water), and then pauses completely.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use super::water::{Flow, WaterMarks};
use super::{Place, WriterOptions};
use crate::id::{Fingerprint, FingerprintHasher};
use crate::progress::Progress;
use crate::storage::ReadFile;
use crate::tape::archive::{BLOCK_LEN, SEGMENT_LEN_MAX, is_valid_object_name};
use crate::tape::drive::AlignedBuffer;
use crate::tape::{Object, Objects, TapeError};

/// Segments of an object: what five digits can number.
const SEGMENTS_MAX: u64 = 100_000;
/// How often a waiting thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A segment, as far as it is known before it is read.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    /// Its object.
    pub(super) object: Object,
    /// Number of the segment.
    pub(super) segment: u32,
    /// Offset in the object.
    pub(super) offset: u64,
    /// Length.
    pub(super) len: u64,
}

/// What is known of a segment when it has been read.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// BLAKE3 of the segment.
    pub(super) fingerprint: Fingerprint,
    /// BLAKE3 of the object, with its last segment and if all of it was seen.
    pub(super) object_fingerprint: Option<Fingerprint>,
    /// The place behind the segment.
    pub(super) next: Place,
}

/// A piece of a segment.
#[derive(Debug)]
pub(super) struct Chunk {
    /// With the first piece.
    pub(super) begin: Option<Begin>,
    /// Bytes, at most a block.
    pub(super) buffer: AlignedBuffer,
    /// How many of them count.
    pub(super) len: usize,
    /// With the last piece.
    pub(super) end: Option<End>,
}

// What a reading thread is to do.
struct Ticket {
    number: u64,
    begin: Option<Begin>,
    is_last: bool,
    // Number of the object.
    object_number: u64,
    file: Arc<dyn ReadFile>,
    offset: u64,
    len: usize,
}

struct Filled {
    ticket: Ticket,
    buffer: AlignedBuffer,
}

// Where the plan is: an open object, and how far it was given out.
struct Plan {
    object_number: u64,
    open: Option<(Object, Arc<dyn ReadFile>)>,
    // Number and offset of the segment, and how far it was given out.
    segment: u32,
    offset: u64,
    in_segment: u64,
}

struct State {
    plan: Plan,
    in_flight: usize,
    free: Vec<AlignedBuffer>,
    next_ticket: u64,
    next_hashed: u64,
    filled: BTreeMap<u64, Result<Filled, TapeError>>,
    ready: VecDeque<Result<Chunk, TapeError>>,
    is_planned: bool,
    is_stopped: bool,
    is_paused: bool,
    pauses: u64,
}

/// The ring.
pub(super) struct Ring<'o> {
    objects: &'o dyn Objects,
    start: Place,
    segment_bytes: u64,
    // There is only the first segment, no longer than this.
    only_bytes: Option<u64>,
    marks: WaterMarks,
    state: Mutex<State>,
    changed: Condvar,
}

impl<'o> Ring<'o> {
    /// A ring that begins at a place in a list of objects. With `only_bytes` it ends with the segment there, which
    /// has at most so many bytes.
    pub(super) fn new(
        objects: &'o dyn Objects,
        start: Place,
        options: &WriterOptions,
        only_bytes: Option<u64>,
    ) -> Self {
        let plan = Plan {
            object_number: start.object,
            open: None,
            segment: start.segment,
            offset: start.offset,
            in_segment: 0,
        };
        let state = State {
            plan,
            in_flight: 0,
            free: Vec::new(),
            next_ticket: 0,
            next_hashed: 0,
            filled: BTreeMap::new(),
            ready: VecDeque::new(),
            is_planned: false,
            is_stopped: false,
            is_paused: true,
            pauses: 0,
        };
        let segment_bytes = options.segment_bytes.clamp(1, SEGMENT_LEN_MAX);
        Self {
            objects,
            start,
            segment_bytes,
            only_bytes,
            marks: WaterMarks::new(options),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Starts the threads that read and hash.
    pub(super) fn start<'s>(&'s self, scope: &'s Scope<'s, '_>, reader_count: usize) {
        for _ in 0..reader_count.max(1) {
            scope.spawn(|| self.read());
        }
        scope.spawn(|| self.hash());
    }

    /// Lets all threads end.
    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    /// How often the drive had to wait for data after it had started.
    pub(super) fn pauses(&self) -> u64 {
        self.lock().pauses
    }

    /// The next piece, and whether the drive stood still before it; `None` behind the last one.
    pub(super) fn next(&self, progress: &Progress) -> Result<Option<(Chunk, bool)>, TapeError> {
        let mut state = self.lock();
        let mut has_rested = false;
        loop {
            progress.check()?;
            let is_all_here = state.is_planned && state.next_hashed == state.next_ticket;
            match self.marks.flow(state.is_paused, state.ready.len(), is_all_here) {
                Flow::Start => {
                    state.is_paused = false;
                    has_rested = true;
                }
                Flow::Give => {
                    let Some(chunk) = state.ready.pop_front() else {
                        return Ok(None);
                    };
                    return chunk.map(|chunk| Some((chunk, has_rested)));
                }
                Flow::Pause => {
                    state.is_paused = true;
                    state.pauses += 1;
                }
                Flow::Wait => state = self.wait(state),
            }
        }
    }

    /// Gives the buffer of a piece back.
    pub(super) fn recycle(&self, buffer: AlignedBuffer) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.free.push(buffer);
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0
    }

    // A reading thread: ticket, buffer, read, hand over.
    fn read(&self) {
        while let Some((ticket, mut buffer)) = self.ticket() {
            let target = buffer.as_mut_slice().get_mut(..ticket.len).unwrap_or_default();
            let result = ticket.file.read_exact_at(target, ticket.offset);
            let number = ticket.number;
            let filled = result.map(|()| Filled { ticket, buffer }).map_err(TapeError::from);
            let mut state = self.lock();
            state.filled.insert(number, filled);
            drop(state);
            self.changed.notify_all();
        }
    }

    // The next ticket with a buffer; `None` when there is nothing left to read.
    fn ticket(&self) -> Option<(Ticket, AlignedBuffer)> {
        let mut state = self.lock();
        loop {
            if state.is_stopped || state.is_planned {
                return None;
            }
            if state.in_flight < self.marks.capacity {
                break;
            }
            state = self.wait(state);
        }
        match self.plan(&mut state) {
            Ok(Some(ticket)) => {
                state.in_flight += 1;
                let buffer = state.free.pop().unwrap_or_else(|| AlignedBuffer::new(BLOCK_LEN));
                Some((ticket, buffer))
            }
            Ok(None) => {
                state.is_planned = true;
                drop(state);
                self.changed.notify_all();
                None
            }
            Err(error) => {
                self.fail(&mut state, error);
                None
            }
        }
    }

    // Nothing behind an error is of use; what was read before it still is.
    fn fail(&self, state: &mut State, error: TapeError) {
        state.is_planned = true;
        state.filled.insert(state.next_ticket, Err(error));
        state.next_ticket += 1;
        self.changed.notify_all();
    }

    fn plan(&self, state: &mut State) -> Result<Option<Ticket>, TapeError> {
        let plan = &mut state.plan;
        let (object, file) = match plan.open.take() {
            Some(open) => open,
            None => {
                let Some(object) = self.objects.object(plan.object_number)? else {
                    return Ok(None);
                };
                let file = open(&object, self.segment_bytes)?;
                (object, file)
            }
        };
        let segment_len_max = self.only_bytes.unwrap_or(self.segment_bytes).min(self.segment_bytes);
        let segment_len = object.len.saturating_sub(plan.offset).min(segment_len_max);
        let left = segment_len - plan.in_segment;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_LEN);
        let begin = (plan.in_segment == 0).then(|| Begin {
            object: object.clone(),
            segment: plan.segment,
            offset: plan.offset,
            len: segment_len,
        });
        let is_last = len as u64 == left;
        let ticket = Ticket {
            number: state.next_ticket,
            begin,
            is_last,
            object_number: plan.object_number,
            file: Arc::clone(&file),
            offset: plan.offset + plan.in_segment,
            len,
        };
        state.next_ticket += 1;
        plan.in_segment += len as u64;
        if is_last {
            plan.in_segment = 0;
            plan.segment += 1;
            plan.offset += segment_len;
        }
        if is_last && plan.offset >= object.len {
            plan.segment = 0;
            plan.offset = 0;
            plan.object_number += 1;
        } else {
            plan.open = Some((object, file));
        }
        state.is_planned = is_last && self.only_bytes.is_some();
        Ok(Some(ticket))
    }

    // The hashing thread: pieces in order, with what is known at the end of a segment.
    fn hash(&self) {
        let mut hashing = Hashing::new(self.start.hasher.clone().filter(|_| self.start.segment > 0));
        loop {
            let mut state = self.lock();
            let filled = loop {
                if state.is_stopped || state.is_planned && state.next_hashed == state.next_ticket {
                    return;
                }
                let next = state.next_hashed;
                if let Some(filled) = state.filled.remove(&next) {
                    break filled;
                }
                state = self.wait(state);
            };
            drop(state);
            let chunk = filled.and_then(|filled| hashing.take(filled));
            let is_failed = chunk.is_err();
            let mut state = self.lock();
            state.next_hashed += 1;
            state.ready.push_back(chunk);
            if is_failed {
                state.is_planned = true;
                state.next_ticket = state.next_hashed;
            }
            drop(state);
            self.changed.notify_all();
            if is_failed {
                return;
            }
        }
    }
}

// Hashers of the present segment and object.
struct Hashing {
    begin: Option<Begin>,
    segment: FingerprintHasher,
    // `None` if the beginning of the object was not seen.
    object: Option<FingerprintHasher>,
}

impl Hashing {
    fn new(object: Option<FingerprintHasher>) -> Self {
        Self { begin: None, segment: FingerprintHasher::default(), object }
    }

    fn take(&mut self, filled: Filled) -> Result<Chunk, TapeError> {
        let Filled { ticket, buffer } = filled;
        if let Some(begin) = &ticket.begin {
            self.segment = FingerprintHasher::default();
            if begin.segment == 0 {
                self.object = Some(FingerprintHasher::default());
            }
            self.begin = Some(begin.clone());
        }
        let bytes = buffer.as_slice().get(..ticket.len).unwrap_or_default();
        self.segment.update(bytes);
        let is_whole = self.begin.as_ref().is_some_and(|begin| begin.len == begin.object.len);
        if let Some(object) = self.object.as_mut().filter(|_| !is_whole) {
            object.update(bytes);
        }
        let end = if ticket.is_last { self.end(ticket.object_number, is_whole)? } else { None };
        Ok(Chunk { begin: ticket.begin, buffer, len: ticket.len, end })
    }

    fn end(&mut self, object_number: u64, is_whole: bool) -> Result<Option<End>, TapeError> {
        let Some(begin) = &self.begin else {
            return Ok(None);
        };
        let fingerprint = self.segment.finish();
        let is_last = begin.offset + begin.len >= begin.object.len;
        if !is_last {
            let next = Place {
                object: object_number,
                segment: begin.segment + 1,
                offset: begin.offset + begin.len,
                hasher: self.object.clone(),
            };
            return Ok(Some(End { fingerprint, object_fingerprint: None, next }));
        }
        let computed =
            if is_whole { Some(fingerprint) } else { self.object.as_ref().map(FingerprintHasher::finish) };
        if let (Some(expected), Some(found)) = (begin.object.fingerprint, computed)
            && expected != found
        {
            return Err(TapeError::Object {
                name: begin.object.name.to_string(),
                expected: format!("BLAKE3 {expected}"),
                found: format!("BLAKE3 {found}"),
            });
        }
        let next = Place { object: object_number + 1, ..Place::default() };
        let object_fingerprint = computed.or(begin.object.fingerprint);
        Ok(Some(End { fingerprint, object_fingerprint, next }))
    }
}

fn open(object: &Object, segment_bytes: u64) -> Result<Arc<dyn ReadFile>, TapeError> {
    if !is_valid_object_name(&object.name) {
        let reason = "the name is not a relative path of plain names, or is one of the format's own";
        return Err(TapeError::BadObject { name: crate::path::display(object.name.as_bytes()), reason });
    }
    if object.len.div_ceil(segment_bytes) > SEGMENTS_MAX {
        let reason = "it has more than 100,000 segments";
        return Err(TapeError::BadObject { name: object.name.to_string(), reason });
    }
    let file: Arc<dyn ReadFile> = Arc::from(object.source.open()?);
    if file.len() != object.len {
        return Err(TapeError::Object {
            name: object.name.to_string(),
            expected: format!("{} bytes", object.len),
            found: format!("{} bytes", file.len()),
        });
    }
    Ok(file)
}
