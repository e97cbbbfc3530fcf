//! Generations that are gone: missed by `verify`, and their numbers never given again.

use std::fs;
use std::path::Path;

use reelfs::job::backup::{self, BackupOptions};
use reelfs::progress::Progress;
use reelfs::repo::{GenerationId, Repository};
use reelfs::storage::{MemoryStorage, Storage};
use tempfile::tempdir;

use crate::support::{in_memory, inputs, open, verify};

fn back_up(repository: &Repository, client: &str, source: &Path, full: bool) -> GenerationId {
    let options = BackupOptions { full, always: true, ..BackupOptions::default() };
    let client = client.parse().unwrap();
    let made = backup::run(repository, None, &client, source, &options, inputs(), &Progress::new());
    made.unwrap().committed.unwrap().id
}

/// Four generations of one client, the third a new baseline, and one of another client in between.
fn make() -> (MemoryStorage, Vec<GenerationId>) {
    let source = tempdir().unwrap();
    fs::write(source.path().join("file"), b"content").unwrap();
    let (memory, repository) = in_memory();
    let clients = [("web1", false), ("web1", false), ("web2", false), ("web1", true), ("web1", false)];
    let made = clients.map(|(client, full)| back_up(&repository, client, source.path(), full));
    (memory, made.to_vec())
}

fn name(client: &str, id: GenerationId, suffix: &str) -> String {
    format!("clients/{client}/{}.{}.{suffix}", id.time, id.ordinal)
}

#[test]
fn every_generation_that_is_missing_is_told() {
    let (memory, made) = make();
    assert!(verify(&open(&memory), None).is_sound());
    for (index, id) in made.iter().enumerate() {
        let client = if index == 2 { "web2" } else { "web1" };
        let copy = memory.after_kill();
        copy.remove(&name(client, *id, "dtf")).unwrap();
        let found = verify(&open(&copy), None);
        let told: Vec<_> = found.damages.iter().filter(|damage| damage.what.contains("generation")).collect();
        assert_eq!(told.len(), 1, "{index}: {found:?}");
        // Of one that was removed on purpose nothing is told but what is lost with it.
        copy.put(&name(client, *id, "removed"), b"");
        let found = verify(&open(&copy), None);
        assert!(found.damages.iter().all(|damage| !damage.what.contains("generation")), "{index}: {found:?}");
    }
}

#[test]
fn a_client_that_is_gone_with_the_last_generation_is_missed() {
    let (memory, made) = make();
    for name in memory.names().iter().filter(|name| name.starts_with("clients/web1/")) {
        memory.remove(name).unwrap();
    }
    let repository = open(&memory);
    assert!(verify(&repository, None).damages.iter().any(|damage| damage.what.contains("with its client")));
    assert!(repository.next_ordinal().unwrap() > made[4].ordinal);
}

#[test]
fn an_ordinal_is_never_used_twice() {
    let (memory, made) = make();
    let source = tempdir().unwrap();
    let mut highest = made[4].ordinal;
    for suffixes in [&["dtf"][..], &["dtf", "last"], &["last"]] {
        let repository = open(&memory);
        let last = back_up(&repository, "web1", source.path(), false);
        assert!(last.ordinal > highest, "{suffixes:?}");
        highest = last.ordinal;
        for suffix in suffixes {
            memory.remove(&name("web1", last, suffix)).unwrap();
        }
    }
    // The marks were copied from elsewhere, and there are several.
    memory.put("clients/2026-11-21T04-00-00Z.77.last", b"");
    memory.put("clients/web1/2026-11-21T04-00-00Z.78.last", b"");
    assert_eq!(back_up(&open(&memory), "web1", source.path(), false).ordinal.get(), 79);
    let marks: Vec<_> = memory.names().into_iter().filter(|name| name.ends_with(".last")).collect();
    assert_eq!(marks.len(), 3, "one for each client and one for all: {marks:?}");
}
