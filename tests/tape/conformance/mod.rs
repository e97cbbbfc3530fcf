//! One suite for every way to a device: what it says holds over the emulator in this process, over
//! iSCSI, over another program's library, and over the kernel's nodes.
//!
//! A case asks for a drive that is ready, with a cartridge that may be overwritten. What a peer is known
//! not to have is named by its rig, so that a gap is written down and not silently skipped.

mod changer;
mod drive;
mod model;
mod over_emulator;
mod over_iscsi;
mod over_sg;
mod over_tgt;

use std::sync::atomic::{AtomicU32, Ordering};

use reelfs::scsi::cdb::smc::ElementRequest;
use reelfs::scsi::cdb::ssc::LoadFlags;
use reelfs::scsi::iscsi::Settings;
use reelfs::scsi::{ElementKind, ElementStatus, LogicalUnit, Meaning};

use crate::random::Random;

/// What some devices lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// LOCATE(10), LOCATE(16) and a READ POSITION that tells the truth.
    Position,
    /// Data of a block that is shorter than asked for.
    ShortBlocks,
    /// SPACE over blocks ends at a filemark, and at the end of data with sense key 8; back over a filemark
    /// it ends in front of it.
    SpaceStops,
    /// End of data is told with 8/00/05.
    EndOfDataCode,
    /// ERASE.
    Erase,
    /// LOG SENSE.
    LogPages,
    /// READ and WRITE ATTRIBUTE.
    Attributes,
    /// PERSISTENT RESERVE IN and OUT.
    Reservations,
    /// REPORT DENSITY SUPPORT.
    Densities,
    /// FORMAT MEDIUM and page 11h with more than one partition.
    Partitions,
    /// MODE SENSE and MODE SELECT.
    Modes,
    /// MODE SENSE(10) and MODE SELECT(10).
    ModeTen,
    /// Timeouts with the operation codes.
    Timeouts,
    /// A medium that ends: early warning, then VOLUME OVERFLOW; small enough to be filled.
    SmallMedium,
    /// 28/00 after a cartridge was loaded by the changer.
    MediumChangedAttention,
    /// 21/01 for an element that there is not.
    InvalidElementCode,
    /// A reset is told to every new nexus, which nobody else takes away.
    ResetAttention,
    /// PREVENT ALLOW MEDIUM REMOVAL keeps the changer from taking the cartridge.
    PreventRemoval,
    /// Identifiers of drives in READ ELEMENT STATUS.
    DriveIdentifiers,
    /// More sessions with one device at the same time.
    SecondNexus,
}

/// A library with at least one changer, one drive and two cartridges.
pub(crate) trait Rig {
    /// Whether its devices have it.
    fn has(&self, feature: Feature) -> bool;
    /// A new session with the first drive.
    fn open_drive(&self) -> LogicalUnit;
    /// A new session with the changer.
    fn open_changer(&self) -> LogicalUnit;
}

/// Elements of one kind.
pub(crate) fn elements(changer: &mut LogicalUnit, kind: ElementKind) -> Vec<ElementStatus> {
    let request = ElementRequest {
        kind,
        first: 0,
        count: u16::MAX,
        volume_tags: true,
        device_identifiers: kind == ElementKind::DataTransfer,
        current_data: false,
    };
    changer.read_element_status(&request, 65_536).expect("element status").elements
}

/// A session with the changer that tells of nothing old.
pub(crate) fn ready_changer(rig: &dyn Rig) -> LogicalUnit {
    let mut changer = rig.open_changer();
    changer.clear_unit_attentions().expect("a changer");
    changer
}

/// A drive with a cartridge at its beginning.
pub(crate) fn ready_drive(rig: &dyn Rig) -> LogicalUnit {
    let mut drive = rig.open_drive();
    drive.clear_unit_attentions().expect("a drive");
    if let Err(error) = drive.test_unit_ready() {
        assert_eq!(error.meaning(), Some(Meaning::NoMedium), "{error}");
        load_first(rig);
        drive.clear_unit_attentions().expect("a drive");
        let load = LoadFlags { load: true, ..LoadFlags::default() };
        let _already = drive.load_unload(load);
    }
    wait_until_ready(&mut drive);
    drive.rewind(false).expect("a rewind");
    drive
}

fn wait_until_ready(drive: &mut LogicalUnit) {
    for _ in 0..600 {
        match drive.test_unit_ready() {
            Ok(()) => return,
            Err(error) if error.meaning().is_some_and(Meaning::is_unit_attention) => {}
            Err(error) if error.meaning() == Some(Meaning::BecomingReady) => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the drive does not become ready");
}

/// A drive with a cartridge on which nothing is written.
pub(crate) fn blank_drive(rig: &dyn Rig) -> LogicalUnit {
    let mut drive = ready_drive(rig);
    if rig.has(Feature::Erase) {
        drive.erase(false, false).expect("an erasure");
        drive.rewind(false).expect("a rewind");
    }
    drive
}

fn load_first(rig: &dyn Rig) {
    let mut changer = ready_changer(rig);
    let slots = elements(&mut changer, ElementKind::Storage);
    let drives = elements(&mut changer, ElementKind::DataTransfer);
    let full = slots.iter().find(|slot| slot.full).expect("a slot with a cartridge");
    let drive = drives.first().expect("a drive");
    assert!(!drive.full, "the drive says that it has no cartridge");
    changer.move_medium(0, full.address, drive.address).expect("a move");
}

/// Bytes that differ from block to block and from place to place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    Random::seeded(seed).bytes(len)
}

/// Settings of an initiator, with other random bytes each time.
pub(crate) fn settings() -> Settings {
    static SESSIONS: AtomicU32 = AtomicU32::new(1);
    let number = u64::from(SESSIONS.fetch_add(1, Ordering::Relaxed)) << 32 | u64::from(std::process::id());
    Settings::new(pattern(number, 32).try_into().expect("32 bytes"))
}

/// Makes a test of each case, for a rig that is made by `$make`, an expression of type `Option<impl Rig>`.
macro_rules! cases {
    ($make:expr; $($module:ident :: $case:ident),+ $(,)?) => {
        $(
            #[test]
            fn $case() {
                if let Some(rig) = $make {
                    $crate::conformance::$module::$case(&rig);
                }
            }
        )+
    };
}

/// All cases.
macro_rules! conformance {
    ($make:expr) => {
        $crate::conformance::cases! {
            $make;
            drive::a_drive_says_what_it_is,
            drive::a_new_nexus_is_told_of_the_reset_once,
            drive::blocks_of_any_length_come_back,
            drive::a_filemark_is_no_data,
            drive::a_short_block_gives_its_length_and_its_data,
            drive::a_long_block_gives_its_length_and_can_be_read_again,
            drive::the_end_of_data_is_told_each_time,
            drive::a_write_is_the_end_of_what_was_behind_it,
            drive::space_counts_filemarks_and_stops_where_it_must,
            drive::locate_goes_to_objects_files_and_the_end_of_data,
            drive::an_erasure_is_an_end_of_data,
            drive::modes_can_be_read_changed_and_read_again,
            drive::log_pages_have_their_codes,
            drive::attributes_keep_what_is_written,
            drive::a_reservation_keeps_others_out,
            drive::timeouts_are_only_raised,
            drive::densities_are_told_of_drive_and_cartridge,
            drive::unknown_commands_and_fields_are_told_apart,
            drive::two_partitions_are_two_tapes,
            drive::a_full_medium_warns_before_it_overflows,
            drive::sense_data_can_be_asked_for,
            changer::elements_have_addresses_barcodes_and_drives,
            changer::a_cartridge_moves_to_a_drive_and_back,
            changer::moves_that_cannot_be_are_refused_for_their_reason,
            changer::a_locked_cartridge_stays,
            changer::a_new_cartridge_is_told_to_the_drive,
            model::any_sequence_of_commands_does_what_the_model_does,
        }
    };
}

pub(crate) use {cases, conformance};
