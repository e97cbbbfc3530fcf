//! Verifies BDFs: header, frames one after the other without a gap, chunks, footer and seal.

use std::collections::HashSet;

use rayon::prelude::*;

use super::{Run, VerifyError};
use crate::format::bdf::{Area, FrameSpan, HEADER_LEN, decode_footer};
use crate::format::frame::{self, FrameHeader, Location};
use crate::id::{ClientName, FileId};
use crate::repo::frames::{BdfFile, bdf_name};
use crate::repo::pages::read_sealed;

/// Verifies all BDFs, or those in `referenced`, to which what their frames are based on is added.
pub(super) fn verify(
    run: &Run<'_>,
    bdfs: &[(FileId, ClientName, Area)],
    referenced: &mut HashSet<FileId>,
    all: bool,
) -> Result<(), VerifyError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(run.options.worker_count).build()?;
    let mut done = HashSet::new();
    loop {
        let mut is_more = false;
        for (file, client, area) in bdfs {
            if (all || referenced.contains(file)) && done.insert((*file, client, *area)) {
                run.progress.check()?;
                is_more = true;
                let name = bdf_name(*area, client.as_str(), *file);
                referenced.extend(pool.install(|| verify_bdf(run, &name, *file, client)));
                run.progress.check()?;
            }
        }
        if !is_more {
            return Ok(());
        }
    }
}

// Returns the BDFs that frames of this one are based on.
fn verify_bdf(run: &Run<'_>, name: &str, file: FileId, client: &ClientName) -> HashSet<FileId> {
    let storage = run.repository.storage();
    let bdf = match BdfFile::open(&**storage, run.repository.id(), name, file) {
        Ok(bdf) => bdf,
        Err(error) => {
            run.damage(name, 0, crate::job::chain(&error));
            run.bad().add_file(file);
            return HashSet::new();
        }
    };
    if bdf.header().client != *client {
        run.damage(name, 0, format!("it belongs to client {}", bdf.header().client));
    }
    let spans = spans(run, name, &bdf);
    let headers = spans.par_iter().filter_map(|span| verify_frame(run, name, &bdf, file, span));
    // The chunk tables of all frames together would be as long as the file has chunks.
    let bases = headers
        .fold(HashSet::new, |mut files, header| {
            files.extend(header.bases.iter().map(|base| base.location.file));
            files
        })
        .reduce(HashSet::new, |one, other| one.union(&other).copied().collect());
    let mut summary = run.summary();
    summary.bdf_count += 1;
    summary.data_bytes += bdf.file().len();
    bases
}

fn spans(run: &Run<'_>, name: &str, bdf: &BdfFile) -> Vec<FrameSpan> {
    let footer = read_sealed(bdf.file(), bdf.header().file);
    let (seal, footer) = match footer {
        Ok(sealed) => sealed,
        Err(error) => {
            run.damage(name, bdf.file().len(), crate::job::chain(&error));
            return scan(run, name, bdf, bdf.file().len());
        }
    };
    let spans = match decode_footer(&footer, seal.footer_crc) {
        Ok(spans) => spans,
        Err(error) => {
            run.damage(name, seal.footer_offset, crate::job::chain(&error));
            return scan(run, name, bdf, seal.footer_offset);
        }
    };
    let mut end = HEADER_LEN as u64;
    for span in &spans {
        if span.offset != end {
            let what = format!("the footer has a frame at byte {}, expected it here", span.offset);
            run.damage(name, end, what);
        }
        end = span.offset.saturating_add(span.len.into());
    }
    if end != seal.footer_offset {
        run.damage(name, end, format!("frames end here, the footer begins at {}", seal.footer_offset));
    }
    spans
}

// Without a footer, frames are found one after the other.
fn scan(run: &Run<'_>, name: &str, bdf: &BdfFile, end: u64) -> Vec<FrameSpan> {
    let mut spans = Vec::new();
    let mut offset = HEADER_LEN as u64;
    while offset < end {
        let header = match bdf.read_header(offset) {
            Ok(header) => header,
            Err(error) => {
                let what = format!("no more frames are found: {}", crate::job::chain(&error));
                run.damage(name, offset, what);
                break;
            }
        };
        let len = frame_len(&header);
        let chunk_count = crate::codec::len_u32(header.chunks.len());
        spans.push(FrameSpan { offset, len: u32::try_from(len).unwrap_or(u32::MAX), chunk_count });
        offset += len;
    }
    spans
}

fn frame_len(header: &FrameHeader) -> u64 {
    frame::HEADER_LEN as u64 + header.tables_len() + u64::from(header.stored_len)
}

fn verify_frame(
    run: &Run<'_>,
    name: &str,
    bdf: &BdfFile,
    file: FileId,
    span: &FrameSpan,
) -> Option<FrameHeader> {
    if run.progress.check().is_err() {
        return None;
    }
    let offset = span.offset;
    let bad = |what: String| {
        run.damage(name, offset, what);
        run.bad().add_frame(file, offset);
    };
    let header = match bdf.read_header(offset) {
        Ok(header) => header,
        Err(error) => {
            bad(crate::job::chain(&error));
            return None;
        }
    };
    if frame_len(&header) != u64::from(span.len) || header.chunks.len() as u64 != u64::from(span.chunk_count)
    {
        run.damage(name, offset, "length or chunk count is another one than in the footer".to_owned());
    }
    if header.chunks.iter().any(|chunk| chunk.len == 0) {
        run.damage(name, offset, "the frame has an empty chunk".to_owned());
    }
    if run.options.read_data {
        match run.repository.frames().read_uncached(file, offset) {
            Ok(frame) => verify_chunks(run, name, file, offset, &frame),
            Err(error) => bad(crate::job::chain(&error)),
        }
    }
    run.progress.add(0, span.len.into());
    let mut summary = run.summary();
    summary.frame_count += 1;
    summary.chunk_count += header.chunks.len() as u64;
    drop(summary);
    Some(header)
}

fn verify_chunks(run: &Run<'_>, name: &str, file: FileId, offset: u64, frame: &crate::repo::frames::Frame) {
    let mut start = 0;
    for (index, info) in frame.header().chunks.iter().enumerate() {
        if let Err(actual) = frame.chunk(index) {
            let what = format!("chunk {index} has fingerprint {actual}, its frame says {}", info.fingerprint);
            run.damage(name, offset, what);
            run.bad().add_chunk(Location { file, frame: offset, start });
        }
        start += info.len;
    }
}
