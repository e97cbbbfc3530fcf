//! Sealed files of the golden repository, damaged in every place with their checksums put right: what is read is
//! what was stored, or an error, and every tree has an end.

use std::fs;
use std::path::Path;

use crate::repository_checks::{ALL, FILES};

fn check(name: &str) -> fn(&[u8]) {
    ALL.iter().find(|(known, _)| *known == name).expect("a check has this name").1
}

// The check for a file, by its name.
fn check_for(name: &str) -> fn(&[u8]) {
    check(if name.ends_with(".bdf") { "bdf_file" } else { "dtf_file" })
}

#[test]
fn a_sealed_file_with_any_bytes_in_it_gives_no_wrong_byte_and_has_an_end() {
    for (name, bytes) in FILES {
        let check = check_for(name);
        check(bytes);
        for at in (0..bytes.len()).step_by(7) {
            for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 0x10] {
                let mut changed = bytes.to_vec();
                changed[at] = value;
                check(&changed);
            }
        }
    }
}

#[test]
fn a_sealed_file_cut_or_grown_anywhere_gives_no_wrong_byte() {
    for (name, bytes) in FILES {
        let check = check_for(name);
        for at in (0..bytes.len()).step_by(41) {
            check(&bytes[..at]);
            check(&[&bytes[..at], &[0; 64][..], &bytes[at..]].concat());
            check(&[&bytes[..at], &bytes[(at + 64).min(bytes.len())..]].concat());
        }
    }
}

#[test]
fn what_fuzzing_has_found_before_holds_now() {
    for (name, check) in ALL {
        let findings = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz").join(name);
        for entry in fs::read_dir(findings).into_iter().flatten() {
            check(&fs::read(entry.unwrap().path()).unwrap());
        }
    }
}
