//! Any sequence of commands against a model: a tape is a list of blocks and filemarks, and a place in it.

use proptest::prelude::*;

use crate::emulator_support::{Bench, GOOD, Unit};

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<u8>),
    WriteFixed(u8, u8),
    Filemarks(u8),
    Read(u16),
    SpaceBlocks(i8),
    SpaceFilemarks(i8),
    Locate(u8),
    LocateFile(u8),
    EndOfData,
    Rewind,
    Erase,
    Unload,
    OtherProcess,
}

/// `None` is a filemark.
type Object = Option<Vec<u8>>;

#[derive(Debug, Default)]
struct Model {
    objects: Vec<Object>,
    at: usize,
}

impl Model {
    fn file(&self) -> u64 {
        self.objects[..self.at].iter().filter(|object| object.is_none()).count() as u64
    }

    fn put(&mut self, objects: impl IntoIterator<Item = Object>) {
        self.objects.truncate(self.at);
        self.objects.extend(objects);
        self.at = self.objects.len();
    }

    // Sense key, code and qualifier, and INFORMATION.
    fn space(&mut self, count: i64, filemarks: bool) -> ((u8, u8, u8), Option<i32>) {
        let left = |left: u64| Some(i32::try_from(left).unwrap());
        let mut wanted = count.unsigned_abs();
        while wanted > 0 {
            if count > 0 {
                let Some(object) = self.objects.get(self.at) else { return ((8, 0, 5), left(wanted)) };
                self.at += 1;
                match (object.is_none(), filemarks) {
                    (true, false) => return ((0, 0, 1), left(wanted)),
                    (is_mark, _) if is_mark == filemarks => wanted -= 1,
                    _ => {}
                }
            } else {
                if self.at == 0 {
                    return ((0, 0, 4), left(wanted));
                }
                self.at -= 1;
                match (self.objects[self.at].is_none(), filemarks) {
                    (true, false) => return ((0, 0, 1), left(wanted)),
                    (is_mark, _) if is_mark == filemarks => wanted -= 1,
                    _ => {}
                }
            }
        }
        (GOOD, None)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..40),
        (1_usize..70_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let step = prop_oneof![
        6 => block.prop_map(Step::Write),
        1 => (1_u8..5, any::<u8>()).prop_map(|(count, byte)| Step::WriteFixed(count, byte)),
        3 => (0_u8..4).prop_map(Step::Filemarks),
        6 => (0_u16..60_000).prop_map(Step::Read),
        3 => any::<i8>().prop_map(|count| Step::SpaceBlocks(count % 8)),
        3 => any::<i8>().prop_map(|count| Step::SpaceFilemarks(count % 5)),
        4 => (0_u8..30).prop_map(Step::Locate),
        2 => (0_u8..8).prop_map(Step::LocateFile),
        2 => Just(Step::EndOfData),
        1 => Just(Step::Rewind),
        1 => Just(Step::Erase),
        1 => Just(Step::Unload),
        2 => Just(Step::OtherProcess),
    ];
    proptest::collection::vec(step, 1..60)
}

fn run(bench: &Bench, drive: &mut Unit, model: &mut Model, step: &Step) {
    match step {
        Step::Write(block) => {
            assert_eq!(drive.write(block).sense(), GOOD);
            model.put([Some(block.clone())]);
        }
        Step::WriteFixed(count, byte) => {
            drive.put(&[0x15, 0x10, 0, 0, 12, 0], &[0, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 2, 0]);
            drive.put(&[0x0a, 1, 0, 0, *count, 0], &vec![*byte; 512 * usize::from(*count)]);
            drive.put(&[0x15, 0x10, 0, 0, 12, 0], &[0, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
            model.put((0..*count).map(|_| Some(vec![*byte; 512])));
        }
        Step::Filemarks(count) => {
            drive.filemarks(*count);
            if *count > 0 {
                model.put((0..*count).map(|_| None));
            }
        }
        Step::Read(len) => read(drive, model, usize::from(*len)),
        Step::SpaceBlocks(count) => space(drive, model, 0, i32::from(*count)),
        Step::SpaceFilemarks(count) => space(drive, model, 1, i32::from(*count)),
        Step::Locate(object) => {
            let expected = if usize::from(*object) <= model.objects.len() { GOOD } else { (8, 0, 5) };
            assert_eq!(drive.locate(u64::from(*object)).sense(), expected);
            model.at = usize::from(*object).min(model.objects.len());
        }
        Step::LocateFile(file) => {
            let mut cdb = [0x92, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, *file, 0, 0, 0, 0];
            cdb[11] = *file;
            let marks = model.objects.iter().enumerate().filter(|(_, object)| object.is_none());
            let place = match file {
                0 => Some(0),
                _ => marks.map(|(at, _)| at + 1).nth(usize::from(*file) - 1),
            };
            assert_eq!(drive.send(&cdb).sense(), if place.is_some() { GOOD } else { (8, 0, 5) });
            model.at = place.unwrap_or(model.objects.len());
        }
        Step::EndOfData => {
            assert_eq!(drive.space(3, 0).sense(), GOOD);
            model.at = model.objects.len();
        }
        Step::Rewind => {
            drive.rewind();
            model.at = 0;
        }
        Step::Erase => {
            drive.good(&[0x19, 0, 0, 0, 0, 0]);
            model.objects.truncate(model.at);
        }
        Step::Unload => {
            drive.good(&[0x1b, 0, 0, 0, 0, 0]);
            drive.good(&[0x1b, 0, 0, 0, 1, 0]);
            assert_eq!(drive.settle(), GOOD);
            model.at = 0;
        }
        Step::OtherProcess => *drive = bench.unit(1),
    }
}

fn read(drive: &mut Unit, model: &mut Model, len: usize) {
    let reply = drive.read(len);
    let wanted = i32::try_from(len).unwrap();
    match model.objects.get(model.at) {
        _ if len == 0 => assert_eq!(reply.sense(), GOOD, "no block, no motion"),
        None => assert_eq!((reply.sense(), reply.information()), ((8, 0, 5), Some(wanted))),
        Some(None) => {
            assert_eq!((reply.sense(), reply.flags(), reply.information()), ((0, 0, 1), 0x80, Some(wanted)));
            model.at += 1;
        }
        Some(Some(block)) => {
            assert_eq!(reply.data, block[..len.min(block.len())]);
            if block.len() == len {
                assert!(reply.outcome.sense.is_empty());
            } else {
                let difference = wanted - i32::try_from(block.len()).unwrap();
                assert_eq!((reply.sense(), reply.flags()), (GOOD, 0x20));
                assert_eq!(reply.information(), Some(difference));
            }
            model.at += 1;
        }
    }
}

fn space(drive: &mut Unit, model: &mut Model, code: u8, count: i32) {
    let reply = drive.space(code, count);
    let (sense, information) = model.space(i64::from(count), code == 1);
    assert_eq!(reply.sense(), sense);
    if let Some(information) = information {
        assert_eq!(reply.information(), Some(information));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_drive_does_what_a_list_of_objects_does(steps in steps()) {
        let bench = Bench::small(64 << 20);
        let mut drive = bench.loaded(0);
        let mut model = Model::default();
        for (number, step) in steps.iter().enumerate() {
            run(&bench, &mut drive, &mut model, step);
            let (flags, partition, object, file) = drive.position();
            let expected = (model.at as u64, model.file());
            prop_assert_eq!((partition, (object, file)), (0, expected), "after step {}: {:?}", number, step);
            prop_assert_eq!(flags & 0x80 != 0, model.at == 0);
        }
    }
}
