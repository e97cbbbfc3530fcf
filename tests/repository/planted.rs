//! Bytes that are well-formed and lie: every checksum is right, and what it covers is not what was stored.

use std::fs;

use reelfs::checksum::crc32;
use reelfs::format::bdf;
use reelfs::format::frame::{Codec, FrameHeader, FrameLengths, HEADER_LEN};
use reelfs::id::FileId;
use reelfs::repo::{GenerationId, Repository};
use reelfs::storage::MemoryStorage;
use tempfile::tempdir;

use crate::support::{backup, in_memory, open, random, read_all, verify};

/// A generation with one file that cannot be compressed, and the name of the BDF that holds it.
fn scene() -> (MemoryStorage, GenerationId, String, Vec<u8>) {
    let source = tempdir().unwrap();
    let content = random(31, 40_000);
    fs::write(source.path().join("file"), &content).unwrap();
    let (memory, repository) = in_memory();
    let generation = backup(&repository, None, source.path()).unwrap();
    let name = memory.names().into_iter().find(|name| name.ends_with(".bdf")).unwrap();
    (memory, generation, name, content)
}

/// The first frame of a BDF, decoded, with its stored bytes.
fn first_frame(bytes: &[u8]) -> (FileId, FrameHeader, Vec<u8>) {
    let file = bdf::BdfHeader::decode(bytes.first_chunk().unwrap()).unwrap().file;
    let frame = &bytes[bdf::HEADER_LEN..];
    let lengths = FrameLengths::peek(frame.first_chunk::<HEADER_LEN>().unwrap()).unwrap();
    let header = FrameHeader::decode(frame, file, bdf::HEADER_LEN as u64).unwrap();
    let stored = frame[HEADER_LEN + lengths.tables_len..][..lengths.stored_len].to_vec();
    (file, header, stored)
}

/// Puts a frame of the same length in the place of the first one.
fn replace_frame(memory: &MemoryStorage, name: &str, header: &FrameHeader, stored: &[u8]) {
    let mut bytes = memory.contents(name).unwrap();
    let (file, ..) = first_frame(&bytes);
    let frame = [header.encode(file, bdf::HEADER_LEN as u64), stored.to_vec()].concat();
    bytes[bdf::HEADER_LEN..][..frame.len()].copy_from_slice(&frame);
    memory.put(name, &bytes);
}

fn assert_refused(memory: &MemoryStorage, generation: GenerationId, what: &str) {
    let repository: Repository = open(memory);
    let read = read_all(&repository, generation).unwrap();
    assert!(read.len() == 1 && read.iter().all(|(_, content)| content.is_err()), "{what}: {read:?}");
    assert!(!verify(&open(memory), None).is_sound(), "{what}");
}

#[test]
fn other_content_under_the_fingerprint_of_a_chunk_is_not_served() {
    let (memory, generation, name, content) = scene();
    let (_, header, stored) = first_frame(&memory.contents(&name).unwrap());
    assert_eq!((header.codec, &stored), (Codec::Raw, &content), "random bytes are stored as they are");
    let mut planted = stored.clone();
    planted[20_000] ^= 1;
    let header = FrameHeader { payload_crc: crc32(&[&planted]), ..header };
    replace_frame(&memory, &name, &header, &planted);
    assert_refused(&memory, generation, "planted content");
}

#[test]
fn a_payload_that_is_said_to_be_compressed_or_is_not_is_refused() {
    let (memory, generation, name, _) = scene();
    let (_, header, stored) = first_frame(&memory.contents(&name).unwrap());
    replace_frame(&memory, &name, &FrameHeader { codec: Codec::Zstd, ..header }, &stored);
    assert_refused(&memory, generation, "raw bytes as zstd");
}

#[test]
fn a_codec_that_is_not_known_is_never_guessed() {
    let (memory, generation, name, _) = scene();
    let mut bytes = memory.contents(&name).unwrap();
    let (file, header, _) = first_frame(&bytes);
    let frame = bdf::HEADER_LEN;
    // Magic number 4, kind 1, codec.
    bytes[frame + 5] = 127;
    let (fixed_end, tables) = (frame + HEADER_LEN - 4, frame + HEADER_LEN);
    let tables_end = tables + usize::try_from(header.tables_len()).unwrap();
    let crc = crc32(&[&file.0, &bytes[frame..fixed_end], &bytes[tables..tables_end]]);
    bytes[fixed_end..tables].copy_from_slice(&crc.to_le_bytes());
    let error = FrameHeader::decode(&bytes[frame..], file, frame as u64).unwrap_err();
    assert!(error.to_string().contains("127"), "{error}");
    memory.put(&name, &bytes);
    assert_refused(&memory, generation, "an unknown codec");
}
