//! Cartridges as folders of a mount: trees without moving a tape, data from tape alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;

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
