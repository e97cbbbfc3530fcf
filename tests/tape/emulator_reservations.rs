//! Persistent reservations of the emulated units (SPC-4, sections 5.9, 6.15 and 6.16).

use crate::emulator_support::{Bench, GOOD, Unit};
use reelfs::scsi::Status;

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const REGISTER_AND_IGNORE: u8 = 6;

/// PERSISTENT RESERVE OUT: sense, or `None` for a reservation conflict.
fn reserve_out(unit: &mut Unit, action: u8, kind: u8, key: u64, new_key: u64) -> Option<(u8, u8, u8)> {
    let mut list = key.to_be_bytes().to_vec();
    list.extend(new_key.to_be_bytes());
    list.resize(24, 0);
    let reply = unit.send_out(&[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], &list);
    (reply.outcome.status != Status::ReservationConflict).then(|| reply.sense())
}

fn read(unit: &mut Unit, action: u8) -> Vec<u8> {
    unit.get(&[0x5e, action, 0, 0, 0, 0, 0, 1, 0, 0], 256)
}

#[test]
fn only_registrants_reserve_and_only_the_holder_gets_in() {
    let bench = Bench::small(1 << 20);
    let mut a = bench.loaded(0);
    let mut b = bench.unit_as(1, "b");
    b.settle();
    assert_eq!(reserve_out(&mut a, RESERVE, 3, 7, 0), None, "not registered");
    assert_eq!(reserve_out(&mut a, REGISTER, 0, 0, 7), Some(GOOD));
    assert_eq!(reserve_out(&mut a, REGISTER, 0, 1, 9), None, "another key");
    assert_eq!(read(&mut a, 0), [0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7], "PRGENERATION 1, one key");
    assert_eq!(read(&mut a, 1), [0, 0, 0, 1, 0, 0, 0, 0], "no reservation");
    // Exclusive access (type 3).
    assert_eq!(reserve_out(&mut a, RESERVE, 3, 7, 0), Some(GOOD));
    assert_eq!(read(&mut b, 1)[8..], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 3, 0, 0]);
    // SSC-4, table 11: neither reading nor writing, nor winding; but these.
    for cdb in [vec![0x08, 0, 0, 0, 1, 0], vec![0x01, 0, 0, 0, 0, 0], vec![0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(b.send(&cdb).outcome.status, Status::ReservationConflict, "{cdb:02x?}");
    }
    assert_eq!(b.send_in(&[0x12, 0, 0, 0, 36, 0], 36).sense(), GOOD);
    assert_eq!(b.send(&[0; 6]).sense(), GOOD);
    assert_eq!(b.write(&[1; 5]).outcome.status, Status::ReservationConflict);
    assert_eq!(a.write(&[1; 5]).sense(), GOOD);
    // Being registered does not help.
    assert_eq!(reserve_out(&mut b, REGISTER_AND_IGNORE, 0, 99, 8), Some(GOOD));
    assert_eq!(b.write(&[1; 5]).outcome.status, Status::ReservationConflict);
    assert_eq!(reserve_out(&mut b, RESERVE, 3, 8, 0), None);
    assert_eq!(reserve_out(&mut b, RELEASE, 3, 8, 0), Some(GOOD), "not its own: nothing happens");
    assert_eq!(b.write(&[1; 5]).outcome.status, Status::ReservationConflict);
    assert_eq!(reserve_out(&mut a, RELEASE, 1, 7, 0), Some((5, 0x26, 0x04)), "INVALID RELEASE");
    // Full status: both, with names; the holder's flag and type.
    let full = read(&mut a, 3);
    assert_eq!(full[8..16], 8_u64.to_be_bytes(), "b");
    let second = 8 + 24 + usize::from(full[8 + 23]);
    assert_eq!(
        (full[second..second + 8].to_vec(), full[second + 12], full[second + 13]),
        (7_u64.to_be_bytes().to_vec(), 1, 3)
    );
    assert_eq!(reserve_out(&mut a, RELEASE, 3, 7, 0), Some(GOOD));
    assert_eq!(b.write(&[1; 5]).sense(), GOOD);
}

#[test]
fn a_registrant_can_take_a_reservation_away() {
    let bench = Bench::small(1 << 20);
    let mut a = bench.loaded(0);
    let mut b = bench.unit_as(1, "b");
    b.settle();
    reserve_out(&mut a, REGISTER, 0, 0, 7);
    reserve_out(&mut a, RESERVE, 3, 7, 0);
    reserve_out(&mut b, REGISTER, 0, 0, 8);
    assert_eq!(reserve_out(&mut b, PREEMPT, 3, 8, 1234), None, "no such key");
    assert_eq!(reserve_out(&mut b, PREEMPT_AND_ABORT, 3, 8, 7), Some(GOOD));
    assert_eq!(a.send(&[0; 6]).sense(), (6, 0x2a, 0x05), "REGISTRATIONS PREEMPTED");
    assert_eq!(a.write(&[1; 5]).outcome.status, Status::ReservationConflict);
    assert_eq!(b.write(&[1; 5]).sense(), GOOD);
    assert_eq!(reserve_out(&mut a, REGISTER_AND_IGNORE, 0, 0, 7), Some(GOOD));
    assert_eq!(reserve_out(&mut a, CLEAR, 0, 7, 0), Some(GOOD));
    assert_eq!(b.send(&[0; 6]).sense(), (6, 0x2a, 0x03), "RESERVATIONS PREEMPTED");
    assert_eq!(read(&mut a, 0)[4..], [0, 0, 0, 0]);
    assert_eq!(a.write(&[1; 5]).sense(), GOOD);
}

#[test]
fn who_takes_a_drive_over_with_an_abort_can_have_its_cartridge_too() {
    let (prevent, unload) = ([0x1e, 0, 0, 0, 1, 0], [0x1b, 0, 0, 0, 0, 0]);
    for (action, expected) in [(PREEMPT, (5, 0x53, 2)), (PREEMPT_AND_ABORT, GOOD)] {
        let bench = Bench::small(1 << 20);
        let mut a = bench.loaded(0);
        let mut b = bench.unit_as(1, "b");
        b.settle();
        reserve_out(&mut a, REGISTER, 0, 0, 7);
        reserve_out(&mut a, RESERVE, 3, 7, 0);
        assert_eq!(a.send(&prevent).sense(), GOOD);
        reserve_out(&mut b, REGISTER, 0, 0, 8);
        assert_eq!(reserve_out(&mut b, action, 3, 8, 7), Some(GOOD));
        assert_eq!(b.send(&unload).sense(), expected, "action {action}");
    }
}

#[test]
fn write_exclusive_lets_others_read_and_registrants_types_let_registrants_in() {
    let bench = Bench::small(1 << 20);
    let mut a = bench.loaded(0);
    let mut b = bench.unit_as(1, "b");
    let mut c = bench.unit_as(1, "c");
    b.settle();
    c.settle();
    a.write(&[1; 5]);
    a.rewind();
    reserve_out(&mut a, REGISTER, 0, 0, 7);
    reserve_out(&mut b, REGISTER, 0, 0, 8);
    reserve_out(&mut a, RESERVE, 1, 7, 0);
    assert_eq!(c.read(5).data, [1; 5]);
    assert_eq!(c.write(&[2; 5]).outcome.status, Status::ReservationConflict);
    reserve_out(&mut a, RELEASE, 1, 7, 0);
    // Exclusive access, registrants only.
    assert_eq!(reserve_out(&mut a, RESERVE, 6, 7, 0), Some(GOOD));
    assert_eq!(b.write(&[2; 5]).sense(), GOOD);
    assert_eq!(c.read(5).outcome.status, Status::ReservationConflict);
    // When the holder goes, the reservation goes, and the registrants hear of it.
    assert_eq!(reserve_out(&mut a, REGISTER, 0, 7, 0), Some(GOOD));
    assert_eq!(b.send(&[0; 6]).sense(), (6, 0x2a, 0x04), "RESERVATIONS RELEASED");
    assert_eq!(c.write(&[2; 5]).sense(), GOOD);
    // Wrong lists and fields.
    assert_eq!(b.send_out(&[0x5f, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[0; 8]).sense(), (5, 0x1a, 0));
    assert_eq!(reserve_out(&mut b, RESERVE, 2, 8, 0), Some((5, 0x24, 0)), "an obsolete type");
    assert_eq!(read(&mut b, 2), [0, 8, 1, 0x81, 0xea, 1, 0, 0], "REPORT CAPABILITIES");
}

#[test]
fn a_unit_that_was_reserved_by_reserve_is_its_holders_until_it_is_released_or_reset() {
    let bench = Bench::small(1 << 20);
    let mut a = bench.loaded(0);
    let mut b = bench.unit_as(1, "b");
    b.settle();
    let conflict = |unit: &mut Unit, cdb: &[u8]| {
        let status = unit.send_in(cdb, 64).outcome.status;
        assert!(matches!(status, Status::Good | Status::ReservationConflict), "{cdb:02x?}: {status:?}");
        status == Status::ReservationConflict
    };
    // RESERVE(6), and again; then SPC-2, table 10.
    a.good(&[0x16, 0, 0, 0, 0, 0]);
    a.good(&[0x16, 0, 0, 0, 0, 0]);
    assert_eq!(a.write(&[1; 5]).sense(), GOOD);
    for cdb in [&[0; 6][..], &[0x16, 0, 0, 0, 0, 0], &[0x1a, 0, 0x3f, 0, 64, 0], &[0x1e, 0, 0, 0, 1, 0]] {
        assert!(conflict(&mut b, cdb), "{cdb:02x?}");
    }
    for cdb in [&[0x12, 0, 0, 0, 36, 0][..], &[0x03, 0, 0, 0, 18, 0], &[0x1e, 0, 0, 0, 0, 0]] {
        assert!(!conflict(&mut b, cdb), "{cdb:02x?}");
    }
    // What is not one's own is not released, and persistent reservations are for nobody now.
    b.good(&[0x17, 0, 0, 0, 0, 0]);
    assert!(conflict(&mut b, &[0; 6]));
    for unit in [&mut a, &mut b] {
        assert_eq!(reserve_out(unit, REGISTER_AND_IGNORE, 0, 0, 7), None);
        assert!(conflict(unit, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 64, 0]));
    }
    // RELEASE(10); then the ten-byte RESERVE of the other one.
    a.good(&[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    b.good(&[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(conflict(&mut a, &[0; 6]));
    // A session that is lost holds nothing, and neither does anybody after a reset.
    b.transport.lose_nexus().unwrap();
    a.good(&[0x16, 0, 0, 0, 0, 0]);
    b.transport.reset().unwrap();
    assert_eq!(b.send(&[0; 6]).sense().0, 6);
    b.settle();
    b.good(&[0x16, 0, 0, 0, 0, 0]);
    b.good(&[0x17, 0, 0, 0, 0, 0]);
    // Where somebody is registered, neither command works.
    assert_eq!(reserve_out(&mut b, REGISTER_AND_IGNORE, 0, 0, 8), Some(GOOD));
    assert!(conflict(&mut b, &[0x16, 0, 0, 0, 0, 0]));
    assert!(conflict(&mut b, &[0x17, 0, 0, 0, 0, 0]));
    // Another initiator's name in the command is not supported.
    assert_eq!(reserve_out(&mut b, REGISTER, 0, 8, 0), Some(GOOD));
    assert_eq!(b.send(&[0x16, 0x10, 0, 0, 0, 0]).sense(), (5, 0x24, 0));
}
