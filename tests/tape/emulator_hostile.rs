//! Initiators, images and sidecars that mean no good.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reelfs::scsi::iscsi::pdu::{NO_TAG, Response};
use reelfs::scsi::{Data, Status, Transport};

use crate::emulator_checks;
use crate::emulator_wire::{Served, Wire, load, small, write_cdb};

// The target still serves.
fn check_service(served: &Served) {
    let mut drive = served.connect(1, 50, true);
    let mut outcomes = (0..10).map(|_| drive.execute(&[0; 6], Data::None, Duration::from_secs(20)).unwrap());
    assert!(outcomes.any(|outcome| outcome.status == Status::Good));
    let outcome = drive.execute(&write_cdb(1000), Data::Out(&[1; 1000]), Duration::from_secs(20)).unwrap();
    assert_eq!(outcome.status, Status::Good);
}

#[test]
fn noise_before_and_after_a_login_ends_the_connection_only() {
    let served = small();
    load(&served);
    let mut random = 0x1234_5678_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as u8
    };
    for round in 0..60 {
        let mut wire = if round % 2 == 0 { Wire::new(&served) } else { Wire::normal(&served, 30) };
        let mut noise: Vec<u8> = (0..4096).map(|_| next()).collect();
        if round % 3 == 0 {
            // A known operation code with a short segment.
            noise[0] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10][usize::from(next()) % 8];
            noise[4..8].copy_from_slice(&[0, 0, 0, next()]);
        }
        wire.stream.write_all(&noise).unwrap_or_default();
        wire.stream.shutdown(std::net::Shutdown::Write).unwrap_or_default();
        let mut rest = Vec::new();
        wire.stream.read_to_end(&mut rest).unwrap_or_default();
    }
    check_service(&served);
}

#[test]
fn what_was_not_agreed_on_ends_the_connection() {
    let served = small();
    load(&served);
    // Lengths that nobody agreed on, data in the wrong place, commands out of order.
    let cases: [fn(&mut Wire); 6] = [
        |wire| wire.command(1, 1, &write_cdb(1000), Some((1000, &[0; 1001], true))),
        |wire| {
            wire.command(1, 1, &write_cdb(50_000), Some((50_000, &[], false)));
            wire.data(1, NO_TAG, 0, 7, &[0; 10], false);
        },
        |wire| {
            wire.command(1, 1, &write_cdb(50_000), Some((50_000, &[], false)));
            wire.data(1, NO_TAG, 0, 0, &vec![0; 66_000], true);
        },
        |wire| {
            wire.command_sn += 5;
            wire.command(1, 1, &[0; 6], None);
        },
        |wire| {
            for tag in 0..200 {
                wire.command(1, tag, &write_cdb(5000), Some((5000, &[], true)));
            }
        },
        |wire| {
            let mut header = [0; 48];
            header[5..8].copy_from_slice(&[0xff, 0xff, 0xff]);
            wire.stream.write_all(&header).unwrap_or_default();
        },
    ];
    for (number, case) in cases.iter().enumerate() {
        let mut wire = Wire::normal(&served, 40);
        case(&mut wire);
        let closed = (0..400).any(|_| wire.is_closed());
        assert!(closed, "case {number}");
    }
    // A transfer that is too long is refused, not allocated; so is a unit that is not there.
    let mut wire = Wire::normal(&served, 41);
    wire.command(1, 1, &write_cdb(1000), Some((u32::MAX, &[], true)));
    let (response, sense) = wire.receive().unwrap();
    assert!(matches!(response, Response::Scsi(done) if done.status == Status::CheckCondition));
    assert_eq!((sense[4], sense[14]), (5, 0x24));
    check_service(&served);
}

#[test]
fn a_crowd_is_let_in_as_far_as_there_is_room() {
    let served = small();
    load(&served);
    // More connections than there is room for: the rest is closed, and later there is room again.
    let crowd: Vec<TcpStream> =
        (0..100).filter_map(|_| TcpStream::connect(served.target.address()).ok()).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert!(served.target.connection_count() <= 64);
    drop(crowd);
    let until = Instant::now() + Duration::from_secs(20);
    while served.target.connection_count() > 10 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    check_service(&served);
}

#[test]
fn images_of_any_bytes_are_a_tape_of_some_sort() {
    let mut image = vec![3, 0, 0, 0, b'a', b'b', b'c', 0, 3, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    image.extend([0x01, 0, 0, 0x70, 2, 0, 0, 0x80, b'x', b'y', 2, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xff, 7]);
    for len in 0..image.len() {
        emulator_checks::tap_image(&image[..len]);
    }
    for at in 0..image.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
            let mut damaged = image.clone();
            damaged[at] = value;
            emulator_checks::tap_image(&damaged);
        }
    }
}

#[test]
fn sidecars_of_any_bytes_are_refused_or_harmless() {
    let sidecar = emulator_checks::sidecar_of_a_new_cartridge();
    emulator_checks::tape_sidecar(&sidecar);
    for at in (0..sidecar.len()).step_by(3) {
        emulator_checks::tape_sidecar(&sidecar[..at]);
        for value in [b'9', b'-', b'"', 0xff] {
            let mut damaged = sidecar.clone();
            damaged[at] = value;
            emulator_checks::tape_sidecar(&damaged);
        }
    }
    let text = String::from_utf8(sidecar).unwrap();
    for number in ["18446744073709551615", "999999999999999999", "1e300", "-1", "null", "{}"] {
        for (at, _) in text.match_indices(": ") {
            let end = text[at..].find([',', '\n']).map_or(text.len(), |end| at + end);
            let damaged = format!("{}: {number}{}", &text[..at], &text[end..]);
            emulator_checks::tape_sidecar(damaged.as_bytes());
        }
    }
}

#[test]
fn sessions_of_any_bytes_end() {
    for first in 0..64_u8 {
        let mut header = vec![0; 48];
        header[0] = first;
        header[1] = 0x80 | first;
        header[7] = 4;
        emulator_checks::iscsi_target(&[&[first % 2], header.as_slice(), &[0xff; 60]].concat());
    }
}
