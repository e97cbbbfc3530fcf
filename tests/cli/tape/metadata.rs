//! Questions about metadata: whatever is asked of a mounted cartridge but data, no tape moves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use reelfs::clock::ManualClock;
use reelfs::emulator::DriveCounters;
use reelfs::job::tape::archive::{self, ArchiveInputs, ArchiveOptions};
use reelfs::job::tape::catalogue::{CATALOGUE, Catalogue};
use reelfs::job::tape::devices::{LibraryAddress, LibraryInputs};
use reelfs::job::tape::library::TapeLibrary;
use reelfs::job::tape::pool_lock::PoolLock;
use reelfs::progress::Progress;
use reelfs::repo::{CacheBytes, Repository};
use reelfs::tape::drive::DriveOptions;
use reelfs::tape::writer::WriterOptions;

use super::mounting::Mounted;
use super::{MIB, Vault, two_generations};

/// Longer than a tree holds itself, and different for each file.
fn set_long_xattrs(vault: &Vault) {
    for index in 0..5 {
        let value = format!("{index} ").repeat(900);
        let file = vault.sandbox.source().join(format!("small/{index}/{index}"));
        let set =
            Command::new("setfattr").args(["-n", "user.long", "-v", &value]).arg(file).status().unwrap();
        assert!(set.success());
    }
    vault.sandbox.backup(&[]);
}

fn vault_with_xattrs() -> Vault {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    set_long_xattrs(&vault);
    vault.archive(&["--client", "web1", "--generations", "all"]);
    vault
}

fn getfattr(tree: &Path) -> Output {
    Command::new("getfattr").args(["-R", "-d", "-m", "user", "."]).current_dir(tree).output().unwrap()
}

fn lines(output: &Output) -> BTreeSet<String> {
    String::from_utf8_lossy(&output.stdout).split("\n\n").map(str::to_owned).collect()
}

fn counters(vault: &Vault) -> [DriveCounters; 2] {
    let library = vault.emulated();
    [0, 1].map(|drive| library.counters(drive).unwrap())
}

fn good(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn lists_of(vault: &Vault) -> Vec<PathBuf> {
    let catalogue = vault.sandbox.repository().join(CATALOGUE);
    let volumes = fs::read_dir(catalogue).unwrap().flatten().map(|entry| entry.path().join("lists"));
    volumes.filter(|path| path.is_dir()).collect()
}

#[test]
fn all_that_is_asked_about_files_but_their_data_moves_no_tape() {
    let mounted = Mounted::over(vault_with_xattrs(), "");
    mounted.lose_data();
    let before = counters(&mounted.vault);
    let (tree, source) = (mounted.latest(), mounted.vault.sandbox.source());
    let shown = getfattr(&tree);
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(lines(&shown), lines(&getfattr(&source)));
    assert_eq!(lines(&shown).iter().filter(|line| line.contains("user.long")).count(), 5);
    good(Command::new("find").arg(&mounted.at).arg("-ls"));
    good(Command::new("ls").arg("-lR").arg(&tree));
    good(Command::new("stat").arg(tree.join("large")));
    good(Command::new("rsync").args(["-naHAX", "--delete"]).arg(format!("{}/", tree.display())).arg(&source));
    assert_eq!(counters(&mounted.vault), before);
}

#[test]
fn a_list_that_the_catalogue_lacks_is_refused_without_motion_and_fetched_by_a_scan() {
    let mounted = Mounted::over(vault_with_xattrs(), "");
    mounted.lose_data();
    for lists in lists_of(&mounted.vault) {
        fs::remove_dir_all(lists).unwrap();
    }
    let before = counters(&mounted.vault);
    let shown = getfattr(&mounted.latest());
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert_eq!(said.lines().filter(|line| line.contains("No medium found")).count(), 5, "{said}");
    assert_eq!(counters(&mounted.vault), before);
    let scanned = mounted.vault.json(&["scan", "RL0001L8"]).pop().unwrap();
    assert_eq!((&scanned["lists_kept"], &scanned["lists_lacking"]), (&5.into(), &0.into()), "{scanned}");
    let before = counters(&mounted.vault);
    let shown = getfattr(&mounted.latest());
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(lines(&shown), lines(&getfattr(&mounted.vault.sandbox.source())));
    assert_eq!(counters(&mounted.vault), before);
}

#[test]
fn lists_are_fetched_into_an_empty_catalogue_up_to_the_limit_and_damaged_ones_again() {
    let vault = vault_with_xattrs();
    fs::remove_dir_all(vault.sandbox.repository().join(CATALOGUE)).unwrap();
    let ended = vault.run(&["scan", "RL0001L8", "--keep-lists", "0"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("5 long lists of extended attributes: more than are kept"), "{ended:?}");
    let scanned = vault.json(&["scan", "RL0001L8"]).pop().unwrap();
    assert_eq!(scanned["lists_kept"], 5, "{scanned}");
    let directory = lists_of(&vault).pop().unwrap();
    let first = fs::read_dir(directory).unwrap().flatten().next().unwrap().path();
    let first = fs::read_dir(first).unwrap().flatten().next().unwrap().path();
    let len = fs::read(&first).unwrap().len();
    fs::write(&first, vec![0; len]).unwrap();
    let scanned = vault.json(&["scan", "RL0001L8"]).pop().unwrap();
    assert_eq!(scanned["lists_kept"], 1, "{scanned}");
    assert_ne!(fs::read(&first).unwrap(), vec![0; len]);
    // An archive of what is there already brings back what is lacking, too.
    fs::remove_file(&first).unwrap();
    assert_eq!(vault.archive(&["--generations", "all"])["bytes"], 0);
    assert!(first.exists());
}

#[test]
fn one_scan_of_a_set_takes_in_lists_whose_trees_are_on_a_later_cartridge() {
    let vault = Vault::new(6, 24 * MIB);
    two_generations(&vault.sandbox, 30_000_000);
    set_long_xattrs(&vault);
    vault.sandbox.write("larger", crate::random::Random(0x5eed_0018).bytes(20_000_000));
    vault.sandbox.backup(&[]);
    let archived = vault.archive(&["--client", "web1", "--generations", "all"]);
    let barcodes: Vec<&str> =
        archived["barcodes"].as_array().unwrap().iter().filter_map(|barcode| barcode.as_str()).collect();
    for order in [barcodes.clone(), barcodes.iter().rev().copied().collect()] {
        fs::remove_dir_all(vault.sandbox.repository().join(CATALOGUE)).unwrap();
        let scan: Vec<&str> = ["scan"].into_iter().chain(order).collect();
        let scanned = vault.json(&scan);
        assert!(scanned.len() > barcodes.len(), "one is scanned again: {scanned:?}");
        assert_eq!(scanned.last().unwrap()["lists_lacking"], 0, "{scanned:?}");
        let kept: u64 = scanned.iter().filter_map(|line| line["lists_kept"].as_u64()).sum();
        assert_eq!(kept, 5, "{scanned:?}");
    }
    fs::remove_dir_all(vault.sandbox.repository().join(CATALOGUE)).unwrap();
    for barcode in &barcodes {
        vault.good(&["scan", barcode]);
    }
    let ended = vault.run(&["scan", barcodes.last().unwrap()]);
    assert!(ended.error.contains("on other cartridges of the set: scan those too"), "{ended:?}");
}

/// Archives all generations of `web1` in segments of this length.
fn archive_in_segments(vault: &Vault, segment_bytes: u64) {
    let repository = Repository::open(&vault.sandbox.repository(), CacheBytes::default()).unwrap();
    let client = "web1".parse().unwrap();
    let generations: Vec<_> =
        repository.generations(&client).unwrap().into_iter().map(|id| (client.clone(), id)).collect();
    let catalogue = Catalogue::new(&vault.sandbox.repository().join(CATALOGUE));
    let library = vault.sandbox.path("library");
    let address = LibraryAddress::parse(library.as_os_str()).unwrap();
    let inputs = LibraryInputs { clock: Arc::new(ManualClock::default()), random: Arc::new(|| [7; 32]) };
    let mut library = TapeLibrary::open(&address, &inputs, DriveOptions::default()).unwrap();
    let options = ArchiveOptions {
        pool: "default".to_owned(),
        cartridges: Vec::new(),
        lone_barcode: None,
        drive: None,
        session: "in segments".to_owned(),
        retain_until_seconds: None,
        new_set: false,
        keep_loaded: false,
        writer: WriterOptions { segment_bytes, ring_bytes: 16 << 20, ..WriterOptions::default() },
    };
    let mut number = 0;
    let mut new_id = || {
        number += 1;
        reelfs::id::FileId([number; 16])
    };
    let progress = Progress::new();
    let (repository_id, clock) = (repository.id(), ManualClock::default());
    let lock =
        PoolLock::acquire(&catalogue, repository_id, &options.pool, &clock, &mut || (), &progress).unwrap();
    let inputs = ArchiveInputs {
        now_seconds: &|| 1_790_000_000,
        new_id: &mut new_id,
        event: &mut |_| (),
        lock: &lock,
    };
    archive::run(&repository, &mut library, &catalogue, &generations, &options, inputs, &progress).unwrap();
}

fn kept_trees(vault: &Vault) -> usize {
    let catalogue = vault.sandbox.repository().join(CATALOGUE);
    let found = good(Command::new("find").arg(catalogue).args(["-name", "*.dtf"]));
    String::from_utf8_lossy(&found.stdout).lines().count()
}

#[test]
fn trees_longer_than_a_segment_are_kept_by_archive_and_scan_and_listed_without_motion() {
    let vault = Vault::new(2, 128 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    archive_in_segments(&vault, 2048);
    let objects = vault.json(&["list", "--objects", "RL0001L8"]);
    let name = |line: &serde_json::Value| line["name"].as_str().unwrap_or_default().to_owned();
    assert!(objects.iter().filter(|line| name(line).contains(".dtf")).count() > 2, "{objects:?}");
    assert_eq!(kept_trees(&vault), 2);
    fs::remove_dir_all(vault.sandbox.repository().join(CATALOGUE)).unwrap();
    let ended = vault.run(&["scan", "RL0001L8", "--keep-trees", "0"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("was not kept for want of room"), "{ended:?}");
    assert_eq!(kept_trees(&vault), 0);

    let mounted = Mounted::over(vault, "");
    mounted.lose_data();
    let before = counters(&mounted.vault);
    let client = mounted.at.join("tapes/RL0001L8/web1");
    let generations: Vec<PathBuf> = fs::read_dir(&client)
        .unwrap()
        .flatten()
        .filter(|e| e.file_name() != "latest")
        .map(|e| e.path())
        .collect();
    assert_eq!(generations.len(), 2);
    // The kernel opens a directory without asking.
    let listed = fs::read_dir(&generations[0]).and_then(|mut entries| entries.next().unwrap());
    let error = listed.map(|entry| entry.path()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOMEDIUM), "{error}");
    assert_eq!(counters(&mounted.vault), before);

    let scanned = mounted.vault.json(&["scan", "RL0001L8"]).pop().unwrap();
    assert_eq!(scanned["trees_left_out"], 0, "{scanned}");
    assert_eq!(kept_trees(&mounted.vault), 2);
    let before = counters(&mounted.vault);
    good(Command::new("find").arg(mounted.latest()).arg("-ls"));
    assert_eq!(counters(&mounted.vault), before);
    super::assert_same(&mounted.vault.sandbox.source(), &mounted.latest().join("."));
}

#[test]
fn a_directory_is_listed_in_the_order_of_its_files_on_the_tape() {
    let vault = Vault::new(2, 64 * MIB);
    let bytes = |seed: u64| crate::random::Random(seed).bytes(3000);
    for index in 0..900 {
        vault.sandbox.write(&format!("many/old-{index:04}"), bytes(index));
    }
    vault.sandbox.write("many/directory/file", "x");
    vault.sandbox.backup(&[]);
    for index in 0..600 {
        vault.sandbox.write(&format!("many/new-{index:04}"), bytes(5000 + index));
    }
    vault.sandbox.write("many/empty", "");
    vault.sandbox.backup(&[]);
    vault.archive(&["--client", "web1", "--generations", "all"]);
    let mounted = Mounted::over(vault, "");
    mounted.lose_data();
    let listed = || {
        let names = fs::read_dir(mounted.latest().join("many")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<String>>()
    };
    let names = listed();
    let mut expected = vec!["empty".to_owned()];
    expected.extend((0..900).map(|index| format!("old-{index:04}")));
    expected.push("directory".to_owned());
    expected.extend((0..600).map(|index| format!("new-{index:04}")));
    assert_eq!(names, expected, "older data stands before newer data, also where it is below a directory");
    assert_eq!(listed(), names);
    let by_name = fs::read_dir(mounted.at.join("clients/web1/latest/many")).unwrap();
    let by_name: Vec<String> =
        by_name.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(by_name.is_sorted());
}
