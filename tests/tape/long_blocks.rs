//! Blocks longer than ours, as other programs write them, on drives that protect blocks with a CRC.

use reelfs::progress::Progress;
use reelfs::tape::drive::{Drive, DriveError, DriveOptions, Read};

use crate::lab::{Lab, noise};

const CAPACITY: u64 = 256 << 20;
/// What the emulated drive reports by READ BLOCK LIMITS.
const LIMIT: usize = 8 << 20;

fn drive(lab: &Lab, use_protection: bool) -> Drive {
    let options = DriveOptions { use_protection, ..DriveOptions::default() };
    let mut drive = Drive::open(lab.transport(), lab.time.clone(), options).expect("a drive");
    drive.wait_ready(&Progress::new()).expect("ready");
    drive.locate(0).expect("the beginning");
    drive
}

#[test]
fn blocks_of_any_length_that_the_drive_reports_are_written_and_read_with_and_without_a_crc() {
    for (writes_protected, reads_protected) in [(true, true), (true, false), (false, true), (false, false)] {
        let lab = Lab::new(1, CAPACITY);
        lab.load(0);
        let blocks: Vec<Vec<u8>> = [1, 10_240, 512 << 10, (512 << 10) + 1, 1 << 20, LIMIT - 4]
            .map(|len| noise(len as u64, len))
            .into();
        let mut writer = drive(&lab, writes_protected);
        for block in &blocks {
            writer.write_block(block).expect("written");
        }
        writer.write_filemarks(1, true).expect("committed");
        drop(writer);
        let mut reader = drive(&lab, reads_protected);
        let mut buffer = vec![0; LIMIT];
        for block in &blocks {
            let read = reader.read_block(&mut buffer).expect("read");
            assert_eq!(read, Read::Block(block.len()), "{writes_protected} {reads_protected}");
            assert!(buffer[..block.len()] == block[..], "{} bytes", block.len());
        }
        assert_eq!(reader.read_block(&mut buffer).expect("read"), Read::Filemark);
    }
}

#[test]
fn a_block_that_is_too_long_to_be_moved_is_refused_and_nothing_is_lost() {
    let lab = Lab::new(1, CAPACITY);
    lab.load(0);
    for (is_protected, longest) in [(true, LIMIT - 4), (false, LIMIT)] {
        let mut drive = drive(&lab, is_protected);
        assert_eq!(drive.block_len_max(), longest);
        let error = drive.write_block(&noise(1, longest + 1));
        let Err(DriveError::TransferLimit { len_bytes, len_max_bytes, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!((len_bytes, len_max_bytes), (longest + 1, longest));
        assert_eq!(drive.position().expect("position").loi, 0);
    }
}

#[test]
fn a_block_longer_than_a_protected_read_can_take_is_named_and_stays_in_front() {
    let lab = Lab::new(1, CAPACITY);
    lab.load(0);
    let mut writer = drive(&lab, false);
    writer.write_block(&noise(3, LIMIT)).expect("written");
    writer.write_block(b"after").expect("written");
    writer.write_filemarks(1, true).expect("committed");
    drop(writer);
    let mut reader = drive(&lab, true);
    let mut buffer = vec![0; LIMIT];
    let error = reader.read_block(&mut buffer);
    let Err(DriveError::BlockTooLong { loi, len_bytes, len_max_bytes, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!((loi, len_bytes, len_max_bytes), (0, LIMIT as u64, LIMIT - 4));
    assert_eq!(reader.position().expect("position").loi, 0);
    reader.locate(1).expect("behind it");
    assert_eq!(reader.read_block(&mut buffer).expect("read"), Read::Block(5));
}
