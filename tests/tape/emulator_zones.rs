//! Where a partition ends, what may be written where, and protected blocks.

use crate::emulator_support::{Bench, GOOD, MAIL, SLOT, Unit, move_medium};
use reelfs::emulator::{CartridgeKind, CartridgeSpec, Generation, LibraryShape};

/// One LTO drive with one cartridge of 32 MiB, whose early warning comes 4 MiB before the end.
fn bench(generation: Generation, kind: CartridgeKind) -> Bench {
    let mut shape = LibraryShape::new(generation).with_drives(1, generation);
    shape.cartridges = vec![CartridgeSpec {
        kind,
        capacity_bytes: Some(32 << 20),
        early_warning_bytes: Some(4 << 20),
        ..CartridgeSpec::data("RL0001L8", generation)
    }];
    Bench::new(&shape)
}

fn select(drive: &mut Unit, page: &[u8]) -> (u8, u8, u8) {
    let list = [&[0, 0, 0x10, 0], page].concat();
    drive.send_out(&[0x15, 0x10, 0, 0, u8::try_from(list.len()).unwrap(), 0], &list).sense()
}

/// Mode page 10h/01h with write mode and programmable early warning in MB.
fn extension(append_only: bool, warning_mb: u8) -> Vec<u8> {
    let mut page = vec![0x50, 0x01, 0, 28];
    page.resize(32, 0);
    page[5] = u8::from(append_only) << 4;
    page[7] = warning_mb;
    page
}

#[test]
fn the_end_is_announced_twice_before_it_comes() {
    let bench = bench(Generation::Lto8, CartridgeKind::Data);
    let mut drive = bench.loaded(0);
    assert_eq!(select(&mut drive, &extension(false, 8)), GOOD);
    let block = vec![5; 1 << 20];
    let mut seen = Vec::new();
    for number in 0..40 {
        let reply = drive.write(&block);
        match reply.sense() {
            GOOD if reply.outcome.sense.is_empty() => continue,
            // SSC-4, section 4.2.5: programmable early warning, without EOM, once.
            (0, 0, 7) => {
                assert_eq!((reply.flags(), drive.position().0), (0, 0x01), "BPEW");
                seen.push(("programmable", number));
            }
            // Early warning: the block is written, EOM, INFORMATION 0.
            (0, 0, 2) => {
                assert_eq!((reply.flags(), reply.information()), (0x40, Some(0)));
                seen.push(("early", number));
            }
            (0x0d, 0, 2) => {
                assert_eq!((reply.flags(), reply.information()), (0x40, Some(1 << 20)));
                seen.push(("overflow", number));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(drive.position().0, 0x41, "EOP and BPEW");
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["programmable", "early", "early", "early", "early", "overflow"], "{seen:?}");
    // 8 MB and 4 MiB before 32 MiB; blocks have 8 bytes around them.
    assert_eq!((seen[0].1, seen[1].1, seen[5].1), (20, 27, 31));
    // A filemark fits still, and says where it is.
    assert_eq!(drive.send(&[0x10, 0, 0, 0, 1, 0]).sense(), (0, 0, 2));
    // All blocks that were said to be written are there.
    drive.rewind();
    for _ in 0..31 {
        assert_eq!(drive.read(1 << 20).sense(), GOOD);
    }
    assert_eq!(drive.read(1 << 20).sense(), (0, 0, 1));
}

#[test]
fn fixed_blocks_are_counted_in_blocks() {
    let bench = bench(Generation::Lto8, CartridgeKind::Data);
    let mut drive = bench.loaded(0);
    assert_eq!(drive.send_out(&[0x0a, 1, 0, 0, 1, 0], &[0; 512]).field(), (1, Some(0)), "variable blocks");
    drive.put(&[0x15, 0x10, 0, 0, 12, 0], &[0, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 2, 0]);
    drive.put(&[0x0a, 1, 0, 0, 4, 0], &[9; 2048]);
    assert_eq!(drive.write(&[8; 700]).sense(), GOOD, "a variable one among them");
    drive.filemarks(1);
    drive.rewind();
    let good = drive.send_in(&[0x08, 1, 0, 0, 3, 0], 1536);
    assert_eq!((good.sense(), good.data), (GOOD, vec![9; 1536]));
    // SSC-4, section 6.3: blocks not read, without the one of another length, which is passed.
    let other = drive.send_in(&[0x08, 1, 0, 0, 5, 0], 2560);
    assert_eq!((other.flags(), other.information(), other.data), (0x20, Some(4), vec![9; 512]));
    assert_eq!(drive.position().2, 5);
    let mark = drive.send_in(&[0x08, 1, 0, 0, 5, 0], 2560);
    assert_eq!((mark.sense(), mark.information()), ((0, 0, 1), Some(5)));
    assert_eq!(drive.send_in(&[0x08, 3, 0, 0, 5, 0], 2560).field(), (1, Some(1)), "SILI with FIXED");
    // SILI: a short block is silent; a long one is not while the block length is set.
    drive.rewind();
    let silent = drive.send_in(&[0x08, 2, 0, 4, 0, 0], 1024);
    assert_eq!((silent.sense(), silent.flags(), silent.data.len()), (GOOD, 0, 512));
    let long = drive.send_in(&[0x08, 2, 0, 1, 0, 0], 256);
    assert_eq!((long.flags(), long.information()), (0x20, Some(256 - 512)));
}

#[test]
fn two_partitions_are_made_filled_and_kept_apart() {
    let bench = bench(Generation::Lto8, CartridgeKind::Data);
    let mut drive = bench.loaded(0);
    // One additional partition, IDP, sizes in 10^6 bytes: 5 and all that is left.
    let page = [0x11, 10, 1, 1, 0x20 | 0x18, 3, 6, 0, 0, 5, 0xff, 0xff];
    assert_eq!(select(&mut drive, &page), GOOD);
    drive.write(&[1; 10]);
    assert_eq!(drive.send(&[0x04, 0, 2, 0, 0, 0]).sense(), (5, 0x3b, 0x0c), "not at the beginning");
    drive.rewind();
    drive.good(&[0x04, 0, 2, 0, 0, 0]);
    assert_eq!(drive.read(10).sense(), (8, 0, 5), "formatted");
    drive.write(&[2; 10]);
    // LOCATE(16) with CP to partition 1.
    drive.good(&[0x92, 0x02, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(drive.position(), (0x80, 1, 0, 0));
    drive.write(&[3; 20]);
    drive.filemarks(1);
    // LOCATE(10) with CP back.
    drive.good(&[0x2b, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(drive.read(10).data, [2; 10]);
    assert_eq!(drive.send(&[0x2b, 0x02, 0, 0, 0, 0, 0, 0, 2, 0]).field(), (8, None), "no partition 2");
    let sizes = drive.get(&[0x4d, 0, 0x57, 0, 0, 0x02, 0x02, 1, 0, 0], 256);
    assert_eq!(sizes[4..24], [2, 2, 3, 16, 7, 0, 0, 0, 0, 0, 0, 5, 7, 0, 0, 1, 0, 0, 0, 28]);
    assert_eq!(drive.get(&[0x1a, 8, 0x11, 0, 64, 0], 64)[4..8], [0x11, 10, 1, 1]);
    // Both are there in another drive's eyes, after an unload.
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    drive.good(&[0x1b, 0, 0, 0, 1, 0]);
    drive.settle();
    drive.good(&[0x92, 0x02, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(drive.read(20).data, [3; 20]);
    // FORMAT 0 makes one again.
    drive.good(&[0x92, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    drive.good(&[0x04, 0, 0, 0, 0, 0]);
    assert_eq!(drive.send(&[0x2b, 0x02, 0, 0, 0, 0, 0, 0, 1, 0]).sense(), (5, 0x24, 0));
}

#[test]
fn what_must_not_be_written_to_is_not() {
    let bench = bench(Generation::Lto8, CartridgeKind::Data);
    bench.library.set_write_protected("RL0001L8", true).unwrap();
    let mut drive = bench.loaded(0);
    assert_eq!(drive.get(&[0x1a, 0, 0, 0, 12, 0], 12)[2] & 0x80, 0x80, "WP");
    assert_eq!(drive.write(&[1; 10]).sense(), (7, 0x27, 0), "WRITE PROTECTED");
    assert_eq!(drive.send(&[0x10, 0, 0, 0, 1, 0]).sense(), (7, 0x27, 0));
    assert_eq!(drive.send(&[0x19, 0, 0, 0, 0, 0]).sense(), (7, 0x27, 0));
    assert!(bench.library.set_write_protected("RL0001L8", false).is_err(), "a drive has it");
    // A closed write-protect switch can be seen in a TapeAlert flag, once.
    let alert = |drive: &mut Unit| drive.get(&[0x4d, 0, 0x6e, 0, 0, 0, 9, 0, 9, 0], 9)[8];
    assert_eq!((alert(&mut drive), alert(&mut drive)), (1, 0));
}

#[test]
fn a_worm_cartridge_can_be_appended_to_only() {
    let bench = bench(Generation::Lto8, CartridgeKind::Worm);
    let mut drive = bench.loaded(0);
    assert_eq!(drive.get(&[0x12, 1, 0xb0, 0, 8, 0], 8)[4], 1, "WORM of VPD page B0h");
    assert_eq!(drive.get(&[0x1a, 0, 0, 0, 12, 0], 12)[1], 0x8c, "medium type of WORM");
    drive.write(&[1; 10]);
    drive.filemarks(1);
    drive.rewind();
    assert_eq!(drive.write(&[2; 10]).sense(), (7, 0x30, 0x0c), "OVERWRITE ATTEMPTED");
    assert_eq!(drive.send(&[0x04, 0, 0, 0, 0, 0]).sense(), (7, 0x30, 0x0c));
    assert_eq!(drive.space(3, 0).sense(), GOOD);
    assert_eq!(drive.write(&[2; 10]).sense(), GOOD);
}

#[test]
fn append_only_mode_wants_to_be_told_where_to_overwrite() {
    let bench = bench(Generation::Lto8, CartridgeKind::Data);
    let mut drive = bench.loaded(0);
    assert_eq!(select(&mut drive, &extension(true, 0)), GOOD);
    for _ in 0..3 {
        drive.write(&[1; 10]);
    }
    assert_eq!(drive.locate(1).sense(), GOOD);
    assert_eq!(drive.write(&[2; 10]).sense(), (7, 0x50, 0x01), "WRITE APPEND POSITION ERROR");
    // ALLOW OVERWRITE at another place, then at this one.
    let allow = |object: u8| [0x82, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, object, 0, 0, 0, 0];
    assert_eq!(drive.send(&allow(2)).sense(), (5, 0x3b, 0x00));
    drive.good(&allow(1));
    assert_eq!(drive.write(&[2; 10]).sense(), GOOD);
    assert_eq!(drive.position().2, 2);
    assert_eq!(drive.read(10).sense(), (8, 0, 5), "what was behind is gone");
    // LTO-6 drives have no such mode.
    let old = self::bench(Generation::Lto6, CartridgeKind::Data);
    let mut drive = old.loaded(0);
    assert_eq!(select(&mut drive, &extension(true, 0)), (5, 0x26, 0));
}

#[test]
fn protected_blocks_carry_the_crc_of_the_standard() {
    let bench = bench(Generation::Lto8, CartridgeKind::Data);
    let mut drive = bench.loaded(0);
    let protection = |method: u8| {
        let mut page = vec![0x4a, 0xf0, 0, 28, method, 4, 0xc0];
        page.resize(32, 0);
        page
    };
    assert_eq!(select(&mut drive, &protection(1)), (5, 0x26, 0), "LTO-8 has CRC32C only");
    assert_eq!(select(&mut drive, &protection(2)), GOOD);
    // CRC32C of 32 zeros is AA 36 91 8A in the order of the wire (RFC 3720, appendix B.4).
    let mut block = vec![0; 32];
    block.extend([0xaa, 0x36, 0x91, 0x8a]);
    assert_eq!(drive.write(&block).sense(), GOOD);
    block[3] = 1;
    assert_eq!(drive.write(&block).sense(), (4, 0x10, 0x01), "LOGICAL BLOCK GUARD CHECK FAILED");
    assert_eq!(drive.position().2, 1, "the wrong one is not on tape");
    block[3] = 0;
    drive.rewind();
    assert_eq!(drive.read(36).data, block);
    drive.rewind();
    let long = drive.read(40);
    assert_eq!((long.flags(), long.information(), long.data), (0x20, Some(4), block.clone()));
    // Without protection the block has its own length.
    assert_eq!(select(&mut drive, &protection(0)), GOOD);
    drive.rewind();
    assert_eq!(drive.read(32).sense(), GOOD);
    // VERIFY to the end with VLBPM needs a method.
    assert_eq!(drive.send(&[0x13, 0x30, 0, 0, 0, 0]).field(), (1, Some(4)));
    drive.rewind();
    drive.good(&[0x13, 0x20, 0, 0, 0, 0]);
    assert_eq!(drive.position().2, 1);
}

#[test]
fn erase_set_capacity_and_unload_do_what_they_say() {
    let bench = bench(Generation::Lto8, CartridgeKind::Data);
    let mut drive = bench.loaded(0);
    for number in 0..4 {
        drive.write(&[number; 100]);
    }
    assert_eq!(drive.locate(2).sense(), GOOD);
    assert_eq!(drive.send(&[0x19, 1, 0, 0, 0, 0]).sense(), (5, 0x3b, 0x0c), "a long erase begins at 0");
    drive.good(&[0x19, 0, 0, 0, 0, 0]);
    assert_eq!(drive.read(100).sense(), (8, 0, 5));
    // A quarter of the capacity.
    drive.rewind();
    drive.good(&[0x0b, 0, 0, 0x3f, 0xff, 0]);
    let block = vec![1; 1 << 20];
    let written = (0..).take_while(|_| drive.write(&block).sense().0 == 0).count();
    assert_eq!(written, 7, "8 MiB less what stands around the blocks");
    // UNLOAD: no medium until LOAD, or until the changer takes it.
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    assert_eq!(drive.send(&[0; 6]).sense(), (2, 0x3a, 0));
    drive.good(&[0x1b, 0, 0, 0, 1, 0]);
    assert_eq!(drive.send(&[0; 6]).sense(), (6, 0x28, 0));
    drive.settle();
    assert_eq!(drive.position(), (0x80, 0, 0, 0));
    assert_eq!(drive.send(&[0x1b, 0, 0, 0, 0x09, 0]).field(), (4, Some(3)), "HOLD");
    drive.good(&[0x1e, 0, 0, 0, 1, 0]);
    assert_eq!(drive.send(&[0x1b, 0, 0, 0, 0, 0]).sense(), (5, 0x53, 0x02), "MEDIUM REMOVAL PREVENTED");
    drive.good(&[0x1e, 0, 0, 0, 0, 0]);
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    let mut changer = bench.unit(0);
    changer.settle();
    changer.good(&move_medium(256, SLOT));
    changer.good(&move_medium(SLOT, MAIL));
}
