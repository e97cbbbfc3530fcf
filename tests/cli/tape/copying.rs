//! Whole trees copied from a cartridge: the tape goes forward once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reelfs::emulator::{DriveCounters, Generation, LibraryShape, TimeMode};

use super::mounting::Mounted;
use super::{MIB, Vault, assert_same};
use crate::random::Random;
use crate::support::Sandbox;

/// A tree of which a good deal changed in the second generation: files of all sizes that cannot be compressed.
fn large_source(sandbox: &Sandbox) {
    let mut numbers = Random(0x5eed_0007);
    for index in 0..900 {
        let len = usize::try_from(numbers.below(130_000)).unwrap();
        sandbox.write(&format!("home/{}/{}/file-{index:04}", index % 7, index % 11), numbers.bytes(len));
    }
    for index in 0..4 {
        sandbox.write(&format!("images/{index}"), numbers.bytes(8_000_000));
    }
    sandbox.backup(&[]);
    for index in (0..900).step_by(9) {
        let len = usize::try_from(numbers.below(130_000)).unwrap();
        sandbox.write(&format!("home/{}/{}/file-{index:04}", index % 7, index % 11), numbers.bytes(len));
    }
    sandbox.backup(&[]);
}

/// A library of LTO-8 that counts what time and tape everything takes.
fn counting() -> Vault {
    let shape = LibraryShape { time: TimeMode::Counted, ..LibraryShape::new(Generation::Lto8) };
    Vault::with_shape(&shape.with_cartridges(1, Generation::Lto8, Some(1024 * MIB)))
}

/// Both generations on a cartridge: the data of the newer one is in two places.
fn archived() -> Vault {
    let vault = counting();
    large_source(&vault.sandbox);
    vault.archive(&["--client", "web1", "--generations", "all"]);
    vault
}

/// A generation whose data was written in one go, with directories whose names are not in the order of the data.
fn archived_at_once() -> Vault {
    let vault = counting();
    let mut numbers = Random(0x5eed_0017);
    for index in 0..900 {
        let len = usize::try_from(numbers.below(130_000)).unwrap();
        let directory = ["deep/er/home", "z/home", "home", "links"][index % 4];
        vault.sandbox.write(&format!("{directory}/{}/file-{index:04}", index % 11), numbers.bytes(len));
    }
    for index in 0..4 {
        vault.sandbox.write(&format!("images/{index}"), numbers.bytes(8_000_000));
    }
    vault.sandbox.backup(&[]);
    vault.archive(&["--client", "web1"]);
    vault
}

/// A deep tree that was written in one go: six levels of directories, each with files and three more below it.
fn archived_deep() -> Vault {
    fn fill(vault: &Vault, numbers: &mut Random, path: &str, depth: u32) {
        for index in 0..8 {
            let len = 20_000 + usize::try_from(numbers.below(100_000)).unwrap();
            vault.sandbox.write(&format!("{path}file-{index}"), numbers.bytes(len));
        }
        if depth < 5 {
            // Names are not in the order in which the directories are made.
            ["m", "z", "a"]
                .iter()
                .for_each(|name| fill(vault, numbers, &format!("{path}{name}/"), depth + 1));
        }
    }
    let vault = counting();
    fill(&vault, &mut Random(0x5eed_0027), "", 0);
    vault.sandbox.backup(&[]);
    vault.archive(&["--client", "web1"]);
    vault
}

fn counters(vault: &Vault) -> DriveCounters {
    let library = vault.emulated();
    let [one, other] = [0, 1].map(|drive| library.counters(drive).unwrap());
    DriveCounters {
        bytes_read: one.bytes_read + other.bytes_read,
        locate_count: one.locate_count + other.locate_count,
        back_hitch_count: one.back_hitch_count + other.back_hitch_count,
        tape_moved_mm: one.tape_moved_mm + other.tape_moved_mm,
        motion_ns: one.motion_ns + other.motion_ns,
        streaming_ns: one.streaming_ns + other.streaming_ns,
        ..one
    }
}

fn copy(program: &str, from: &Path, to: &Path) -> Command {
    fs::create_dir(to).unwrap();
    let (from, to) = (from.display(), to.display());
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c"]);
    shell.arg(match program {
        "cp" => format!("cp -a '{from}/.' '{to}'"),
        "tar" => format!("tar -C '{from}' -cf - . | tar -C '{to}' -xf -"),
        _ => format!("rsync -aHAX '{from}/' '{to}'"),
    });
    shell
}

fn bytes_below(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .map(|entries| {
            let len = |entry: fs::DirEntry| match entry.metadata() {
                Ok(found) if found.is_dir() => bytes_below(&entry.path()),
                Ok(found) => found.len(),
                Err(_) => 0,
            };
            entries.flatten().map(len).sum()
        })
        .unwrap_or(0)
}

// Copies with each program over a mount of its own, whose cache is empty.
fn copy_with_each(vault: Vault, options: &str, check: impl Fn(&str, &DriveCounters, &DriveCounters, u64)) {
    let mut vault = Some(vault);
    for program in ["cp", "tar", "rsync"] {
        // A machine with much to do must not make the mount put the cartridge away in between.
        let mut mounted = Mounted::over(vault.take().unwrap(), &format!("{options},tape_idle=60"));
        let data = mounted.vault.sandbox.repository().join("full");
        let lost = mounted.vault.sandbox.path("lost");
        fs::rename(&data, &lost).unwrap();
        let before = counters(&mounted.vault);
        let out = mounted.vault.sandbox.path(program);
        let most = watch_cache(&mounted, &mut copy(program, &mounted.latest(), &out));
        assert_same(&mounted.vault.sandbox.source(), &out);
        fs::remove_dir_all(&out).unwrap();
        mounted.unmount();
        check(program, &before, &counters(&mounted.vault), most);
        fs::rename(&lost, &data).unwrap();
        vault = Some(mounted.into_vault());
    }
}

// Runs the command, which must succeed; returns the most bytes that the cache on disk had meanwhile.
fn watch_cache(mounted: &Mounted, command: &mut Command) -> u64 {
    let catalogue = mounted.vault.sandbox.repository().join("tapes");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(caches(&catalogue).iter().map(|cache| bytes_below(cache)).sum());
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let status = command.status().unwrap();
        is_over.store(true, Ordering::Relaxed);
        assert!(status.success());
        watching.join().unwrap()
    })
}

fn caches(catalogue: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(catalogue).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("cache-")).collect()
}

fn show(program: &str, before: &DriveCounters, after: &DriveCounters) -> (u64, u64) {
    let locates = after.locate_count - before.locate_count;
    let read = after.bytes_read - before.bytes_read;
    println!(
        "{program:6} {locates} locates, {:.1} m of tape, {:.1} MiB read, {} back-hitches, {:.1} s of motion, {:.1} s of streaming",
        (after.tape_moved_mm - before.tape_moved_mm) as f64 / 1000.0,
        read as f64 / 1_048_576.0,
        after.back_hitch_count - before.back_hitch_count,
        (after.motion_ns - before.motion_ns) as f64 / 1e9,
        (after.streaming_ns - before.streaming_ns) as f64 / 1e9,
    );
    (locates, read)
}

fn moved_mm(before: &DriveCounters, after: &DriveCounters) -> u64 {
    after.tape_moved_mm - before.tape_moved_mm
}

#[test]
fn a_whole_tree_is_copied_in_one_passage_of_the_tape_by_cp_tar_and_rsync() {
    copy_with_each(archived(), "", |program, before, after, _| {
        let (locates, read) = show(program, before, after);
        // To the index, to the label, to the data; requests that the kernel makes at the same time may cost one more.
        assert!(locates <= 4, "{program}: {locates} locates");
        assert!(moved_mm(before, after) <= 5_000, "{program}");
        assert!(read < 140 * MIB, "{program}: {read} bytes for a tree of 90 MiB and what lies between");
    });
}

#[test]
fn a_generation_larger_than_the_cache_is_copied_with_a_bounded_cache_and_few_locates() {
    copy_with_each(archived(), ",tape_cache=48", |program, before, after, cached| {
        let (locates, read) = show(program, before, after);
        println!("{program:6} cache of 48 MiB, at most {:.1} MiB used", cached as f64 / 1_048_576.0);
        assert!(cached <= 48 * MIB, "{program}: {cached} bytes in the cache");
        assert!(cached > 30 * MIB, "{program}: {cached} bytes in the cache");
        // Files of each directory have data of another generation, which is elsewhere on the tape.
        assert!(locates <= 5, "{program}: {locates} locates");
        assert!(moved_mm(before, after) <= 7_000, "{program}");
        assert!(read < 200 * MIB, "{program}: {read} bytes");
    });
}

#[test]
fn a_generation_that_was_written_at_once_is_copied_forward_with_a_cache_smaller_than_it() {
    copy_with_each(archived_at_once(), ",tape_cache=48", |program, before, after, cached| {
        let (locates, read) = show(program, before, after);
        assert!(cached <= 48 * MIB, "{program}: {cached} bytes in the cache");
        assert!(locates <= 4, "{program}: {locates} locates");
        assert!(moved_mm(before, after) <= 5_000, "{program}");
        assert!(read < 140 * MIB, "{program}: {read} bytes");
    });
}

#[test]
fn a_deep_generation_is_copied_forward_by_cp_tar_and_rsync_with_a_cache_much_smaller_than_it() {
    copy_with_each(archived_deep(), ",tape_cache=48", |program, before, after, cached| {
        let (locates, read) = show(program, before, after);
        println!("{program:6} cache of 48 MiB, at most {:.1} MiB used", cached as f64 / 1_048_576.0);
        assert!(cached <= 48 * MIB, "{program}: {cached} bytes in the cache");
        // The drive goes forward once, and reads little more than the tree, whatever waits in the cache.
        assert!(locates <= 4, "{program}: {locates} locates");
        assert!(moved_mm(before, after) <= 8_500, "{program}");
        assert!(read < 240 * MIB, "{program}: {read} bytes for a tree of 190 MiB");
    });
}
