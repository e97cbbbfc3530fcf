//! What the emulated drive says of itself, byte for byte as the standards lay it out.

use crate::emulator_support::{Bench, GOOD};
use reelfs::emulator::{CartridgeKind, CartridgeSpec, Generation, LibraryShape};

#[test]
fn inquiry_has_the_layout_of_spc_4_table_150() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.unit(1);
    let data = drive.get(&[0x12, 0, 0, 0, 96, 0], 96);
    assert_eq!(data.len(), 96);
    // Sequential access, removable, SPC-4, response format 2, 91 bytes follow, CMDQUE.
    assert_eq!(data[..8], [0x01, 0x80, 0x06, 0x02, 91, 0, 0, 0x02]);
    assert_eq!(data[8..32], *b"REELFS  ULT3580-TD8     ");
    assert_eq!(data[58..64], [0x00, 0xa0, 0x04, 0x60, 0x05, 0x00], "SAM-5, SPC-4, SSC-4");
    // The serial number page, and the same number in the identification page.
    assert_eq!(drive.get(&[0x12, 1, 0x80, 0, 64, 0], 64), *b"\x01\x80\0\x0dVT00000001D01");
    let page = drive.get(&[0x12, 1, 0x83, 0, 255, 0], 255);
    assert_eq!(page[..8], [0x01, 0x83, 0, 41, 0x02, 0x01, 0, 37]);
    assert_eq!(page[8..], *b"REELFS  ULT3580-TD8     VT00000001D01");
    // An allocation length cuts the reply short and is no error (SPC-4, section 4.2.5.6).
    assert_eq!(drive.get(&[0x12, 0, 0, 0, 5, 0], 96), [0x01, 0x80, 0x06, 0x02, 91]);
    let mut changer = bench.unit(0);
    assert_eq!(changer.get(&[0x12, 0, 0, 0, 2, 0], 2), [0x08, 0x80]);
    let wrong = drive.send_in(&[0x12, 0, 0x80, 0, 64, 0], 64);
    assert_eq!((wrong.sense(), wrong.field()), ((5, 0x24, 0), (2, None)), "a page without EVPD");
}

#[test]
fn reserved_bits_are_refused_with_their_place() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.loaded(0);
    // SPC-4, section 4.5.2.4.2: SKSV, C/D, BPV, bit pointer, byte.
    for (cdb, byte, bit) in [
        (vec![0x00, 0, 0, 1, 0, 0], 3, 0),
        (vec![0x01, 0x02, 0, 0, 0, 0], 1, 1),
        (vec![0x08, 0x03, 0, 0, 1, 0], 1, 1),
        (vec![0x11, 0x04, 0, 0, 1, 0], 1, 3),
        (vec![0x2b, 0x04, 0, 0, 0, 0, 0, 0, 0, 0], 1, 2),
        (vec![0x00, 0, 0, 0, 0, 0x04], 5, 2),
    ] {
        let reply = drive.send(&cdb);
        assert_eq!((reply.sense(), reply.field()), ((5, 0x24, 0), (byte, Some(bit))), "{cdb:02x?}");
    }
    assert_eq!(drive.send(&[0xc0; 6]).sense(), (5, 0x20, 0), "INVALID COMMAND OPERATION CODE");
    // A service action that is not there points at it.
    assert_eq!(drive.send(&[0x5e, 0x1f, 0, 0, 0, 0, 0, 0, 8, 0]).field(), (1, Some(4)));
    // A command that is cut short.
    assert_eq!(drive.send(&[0x34, 0, 0]).sense(), (5, 0x24, 0));
}

#[test]
fn sense_data_has_descriptors_when_the_host_asks_for_them() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.loaded(0);
    drive.write(&[1; 100]);
    drive.filemarks(1);
    drive.rewind();
    // MODE SELECT(6), control page with D_SENSE (SPC-4, table 364).
    let page = [0, 0, 0x10, 0, 0x0a, 0x0a, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    drive.put(&[0x15, 0x10, 0, 0, 16, 0], &page);
    let short = drive.read(300);
    let expected = [
        0x72, 0x00, 0x00, 0x00, 0, 0, 0, 16, // descriptor format, no sense
        0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 200, // INFORMATION, SPC-4, table 31
        0x04, 0x02, 0, 0x20, // stream commands, ILI: SSC-4, table 14
    ];
    assert_eq!(short.outcome.sense, expected);
    let mark = drive.read(300);
    assert_eq!(mark.outcome.sense[..4], [0x72, 0, 0, 1]);
    assert_eq!(mark.outcome.sense[20..], [0x04, 0x02, 0, 0x80]);
    let wrong = drive.send(&[0x00, 0x80, 0, 0, 0, 0]);
    let expected = [0x72, 5, 0x24, 0, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0xcf, 0, 1, 0];
    assert_eq!(wrong.outcome.sense, expected, "sense key specific, SPC-4, table 33");
    assert_eq!(bench.unit_as(1, "other").send(&[0; 6]).outcome.sense[0], 0x72);
}

#[test]
fn read_position_has_three_forms() {
    let bench = Bench::small(4 << 20);
    let mut drive = bench.loaded(0);
    drive.write(&[7; 1000]);
    drive.filemarks(1);
    drive.write(&[7; 1000]);
    drive.write(&[7; 1000]);
    // SSC-4, table 65: short form; two blocks of 1008 bytes with their lengths are in the buffer.
    let short = drive.get(&[0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0], 20);
    assert_eq!(short, [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0x07, 0xe0]);
    // Table 68: long form.
    let long = drive.get(&[0x34, 6, 0, 0, 0, 0, 0, 0, 0, 0], 32);
    assert_eq!(long[8..24], [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1]);
    // Table 70: extended form, additional length 28; the first object that is not on tape yet is 2.
    let extended = drive.get(&[0x34, 8, 0, 0, 0, 0, 0, 0, 32, 0], 32);
    let expected = [
        0, 0, 0, 28, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0x07, 0xe0,
    ];
    assert_eq!(extended, expected);
    // WRITE FILEMARKS of none with IMMED=0 writes the buffer out.
    drive.filemarks(0);
    assert_eq!(drive.get(&[0x34, 8, 0, 0, 0, 0, 0, 0, 32, 0], 32)[16..24], [0, 0, 0, 0, 0, 0, 0, 4]);
    // Short and long form have no allocation length.
    let wrong = drive.send_in(&[0x34, 6, 0, 0, 0, 0, 0, 0, 32, 0], 32);
    assert_eq!((wrong.sense(), wrong.field()), ((5, 0x24, 0), (7, None)));
    assert_eq!(drive.send(&[0x34, 3, 0, 0, 0, 0, 0, 0, 0, 0]).sense(), (5, 0x24, 0));
}

#[test]
fn mode_pages_have_header_descriptor_and_masks() {
    let bench = Bench::small(200_000_000);
    let mut drive = bench.loaded(0);
    // MODE SENSE(6): 88h LTO-8 medium, buffered mode 1, block descriptor with density 5Eh and variable blocks.
    let data = drive.get(&[0x1a, 0, 0x10, 0, 255, 0], 255);
    assert_eq!(data[..12], [27, 0x88, 0x10, 8, 0x5e, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(data[12..14], [0x10, 14]);
    // MODE SENSE(10), without the descriptor; extension page 10h/01h in subpage format.
    let data = drive.get(&[0x5a, 8, 0x10, 1, 0, 0, 0, 0, 255, 0], 255);
    assert_eq!(data[..12], [0, 38, 0x88, 0x10, 0, 0, 0, 0, 0x50, 0x01, 0, 28]);
    // Changeable values of it: WRITE MODE and PEWS.
    let data = drive.get(&[0x5a, 8, 0x50, 1, 0, 0, 0, 0, 255, 0], 255);
    assert_eq!(data[12..16], [0, 0xf0, 0xff, 0xff]);
    // Saved values there are none.
    assert_eq!(drive.send_in(&[0x1a, 0, 0xd0, 0, 255, 0], 255).sense(), (5, 0x39, 0));
    assert_eq!(drive.send_in(&[0x1a, 0, 0x3e, 0, 255, 0], 255).field(), (2, Some(5)));
    // All pages with all subpages.
    let all = drive.get(&[0x5a, 8, 0x3f, 0xff, 0, 0, 0, 4, 0, 0], 1024);
    let mut codes = Vec::new();
    let mut rest = &all[8..];
    while !rest.is_empty() {
        let (code, sub, len) = match rest[0] & 0x40 {
            0 => (rest[0], 0, 2 + usize::from(rest[1])),
            _ => (rest[0] & 0x3f, rest[1], 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
        };
        codes.push((code, sub));
        rest = &rest[len..];
    }
    let expected = [
        (0x01, 0),
        (0x02, 0),
        (0x0a, 0),
        (0x0a, 0xf0),
        (0x0f, 0),
        (0x10, 0),
        (0x10, 1),
        (0x11, 0),
        (0x1c, 0),
        (0x1d, 0),
    ];
    assert_eq!(codes, expected);
}

#[test]
fn mode_select_takes_what_can_be_changed_and_points_at_what_cannot() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.loaded(0);
    let mut other = bench.unit_as(1, "other");
    other.settle();
    // Fixed blocks of 512 bytes by the block descriptor.
    drive.put(&[0x15, 0x10, 0, 0, 12, 0], &[0, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(drive.get(&[0x1a, 0, 0, 0, 12, 0], 12)[9..], [0, 2, 0]);
    assert_eq!(other.send(&[0; 6]).sense(), (6, 0x2a, 0x01), "MODE PARAMETERS CHANGED");
    let bad = |drive: &mut crate::emulator_support::Unit, list: &[u8]| {
        let reply = drive.send_out(&[0x15, 0x10, 0, 0, u8::try_from(list.len()).unwrap(), 0], list);
        let sense = reply.outcome.sense.clone();
        assert_eq!(reply.sense(), (5, 0x26, 0), "{list:02x?}");
        assert_eq!(sense[15] & 0xc0, 0x80, "the field is in the parameter list");
        u16::from_be_bytes([sense[16], sense[17]])
    };
    assert_eq!(bad(&mut drive, &[9, 0, 0x10, 0]), 0, "mode data length is reserved");
    assert_eq!(bad(&mut drive, &[0, 0, 0x70, 0]), 2, "buffered mode 7");
    assert_eq!(bad(&mut drive, &[0, 0, 0x10, 8, 0x42, 0, 0, 0, 0, 0, 0, 0]), 4, "density of DLT");
    assert_eq!(
        bad(&mut drive, &[0, 0, 0x10, 0, 0x1c, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        6,
        "constant page"
    );
    assert_eq!(bad(&mut drive, &[0, 0, 0x10, 0, 0x39, 0]), 4, "no such page");
    let cut = drive.send_out(&[0x15, 0x10, 0, 0, 6, 0], &[0, 0, 0x10, 0, 0x0f, 14]);
    assert_eq!(cut.sense(), (5, 0x1a, 0), "PARAMETER LIST LENGTH ERROR");
    assert_eq!(drive.send(&[0x15, 0x11, 0, 0, 0, 0]).field(), (1, Some(0)), "nothing is saved");
    // Nothing of a list that is refused is taken.
    let list = [0, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 4, 0, 0x39, 0];
    assert_eq!(drive.send_out(&[0x15, 0x10, 0, 0, 14, 0], &list).sense(), (5, 0x26, 0));
    assert_eq!(drive.get(&[0x1a, 0, 0, 0, 12, 0], 12)[9..], [0, 2, 0]);
}

#[test]
fn log_pages_count_and_report_by_partition() {
    let bench = Bench::small(200_000_000);
    let mut drive = bench.loaded(0);
    for _ in 0..20 {
        drive.write(&vec![3; 1_000_000]);
    }
    // Page 17h from parameter 0202h on: capacity, used, and left to early warning, in MB (SSC-4, section 8.3.5).
    let data = drive.get(&[0x4d, 0, 0x57, 0, 0, 0x02, 0x02, 1, 0, 0], 256);
    let record = |code: u8, value: u32| {
        let [a, b, c, d] = value.to_be_bytes();
        vec![0x02, code, 0x03, 8, 7, 0, 0, 0, a, b, c, d]
    };
    let expected = [vec![0x17, 0, 0, 36], record(2, 200), record(3, 20), record(4, 176)].concat();
    assert_eq!(data, expected);
    // TapeAlert: 64 flags of one byte, all down.
    let alerts = drive.get(&[0x4d, 0, 0x6e, 0, 0, 0, 0, 2, 0, 0], 512);
    assert_eq!((alerts.len(), &alerts[..9]), (4 + 64 * 5, &[0x2e, 0, 0x01, 0x40, 0, 1, 3, 1, 0][..]));
    // Page 31h: left and capacity of the first partition.
    let capacity = drive.get(&[0x4d, 0, 0x71, 0, 0, 0, 0, 1, 0, 0], 256);
    assert_eq!(capacity[4..12], [0, 1, 3, 4, 0, 0, 0, 176]);
    assert_eq!(
        drive.get(&[0x4d, 0, 0x40, 0, 0, 0, 0, 1, 0, 0], 256)[4..],
        [0, 2, 3, 0x0c, 0x11, 0x14, 0x17, 0x2e, 0x31, 0x37]
    );
    assert_eq!(drive.send_in(&[0x4d, 0, 0x7e, 0, 0, 0, 0, 1, 0, 0], 256).sense(), (5, 0x24, 0));
}

#[test]
fn the_memory_of_a_cartridge_keeps_attributes() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.loaded(0);
    // WRITE ATTRIBUTE 0803h, user medium text label, text format (SPC-4, table 404).
    let list = [0, 0, 0, 9, 0x08, 0x03, 0x02, 0, 4, b'r', b'e', b'e', b'l'];
    let mut cdb = [0x8d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0];
    drive.put(&cdb, &list);
    let read = |drive: &mut crate::emulator_support::Unit, action: u8, id: [u8; 2]| {
        drive.send_in(&[0x8c, action, 0, 0, 0, 0, 0, 0, id[0], id[1], 0, 0, 2, 0, 0, 0], 512)
    };
    assert_eq!(read(&mut drive, 0, [0x08, 0x03]).data, list);
    // 0401h: serial number of the cartridge, ASCII, read only, 32 bytes.
    let serial = read(&mut drive, 0, [0x04, 0x01]).data;
    assert_eq!(serial[4..9], [0x04, 0x01, 0x81, 0, 32]);
    assert_eq!(serial[9..18], *b"SRL0001L8");
    // What is not there is a wrong field (5/24/00 at byte 8), not an empty list.
    let absent = read(&mut drive, 0, [0x08, 0x06]);
    assert_eq!((absent.sense(), absent.field()), ((5, 0x24, 0), (8, None)));
    assert_eq!(read(&mut drive, 3, [0, 0]).data, [0, 2, 0, 1], "one partition");
    // A read-only attribute, a wrong format, a wrong length.
    for wrong in [
        vec![0, 0, 0, 6, 0x04, 0x01, 0x01, 0, 1, b'x'],
        vec![0, 0, 0, 6, 0x08, 0x03, 0x00, 0, 1, b'x'],
        vec![0, 0, 0, 6, 0x08, 0x01, 0x01, 0, 1, b'x'],
        vec![0, 0, 0, 9, 0x08, 0x03, 0x02, 0, 4, b'x'],
    ] {
        cdb[13] = u8::try_from(wrong.len()).unwrap();
        let reply = drive.send_out(&cdb, &wrong);
        assert_eq!((reply.sense().0, matches!(reply.sense().1, 0x26 | 0x1a)), (5, true), "{wrong:02x?}");
    }
    // It stays with the cartridge, in another drive too.
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    let mut changer = bench.unit(0);
    changer.good(&crate::emulator_support::move_medium(256, 257));
    let mut second = bench.unit(2);
    second.settle();
    assert_eq!(read(&mut second, 0, [0x08, 0x03]).data, list);
    let loads = read(&mut second, 0, [0x00, 0x03]).data;
    assert_eq!(loads[9..17], 2_u64.to_be_bytes(), "loads");
}

#[test]
fn supported_commands_come_with_usage_and_timeouts() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.loaded(0);
    // One command, WRITE(6): supported, six bytes of usage, timeouts descriptor (SPC-4, section 6.35).
    let data = drive.get(&[0xa3, 0x0c, 0x81, 0x0a, 0, 0, 0, 0, 1, 0, 0, 0], 256);
    assert_eq!(data[..10], [0, 0x83, 0, 6, 0x0a, 0x01, 0xff, 0xff, 0xff, 0]);
    assert_eq!(data[10..], [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0x06, 0x18], "1560 s");
    // By service action.
    let data = drive.get(&[0xa3, 0x0c, 0x02, 0x5e, 0, 3, 0, 0, 1, 0, 0, 0], 256);
    assert_eq!(data[..6], [0, 3, 0, 10, 0x5e, 0x03]);
    assert_eq!(drive.get(&[0xa3, 0x0c, 0x01, 0xc0, 0, 0, 0, 0, 1, 0, 0, 0], 256), [0, 1, 0, 0]);
    let all = drive.get(&[0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 16, 0, 0, 0], 4096);
    let len = u32::from_be_bytes(all[..4].try_into().unwrap());
    assert_eq!((len as usize, len % 20), (all.len() - 4, 0), "descriptors of 8 and 12 bytes");
    assert!(all[4..].chunks(20).all(|one| one[5] & 2 != 0 && one[16..] != [0; 4]));
    // Every command that is listed is known.
    for one in all[4..].chunks(20).filter(|one| one[5] & 1 == 0) {
        let mut cdb = [0_u8; 16];
        cdb[0] = one[0];
        let sense = drive.send(&cdb).sense();
        assert_ne!(sense, (5, 0x20, 0), "{:02x}", one[0]);
        drive.settle();
    }
    // READ BUFFER, EXTENDED COPY, SECURITY PROTOCOL, MAINTENANCE OUT: what programs try and do without.
    for (code, len) in [(0x3b, 10), (0x3c, 10), (0x83, 16), (0x84, 16), (0xa2, 12), (0xa4, 12), (0xb5, 12)] {
        let mut cdb = vec![0; len];
        cdb[0] = code;
        assert_eq!(drive.send(&cdb).sense(), (5, 0x20, 0), "{code:02x}");
        assert_eq!(drive.get(&[0xa3, 0x0c, 0x01, code, 0, 0, 0, 0, 1, 0, 0, 0], 256), [0, 1, 0, 0]);
    }
    // RECEIVE RECOMMENDED ACCESS ORDER is a service action of a command that is known.
    assert_eq!(drive.send(&[0xa3, 0x1d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).sense(), (5, 0x24, 0));
}

#[test]
fn drives_read_and_write_the_generations_they_should() {
    // Write, read and refusal as the LTO consortium states them: generation of drive, of cartridge, result.
    for (drive, cartridge, expected) in [
        (Generation::Lto5, Generation::Lto5, "write"),
        (Generation::Lto6, Generation::Lto5, "write"),
        (Generation::Lto7, Generation::Lto5, "read"),
        (Generation::Lto7, Generation::Lto6, "write"),
        (Generation::Lto8, Generation::Lto7, "write"),
        (Generation::Lto8, Generation::M8, "write"),
        (Generation::Lto8, Generation::Lto6, "none"),
        (Generation::Lto9, Generation::Lto8, "write"),
        (Generation::Lto9, Generation::Lto7, "none"),
        (Generation::Lto5, Generation::Lto9, "none"),
    ] {
        let shape =
            LibraryShape::new(drive).with_drives(1, drive).with_cartridges(1, cartridge, Some(8 << 20));
        let bench = Bench::new(&shape);
        let mut changer = bench.unit(0);
        changer.settle();
        changer.good(&crate::emulator_support::move_medium(1024, 256));
        let mut unit = bench.unit(1);
        let ready = unit.settle();
        let found = match (ready, unit.write(&[1; 10]).sense()) {
            ((2, 0x30, 0), _) => "none",
            (_, (7, 0x30, 5)) => "read",
            (_, GOOD) => "write",
            other => panic!("{drive} {cartridge}: {other:?}"),
        };
        assert_eq!(found, expected, "{drive} with {cartridge}");
        if expected != "none" {
            let density = unit.get(&[0x1a, 0, 0, 0, 12, 0], 12)[4];
            assert_eq!(density, cartridge.density());
            // REPORT DENSITY SUPPORT of the cartridge: its code, and WRTOK.
            let report = unit.get(&[0x44, 1, 0, 0, 0, 0, 0, 0, 56, 0], 56);
            assert_eq!((report[4], report[6] & 0x80 != 0), (density, expected == "write"));
        }
    }
}

#[test]
fn a_cleaning_cartridge_is_none_for_data() {
    let bench = Bench::small(1 << 20);
    let spec =
        CartridgeSpec { kind: CartridgeKind::Cleaning, ..CartridgeSpec::data("CLN001L1", Generation::Lto8) };
    bench.library.add_cartridge(&spec, false).unwrap();
    let mut drive = bench.loaded(4);
    assert_eq!(drive.settle(), (2, 0x30, 0x03), "CLEANING CARTRIDGE INSTALLED");
    assert_eq!(drive.write(&[1; 10]).sense(), (2, 0x30, 0x03));
}
