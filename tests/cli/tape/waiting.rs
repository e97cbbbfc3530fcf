//! Reads that wait for a cartridge: how long, in what order, and how they are given up.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reelfs::emulator::{Fault, FaultKind};

use super::mounting::{Mounted, first_file};
use super::{MIB, Vault, two_generations};
use crate::support::Random;

/// Takes a drive, or the changer, as another program would.
fn hold_drive(vault: &Vault, lun: u16) -> File {
    let file = vault.sandbox.path(&format!("library/unit-{lun}.lock"));
    let file = File::options().write(true).create(true).truncate(false).open(file).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while file.try_lock().is_err() {
        assert!(Instant::now() < end, "drive {lun} is never free");
        std::thread::sleep(Duration::from_millis(20));
    }
    file
}

fn reader(path: &std::path::Path) -> Child {
    // Who runs the tests in the background may have had them ignore SIGINT.
    Command::new("env")
        .args(["--default-signal=INT", "cat"])
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn is_running(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

#[test]
fn the_wait_for_a_drive_ends_when_it_was_promised_to() {
    let mounted = Mounted::new(",tape_wait=10");
    mounted.lose_data();
    let _held = [1, 2].map(|lun| hold_drive(&mounted.vault, lun));
    let file = first_file(&mounted.latest());
    let begun = Instant::now();
    let error = fs::read(&file).unwrap_err();
    let waited = begun.elapsed();
    println!("EBUSY after {waited:?}");
    assert_eq!(error.raw_os_error(), Some(Errno::EBUSY as i32), "{error}");
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    // The kernel asks twice.
    assert!(waited < Duration::from_secs(19), "{waited:?}");
}

#[test]
fn a_reader_that_was_killed_or_interrupted_leaves_at_once_and_no_tape_moves_for_it() {
    let mounted = Mounted::new(",tape_wait=600");
    mounted.lose_data();
    let file = first_file(&mounted.latest());
    let held = [1, 2].map(|lun| hold_drive(&mounted.vault, lun));
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let mut child = reader(&file);
        std::thread::sleep(Duration::from_millis(700));
        assert!(is_running(&mut child), "it has to wait");
        let begun = Instant::now();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        child.wait().unwrap();
        println!("{signal}: left after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    // A program that goes on after a signal is told that its read was interrupted.
    let script = "import os, signal, sys\n\
                  def stop(*_): raise InterruptedError\n\
                  signal.signal(signal.SIGINT, stop)\n\
                  fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                  try: os.read(fd, 100)\n\
                  except InterruptedError: sys.exit(7)\n";
    let mut child = Command::new("python3").args(["-c", script]).arg(&file).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(is_running(&mut child), "it has to wait");
    let begun = Instant::now();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    println!("SIGINT with a handler: left after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Nobody asks any more: the drives are free and nothing is loaded.
    std::thread::sleep(Duration::from_secs(1));
    drop(held);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(mounted.vault.place_of("RL0001L8").0, "slot");
    assert!(!fs::read(&file).unwrap().is_empty());
}

#[test]
fn a_reader_of_a_cartridge_that_is_loading_can_be_killed() {
    let mounted = Mounted::new("");
    mounted.lose_data();
    let file = first_file(&mounted.latest());
    let library = mounted.vault.emulated();
    for lun in [1, 2] {
        // As long as the fault is there, it never becomes ready.
        let kind = FaultKind::NotReady { count: 2 };
        library.add_fault(Fault { id: 0, lun, kind, operation_code: None, after: 0, times: 0 }).unwrap();
    }
    let mut child = reader(&file);
    let end = Instant::now() + Duration::from_secs(30);
    while mounted.vault.emulated().counters(0).unwrap().load_count == 0 {
        assert!(Instant::now() < end, "nothing is loaded");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(is_running(&mut child), "it has to wait");
    let begun = Instant::now();
    child.kill().unwrap();
    child.wait().unwrap();
    println!("killed while loading: left after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    library.remove_faults(None).unwrap();
}

/// Two sets, each on a cartridge of its own.
fn two_sets() -> Vault {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    vault.archive(&["--client", "web1"]);
    vault.archive(&["--client", "web1", "--new-set"]);
    vault
}

#[test]
fn two_cartridges_are_read_at_the_same_time_in_two_drives() {
    let mounted = Mounted::over(two_sets(), ",tape_idle=8");
    mounted.lose_data();
    let files = ["RL0001L8", "RL0002L8"]
        .map(|name| first_file(&mounted.at.join("tapes").join(name).join("web1/latest")));
    for file in &files {
        assert!(!fs::read(file).unwrap().is_empty());
    }
    let places = ["RL0001L8", "RL0002L8"].map(|name| mounted.vault.place_of(name).0);
    assert_eq!(places, ["drive", "drive"]);
}

#[test]
fn a_reader_of_another_cartridge_gets_the_only_free_drive_in_its_turn() {
    let mounted = Mounted::over(two_sets(), ",tape_idle=60,tape_wait=8");
    mounted.lose_data();
    let _held = hold_drive(&mounted.vault, 2);
    let [one, other] = ["RL0001L8", "RL0002L8"]
        .map(|name| first_file(&mounted.at.join("tapes").join(name).join("web1/latest")));
    assert!(!fs::read(&one).unwrap().is_empty());
    assert_eq!(mounted.vault.place_of("RL0001L8").0, "drive");
    // The first one would stay for a minute.
    let begun = Instant::now();
    match fs::read(&other) {
        Ok(bytes) => assert!(!bytes.is_empty()),
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            panic!("not served within its wait: {error}")
        }
        Err(error) => panic!("{error}"),
    }
    println!("the other cartridge was read after {:?}", begun.elapsed());
    assert_eq!(mounted.vault.place_of("RL0001L8").0, "slot");
}

/// Reads the large file of a cartridge here and there, past all caches, until it is told to stop; returns how often.
fn keep_reading(path: &Path, is_over: &AtomicBool) -> u64 {
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut numbers = Random(0x5eed_0009);
    let mut count = 0;
    // Its beginning is at a multiple of 4096.
    let mut room = vec![0_u8; 2 * 4096];
    let start = room.as_ptr().align_offset(4096);
    while !is_over.load(Ordering::Relaxed) {
        let offset = numbers.below(len / 4096) * 4096;
        match file.read_at(&mut room[start..start + 4096], offset) {
            Ok(_) => count += 1,
            // The other one has the drive, and keeps it for its turn.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}"),
        }
    }
    count
}

#[test]
fn a_cartridge_that_is_read_all_the_time_gives_the_only_drive_up_to_another_one() {
    let vault = Vault::new(2, 128 * MIB);
    two_generations(&vault.sandbox, 60_000_000);
    vault.archive(&["--client", "web1"]);
    vault.archive(&["--client", "web1", "--new-set"]);
    let mounted = Mounted::over(vault, ",tape_idle=600,tape_wait=16,tape_cache=16,frame_cache=1");
    mounted.lose_data();
    let _held = hold_drive(&mounted.vault, 2);
    let [busy, other] =
        ["RL0001L8", "RL0002L8"].map(|name| mounted.at.join("tapes").join(name).join("web1/latest"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| keep_reading(&busy.join("large"), &is_over));
        let end = Instant::now() + Duration::from_secs(60);
        while mounted.vault.emulated().counters(0).unwrap().bytes_read < 40 * MIB {
            assert!(Instant::now() < end, "the first cartridge is not read");
            std::thread::sleep(Duration::from_millis(100));
        }
        let begun = Instant::now();
        let read = fs::read(other.join("text"));
        println!("the other cartridge was read after {:?}", begun.elapsed());
        is_over.store(true, Ordering::Relaxed);
        let count = reading.join().unwrap();
        assert!(count > 10, "{count} reads of the busy one");
        assert!(!read.unwrap().is_empty());
    });
}

#[test]
fn a_cartridge_is_put_away_at_the_unmount_whatever_the_mount_just_does() {
    let mut mounted = Mounted::new(",tape_idle=600");
    mounted.lose_data();
    fs::read(first_file(&mounted.latest())).unwrap();
    assert_eq!(mounted.vault.place_of("RL0001L8").0, "drive");
    // The changer is in use, while the mount asks it what has come since it was asked last.
    let changer = hold_drive(&mounted.vault, 0);
    std::thread::sleep(Duration::from_secs(6));
    assert!(fs::read_dir(mounted.at.join("tapes")).unwrap().count() > 0);
    std::thread::sleep(Duration::from_secs(1));
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(changer);
    });
    mounted.unmount();
    release.join().unwrap();
    let catalogue = fs::read_dir(mounted.vault.sandbox.repository().join("tapes")).unwrap();
    let mut names = catalogue.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.starts_with("cache-")), "what was read stays on disk");
}
