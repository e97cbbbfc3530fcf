//! Cases about a changer, and what its moves mean to a drive.

use reelfs::scsi::cdb::spc::{ModeRequest, PageControl};
use reelfs::scsi::cdb::ssc::LoadFlags;
use reelfs::scsi::inquiry::DeviceType;
use reelfs::scsi::mode::{ElementAddressAssignment, ModeForm};
use reelfs::scsi::{ElementKind, Meaning};

use super::{Feature, Rig, elements, ready_changer, ready_drive};

pub(crate) fn elements_have_addresses_barcodes_and_drives(rig: &dyn Rig) {
    let mut changer = ready_changer(rig);
    assert_eq!(changer.inquiry().expect("INQUIRY").device_type, DeviceType::MediumChanger);
    let request = ModeRequest {
        page: 0x1d,
        subpage: 0,
        control: PageControl::Current,
        without_block_descriptors: true,
    };
    let parameters = changer.mode_sense(ModeForm::Six, &request).expect("MODE SENSE");
    let page = parameters.page(0x1d, 0).expect("page 1Dh");
    let ranges = ElementAddressAssignment::parse(page).expect("page 1Dh");
    for (kind, range) in [
        (ElementKind::Transport, ranges.transports),
        (ElementKind::Storage, ranges.storage),
        (ElementKind::ImportExport, ranges.import_export),
        (ElementKind::DataTransfer, ranges.data_transfer),
    ] {
        let found = elements(&mut changer, kind);
        assert_eq!(found.len(), usize::from(range.count), "{kind:?}");
        for (element, address) in found.iter().zip(range.first..) {
            assert_eq!((element.kind, element.address), (kind, address));
            assert!(!element.full || element.barcode.is_some(), "{element:?}");
        }
    }
    if rig.has(Feature::DriveIdentifiers) {
        let serial = rig.open_drive().serial_number().expect("page 80h");
        let drives = elements(&mut changer, ElementKind::DataTransfer);
        let identifier = drives[0].device.as_ref().expect("an identifier of the drive");
        let text = String::from_utf8_lossy(&identifier.value).into_owned();
        assert!(text.contains(&serial), "{text:?} does not name the drive {serial:?}");
    }
}

pub(crate) fn a_cartridge_moves_to_a_drive_and_back(rig: &dyn Rig) {
    drop(ready_drive(rig));
    let mut changer = ready_changer(rig);
    let drive = elements(&mut changer, ElementKind::DataTransfer).remove(0);
    assert!(drive.full, "{drive:?}");
    let empty = elements(&mut changer, ElementKind::Storage).into_iter().find(|slot| !slot.full);
    let empty = empty.expect("the slot that the cartridge left");
    unload(rig);
    changer.move_medium(0, drive.address, empty.address).expect("a move");
    let drive = elements(&mut changer, ElementKind::DataTransfer).remove(0);
    assert!(!drive.full && drive.barcode.is_none(), "{drive:?}");
    let slot = elements(&mut changer, ElementKind::Storage);
    let slot = slot.iter().find(|slot| slot.address == empty.address).expect("the slot");
    assert!(slot.full && slot.barcode.is_some(), "{slot:?}");
    changer.move_medium(0, slot.address, drive.address).expect("a move");
    let loaded = elements(&mut changer, ElementKind::DataTransfer).remove(0);
    assert!(loaded.full, "{loaded:?}");
    assert_eq!(loaded.barcode, slot.barcode);
    drop(ready_drive(rig));
}

pub(crate) fn moves_that_cannot_be_are_refused_for_their_reason(rig: &dyn Rig) {
    drop(ready_drive(rig));
    let mut changer = ready_changer(rig);
    let drive = elements(&mut changer, ElementKind::DataTransfer).remove(0);
    let slots = elements(&mut changer, ElementKind::Storage);
    let full = slots.iter().find(|slot| slot.full).expect("a second cartridge");
    let empty = slots.iter().find(|slot| !slot.full).expect("the slot that the cartridge left");
    let refused = changer.move_medium(0, full.address, drive.address).expect_err("a full drive");
    assert_eq!(refused.meaning(), Some(Meaning::DestinationFull), "{refused}");
    let refused = changer.move_medium(0, empty.address, full.address).expect_err("an empty slot");
    assert!(matches!(refused.meaning(), Some(Meaning::SourceEmpty | Meaning::DestinationFull)), "{refused}");
    let refused = changer.move_medium(0, 0x7fff, empty.address).expect_err("no such element");
    let expected = match rig.has(Feature::InvalidElementCode) {
        true => Meaning::InvalidElement,
        false => Meaning::UnsupportedField,
    };
    assert_eq!(refused.meaning(), Some(expected), "{refused}");
    let after = elements(&mut changer, ElementKind::Storage);
    assert_eq!(after, slots, "nothing moved");
}

pub(crate) fn a_locked_cartridge_stays(rig: &dyn Rig) {
    if !rig.has(Feature::PreventRemoval) {
        return;
    }
    let mut drive = ready_drive(rig);
    let mut changer = ready_changer(rig);
    let element = elements(&mut changer, ElementKind::DataTransfer).remove(0);
    let slots = elements(&mut changer, ElementKind::Storage);
    let empty = slots.iter().find(|slot| !slot.full).expect("the slot that the cartridge left");
    drive.prevent_medium_removal(true).expect("PREVENT");
    let refused = changer.move_medium(0, element.address, empty.address).expect_err("locked");
    assert_eq!(refused.meaning(), Some(Meaning::RemovalPrevented), "{refused}");
    drive.prevent_medium_removal(false).expect("ALLOW");
    drive.test_unit_ready().expect("still loaded");
}

pub(crate) fn a_new_cartridge_is_told_to_the_drive(rig: &dyn Rig) {
    if !rig.has(Feature::MediumChangedAttention) {
        return;
    }
    let mut drive = ready_drive(rig);
    let mut changer = ready_changer(rig);
    let element = elements(&mut changer, ElementKind::DataTransfer).remove(0);
    let slots = elements(&mut changer, ElementKind::Storage);
    let empty = slots.iter().find(|slot| !slot.full).expect("the slot that the cartridge left").address;
    drive.load_unload(LoadFlags::default()).expect("an unload");
    changer.move_medium(0, element.address, empty).expect("a move");
    changer.move_medium(0, empty, element.address).expect("a move");
    let told = drive.clear_unit_attentions().expect("a drive");
    assert!(told.iter().any(|sense| sense.meaning() == Meaning::MediumChanged), "{told:?}");
}

fn unload(rig: &dyn Rig) {
    let mut drive = rig.open_drive();
    drive.clear_unit_attentions().expect("a drive");
    drive.load_unload(LoadFlags::default()).expect("an unload");
}
