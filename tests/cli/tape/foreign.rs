//! Cartridges of other programs: tar and pax archives mount after one scan, others are named and left alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use reelfs::job::tape::devices::{LibraryAddress, LibraryInputs};
use reelfs::job::tape::library::TapeLibrary;
use reelfs::library::Barcode;
use reelfs::progress::Progress;
use reelfs::tape::drive::DriveOptions;

use super::mounting::{Mounted, xattr};
use super::{MIB, Vault};
use crate::random::Random;

#[derive(Debug)]
struct SystemClock;

impl reelfs::clock::Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the test is the edge from which time is passed in")]
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Writes tape files, each a list of blocks, as another program would.
pub(super) fn write_cartridge(vault: &Vault, barcode: &str, files: &[Vec<&[u8]>]) {
    let address = LibraryAddress::parse(vault.sandbox.path("library").as_ref()).unwrap();
    let inputs = LibraryInputs { clock: Arc::new(SystemClock), random: Arc::new(|| [7; 32]) };
    let mut library = TapeLibrary::open(&address, &inputs, DriveOptions::default()).unwrap();
    let barcode = Barcode::new(barcode.as_bytes()).unwrap();
    let mut drive = library.load(&barcode, 0, &Progress::new()).unwrap();
    drive.locate(0).unwrap();
    for blocks in files {
        for block in blocks {
            drive.write_block(block).unwrap();
        }
        drive.write_filemarks(1, true).unwrap();
    }
    drop(drive);
    library.unload(0, None).unwrap();
}

pub(super) fn blocks(bytes: &[u8], len: usize) -> Vec<&[u8]> {
    bytes.chunks(len).collect()
}

/// Blocks of lengths that differ, all of whole records.
fn uneven_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let mut numbers = Random(11);
    let (mut blocks, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let len = (512 * (1 + usize::try_from(numbers.below(20)).unwrap())).min(rest.len());
        let (block, after) = rest.split_at(len);
        blocks.push(block);
        rest = after;
    }
    blocks
}

fn shell(directory: &Path, script: &str) -> Vec<u8> {
    let output = Command::new("bash").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A tree of all that tar knows.
fn tree(vault: &Vault) -> PathBuf {
    let root = vault.sandbox.path("tree");
    let deep = format!("deep/{}/{}", "d".repeat(120), "e".repeat(180));
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0\n").unwrap();
    fs::write(root.join("etc/empty"), "").unwrap();
    fs::write(root.join("large"), Random(3).bytes(3_000_000)).unwrap();
    fs::write(root.join(&deep).join("n".repeat(200)), Random(4).bytes(70_000)).unwrap();
    shell(
        &root,
        "ln etc/passwd etc/passwd.link; ln -s ../etc/passwd etc/symbolic; ln -s $(printf 't%.0s' {1..300}) etc/long
         mkfifo fifo; chown 3000000:3000001 large; chmod 4751 large; touch -d '1960-02-03 04:05:06.789' etc/empty
         touch -d '2001-02-03 04:05:06.123456789' etc/passwd
         truncate -s 9M sparse; for i in $(seq 0 7 99); do
           printf 'piece %02d of it' $i | dd of=sparse bs=1 seek=$((i * 90000)) conv=notrunc status=none; done
         truncate -s 5M all-hole",
    );
    root
}

pub(super) fn archive(root: &Path, options: &str) -> Vec<u8> {
    shell(root, &format!("tar --sort=name {options} -cf - ."))
}

/// Everything that rsync sees must be the same on both sides; `without` is left out.
fn assert_same_tree(source: &Path, mounted: &Path, options: &str) {
    let script = format!(
        "rsync {options} --checksum --delete --dry-run --itemize-changes '{}/' '{}'",
        source.display(),
        mounted.display()
    );
    let changes = String::from_utf8(shell(source, &script)).unwrap();
    let changes: Vec<&str> = changes.lines().filter(|line| !line.ends_with(" ./")).collect();
    assert!(changes.is_empty(), "{options}: {changes:#?}");
}

// Each name in a directory has a higher inode number than the one before it on the tape, but for other names of one file.
fn assert_numbers_ascend(directory: &Path) -> usize {
    let mut last = 0;
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let found = entry.metadata().unwrap();
        if found.nlink() == 1 {
            assert!(found.ino() > last, "{}: {} after {last}", entry.path().display(), found.ino());
            last = found.ino();
        }
        count += 1;
        if found.is_dir() {
            count += assert_numbers_ascend(&entry.path());
        }
    }
    count
}

/// Options of tar, and the length of blocks, of each archive; a last one has blocks of all lengths.
const FORMATS: [(&str, usize); 7] = [
    ("--format=gnu -S", 10_240),
    (
        "--format=ustar --exclude=deep --exclude=long --exclude=empty --owner=0 --group=0 --numeric-owner",
        10_240,
    ),
    ("--format=pax -S --sparse-version=0.0", 65_536),
    ("--format=pax -S --sparse-version=0.1", 524_288),
    ("--format=pax -S --sparse-version=1.0", 10_240),
    ("--format=pax --xattrs --acls", 262_144),
    // As long as a drive reads and writes at once.
    ("--format=gnu -S", 1 << 20),
];

/// Gives files an attribute and an access list, where the machine has them.
fn decorate(root: &Path) -> [bool; 2] {
    let run = |program: &str, arguments: &[&str], file: &str| {
        Command::new(program)
            .args(arguments)
            .arg(root.join(file))
            .status()
            .is_ok_and(|status| status.success())
    };
    let has_xattrs = run("setfattr", &["-n", "user.origin", "-v", "with = and \u{e9}"], "large");
    [has_xattrs, run("setfacl", &["-m", "u:daemon:rx,g:1234:r"], "etc/passwd")]
}

fn write_all_formats(vault: &Vault, root: &Path) {
    let archives: Vec<Vec<u8>> = FORMATS.iter().map(|(options, _)| archive(root, options)).collect();
    let mut files: Vec<Vec<&[u8]>> =
        archives.iter().zip(FORMATS).map(|(bytes, (_, len))| blocks(bytes, len)).collect();
    files.push(uneven_blocks(&archives[0]));
    write_cartridge(vault, "RL0001L8", &files);
    let scanned = vault.json(&["scan", "RL0001L8"]).pop().unwrap();
    assert_eq!(scanned["foreign"], "tar", "{scanned}");
    assert_eq!(scanned["left_out"], 0, "{scanned}");
    let states = scanned["files"].as_array().unwrap().iter().all(|file| file["state"] == "whole");
    assert!(states && scanned["files"].as_array().unwrap().len() == 8, "{scanned}");
    let listed = vault.good(&["list"]);
    assert!(listed.contains("RL0001L8") && listed.contains("tar"), "{listed}");
}

fn all_loads(vault: &Vault) -> u64 {
    (0..2).map(|drive| vault_loads(vault, drive)).sum()
}

#[test]
fn archives_of_gnu_tar_in_all_its_formats_mount_after_one_scan() {
    let vault = Vault::new(2, 256 * MIB);
    let root = tree(&vault);
    let [has_xattrs, has_acls] = decorate(&root);
    write_all_formats(&vault, &root);
    let before = all_loads(&vault);
    let mounted = Mounted::over(vault, ",tape_idle=5");
    let cartridge = mounted.at.join("tapes/RL0001L8");
    let names: Vec<_> = fs::read_dir(&cartridge).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["0000", "0001", "0002", "0003", "0004", "0005", "0006", "0007"]);
    assert_eq!(xattr(&cartridge, "user.reelfs.kind"), "tar");
    assert!(assert_numbers_ascend(&cartridge) > 70);
    assert_eq!(all_loads(&mounted.vault), before, "listing moves no tape");
    for (number, (options, _)) in FORMATS.iter().enumerate() {
        let compared = match number {
            1 => "-rlptHD --exclude=/deep --exclude=/etc/long --exclude=/etc/empty --no-times",
            5 => "-aHAX",
            // Seconds alone are in this format.
            0 | 6 => "-aH --no-times",
            _ => "-aH",
        };
        println!("{options}");
        assert_same_tree(&root, &cartridge.join(format!("{number:04}")), compared);
    }
    assert_same_tree(&root, &cartridge.join("0007"), "-aH --no-times");
    assert!(fs::symlink_metadata(cartridge.join("0000/fifo")).unwrap().file_type().is_fifo());
    let sparse = fs::metadata(cartridge.join("0004/sparse")).unwrap();
    assert_eq!(sparse.len(), 9 << 20);
    assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
    assert_eq!(fs::metadata(cartridge.join("0002/all-hole")).unwrap().blocks(), 0);
    let large = fs::metadata(cartridge.join("0000/large")).unwrap();
    assert_eq!((large.uid(), large.gid(), large.mode() & 0o7777), (3_000_000, 3_000_001, 0o4751));
    if has_xattrs {
        assert_eq!(xattr(&cartridge.join("0005/large"), "user.origin"), "with = and \u{e9}");
    }
    if has_acls {
        let shown = Command::new("getfacl").arg(cartridge.join("0005/etc/passwd")).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("user:daemon:r-x") && shown.contains("group:1234:r--"), "{shown}");
    }
}

fn vault_loads(vault: &Vault, drive: u16) -> u64 {
    vault.emulated().counters(drive).unwrap().load_count
}

#[test]
fn a_hostile_archive_stays_within_its_directory() {
    let vault = Vault::new(1, 64 * MIB);
    let script = r#"
import io, sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.PAX_FORMAT)
def add(name, kind=tarfile.REGTYPE, data=b'', link='', size=None):
    entry = tarfile.TarInfo(name); entry.type = kind; entry.linkname = link
    entry.size = len(data) if size is None else size
    out.addfile(entry, io.BytesIO(data))
add('../escape', data=b'out')
add('a/../../escape', data=b'out')
add('/absolute/file', data=b'inside')
add('twice', data=b'first'); add('twice.link', tarfile.LNKTYPE, link='twice'); add('twice', data=b'second')
add('loop1', tarfile.LNKTYPE, link='loop2'); add('loop2', tarfile.LNKTYPE, link='loop1'); add('self', tarfile.LNKTYPE, link='self')
add('dir', tarfile.DIRTYPE); add('dir/dirlink', tarfile.LNKTYPE, link='dir'); add('dirlink', tarfile.LNKTYPE, link='.')
add('link', tarfile.SYMTYPE, link='/etc'); add('link/passwd', data=b'not of this machine')
add('file', data=b'x'); add('file/below', data=b'now a directory')
add('gone/below', data=b'x'); add('gone', data=b'now a file')
add('n' * 300, data=b'too long'); add('odd\nname\x01', data=b'odd')
add('./', tarfile.DIRTYPE)
out.close()
"#;
    let output = Command::new("python3").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    write_cartridge(&vault, "RL0001L8", &[blocks(&output.stdout, 10_240)]);
    let scanned = vault.json(&["scan", "RL0001L8"]).pop().unwrap();
    // Two that lead out, three links to nothing, two to directories, one long name.
    assert_eq!(scanned["left_out"], 8, "{scanned}");
    let mounted = Mounted::over(vault, "");
    let root = mounted.at.join("tapes/RL0001L8/0000");
    let mut names: Vec<String> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = ["absolute", "dir", "file", "gone", "link", "odd\nname\u{1}", "twice", "twice.link"];
    assert_eq!(names, expected);
    let text = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert_eq!((text("twice"), text("twice.link")), ("second".to_owned(), "first".to_owned()));
    assert_eq!(text("link/passwd"), "not of this machine");
    assert_eq!(
        (text("absolute/file"), text("file/below"), text("gone")),
        ("inside".to_owned(), "now a directory".to_owned(), "now a file".to_owned())
    );
    assert_eq!(fs::read_dir(root.join("dir")).unwrap().count(), 0);
    assert_eq!(fs::canonicalize(root.join("dir/..")).unwrap(), fs::canonicalize(&root).unwrap());
}

#[test]
fn a_file_that_goes_on_on_another_volume_is_shown_in_pieces() {
    let vault = Vault::new(2, 64 * MIB);
    let root = vault.sandbox.path("tree");
    fs::create_dir(&root).unwrap();
    let large = Random(5).bytes(400_000);
    fs::write(root.join("large"), &large).unwrap();
    fs::write(root.join("small"), "after it").unwrap();
    let mut files = [Vec::new(), Vec::new()];
    for format in ["gnu", "posix"] {
        shell(
            &root,
            &format!(
                "rm -f ../v1 ../v2 ../v3; tar --format={format} -M -L 200 -cf ../v1 -f ../v2 -f ../v3 large small"
            ),
        );
        for (volume, name) in ["v1", "v2"].iter().enumerate() {
            files[volume].push(fs::read(vault.sandbox.path(name)).unwrap());
        }
    }
    for (volume, barcode) in ["RL0001L8", "RL0002L8"].iter().enumerate() {
        let parts: Vec<Vec<&[u8]>> = files[volume].iter().map(|bytes| blocks(bytes, 10_240)).collect();
        write_cartridge(&vault, barcode, &parts);
        let scanned = vault.json(&["scan", barcode]).pop().unwrap();
        println!("{scanned}");
    }
    let mounted = Mounted::over(vault, ",tape_idle=5");
    for file in ["0000", "0001"] {
        let mut pieces = BTreeMap::new();
        for barcode in ["RL0001L8", "RL0002L8"] {
            for entry in fs::read_dir(mounted.at.join("tapes").join(barcode).join(file)).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                assert_ne!(name, "large", "a piece must not be taken for the whole");
                if let Some(place) = name.strip_prefix("large~bytes-") {
                    assert!(place.ends_with("-of-400000"), "{name}");
                    let from: usize = place.split('-').next().unwrap().parse().unwrap();
                    pieces.insert(from, fs::read(entry.path()).unwrap());
                }
            }
        }
        assert!(pieces.len() >= 2, "{file}: {:?}", pieces.keys());
        for (from, bytes) in &pieces {
            assert!(
                bytes.len() > 100_000 && *bytes == large[*from..from + bytes.len()],
                "{file} from {from}"
            );
        }
    }
}

#[test]
fn what_was_never_scanned_and_what_is_no_archive_is_shown_for_what_it_is_and_moves_no_tape() {
    let vault = Vault::new(3, 64 * MIB);
    let mut label = [b' '; 80];
    label[..10].copy_from_slice(b"VOL1ABC123");
    label[24..28].copy_from_slice(b"LTFS");
    write_cartridge(&vault, "RL0002L8", &[vec![&label], vec![b"<?xml version=\"1.0\"?>"]]);
    let image = vault.image("RL0002L8");
    assert_eq!(vault.json(&["scan", "RL0002L8"]).pop().unwrap()["foreign"], "LTFS");
    let mounted = Mounted::over(vault, "");
    let tapes = mounted.at.join("tapes");
    let end = Instant::now() + Duration::from_secs(30);
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&tapes).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    while names().len() < 3 {
        assert!(Instant::now() < end, "{:?}", names());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(names(), ["RL0001L8", "RL0002L8", "RL0003L8"]);
    let loads = all_loads(&mounted.vault);
    for (barcode, state, errno) in
        [("RL0001L8", "unscanned", Errno::ENODATA), ("RL0002L8", "foreign", Errno::EOPNOTSUPP)]
    {
        let cartridge = tapes.join(barcode);
        assert!(fs::metadata(&cartridge).unwrap().is_dir());
        assert_eq!(xattr(&cartridge, "user.reelfs.barcode"), barcode);
        assert_eq!(xattr(&cartridge, "user.reelfs.state"), state);
        assert!(xattr(&cartridge, "user.reelfs.slot").parse::<u16>().unwrap() > 0);
        // An empty directory would let `rsync --delete` remove what was copied from it.
        let error = fs::read_dir(&cartridge).and_then(|mut entries| entries.next().transpose()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno as i32), "{barcode}: {error}");
        let error = fs::metadata(cartridge.join("x")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno as i32), "{barcode}: {error}");
    }
    assert_eq!(xattr(&tapes.join("RL0002L8"), "user.reelfs.kind"), "LTFS");
    assert_eq!(all_loads(&mounted.vault), loads);
    assert!(mounted.vault.image("RL0002L8") == image);
}

#[test]
fn a_cartridge_that_was_written_anew_is_noticed_and_a_scan_shows_what_it_holds_now() {
    let vault = Vault::new(1, 64 * MIB);
    let root = vault.sandbox.path("tree");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "before").unwrap();
    write_cartridge(&vault, "RL0001L8", &[blocks(&archive(&root, ""), 10_240)]);
    vault.good(&["scan", "RL0001L8"]);
    fs::write(root.join("file"), "after").unwrap();
    write_cartridge(&vault, "RL0001L8", &[blocks(&archive(&root, ""), 10_240)]);
    let mounted = Mounted::over(vault, "");
    let file = mounted.at.join("tapes/RL0001L8/0000/file");
    assert_eq!(fs::metadata(&file).unwrap().len(), 6);
    let error = fs::read(&file).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ENOMEDIUM as i32), "{error}");
    let end = Instant::now() + Duration::from_secs(30);
    while mounted.vault.run(&["scan", "RL0001L8"]).code != 0 {
        assert!(Instant::now() < end, "the mount keeps the cartridge");
        std::thread::sleep(Duration::from_millis(200));
    }
    while fs::read(&file).ok().as_deref() != Some(b"after") {
        assert!(Instant::now() < end, "the mount does not notice the scan");
        std::thread::sleep(Duration::from_millis(100));
    }
}
