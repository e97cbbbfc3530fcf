//! How long an emulated library takes.

use std::sync::Arc;
use std::time::Duration;

use reelfs::clock::Clock;
use reelfs::emulator::{Generation, LibraryShape, TimeMode};
use reelfs::progress::Progress;
use reelfs::scsi::Transport;
use reelfs::tape::drive::{Drive, DriveOptions};

use crate::emulator_support::{Bench, GOOD};

const BLOCK: usize = 512 << 10;

fn bench(time: TimeMode) -> Bench {
    let shape = LibraryShape { time, ..LibraryShape::new(Generation::Lto8) };
    Bench::new(&shape.with_cartridges(1, Generation::Lto8, Some(4 << 30)))
}

#[test]
fn a_drive_that_is_fed_fast_enough_never_stops() {
    let bench = bench(TimeMode::Counted);
    let mut drive = bench.loaded(0);
    let block = vec![1; BLOCK];
    // 2 ms for each block are 262 MB/s: between the slowest step of 112 and the native 360.
    for _ in 0..1000 {
        bench.clock.advance(Duration::from_millis(2));
        assert_eq!(drive.write(&block).sense(), GOOD);
    }
    assert_eq!(bench.library.counters(0).unwrap().back_hitch_count, 0);
    // A pause of 12 s: what was in the buffer lasts for less at the slowest step.
    bench.clock.advance(Duration::from_secs(12));
    drive.write(&block);
    let counters = bench.library.counters(0).unwrap();
    assert_eq!(counters.back_hitch_count, 1);
    // 1001 blocks at 60 MB/m are 8.7 m.
    assert_eq!(counters.tape_moved_mm / 100, 87);
    assert_eq!(counters.streaming_ns / 10_000_000, 145, "at 360 MB/s");
}

#[test]
fn a_drive_that_is_fed_too_slowly_stops_again_and_again() {
    let bench = bench(TimeMode::Counted);
    let mut drive = bench.loaded(0);
    let block = vec![1; BLOCK];
    // 20 ms for each block are 26 MB/s.
    for _ in 0..2500 {
        bench.clock.advance(Duration::from_millis(20));
        drive.write(&block);
    }
    let stops = bench.library.counters(0).unwrap().back_hitch_count;
    assert!((2..20).contains(&stops), "{stops} stops");
}

#[test]
fn winding_is_counted_in_time_and_in_metres() {
    let bench = bench(TimeMode::Counted);
    let mut drive = bench.loaded(0);
    let block = vec![1; 8 << 20];
    for _ in 0..150 {
        drive.write(&block);
    }
    let before = bench.library.counters(0).unwrap();
    drive.rewind();
    let after = bench.library.counters(0).unwrap();
    // 1.26 GB are 20.9 m, wound in two seconds and 21/480 of 57 s.
    assert_eq!((after.tape_moved_mm - before.tape_moved_mm) / 100, 209);
    let seconds = (after.motion_ns - before.motion_ns) / 100_000_000;
    assert_eq!(seconds, 44);
    assert_eq!(bench.clock.now(), Duration::ZERO, "nobody waited");
    // A load is counted with 15 s.
    assert!(before.motion_ns >= 15_000_000_000);
}

#[test]
fn real_time_passes_while_the_drive_works() {
    let bench = bench(TimeMode::Real);
    let mut changer = bench.unit(0);
    changer.settle();
    changer.good(&crate::emulator_support::move_medium(1024, 256));
    assert_eq!(bench.clock.now(), Duration::from_secs(15), "the arm");
    let mut drive = bench.unit(1);
    drive.send(&[0; 6]);
    drive.send(&[0; 6]);
    drive.send(&[0; 6]);
    assert_eq!(drive.send(&[0; 6]).sense(), (2, 0x04, 0x01), "15 s have not passed");
    bench.clock.advance(Duration::from_millis(7500));
    // REQUEST SENSE tells how far it is: half, in 65536ths (SPC-4, section 4.5.2.4.4).
    let sense = drive.get(&[0x03, 0, 0, 0, 252, 0], 252);
    assert_eq!(sense[15..], [0x80, 0x80, 0x00]);
    bench.clock.advance(Duration::from_millis(7501));
    assert_eq!(drive.send(&[0; 6]).sense(), GOOD);
    let before = bench.clock.now();
    for _ in 0..300 {
        drive.write(&vec![1; 8 << 20]);
    }
    drive.filemarks(1);
    let seconds = (bench.clock.now() - before).as_secs_f64();
    assert!((6.9..7.1).contains(&seconds), "2.5 GB at 360 MB/s took {seconds} s");
}

#[test]
fn a_new_cartridge_of_lto_9_is_measured_once_before_it_is_ready() {
    let shape = LibraryShape { time: TimeMode::Real, ..LibraryShape::new(Generation::Lto9) };
    let bench = Bench::new(&shape.with_cartridges(1, Generation::Lto9, Some(1 << 30)));
    let mut changer = bench.unit(0);
    changer.settle();
    let mut wait = || {
        changer.good(&crate::emulator_support::move_medium(1024, 256));
        let transport: Box<dyn Transport> = Box::new(bench.library.transport(1).unwrap());
        let clock: Arc<dyn Clock> = bench.clock.clone();
        let mut drive = Drive::open(transport, clock, DriveOptions::default()).unwrap();
        let before = bench.clock.now();
        drive.wait_ready(&Progress::new()).unwrap();
        let waited = (bench.clock.now() - before).as_secs();
        drive.unload().unwrap();
        changer.good(&crate::emulator_support::move_medium(256, 1024));
        waited
    };
    // 16 s to load, and 40 minutes; then 16 s.
    let first = wait();
    assert!((2416..2420).contains(&first), "{first} s");
    let second = wait();
    assert!((16..20).contains(&second), "{second} s");
}
