//! A library that several processes use, one of which may be killed at any moment.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reelfs::clock::ManualClock;
use reelfs::emulator::EmulatedLibrary;

use crate::emulator_support::{Bench, GOOD, Unit, move_medium};

/// Tells the child where the library is.
const DIRECTORY: &str = "REELFS_TEST_LIBRARY";

fn block(number: u64) -> Vec<u8> {
    let len = 1 + usize::try_from(number * 7919 % 200_000).unwrap();
    number.to_le_bytes().iter().copied().cycle().take(len).collect()
}

fn start_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "emulator_sharing::writes_until_it_is_killed", "--include-ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the process that other tests kill"]
fn writes_until_it_is_killed() {
    let directory = std::env::var_os(DIRECTORY).expect("started by another test");
    let library = EmulatedLibrary::open(Path::new(&directory), Arc::new(ManualClock::default())).unwrap();
    let mut drive = Unit { transport: library.transport(1).unwrap() };
    drive.settle();
    assert_eq!(drive.space(3, 0).sense(), GOOD);
    loop {
        let (_, _, object, _) = drive.position();
        // Now and then the tape is cut first.
        if object % 50 == 49 {
            assert_eq!(drive.locate(object - 3).sense(), GOOD);
            for number in object - 3..=object {
                assert_eq!(drive.write(&block(number)).sense().0, 0);
            }
            continue;
        }
        assert_eq!(drive.write(&block(object)).sense().0, 0);
        if object % 10 == 3 {
            drive.filemarks(0);
        }
    }
}

#[test]
fn nothing_is_lost_when_a_writer_is_killed() {
    let bench = Bench::small(1 << 30);
    let mut drive = bench.loaded(0);
    let mut synchronized = 0;
    for round in 0..12_u64 {
        let mut child = start_child(bench.dir.path());
        let until = Instant::now() + Duration::from_secs(20);
        let before = synchronized;
        while synchronized < before + 20 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(3 + round * 2));
            // The drive is used by two at once; this one only looks.
            synchronized = drive.position().2;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The writer may have cut up to four blocks to write them again.
        let found = whole_tape(&bench, &mut drive);
        assert!(found + 4 >= synchronized, "round {round}: {found} blocks, {synchronized} were seen");
        synchronized = found;
    }
    assert!(synchronized >= 100, "the writers did write: {synchronized}");
}

// Reads everything, and makes a torn end whole as a host would; returns the count of blocks.
fn whole_tape(bench: &Bench, drive: &mut Unit) -> u64 {
    // Another process opens the library anew.
    let mut fresh = bench.unit(1);
    fresh.settle();
    fresh.rewind();
    let mut number = 0;
    loop {
        let reply = fresh.read(200_000);
        match reply.sense() {
            GOOD => {
                assert_eq!(reply.data, block(number), "block {number}");
                number += 1;
            }
            (8, 0, 5) => break,
            (8, 0x14, 3) => {
                fresh.good(&[0x19, 0, 0, 0, 0, 0]);
                break;
            }
            other => panic!("block {number}: {other:?}"),
        }
    }
    assert_eq!(drive.space(3, 0).sense(), GOOD);
    assert_eq!(drive.position().2, number);
    number
}

#[test]
fn two_ways_to_a_drive_see_the_same_tape() {
    let bench = Bench::small(64 << 20);
    let mut one = bench.loaded(0);
    let mut two = bench.unit_as(1, "two");
    two.settle();
    for number in 0..20 {
        let writer = if number % 2 == 0 { &mut one } else { &mut two };
        assert_eq!(writer.write(&block(number)).sense(), GOOD);
    }
    assert_eq!(one.position(), two.position());
    two.rewind();
    for number in 0..20 {
        let reader = if number % 3 == 0 { &mut one } else { &mut two };
        assert_eq!(reader.read(200_000).data, block(number));
    }
    // One cuts the tape; the other must not trust what it knew of it.
    assert_eq!(one.locate(5).sense(), GOOD);
    assert_eq!(one.write(&[1; 3]).sense(), GOOD);
    assert_eq!(two.locate(15).sense(), (8, 0, 5));
    assert_eq!(two.position().2, 6);
}

#[test]
fn many_threads_use_a_library_and_every_cartridge_stays_where_it_should() {
    let bench = Bench::small(8 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4_u16 {
            let bench = &bench;
            scope.spawn(move || {
                let mut changer = bench.unit_as(0, &format!("thread-{thread}"));
                changer.settle();
                let (home, away) = (1024 + thread, 1024 + 10 + thread);
                for _ in 0..25 {
                    changer.good(&move_medium(home, away));
                    changer.good(&move_medium(away, home));
                }
            });
        }
    });
    let cartridges = bench.library.cartridges().unwrap();
    let places: Vec<(String, u16)> =
        cartridges.into_iter().map(|cartridge| (cartridge.name, cartridge.address)).collect();
    let expected: Vec<(String, u16)> =
        (0..4).map(|slot| (format!("RL000{}L8", slot + 1), 1024 + slot)).collect();
    assert_eq!(places, expected);
}

#[test]
fn an_image_of_another_program_becomes_a_cartridge() {
    let bench = Bench::small(1 << 20);
    // SIMH: a record of 3 bytes and padding, a gap, a filemark, a private marker, a bad record, the end.
    let mut image = vec![3, 0, 0, 0, b'a', b'b', b'c', 0, 3, 0, 0, 0];
    image.extend([0xfe, 0xff, 0xff, 0xff]);
    image.extend([0, 0, 0, 0]);
    image.extend([0x01, 0, 0, 0x70]);
    image.extend([2, 0, 0, 0x80, b'x', b'y', 2, 0, 0, 0x80]);
    image.extend([0xff, 0xff, 0xff, 0xff]);
    image.extend([9; 40]);
    std::fs::write(bench.dir.path().join("cartridges/OLD001L8.p0.tap"), image).unwrap();
    let spec = reelfs::emulator::CartridgeSpec::data("OLD001L8", reelfs::emulator::Generation::Lto8);
    assert_eq!(bench.library.add_cartridge(&spec, false).unwrap(), 1028);
    let mut drive = bench.loaded(4);
    assert_eq!(drive.read(10).data, b"abc");
    assert_eq!(drive.read(10).sense(), (0, 0, 1));
    assert_eq!(drive.read(10).sense(), (3, 0x11, 0));
    assert_eq!(drive.read(10).sense(), (8, 0, 5), "what is behind the end of medium is not there");
    assert_eq!(drive.space(0, -1).sense(), GOOD);
    assert_eq!(drive.space(1, -1).sense(), GOOD);
    assert_eq!(drive.position(), (0, 0, 1, 0));
}
