//! Commands and replies as bytes, from the tables of the standards, against the encoders and decoders.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The lines of a fixture: name and bytes, with the source in between.
pub(crate) fn lines(file: &str) -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scsi").join(file);
    let text = fs::read_to_string(&path).expect("a fixture");
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut parts = line.split(" | ");
        let (Some(name), Some(source), Some(bytes), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            panic!("{file}: not `name | source | bytes`: {line}");
        };
        assert!(!source.is_empty(), "{file}: {name}: no source");
        let twice = found.insert(name.to_owned(), hex(bytes));
        assert!(twice.is_none(), "{file}: {name} comes twice");
    }
    found
}

/// Bytes of a line: two digits each, `"text"` for characters, `00*8` for repetitions.
fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('"') {
            let (characters, after) = after.split_once('"').expect("a closing quote");
            bytes.extend_from_slice(characters.as_bytes());
            rest = after.trim_start();
            continue;
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (digits, count) = word.split_once('*').unwrap_or((word, "1"));
        let byte = u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not a byte: {word}"));
        bytes.extend(std::iter::repeat_n(byte, count.parse().expect("a count")));
        rest = after.trim_start();
    }
    bytes
}

mod commands {
    use reelfs::scsi::ElementKind;
    use reelfs::scsi::cdb::smc::{self, ElementRequest};
    use reelfs::scsi::cdb::spc::{self, ModeRequest, PageControl};
    use reelfs::scsi::cdb::ssc::{self, Destination, LoadFlags, PositionForm, SpaceUnit, VerifyFlags};

    fn mode(page: u8, subpage: u8, control: PageControl, without_block_descriptors: bool) -> ModeRequest {
        ModeRequest { page, subpage, control, without_block_descriptors }
    }

    fn primary() -> Vec<(&'static str, Vec<u8>)> {
        let current = mode(0x0f, 0, PageControl::Current, true);
        let changeable = mode(0x10, 1, PageControl::Changeable, false);
        let default = mode(0x0a, 0xf0, PageControl::Default, false);
        let saved = mode(0x3f, 0, PageControl::Saved, true);
        vec![
            ("test unit ready", spc::test_unit_ready().into()),
            ("request sense, fixed, 252 bytes", spc::request_sense(false, 252).into()),
            ("request sense, descriptors, 252 bytes", spc::request_sense(true, 252).into()),
            ("inquiry, standard, 96 bytes", spc::inquiry(None, 96).into()),
            ("inquiry, page 83h, 1024 bytes", spc::inquiry(Some(0x83), 1024).into()),
            (
                "mode sense 6, page 0Fh, current, no descriptors, 255 bytes",
                spc::mode_sense_6(&current, 255).into(),
            ),
            (
                "mode sense 6, page 10h subpage 01h, changeable, 255 bytes",
                spc::mode_sense_6(&changeable, 255).into(),
            ),
            (
                "mode sense 10, page 0Ah subpage F0h, default, 4096 bytes",
                spc::mode_sense_10(&default, 4096).into(),
            ),
            (
                "mode sense 10, page 3Fh, saved, no descriptors, 512 bytes",
                spc::mode_sense_10(&saved, 512).into(),
            ),
            ("mode select 6, 28 bytes", spc::mode_select_6(28).into()),
            ("mode select 10, 300 bytes", spc::mode_select_10(300).into()),
            (
                "log sense, page 17h, cumulative, from 0202h, 65535 bytes",
                spc::log_sense(0x17, 0, 0x0202, 65_535).into(),
            ),
            (
                "log sense, page 37h subpage 64h, cumulative, 512 bytes",
                spc::log_sense(0x37, 0x64, 0, 512).into(),
            ),
            ("prevent medium removal", spc::prevent_allow_medium_removal(true).into()),
            ("allow medium removal", spc::prevent_allow_medium_removal(false).into()),
            (
                "persistent reserve in, read full status, 8192 bytes",
                spc::persistent_reserve_in(3, 8192).into(),
            ),
            (
                "persistent reserve out, preempt and abort, exclusive access",
                spc::persistent_reserve_out(5, 3).into(),
            ),
            (
                "report supported operation codes, with timeouts, 32768 bytes",
                spc::report_supported_operation_codes(true, 32_768).into(),
            ),
            ("report luns, 16384 bytes", spc::report_luns(16_384).into()),
            (
                "read attribute 080Ch of partition 1, 65536 bytes",
                spc::read_attribute(1, 0x080c, 65_536).into(),
            ),
            ("write attribute, through, partition 1, 300 bytes", spc::write_attribute(true, 1, 300).into()),
            (
                "read buffer, mode 02h, buffer 7, offset 65536, 4096 bytes",
                spc::read_buffer(2, 7, 65_536, 4096).into(),
            ),
        ]
    }

    fn blocks() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("read 6, variable, 524288 bytes", ssc::read_6(false, false, 524_288).into()),
            ("read 6, variable, no wrong lengths told, 10240 bytes", ssc::read_6(false, true, 10_240).into()),
            ("read 6, 3 fixed blocks", ssc::read_6(true, false, 3).into()),
            ("write 6, variable, 524288 bytes", ssc::write_6(false, 524_288).into()),
            ("write 6, 3 fixed blocks", ssc::write_6(true, 3).into()),
            ("write filemarks 6, 2, at once", ssc::write_filemarks_6(true, 2).into()),
            ("write filemarks 6, none: flush", ssc::write_filemarks_6(false, 0).into()),
            ("read block limits", ssc::read_block_limits().into()),
            ("erase 6, short", ssc::erase_6(false, false).into()),
            ("erase 6, long, at once", ssc::erase_6(true, true).into()),
            ("format medium, partition and destroy", ssc::format_medium(false, 2).into()),
            ("set capacity, all", ssc::set_capacity(false, 0xffff).into()),
            (
                "report density support, of the medium, 4096 bytes",
                ssc::report_density_support(true, 4096).into(),
            ),
            ("allow overwrite at object 258 of partition 1", ssc::allow_overwrite(1, 258).into()),
            (
                "verify 6, to the end of data, with protection",
                ssc::verify_6(
                    VerifyFlags { to_end_of_data: true, protection: true, ..VerifyFlags::default() },
                    0,
                )
                .into(),
            ),
            (
                "verify 6, 2 filemarks, at once",
                ssc::verify_6(
                    VerifyFlags { by_filemarks: true, immediate: true, ..VerifyFlags::default() },
                    2,
                )
                .into(),
            ),
        ]
    }

    fn positions() -> Vec<(&'static str, Vec<u8>)> {
        let flags = LoadFlags::default();
        let object = Destination::Object;
        vec![
            ("space 6, 1 block back", ssc::space_6(SpaceUnit::Blocks, -1).into()),
            ("space 6, 2 filemarks", ssc::space_6(SpaceUnit::Filemarks, 2).into()),
            ("space 6, to the end of data", ssc::space_6(SpaceUnit::EndOfData, 0).into()),
            ("space 16, 16777216 filemarks back", ssc::space_16(SpaceUnit::Filemarks, -16_777_216).into()),
            ("locate 10, object 305419896", ssc::locate_10(None, 0x1234_5678).into()),
            ("locate 10, object 1 of partition 1", ssc::locate_10(Some(1), 1).into()),
            ("locate 16, object 4294967296", ssc::locate_16(None, object(1 << 32)).into()),
            ("locate 16, object 5 of partition 1", ssc::locate_16(Some(1), object(5)).into()),
            ("locate 16, file 7", ssc::locate_16(None, Destination::File(7)).into()),
            ("locate 16, end of data of partition 1", ssc::locate_16(Some(1), Destination::EndOfData).into()),
            ("read position, short", ssc::read_position(PositionForm::Short).into()),
            ("read position, long", ssc::read_position(PositionForm::Long).into()),
            ("read position, extended, 32 bytes", ssc::read_position(PositionForm::Extended).into()),
            ("rewind", ssc::rewind(false).into()),
            ("rewind, at once", ssc::rewind(true).into()),
            ("load", ssc::load_unload(LoadFlags { load: true, ..flags }).into()),
            ("unload, at once", ssc::load_unload(LoadFlags { immediate: true, ..flags }).into()),
            (
                "load and hold, with retension",
                ssc::load_unload(LoadFlags { load: true, hold: true, retension: true, ..flags }).into(),
            ),
            (
                "unload at the end of the tape",
                ssc::load_unload(LoadFlags { end_of_tape: true, ..flags }).into(),
            ),
        ]
    }

    fn changer() -> Vec<(&'static str, Vec<u8>)> {
        let slots = ElementRequest {
            kind: ElementKind::Storage,
            first: 1024,
            count: 40,
            volume_tags: true,
            device_identifiers: false,
            current_data: false,
        };
        let drives = ElementRequest {
            kind: ElementKind::DataTransfer,
            first: 0,
            count: 0xffff,
            volume_tags: true,
            device_identifiers: true,
            current_data: true,
        };
        vec![
            ("initialize element status", smc::initialize_element_status().into()),
            (
                "initialize element status with range, 10 from 1024, fast",
                smc::initialize_element_status_with_range(1024, 10, true).into(),
            ),
            (
                "read element status, slots, 40 from 1024, with tags, 65536 bytes",
                smc::read_element_status(&slots, 65_536).into(),
            ),
            (
                "read element status, drives, with identifiers, from memory, 4096 bytes",
                smc::read_element_status(&drives, 4096).into(),
            ),
            ("move medium by 1 from 1024 to 256", smc::move_medium(1, 1024, 256, false).into()),
            ("move medium by 1 from 1024 to 256, inverted", smc::move_medium(1, 1024, 256, true).into()),
            (
                "exchange medium by 1 from 1024 to 256 to 1025",
                smc::exchange_medium(1, 1024, 256, 1025).into(),
            ),
            ("position 1 to element 1024", smc::position_to_element(1, 1024, false).into()),
        ]
    }

    #[test]
    fn every_command_is_encoded_as_its_standard_has_it() {
        let mut golden = super::lines("cdb.txt");
        for (name, encoded) in [primary(), blocks(), positions(), changer()].into_iter().flatten() {
            let expected = golden.remove(name).unwrap_or_else(|| panic!("cdb.txt has no `{name}`"));
            assert_eq!(encoded, expected, "{name}");
        }
        assert!(golden.is_empty(), "without an encoder: {:?}", golden.keys());
    }
}
