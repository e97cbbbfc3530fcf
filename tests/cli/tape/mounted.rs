//! Cartridges as folders of a mount: trees without moving a tape, data from tape alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use reelfs::emulator::{Fault, FaultKind};

use super::assert_same;
use super::mounting::{Mounted, first_file, xattr};

#[test]
fn a_mounted_cartridge_gives_back_the_tree_without_the_repositorys_data() {
    let mounted = Mounted::new("");
    mounted.lose_data();
    let out = mounted.vault.sandbox.path("out");
    let copied = Command::new("cp").arg("-a").arg(mounted.latest().join(".")).arg(&out).status().unwrap();
    assert!(copied.success());
    assert_same(&mounted.vault.sandbox.source(), &out);
}

#[test]
fn a_cartridge_that_was_taken_out_is_listed_and_its_data_refused_at_once() {
    let mounted = Mounted::new("");
    mounted.lose_data();
    let cartridge = mounted.at.join("tapes/RL0001L8");
    assert_eq!(xattr(&cartridge, "user.reelfs.barcode"), "RL0001L8");
    mounted.eject();
    mounted.vault.emulated().remove_cartridge("RL0001L8", false).unwrap();
    let file = first_file(&mounted.latest());
    let begun = Instant::now();
    let error = fs::read(&file).map(|bytes| bytes.len()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ENOMEDIUM as i32), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited {:?}", begun.elapsed());
    assert_eq!(xattr(&cartridge, "user.reelfs.state"), "absent");
}

#[test]
fn programs_that_read_everything_move_no_tape() {
    let mounted = Mounted::new(",tape_refuse=indexer");
    mounted.lose_data();
    let indexer = mounted.vault.sandbox.path("indexer");
    fs::copy("/bin/cat", &indexer).unwrap();
    let file = first_file(&mounted.latest());
    let refused = Command::new(&indexer).arg(&file).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("Permission denied"), "{said}");
    let read = Command::new("cat").arg(&file).output().unwrap();
    assert!(read.status.success() && read.stdout == fs::read(original(&mounted, &file)).unwrap());
}

#[test]
fn a_cartridge_appears_in_a_mount_when_it_is_written_and_numbers_hold() {
    let mounted = Mounted::new("");
    let file = first_file(&mounted.latest());
    let number = fs::metadata(&file).unwrap().ino();
    assert!(!mounted.at.join("tapes/RL0002L8").exists());
    mounted.eject();
    mounted.vault.archive(&["--client", "web1", "--new-set"]);
    let end = Instant::now() + Duration::from_secs(20);
    while !mounted.at.join("tapes/RL0002L8/web1/latest").exists() {
        assert!(Instant::now() < end, "the cartridge does not appear");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(fs::metadata(&file).unwrap().ino(), number);
    let same =
        mounted.at.join("tapes/RL0002L8/web1/latest").join(file.strip_prefix(mounted.latest()).unwrap());
    assert_ne!(fs::metadata(same).unwrap().ino(), number);
}

fn original(mounted: &Mounted, file: &Path) -> PathBuf {
    mounted.vault.sandbox.source().join(file.strip_prefix(mounted.latest()).unwrap())
}

#[test]
fn owners_are_mapped_on_cartridges_too() {
    let mounted = Mounted::new(",uid=1,gid=77,umask=027");
    let file = first_file(&mounted.latest());
    for path in [mounted.at.join("tapes"), mounted.at.join("tapes/RL0001L8"), mounted.latest(), file] {
        let metadata = path.symlink_metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1, 77), "{path:?}");
        assert!(metadata.is_symlink() || metadata.mode() & 0o027 == 0, "{path:?}: {:o}", metadata.mode());
    }
}

/// Puts two cartridges of an emulated library that are in slots into each other's cases: their labels stay.
fn swap_insides(vault: &super::Vault, one: &str, other: &str) {
    let directory = vault.sandbox.path("library/cartridges");
    let names =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (of_one, of_other): (Vec<String>, Vec<String>) = names
        .filter(|name| name.starts_with(one) || name.starts_with(other))
        .partition(|name| name.starts_with(one));
    let (aside, between) = (vault.sandbox.path("aside"), "XXXXXXXX");
    fs::create_dir(&aside).unwrap();
    let relabel = |from: &Path, to: &Path| {
        if from.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(from).unwrap();
            let text = text.replace(one, between).replace(other, one).replace(between, other);
            fs::write(from, text).unwrap();
        }
        fs::rename(from, to).unwrap();
    };
    for name in &of_one {
        relabel(&directory.join(name), &aside.join(name.replace(one, other)));
    }
    for name in &of_other {
        relabel(&directory.join(name), &directory.join(name.replace(other, one)));
    }
    for name in of_one.iter().map(|name| name.replace(one, other)) {
        fs::rename(aside.join(&name), directory.join(&name)).unwrap();
    }
}

#[test]
fn another_cartridge_of_ours_with_the_barcode_of_the_one_that_is_wanted_is_not_read() {
    let vault = super::Vault::new(2, 64 * super::MIB);
    super::two_generations(&vault.sandbox, 2_000_000);
    vault.archive(&["--client", "web1"]);
    vault.archive(&["--client", "web1", "--new-set"]);
    let mounted = Mounted::over(vault, "");
    mounted.lose_data();
    swap_insides(&mounted.vault, "RL0001L8", "RL0002L8");
    let large = mounted.latest().join("large");
    let error = fs::read(&large).map(|bytes| bytes.len()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ENOMEDIUM as i32), "{error}");
    // In its own case again it is the one.
    let end = Instant::now() + Duration::from_secs(30);
    while mounted.vault.place_of("RL0001L8").0 != "slot" {
        assert!(Instant::now() < end, "the wrong cartridge stays in the drive");
        std::thread::sleep(Duration::from_millis(100));
    }
    fs::remove_dir(mounted.vault.sandbox.path("aside")).unwrap();
    swap_insides(&mounted.vault, "RL0001L8", "RL0002L8");
    assert_eq!(fs::read(&large).unwrap(), fs::read(original(&mounted, &large)).unwrap());
}

#[test]
fn a_reset_of_the_drive_is_no_damage_of_the_tape() {
    let mounted = Mounted::new(",tape_cache=64");
    mounted.lose_data();
    let emulated = mounted.vault.emulated();
    let small = first_file(&mounted.latest().join("small"));
    // READ POSITION: the drive is asked where it is before it reads.
    emulated.add_fault(Fault::new(1, FaultKind::Reset).at(0x34).after(1)).unwrap();
    assert!(fs::read(&small).unwrap() == fs::read(original(&mounted, &small)).unwrap());
    assert_eq!(emulated.counters(0).unwrap().fault_count, 1);
}

#[test]
fn a_drive_that_refuses_is_no_damage_of_the_tape_and_is_asked_again() {
    // From the first READ on, and from one behind those by which the cartridge is known.
    for after in [0, 4] {
        let mounted = Mounted::new(",tape_cache=64");
        mounted.lose_data();
        let emulated = mounted.vault.emulated();
        let large = mounted.latest().join("large");
        // 5/24/00 to every READ of the one drive and the other: the file cannot be had, until it stops.
        let refuses = FaultKind::Sense { key: 5, asc: 0x24, ascq: 0, executed: false };
        for lun in [1, 2] {
            emulated.add_fault(Fault::new(lun, refuses.clone()).at(0x08).after(after).times(0)).unwrap();
        }
        assert!(fs::read(&large).is_err(), "{after}: it comes from the drive");
        assert!(emulated.counters(0).unwrap().fault_count > 0);
        emulated.remove_faults(None).unwrap();
        assert!(fs::read(&large).unwrap() == fs::read(original(&mounted, &large)).unwrap(), "{after}");
    }
}
