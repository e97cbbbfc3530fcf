//! Damaged files of the repository: what they cost, and what they do not.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use reelfs::format::frame::{Codec, HEADER_LEN};
use reelfs::format::record::{Extent, ROOT_OBJECT};
use reelfs::repo::{GenerationId, Node};

use crate::chain::{DEPTH, chain, directory};
use crate::support::{Random, Site, can_mount, flip, shell};

const PAGE: u64 = 4096;

fn extents(site: &Site, generation: GenerationId, name: &str) -> Vec<Extent> {
    let repository = site.open();
    let opened = repository.generation(generation.ordinal).unwrap();
    let entry = opened.lookup(repository.pages(), ROOT_OBJECT, name.as_bytes()).unwrap().unwrap();
    let inode = entry.inode.unwrap();
    repository.content(&inode).unwrap().extents_from(0).map(|extent| extent.unwrap()).collect()
}

fn damage(site: &Site, extent: &Extent) {
    let repository = site.open();
    let location = extent.chunk.location;
    let path = PathBuf::from(repository.frames().path(location.file));
    let frame = repository.frames().frame(location.file, location.frame).unwrap();
    let payload = location.frame + HEADER_LEN as u64 + frame.header().tables_len();
    assert_eq!(frame.header().codec, Codec::Raw, "random bytes are stored as they are");
    flip(&path, payload + u64::from(location.start) + 300);
}

fn errno(result: io::Result<()>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_damaged_chunk_costs_its_own_bytes_only() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let content = Random(3).bytes(6 << 20);
    fs::write(site.source.join("big"), &content).unwrap();
    fs::write(site.source.join("other"), "fine").unwrap();
    let generation = site.backup("web1");
    let extents = extents(&site, generation, "big");
    assert!(extents.len() > 4, "{}", extents.len());
    let bad = extents[extents.len() / 2];
    damage(&site, &bad);
    let mount = site.mount(&[]);
    let path = mount.path("clients/web1/latest/big");

    // In order, as cat does: all before the chunk's first page is there.
    let output = shell("cat $1", &[&path]);
    assert!(!output.status.success());
    let good = (bad.offset / PAGE * PAGE) as usize;
    assert_eq!(output.stdout.len(), good);
    assert!(output.stdout == content[..good]);

    // Page by page and in large pieces: bad are the pages that the chunk touches.
    let file = fs::File::open(&path).unwrap();
    for offset in (0..content.len() as u64).step_by(PAGE as usize) {
        let mut page = [0; PAGE as usize];
        let read = file.read_exact_at(&mut page, offset);
        if offset + PAGE <= bad.offset || offset >= bad.offset + bad.len {
            read.unwrap();
            assert!(page[..] == content[offset as usize..][..PAGE as usize], "at {offset}");
        } else {
            assert_eq!(errno(read), Some(libc::EIO), "at {offset}");
        }
    }
    let after = (bad.offset + bad.len).next_multiple_of(PAGE);
    let mut rest = vec![0; content.len() - after as usize];
    file.read_exact_at(&mut rest, after).unwrap();
    assert!(rest == content[after as usize..]);
    assert_eq!(fs::read_to_string(mount.path("clients/web1/latest/other")).unwrap(), "fine");

    let listed = mount.control("damaged");
    let place =
        format!("web1@{}:big\tbytes {} to {}\t", generation.time, bad.offset, bad.offset + bad.len - 1);
    assert!(listed.starts_with(&place), "{listed}");
    assert_eq!(listed.lines().count(), 1, "once: {listed}");
    assert!(mount.control("status").contains("\"damage_count\": 1"), "{}", mount.control("status"));
}

#[test]
fn a_damaged_page_costs_its_own_entries_only_and_the_listing_says_so() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    for index in 0..3000 {
        fs::write(site.source.join(format!("file-{index:04}")), "x").unwrap();
    }
    let generation = site.backup("web1");
    let bad = {
        let repository = site.open();
        let opened = repository.generation(generation.ordinal).unwrap();
        let entry = opened.lookup(repository.pages(), ROOT_OBJECT, b"file-1500").unwrap().unwrap();
        let Node::Entry(address) = entry.node else { panic!("{entry:?}") };
        let dtf = repository.pages().dtf(generation.ordinal).unwrap();
        flip(Path::new(dtf.path()), address.offset + 100);
        address
    };
    let mount = site.mount(&["web1@latest"]);
    let mut names = Vec::new();
    let mut failed = None;
    for entry in fs::read_dir(&mount.mountpoint).unwrap() {
        match entry {
            Ok(entry) => names.push(entry.file_name().into_string().unwrap()),
            Err(error) => failed = error.raw_os_error(),
        }
    }
    assert_eq!(failed, Some(libc::EIO), "nobody may take this for the whole directory");
    assert!(names.len() > 2000 && names.len() < 3000, "{}", names.len());
    assert!(names.contains(&"file-0000".to_owned()) && names.contains(&"file-2999".to_owned()));
    for name in &names {
        assert_eq!(fs::read_to_string(mount.path(name)).unwrap(), "x");
    }
    assert!(!names.contains(&"file-1500".to_owned()));
    assert_eq!(errno(mount.path("file-1500").metadata().map(|_| ())), Some(libc::EIO));
    // Not listed, but there for who knows the name.
    assert!(
        mount.control("damaged").contains(&format!("byte {}", bad.offset)),
        "{}",
        mount.control("damaged")
    );
}

#[test]
fn a_damaged_generation_does_not_hide_the_others() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "1").unwrap();
    let first = site.backup("web1");
    fs::write(site.source.join("f"), "22").unwrap();
    // Another client's generations share no pages with this one's.
    let second = site.backup("db2");
    let dtf = PathBuf::from(site.open().pages().dtf(first.ordinal).unwrap().path());
    fs::write(&dtf, b"").unwrap();
    let mount = site.mount(&[]);
    let client = mount.path("clients/web1");
    assert_eq!(fs::read_dir(&client).unwrap().count(), 2);
    assert_eq!(fs::read_to_string(mount.path("clients/db2/latest/f")).unwrap(), "22");
    let bad = client.join(first.time.to_string());
    assert_eq!(bad.metadata().unwrap().mtime(), first.time.seconds());
    assert_eq!(errno(fs::read_dir(&bad).unwrap().next().unwrap().map(|_| ())), Some(libc::EIO));
    assert_eq!(errno(fs::read(bad.join("f")).map(|_| ())), Some(libc::EIO));
    let good = mount.path("clients/db2").join(second.time.to_string());
    assert_eq!(fs::read_to_string(good.join("f")).unwrap(), "22");
}

#[test]
fn directories_with_two_names_make_no_endless_mount() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let client = "web1".parse().unwrap();
    chain(&site.open(), &client, site.inputs(), |object, above, below| {
        let mut entries = vec![("a", directory(below)), ("b", directory(below))];
        // What it lies in, and itself.
        if object != above {
            entries.extend([("c", directory(object)), ("d", directory(above.max(2)))]);
        }
        entries
    });
    let mount = site.mount(&["web1@latest"]);
    let found = shell("timeout 20 find $1 -type d || echo $?", &[&mount.mountpoint]);
    let listed = String::from_utf8(found.stdout).unwrap();
    assert!(listed.ends_with("\n1\n"), "it ends, and says that something is wrong");
    assert_eq!(listed.lines().count() as u64, 1 + DEPTH + 1);
    assert_eq!(errno(fs::metadata(mount.path("a/a/b")).map(drop)), Some(libc::EIO));
    assert!(mount.path("a/a/a").is_dir());
    assert!(mount.control("damaged").contains("has no place here"));
}
