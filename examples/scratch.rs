//! scratch
use std::path::Path;
use reelfs::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let root = Path::new(&a[1]);
    let mut n = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let now = (n / 1_000_000_000) as i64;
    let mut id = move || { n += 1; let h = id::Fingerprint::of(&n.to_le_bytes()); let mut b=[0;16]; b.copy_from_slice(&h.0[..16]); id::FileId(b) };
    let repo = if root.join("reelfs.toml").exists() { repo::Repository::open(root, Default::default()).unwrap() } else { repo::Repository::create(root, id()).unwrap() };
    let index = index::Index::open(&root.join("index")).unwrap();
    let t = std::time::Instant::now();
    let p = progress::Progress::new();
    let s = job::backup::run(&repo, Some(&index), &"web1".parse().unwrap(), Path::new(&a[2]), &Default::default(),
      repo::generation_writer::WriterInputs { now: id::GenerationTime::from_seconds(now).unwrap(), new_id: Box::new(id) }, &p).unwrap();
    eprintln!("{s:#?}\n{:?}", t.elapsed());
}
