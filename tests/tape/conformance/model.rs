//! Random commands on a drive and on a list of objects: both must tell the same.

use reelfs::scsi::LogicalUnit;
use reelfs::scsi::cdb::ssc::{Destination, SpaceUnit};
use reelfs::scsi::ssc::{BlockRead, Located, Spaced};

use super::{Feature, Rig, blank_drive, pattern};
use crate::random::Random;

const STEPS: usize = 400;
const READ_LEN: usize = 65_536;

/// A tape: blocks, by what they were made of, and filemarks.
#[derive(Debug, Default)]
struct Tape {
    objects: Vec<Option<(u64, usize)>>,
    position: usize,
}

impl Tape {
    fn write(&mut self, object: Option<(u64, usize)>) {
        self.objects.truncate(self.position);
        self.objects.push(object);
        self.position += 1;
    }

    fn files(&self) -> u64 {
        self.objects[..self.position].iter().filter(|object| object.is_none()).count() as u64
    }

    fn space_blocks(&mut self, count: i64) -> Spaced {
        let left = |done: u64| Some(count.unsigned_abs() - done);
        for done in 0..count.unsigned_abs() {
            let next = if count > 0 { self.position } else { self.position.wrapping_sub(1) };
            let Some(object) = self.objects.get(next) else {
                return match count > 0 {
                    true => Spaced::EndOfData { remaining: left(done) },
                    false => Spaced::BeginningOfPartition { remaining: left(done) },
                };
            };
            self.position = if count > 0 { self.position + 1 } else { next };
            if object.is_none() {
                return Spaced::Filemark { remaining: left(done) };
            }
        }
        Spaced::Done
    }

    fn space_filemarks(&mut self, count: i64) -> Spaced {
        let mut done = 0;
        while done < count.unsigned_abs() {
            let next = if count > 0 { self.position } else { self.position.wrapping_sub(1) };
            let remaining = Some(count.unsigned_abs() - done);
            let Some(object) = self.objects.get(next) else {
                return match count > 0 {
                    true => Spaced::EndOfData { remaining },
                    false => Spaced::BeginningOfPartition { remaining },
                };
            };
            self.position = if count > 0 { self.position + 1 } else { next };
            done += u64::from(object.is_none());
        }
        Spaced::Done
    }
}

pub(crate) fn any_sequence_of_commands_does_what_the_model_does(rig: &dyn Rig) {
    if !rig.has(Feature::Position) || !rig.has(Feature::SpaceStops) {
        return;
    }
    let seed =
        std::env::var("REELFS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_1234_u64);
    println!("REELFS_SEED={seed}");
    let mut numbers = Random(seed | 1);
    let mut drive = blank_drive(rig);
    let mut tape = Tape::default();
    for step in 0..STEPS {
        let at = format!("step {step} at object {} of {}", tape.position, tape.objects.len());
        step_once(&mut drive, &mut tape, &mut numbers, step as u64, &at);
        let position = drive.read_position().expect("a position");
        assert_eq!(position.object, Some(tape.position as u64), "{at}");
        assert_eq!(position.file, Some(tape.files()), "{at}");
        assert_eq!(position.beginning_of_partition, tape.position == 0, "{at}");
    }
}

fn step_once(drive: &mut LogicalUnit, tape: &mut Tape, numbers: &mut Random, seed: u64, at: &str) {
    let count = numbers.below(13).cast_signed() - 6;
    match numbers.below(12) {
        0..=2 => {
            let len = usize::try_from(1 + numbers.below(READ_LEN as u64 * 3 / 2)).expect("small");
            drive.write_block(&pattern(seed, len)).unwrap_or_else(|error| panic!("{at}: {error}"));
            tape.write(Some((seed, len)));
        }
        3 => {
            drive.write_filemarks(1, numbers.below(2) == 0).unwrap_or_else(|error| panic!("{at}: {error}"));
            tape.write(None);
        }
        4..=6 => read(drive, tape, at),
        7 => {
            let found = drive.space(SpaceUnit::Blocks, count).expect("SPACE");
            assert_eq!(found, tape.space_blocks(count), "{at}: {count} blocks");
        }
        8 => {
            let found = drive.space(SpaceUnit::Filemarks, count).expect("SPACE");
            assert_eq!(found, tape.space_filemarks(count), "{at}: {count} filemarks");
        }
        9 | 10 => {
            let object = numbers.below(tape.objects.len() as u64 + 3);
            let found = drive.locate(None, Destination::Object(object)).expect("LOCATE");
            let expected =
                if object > tape.objects.len() as u64 { Located::EndOfData } else { Located::Done };
            assert_eq!(found, expected, "{at}: to {object}");
            tape.position = usize::try_from(object).expect("small").min(tape.objects.len());
        }
        _ => {
            drive.rewind(false).expect("REWIND");
            tape.position = 0;
        }
    }
}

fn read(drive: &mut LogicalUnit, tape: &mut Tape, at: &str) {
    let mut buffer = vec![0; READ_LEN];
    let found = drive.read_block(&mut buffer).unwrap_or_else(|error| panic!("{at}: {error}"));
    let expected = match tape.objects.get(tape.position) {
        None => BlockRead::EndOfData,
        Some(None) => BlockRead::Filemark,
        Some(Some((_, len))) if *len > READ_LEN => BlockRead::LongBlock { len_bytes: *len as u64 },
        Some(Some((_, len))) => BlockRead::Block { len_bytes: *len },
    };
    assert_eq!(found, expected, "{at}: a read");
    if let (Some(Some((seed, len))), BlockRead::Block { .. }) = (tape.objects.get(tape.position), found) {
        assert!(buffer[..*len] == pattern(*seed, *len), "{at}: a block came back otherwise");
    }
    tape.position = (tape.position + 1).min(tape.objects.len());
}
