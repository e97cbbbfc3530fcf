//! Trees that a run begins with: made on disk, copied as they are, read into the model.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use reelfs::format::record::FileKind;
use reelfs::repo::staging::StagingTree;

use super::model::{Model, Object, compare_content};
use super::support::caller;
use crate::support::random;

// Holes are the record of what was written, so that they must stay, and zeros that were written too.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            copy_file(&entry.path(), &target);
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    use rustix::fs::{SeekFrom, Timespec, Timestamps, futimens, seek};
    let (source, target) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
    let metadata = source.metadata().unwrap();
    target.set_len(metadata.len()).unwrap();
    let mut position = 0;
    while let Ok(data) = seek(&source, SeekFrom::Data(position)) {
        position = seek(&source, SeekFrom::Hole(data)).unwrap();
        let mut bytes = vec![0; usize::try_from(position - data).unwrap()];
        source.read_exact_at(&mut bytes, data).unwrap();
        target.write_all_at(&bytes, data).unwrap();
    }
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let last_modification = time(metadata.mtime(), metadata.mtime_nsec());
    let times = Timestamps { last_access: last_modification, last_modification };
    futimens(&target, &times).unwrap();
}

// Reads a tree into the model: what stands in the base is taken as it is.
pub(crate) fn adopt(tree: &StagingTree, model: &mut Model, number: u64, parent: Option<usize>) -> usize {
    let attributes = tree.attributes(number).unwrap();
    let known = model.objects.iter().find(|(_, object)| object.number == number).map(|(id, _)| *id);
    if let Some(known) = known {
        return known;
    }
    let mut content = Vec::new();
    if attributes.kind == FileKind::Regular {
        let handle = tree.open_file(number, false, false, caller()).unwrap();
        content = tree.read(&handle, 0, usize::try_from(attributes.size).unwrap()).unwrap();
        compare_content(tree, number, &content);
    }
    let id = model.add(Object {
        kind: attributes.kind,
        number,
        permissions: attributes.permissions,
        owner: (attributes.uid, attributes.gid),
        link_count: attributes.link_count,
        xattrs: tree.xattrs(number).unwrap().into_iter().collect(),
        content,
        target: if attributes.kind == FileKind::Symlink {
            tree.read_link(number).unwrap()
        } else {
            Vec::new()
        },
        device: attributes.device,
        entries: BTreeMap::new(),
        parent: parent.unwrap_or(0),
        mtime: Some(attributes.mtime),
        ctime: Some(attributes.ctime),
    });
    if attributes.kind == FileKind::Directory {
        for name in list(tree, number) {
            let entry = tree.lookup(number, &name).unwrap();
            let below = adopt(tree, model, entry.number(), Some(id));
            tree.forget(entry.number(), 1);
            model.object(id).entries.insert(name, below);
        }
    }
    id
}

fn list(tree: &StagingTree, number: u64) -> Vec<Vec<u8>> {
    let mut listing = tree.open_directory(number).unwrap();
    let mut names = Vec::new();
    tree.list(&mut listing, 0, false, &mut |entry| {
        names.push(entry.name.to_vec());
        true
    })
    .unwrap();
    names
}

// Linked files, holes, directories in directories, one with many entries.
pub(crate) fn make_source(source: &Path, seed: u64) {
    fs::write(source.join("n00"), random(seed, 100_000)).unwrap();
    fs::hard_link(source.join("n00"), source.join("n01")).unwrap();
    fs::write(source.join("n02"), b"").unwrap();
    let sparse = fs::File::create(source.join("n03")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(&random(seed + 1, 9000), 300_000).unwrap();
    std::os::unix::fs::symlink("n00", source.join("n04")).unwrap();
    for directory in ["n10", "n10/n11", "n10/n11/n12", "n13"] {
        fs::create_dir(source.join(directory)).unwrap();
        fs::write(source.join(directory).join("n05"), random(seed + 2, 5000)).unwrap();
    }
    fs::hard_link(source.join("n00"), source.join("n10/n06")).unwrap();
    fs::hard_link(source.join("n10/n05"), source.join("n13/n07")).unwrap();
    fs::set_permissions(source.join("n13/n05"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::create_dir(source.join("many")).unwrap();
    for number in 0..if seed % 4 == 1 { 700 } else { 30 } {
        fs::write(source.join("many").join(format!("file{number:04}")), format!("{number}")).unwrap();
    }
}
