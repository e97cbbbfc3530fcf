//! A drive: blocks, filemarks, positions. Sections of SSC-4 and SPC-4 as cited.

use crate::emulator_support::{Bench, DRIVE, GOOD, SLOT, move_medium};

#[test]
fn a_new_initiator_hears_of_the_power_on_and_then_of_no_medium() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.unit(1);
    // SAM-5, section 5.14; fixed format, SPC-4, table 53.
    let first = drive.send(&[0; 6]);
    assert_eq!(
        first.outcome.sense,
        [0x70, 0, 0x06, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0x29, 0x00, 0, 0, 0, 0],
        "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED"
    );
    assert_eq!(drive.send(&[0; 6]).sense(), (2, 0x3a, 0), "MEDIUM NOT PRESENT");
    assert_eq!(bench.unit_as(1, "other").send(&[0; 6]).sense(), (6, 0x29, 0), "each nexus hears it");
}

#[test]
fn a_load_is_told_as_a_unit_attention_and_takes_a_moment() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.unit(1);
    drive.settle();
    let mut changer = bench.unit(0);
    changer.settle();
    changer.good(&move_medium(SLOT, DRIVE));
    assert_eq!(drive.send(&[0; 6]).sense(), (6, 0x28, 0), "MEDIUM MAY HAVE CHANGED");
    assert_eq!(drive.send(&[0; 6]).sense(), (2, 0x04, 0x01), "IN PROCESS OF BECOMING READY");
    assert_eq!(drive.send(&[0; 6]).sense(), GOOD);
}

#[test]
fn blocks_and_filemarks_come_back_as_they_were_written() {
    let bench = Bench::small(8 << 20);
    let mut drive = bench.loaded(0);
    let blocks: Vec<Vec<u8>> =
        [80, 1, 524_288, 33].iter().map(|len| (0..=255).cycle().take(*len).collect()).collect();
    assert_eq!(drive.write(&blocks[0]).sense(), GOOD);
    drive.filemarks(1);
    for block in &blocks[1..] {
        assert_eq!(drive.write(block).sense(), GOOD);
    }
    drive.filemarks(2);
    assert_eq!(drive.position(), (0, 0, 7, 3));
    drive.rewind();
    assert_eq!(drive.position(), (0x80, 0, 0, 0), "BOP");
    assert_eq!(drive.read(80).data, blocks[0]);
    let mark = drive.read(524_288);
    // SSC-4, section 4.2.9: FILEMARK DETECTED, the residual is all that was asked for.
    assert_eq!((mark.sense(), mark.flags(), mark.information()), ((0, 0, 1), 0x80, Some(524_288)));
    assert!(mark.data.is_empty());
    let short = drive.read(100);
    assert_eq!((short.sense(), short.flags(), short.information()), (GOOD, 0x20, Some(99)), "ILI");
    assert_eq!(short.data, blocks[1]);
    let long = drive.read(1000);
    assert_eq!((long.flags(), long.information()), (0x20, Some(1000 - 524_288)));
    assert_eq!(long.data, blocks[2][..1000]);
    assert_eq!(drive.read(33).data, blocks[3]);
    assert_eq!(drive.read(33).sense(), (0, 0, 1));
    assert_eq!(drive.read(33).sense(), (0, 0, 1));
    let end = drive.read(33);
    assert_eq!((end.sense(), end.information()), ((8, 0, 5), Some(33)), "END-OF-DATA DETECTED");
    assert_eq!(drive.position(), (0, 0, 7, 3));
}

#[test]
fn spacing_and_locating_stop_where_the_standard_says() {
    let bench = Bench::small(8 << 20);
    let mut drive = bench.loaded(0);
    // B B F B B B F F B
    for (count, mark) in [(2, 1), (3, 2), (1, 0)] {
        for number in 0..count {
            drive.write(&[number; 100]);
        }
        drive.filemarks(mark);
    }
    drive.rewind();
    let at = |drive: &mut crate::emulator_support::Unit| drive.position().2;
    // SSC-4, section 6.8: spacing over blocks stops behind a filemark.
    let stopped = drive.space(0, 5);
    assert_eq!((stopped.sense(), stopped.flags(), stopped.information()), ((0, 0, 1), 0x80, Some(3)));
    assert_eq!(at(&mut drive), 3);
    // Backwards, on the beginning-of-partition side.
    let stopped = drive.space(0, -1);
    assert_eq!((stopped.sense(), stopped.information()), ((0, 0, 1), Some(1)));
    assert_eq!(at(&mut drive), 2);
    assert_eq!(drive.space(1, 2).sense(), GOOD);
    assert_eq!(at(&mut drive), 7);
    assert_eq!(drive.space(1, -1).sense(), GOOD);
    assert_eq!(at(&mut drive), 6);
    let beyond = drive.space(1, 5);
    assert_eq!((beyond.sense(), beyond.information()), ((8, 0, 5), Some(3)));
    assert_eq!(at(&mut drive), 9);
    let before = drive.space(1, -4);
    assert_eq!((before.sense(), before.flags(), before.information()), ((0, 0, 4), 0x40, Some(1)), "BOP");
    assert_eq!(drive.space(3, 0).sense(), GOOD);
    assert_eq!(drive.position(), (0, 0, 9, 3));
    assert_eq!(drive.locate(4).sense(), GOOD);
    assert_eq!(drive.read(100).data, [1; 100]);
    assert_eq!(drive.locate(10).sense(), (8, 0, 5));
    assert_eq!(at(&mut drive), 9);
    // By file: DEST_TYPE 01b.
    drive.good(&[0x92, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(drive.position(), (0, 0, 3, 1));
    // End of data: DEST_TYPE 11b.
    drive.good(&[0x92, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(at(&mut drive), 9);
}

#[test]
fn spacing_finds_filemarks_that_follow_each_other() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.loaded(0);
    // Objects: block 0, mark 1, blocks 2 to 4, marks 5 and 6, block 7, marks 8 to 10, block 11.
    for (count, marks) in [(1, 1), (3, 2), (1, 3), (1, 0)] {
        for _ in 0..count {
            drive.write(&[7; 100]);
        }
        drive.filemarks(marks);
    }
    drive.rewind();
    let at = |drive: &mut crate::emulator_support::Unit| drive.position().2;
    // SSC-4, section 7.4: behind the last of the first two, then of the first three.
    assert_eq!(drive.space(2, 2).sense(), GOOD);
    assert_eq!(at(&mut drive), 7);
    assert_eq!(drive.space(2, 3).sense(), GOOD);
    assert_eq!(at(&mut drive), 11);
    assert_eq!(drive.space(2, 0).sense(), GOOD);
    assert_eq!(at(&mut drive), 11);
    // There are no more, and how many were missing is not told.
    let beyond = drive.space(2, 1);
    assert_eq!((beyond.sense(), beyond.information()), ((8, 0, 5), None));
    assert_eq!(at(&mut drive), 12);
    // Backwards, on the beginning-of-partition side; a run that is longer is not missed.
    assert_eq!(drive.space(2, -2).sense(), GOOD);
    assert_eq!(at(&mut drive), 9);
    assert_eq!(drive.locate(8).sense(), GOOD);
    assert_eq!(drive.space(2, -2).sense(), GOOD);
    assert_eq!(at(&mut drive), 5);
    let before = drive.space(2, -2);
    assert_eq!((before.sense(), before.flags(), before.information()), ((0, 0, 4), 0x40, None), "BOP");
    assert_eq!(at(&mut drive), 0);
}
