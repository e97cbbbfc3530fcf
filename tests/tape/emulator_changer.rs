//! The emulated changer. Sections of SMC-3 as cited.

use crate::emulator_support::{Bench, DRIVE, GOOD, MAIL, Reply, SLOT, Unit, move_medium};
use reelfs::emulator::{CartridgeSpec, Generation, LibraryShape};

/// READ ELEMENT STATUS: volume tags, kind, start, count, device identifiers, allocation length.
fn status(changer: &mut Unit, tags: bool, kind: u8, start: u16, count: u16, ids: bool, len: u16) -> Reply {
    let ([a, b], [c, d], [e, f]) = (start.to_be_bytes(), count.to_be_bytes(), len.to_be_bytes());
    let cdb = [0xb8, u8::from(tags) << 4 | kind, a, b, c, d, u8::from(ids), 0, e, f, 0, 0];
    changer.send_in(&cdb, usize::from(len))
}

#[test]
fn elements_are_assigned_as_mode_page_1dh_says() {
    let bench = Bench::small(1 << 20);
    let mut changer = bench.unit(0);
    changer.settle();
    // SMC-3, table 47: arm, storage, import/export, drives.
    let data = changer.get(&[0x1a, 8, 0x1d, 0, 255, 0], 255);
    let expected = [0x1d, 18, 0, 1, 0, 1, 4, 0, 0, 20, 0, 16, 0, 2, 1, 0, 0, 2, 0, 0];
    assert_eq!(data[4..], expected);
}

#[test]
fn element_status_has_the_layout_of_the_standard() {
    let bench = Bench::small(1 << 20);
    let mut changer = bench.unit(0);
    changer.settle();
    // SMC-3, tables 19 to 22: header, page header, then descriptors of 12 + 36 + 4 bytes.
    let data = status(&mut changer, true, 2, SLOT, 5, false, 4096).data;
    assert_eq!(data[..8], [4, 0, 0, 5, 0, 0, 1, 12], "first element, count, 268 bytes");
    assert_eq!(data[8..16], [2, 0x80, 0, 52, 0, 0, 1, 4], "storage, PVOLTAG, 52 bytes each, 260 in all");
    let first = &data[16..68];
    assert_eq!(first[..12], [4, 0, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0], "accessible and full");
    assert_eq!(first[12..44], *b"RL0001L8                        ");
    assert_eq!(first[44..], [0; 8]);
    let empty = &data[16 + 4 * 52..];
    assert_eq!(empty[..3], [4, 4, 0x08]);
    assert_eq!(empty[12..], [0; 40], "no tag");
    // Cut off by the allocation length, the header says how much there is.
    let cut = status(&mut changer, true, 2, SLOT, 5, false, 8).data;
    assert_eq!(cut, data[..8]);
    // Drives with their identifiers: the serial number as in VPD page 83h.
    let drives = status(&mut changer, false, 4, 0, 10, true, 4096).data;
    assert_eq!(drives[8..12], [4, 0, 0, 56]);
    assert_eq!(drives[16..20], [1, 0, 0x08, 0], "empty, and the arm can reach it");
    assert_eq!(drives[28..32], [0x02, 0x01, 0, 37]);
    assert_eq!(drives[32..69], *b"REELFS  ULT3580-TD8     VT00000001D01");
    // All kinds in pages, in the order of kinds; mail slots can import and export.
    let all = status(&mut changer, false, 0, 0, 0xffff, false, 4096).data;
    assert_eq!(all[..4], [0, 1, 0, 25]);
    let mut kinds = Vec::new();
    let mut rest = &all[8..];
    while !rest.is_empty() {
        let len = usize::try_from(u32::from_be_bytes([0, rest[5], rest[6], rest[7]])).unwrap();
        kinds.push((rest[0], len / usize::from(rest[3])));
        if rest[0] == 3 {
            assert_eq!(rest[10], 0x38, "INENAB, EXENAB, ACCESS");
        }
        rest = &rest[8 + len..];
    }
    assert_eq!(kinds, [(1, 1), (2, 20), (3, 2), (4, 2)]);
    // By address the drives come before the slots: paging by count goes by address.
    let page = status(&mut changer, false, 0, 17, 3, false, 4096).data;
    assert_eq!(page[..4], [0, 17, 0, 3]);
    assert_eq!(status(&mut changer, false, 2, SLOT + 20, 1, false, 512).sense(), (5, 0x21, 0x01));
    assert_eq!(status(&mut changer, false, 5, 0, 1, false, 512).field(), (1, Some(3)));
}

#[test]
fn moves_are_checked_and_remember_where_a_cartridge_came_from() {
    let bench = Bench::small(1 << 20);
    let mut changer = bench.unit(0);
    changer.settle();
    for (from, to, sense) in [
        (SLOT + 9, DRIVE, (5, 0x3b, 0x0e)),
        (SLOT, SLOT + 1, (5, 0x3b, 0x0d)),
        (SLOT, 999, (5, 0x21, 0x01)),
        (999, SLOT, (5, 0x21, 0x01)),
        (SLOT, 1, (5, 0x21, 0x01)),
    ] {
        assert_eq!(changer.send(&move_medium(from, to)).sense(), sense, "{from} to {to}");
    }
    let mut inverted = move_medium(SLOT, SLOT + 9);
    inverted[10] = 1;
    assert_eq!(changer.send(&inverted).field(), (10, Some(0)));
    let mut arm = move_medium(SLOT, SLOT + 9);
    arm[3] = 9;
    assert_eq!(changer.send(&arm).sense(), (5, 0x21, 0x01), "another arm");
    changer.good(&move_medium(SLOT, DRIVE));
    let drive = status(&mut changer, true, 4, DRIVE, 1, false, 512).data;
    assert_eq!(drive[18], 0x01, "full, and out of reach as long as it is loaded");
    assert_eq!(drive[25..28], [0x80, 4, 0], "SVALID, from the first slot");
    assert_eq!(changer.send(&move_medium(DRIVE, SLOT)).sense(), (4, 0x04, 0x03), "the drive holds it");
    let mut unit = bench.unit(1);
    unit.settle();
    unit.good(&[0x1e, 0, 0, 0, 1, 0]);
    assert_eq!(changer.send(&move_medium(DRIVE, SLOT)).sense(), (5, 0x53, 0x02), "removal prevented");
    unit.good(&[0x1e, 0, 0, 0, 0, 0]);
    unit.good(&[0x1b, 0, 0, 0, 0, 0]);
    assert_eq!(status(&mut changer, true, 4, DRIVE, 1, false, 512).data[18], 0x09);
    changer.good(&move_medium(DRIVE, SLOT + 7));
    assert_eq!(unit.send(&[0; 6]).sense(), (2, 0x3a, 0));
    // EXCHANGE MEDIUM: slot 1 and slot 7 change places.
    changer.good(&[0xa6, 0, 0, 0, 4, 1, 4, 7, 4, 1, 0, 0]);
    let slots = status(&mut changer, true, 2, SLOT, 8, false, 4096).data;
    let tag = |slot: usize| String::from_utf8(slots[28 + slot * 52..36 + slot * 52].to_vec()).unwrap();
    assert_eq!((tag(1).as_str(), tag(7).as_str()), ("RL0001L8", "RL0002L8"));
    changer.good(&[0x2b, 0, 0, 1, 4, 0, 0, 0, 0, 0]);
    assert_eq!(changer.send(&[0x2b, 0, 0, 1, 9, 9, 0, 0, 0, 0]).sense(), (5, 0x21, 0x01));
    changer.good(&[0x07, 0, 0, 0, 0, 0]);
}

#[test]
fn a_library_that_unloads_by_itself_does_so_on_a_move() {
    let shape = LibraryShape { unloads_by_itself: true, ..LibraryShape::new(Generation::Lto8) };
    let bench = Bench::new(&shape.with_cartridges(1, Generation::Lto8, Some(1 << 20)));
    let mut drive = bench.loaded(0);
    assert_eq!(drive.write(&[1; 10]).sense(), GOOD);
    let mut changer = bench.unit(0);
    changer.good(&move_medium(DRIVE, SLOT + 3));
    assert_eq!(drive.settle(), (2, 0x3a, 0));
    changer.good(&move_medium(SLOT + 3, DRIVE));
    drive.settle();
    assert_eq!(drive.read(10).data, [1; 10]);
}

#[test]
fn an_operator_uses_the_mail_slots_and_everybody_hears_of_it() {
    let bench = Bench::small(1 << 20);
    let mut changer = bench.unit(0);
    changer.settle();
    let spec = CartridgeSpec::data("NEW001L8", Generation::Lto8);
    assert_eq!(bench.library.add_cartridge(&spec, true).unwrap(), MAIL);
    assert_eq!(changer.send(&[0; 6]).sense(), (6, 0x28, 0x01), "IMPORT OR EXPORT ELEMENT ACCESSED");
    let mail = status(&mut changer, true, 3, MAIL, 1, false, 512).data;
    assert_eq!(mail[18], 0x3b, "put there by an operator");
    changer.good(&move_medium(MAIL, SLOT + 10));
    changer.good(&move_medium(SLOT + 10, MAIL));
    assert_eq!(status(&mut changer, true, 3, MAIL, 1, false, 512).data[18], 0x39, "by the arm");
    changer.good(&[0x1e, 0, 0, 0, 1, 0]);
    assert!(bench.library.remove_cartridge("NEW001L8", false).is_err(), "the library is locked");
    changer.good(&[0x1e, 0, 0, 0, 0, 0]);
    bench.library.remove_cartridge("NEW001L8", true).unwrap();
    assert_eq!(changer.send(&[0; 6]).sense(), (6, 0x28, 0x01));
    assert!(!bench.dir.path().join("cartridges/NEW001L8.json").exists());
    // A cartridge without a label is there, but has no tag.
    let spec = CartridgeSpec { barcode: None, ..CartridgeSpec::data("X1", Generation::Lto8) };
    let address = bench.library.add_cartridge(&spec, false).unwrap();
    let slot = status(&mut changer, true, 2, address, 1, false, 512).data;
    assert_eq!((slot[18], &slot[28..60]), (0x09, &[0; 32][..]));
    assert!(bench.library.add_cartridge(&CartridgeSpec::data("../evil", Generation::Lto8), false).is_err());
}
