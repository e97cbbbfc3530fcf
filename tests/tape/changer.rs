//! Changers with the habits that mtx(1) has met, byte by byte: each is a transport that answers as one of them does.
//!
//! Layouts: READ ELEMENT STATUS of SMC-3, 6.11, tables 24 to 36; mode page 1Dh of SMC-3, table 45.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reelfs::library::{Barcode, Changer, LibraryError};
use reelfs::scsi::{Data, ElementKind, LogicalUnit, Outcome, Status, Transport, TransportError};

const GOOD: &[u8] = &[];
/// 5/24/00 INVALID FIELD IN CDB, fixed format.
const INVALID_FIELD: &[u8] = &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0, 0, 0];
/// The same, with the field: byte 7 of the CDB.
const INVALID_LENGTH: &[u8] = &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xc0, 0, 7];
/// 4/04/03 LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED.
const HELD: &[u8] = &[0x70, 0, 4, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 3, 0, 0, 0, 0];
/// 6/28/01 IMPORT OR EXPORT ELEMENT ACCESSED.
const DOOR: &[u8] = &[0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x28, 1, 0, 0, 0, 0];
/// 5/21/01 INVALID ELEMENT ADDRESS.
const NO_ELEMENT: &[u8] = &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 1, 0, 0, 0, 0];

/// What a changer has, and how it answers.
#[derive(Debug, Clone, Default)]
struct Habits {
    /// Refuses volume tags.
    knows_no_tags: bool,
    /// Refuses identifiers of drives.
    knows_no_identifiers: bool,
    /// Has no mode page 1Dh.
    says_no_addresses: bool,
    /// Takes only 8 or the exact length as allocation length.
    wants_exact_length: bool,
    /// Most elements in one reply.
    elements_max: usize,
    /// Descriptors of slots have only 4 bytes before the tag and no address of a source.
    short_descriptors: bool,
    /// Answers with all kinds whatever was asked for.
    mixes_kinds: bool,
    /// Sense data of the next moves.
    moves: Vec<&'static [u8]>,
    /// A move that fails is made all the same.
    moves_in_spite: bool,
    /// Unit attentions that come instead of the next commands of this code.
    attentions: Vec<(u8, &'static [u8])>,
}

#[derive(Debug, Default)]
struct Machine {
    habits: Habits,
    // Address to kind and barcode.
    elements: BTreeMap<u16, (u8, Option<&'static [u8]>)>,
    exceptions: BTreeMap<u16, (u8, u8)>,
    sources: BTreeMap<u16, u16>,
    log: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Fake(Arc<Mutex<Machine>>);

impl Fake {
    fn new(habits: Habits) -> Self {
        let slots = [(1000, Some(&b"AAA001L8"[..])), (1001, None), (1002, Some(b"AAA002L8"))];
        let mut elements: BTreeMap<u16, (u8, Option<&'static [u8]>)> =
            slots.into_iter().map(|(address, barcode)| (address, (2, barcode))).collect();
        elements.insert(1, (1, None));
        elements.insert(16, (3, None));
        elements.insert(256, (4, None));
        Self(Arc::new(Mutex::new(Machine { habits, elements, ..Machine::default() })))
    }

    fn changer(&self) -> Changer {
        Changer::open(LogicalUnit::new(Box::new(self.clone())), &mut no_pause).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Machine)) {
        change(&mut self.0.lock().unwrap());
    }

    fn count(&self, operation_code: u8) -> usize {
        self.0.lock().unwrap().log.iter().filter(|cdb| cdb[0] == operation_code).count()
    }
}

fn no_pause(_: Duration) {}

impl Machine {
    fn run(&mut self, cdb: &[u8]) -> (Vec<u8>, &'static [u8]) {
        self.log.push(cdb.to_vec());
        if let Some(at) = self.habits.attentions.iter().position(|(code, _)| *code == cdb[0]) {
            return (Vec::new(), self.habits.attentions.remove(at).1);
        }
        match cdb[0] {
            0x12 if cdb[1] & 1 == 0 => {
                let mut reply = vec![0x08, 0x80, 6, 2, 31];
                reply.extend_from_slice(&[0, 0, 0]);
                reply.extend_from_slice(b"FAKE    CHANGER         0001");
                (reply, GOOD)
            }
            0x12 => (Vec::new(), INVALID_FIELD),
            0x5a if !self.habits.says_no_addresses => {
                // Header of MODE SENSE(10), then the page.
                let mut reply = vec![0, 26, 0, 0, 0, 0, 0, 0, 0x1d, 18];
                for (first, count) in [(1_u16, 1_u16), (1000, 3), (16, 1), (256, 1)] {
                    reply.extend_from_slice(&first.to_be_bytes());
                    reply.extend_from_slice(&count.to_be_bytes());
                }
                reply.extend_from_slice(&[0, 0]);
                (reply, GOOD)
            }
            0x1a | 0x5a => (Vec::new(), INVALID_FIELD),
            0xb8 => self.element_status(cdb),
            0xa5 => self.move_medium(cdb),
            _ => (Vec::new(), GOOD),
        }
    }

    fn element_status(&self, cdb: &[u8]) -> (Vec<u8>, &'static [u8]) {
        let wants_tags = cdb[1] & 0x10 != 0;
        let wants_identifiers = cdb[6] & 1 != 0;
        if wants_tags && self.habits.knows_no_tags || wants_identifiers && self.habits.knows_no_identifiers {
            return (Vec::new(), INVALID_FIELD);
        }
        let kind = cdb[1] & 0x0f;
        let first = u16::from_be_bytes([cdb[2], cdb[3]]);
        let count = usize::from(u16::from_be_bytes([cdb[4], cdb[5]]));
        let max = if self.habits.elements_max == 0 { usize::MAX } else { self.habits.elements_max };
        let wanted: Vec<u16> = self
            .elements
            .iter()
            .filter(|(address, (own, _))| **address >= first && (*own == kind || self.habits.mixes_kinds))
            .map(|(address, _)| *address)
            .take(count.min(max))
            .collect();
        if wanted.is_empty() {
            return (Vec::new(), NO_ELEMENT);
        }
        let mut pages = Vec::new();
        for address in &wanted {
            let descriptor = self.descriptor(*address, wants_tags, wants_identifiers);
            let own = self.elements[address].0;
            pages.extend_from_slice(&[own, u8::from(wants_tags) << 7]);
            pages.extend_from_slice(&u16::try_from(descriptor.len()).unwrap().to_be_bytes());
            pages.push(0);
            pages.extend_from_slice(&u32::try_from(descriptor.len()).unwrap().to_be_bytes()[1..]);
            pages.extend(descriptor);
        }
        let mut reply = wanted[0].to_be_bytes().to_vec();
        reply.extend_from_slice(&u16::try_from(wanted.len()).unwrap().to_be_bytes());
        reply.push(0);
        reply.extend_from_slice(&u32::try_from(pages.len()).unwrap().to_be_bytes()[1..]);
        reply.extend(pages);
        let allocation = u32::from_be_bytes([0, cdb[7], cdb[8], cdb[9]]) as usize;
        if self.habits.wants_exact_length && allocation != 8 && allocation != reply.len() {
            return (Vec::new(), INVALID_LENGTH);
        }
        reply.truncate(allocation);
        (reply, GOOD)
    }

    fn descriptor(&self, address: u16, tags: bool, identifiers: bool) -> Vec<u8> {
        let (kind, barcode) = self.elements[&address];
        let exception = self.exceptions.get(&address);
        let mut bytes = address.to_be_bytes().to_vec();
        bytes.push(u8::from(barcode.is_some()) | 0x08 | u8::from(exception.is_some()) << 2);
        bytes.push(0);
        if self.habits.short_descriptors && kind != 4 {
            return bytes;
        }
        bytes.extend_from_slice(&exception.map_or([0, 0], |(code, qualifier)| [*code, *qualifier]));
        bytes.extend_from_slice(&[0, 0, 0]);
        let source = self.sources.get(&address);
        bytes.push(u8::from(source.is_some()) << 7);
        bytes.extend_from_slice(&source.copied().unwrap_or(0).to_be_bytes());
        if tags {
            let mut tag = barcode.unwrap_or_default().to_vec();
            tag.resize(32, b' ');
            bytes.extend(tag);
            bytes.extend_from_slice(&[0; 4]);
        }
        if identifiers && kind == 4 {
            bytes.extend_from_slice(&[2, 0, 0, 10]);
            bytes.extend_from_slice(b"DRIVE00001");
        }
        bytes
    }

    fn move_medium(&mut self, cdb: &[u8]) -> (Vec<u8>, &'static [u8]) {
        let sense = if self.habits.moves.is_empty() { GOOD } else { self.habits.moves.remove(0) };
        if sense.is_empty() || self.habits.moves_in_spite {
            let from = u16::from_be_bytes([cdb[4], cdb[5]]);
            let to = u16::from_be_bytes([cdb[6], cdb[7]]);
            let barcode = self.elements.get_mut(&from).unwrap().1.take();
            self.elements.get_mut(&to).unwrap().1 = barcode;
            self.sources.insert(to, from);
        }
        (Vec::new(), sense)
    }
}

impl Transport for Fake {
    fn execute(&mut self, cdb: &[u8], data: Data<'_>, _: Duration) -> Result<Outcome, TransportError> {
        let (reply, sense) = self.0.lock().unwrap().run(cdb);
        let mut transferred_bytes = 0;
        if let Data::In(buffer) = data {
            transferred_bytes = reply.len().min(buffer.len());
            buffer[..transferred_bytes].copy_from_slice(&reply[..transferred_bytes]);
        }
        let status = if sense.is_empty() { Status::Good } else { Status::CheckCondition };
        Ok(Outcome { status, sense: sense.to_vec(), transferred_bytes })
    }

    fn name(&self) -> &str {
        "fake"
    }

    fn transfer_len_max(&self) -> usize {
        1 << 20
    }
}

fn barcode(text: &str) -> Barcode {
    Barcode::new(text.as_bytes()).unwrap()
}

fn found(habits: Habits) -> Vec<(u16, bool, Option<String>)> {
    let inventory = Fake::new(habits).changer().inventory(&mut no_pause).unwrap();
    let shown = |element: &reelfs::library::Element| {
        (element.address, element.is_full, element.barcode.as_ref().map(ToString::to_string))
    };
    inventory.elements.iter().map(shown).collect()
}

#[test]
fn an_inventory_is_the_same_whatever_the_habits_of_the_changer() {
    let expected: Vec<(u16, bool, Option<String>)> = vec![
        (1, false, None),
        (1000, true, Some("AAA001L8".to_owned())),
        (1001, false, None),
        (1002, true, Some("AAA002L8".to_owned())),
        (16, false, None),
        (256, false, None),
    ];
    for (what, habits) in [
        ("none", Habits::default()),
        ("no identifiers", Habits { knows_no_identifiers: true, ..Habits::default() }),
        ("no addresses", Habits { says_no_addresses: true, ..Habits::default() }),
        ("exact length", Habits { wants_exact_length: true, ..Habits::default() }),
        ("one at a time", Habits { elements_max: 1, ..Habits::default() }),
        (
            "two at a time, no addresses",
            Habits { elements_max: 2, says_no_addresses: true, ..Habits::default() },
        ),
        ("mixed kinds", Habits { mixes_kinds: true, ..Habits::default() }),
        ("a door", Habits { attentions: vec![(0xb8, DOOR), (0xb8, DOOR)], ..Habits::default() }),
    ] {
        assert_eq!(found(habits), expected, "{what}");
    }
    let without_tags: Vec<_> = expected.iter().map(|(address, full, _)| (*address, *full, None)).collect();
    assert_eq!(found(Habits { knows_no_tags: true, ..Habits::default() }), without_tags);
    assert_eq!(found(Habits { short_descriptors: true, ..Habits::default() }), without_tags);
}

#[test]
fn elements_that_do_not_exist_are_left_out() {
    let fake = Fake::new(Habits::default());
    fake.change(|machine| {
        machine.exceptions.insert(1001, (0x83, 0x02));
        machine.exceptions.insert(256, (0x83, 0x04));
        machine.exceptions.insert(1000, (0x83, 0x00));
    });
    let inventory = fake.changer().inventory(&mut no_pause).unwrap();
    let addresses: Vec<u16> = inventory.elements.iter().map(|element| element.address).collect();
    assert_eq!(addresses, [1, 1000, 1002, 16]);
    assert_eq!(inventory.element(1000).unwrap().exception, Some((0x83, 0x00)));
}

#[test]
fn a_robot_without_an_element_of_its_own_is_element_zero() {
    let fake = Fake::new(Habits { says_no_addresses: true, ..Habits::default() });
    fake.change(|machine| {
        machine.elements.remove(&1);
    });
    fake.changer().move_cartridge(1000, 256, None, None, &mut no_pause).unwrap();
    let log = fake.0.lock().unwrap().log.clone();
    let sent = log.iter().find(|cdb| cdb[0] == 0xa5).unwrap();
    // SMC-3, table 19: transport 2-3, source 4-5, destination 6-7, invert 10.
    assert_eq!(sent[..], [0xa5, 0, 0, 0, 0x03, 0xe8, 0x01, 0x00, 0, 0, 0, 0]);
}

#[test]
fn a_cartridge_that_is_held_is_unloaded_and_moved_again_three_times_at_most() {
    let fake = Fake::new(Habits { moves: vec![GOOD, HELD, HELD], ..Habits::default() });
    let mut changer = fake.changer();
    changer.move_cartridge(1000, 256, Some(&barcode("AAA001L8")), None, &mut no_pause).unwrap();
    let mut unloads = 0;
    let mut unload = || {
        unloads += 1;
        Ok(())
    };
    let moved = changer
        .move_cartridge(256, 1000, Some(&barcode("AAA001L8")), Some(&mut unload), &mut no_pause)
        .unwrap();
    assert_eq!((moved.from, moved.to, unloads), (256, 1000, 3));

    let fake = Fake::new(Habits { moves: vec![HELD; 9], ..Habits::default() });
    let error = fake.changer().move_cartridge(1000, 256, None, None, &mut no_pause).unwrap_err();
    assert!(matches!(error, LibraryError::NotMoved { attempts: 3, .. }), "{error}");
    assert_eq!(fake.count(0xa5), 3);
}

#[test]
fn what_is_seen_counts_more_than_what_the_robot_says() {
    let fake = Fake::new(Habits { moves: vec![HELD], moves_in_spite: true, ..Habits::default() });
    fake.changer().move_cartridge(1000, 256, Some(&barcode("AAA001L8")), None, &mut no_pause).unwrap();
    assert_eq!(fake.count(0xa5), 1);
}

#[test]
fn no_move_is_made_if_the_cartridges_are_not_where_they_should_be() {
    let fake = Fake::new(Habits::default());
    let mut changer = fake.changer();
    let mut attempt = |from, to, expected: Option<&str>| {
        let expected = expected.map(barcode);
        changer.move_cartridge(from, to, expected.as_ref(), None, &mut no_pause).unwrap_err()
    };
    assert!(matches!(attempt(1001, 256, None), LibraryError::Empty { address: 1001, .. }));
    assert!(matches!(attempt(1000, 1002, None), LibraryError::Occupied { address: 1002, .. }));
    assert!(matches!(attempt(1000, 256, Some("AAA002L8")), LibraryError::Unexpected { address: 1000, .. }));
    assert!(matches!(attempt(4711, 256, None), LibraryError::NoElement { address: 4711, .. }));
    assert_eq!(fake.count(0xa5), 0);
}

#[test]
fn drives_say_who_they_are_and_kinds_are_told_apart() {
    let inventory = Fake::new(Habits::default()).changer().inventory(&mut no_pause).unwrap();
    let drive = inventory.of_kind(ElementKind::DataTransfer).next().unwrap();
    assert_eq!(drive.device.as_ref().unwrap().value, b"DRIVE00001");
    assert!(inventory.of_kind(ElementKind::Storage).all(|slot| slot.device.is_none()));
}
