//! A clock that is wrong does not put generations out of order (F24).

use std::fs;
use std::path::Path;

use reelfs::id::GenerationTime;
use reelfs::job::backup::{self, BackupOptions};
use reelfs::progress::Progress;
use reelfs::repo::generation_writer::WriterInputs;
use reelfs::repo::{GenerationId, Repository};
use tempfile::tempdir;

use crate::support::{client, in_memory, new_id, open, read_all, verify};

const NOW: i64 = 1_795_233_600;
const DAY: i64 = 86_400;

fn backup_at(repository: &Repository, seconds: i64, source: &Path) -> GenerationId {
    let now = GenerationTime::from_seconds(seconds).unwrap();
    let inputs = WriterInputs { now, new_id: Box::new(new_id) };
    let options = BackupOptions { always: true, ..BackupOptions::default() };
    let progress = Progress::new();
    let summary = backup::run(repository, None, &client(), source, &options, inputs, &progress).unwrap();
    summary.committed.unwrap().id
}

#[test]
fn generations_stay_in_the_order_of_their_making_whatever_the_clock_says() {
    let source = tempdir().unwrap();
    let (storage, repository) = in_memory();
    let mut made = Vec::new();
    // A day back, ten years forward and back again, before 1970, and twice in one second.
    for seconds in [NOW, NOW - DAY, NOW + 3652 * DAY, NOW, -DAY, NOW + 3653 * DAY, NOW + 3653 * DAY] {
        fs::write(source.path().join("file"), format!("generation {}", made.len())).unwrap();
        let id = backup_at(&repository, seconds, source.path());
        made.push((id, read_all(&repository, id).unwrap()));
    }
    let repository = open(&storage);
    let listed = repository.generations(&client()).unwrap();
    assert_eq!(listed, made.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    for pair in listed.windows(2) {
        assert!(pair[0].time < pair[1].time && pair[0].ordinal < pair[1].ordinal, "{pair:?}");
    }
    assert_eq!(listed[1].time.seconds(), NOW + 1, "a clock that went back gives the next free second");
    assert_eq!(listed[2].time.seconds(), NOW + 3652 * DAY);
    for (back, (id, content)) in (1..).zip(made.iter().rev()) {
        assert_eq!(repository.resolve(&client(), &format!("-{back}")).unwrap(), *id);
        assert_eq!(repository.resolve(&client(), &id.time.to_string()).unwrap(), *id, "names are unique");
        assert_eq!(read_all(&repository, *id).unwrap(), *content);
    }
    assert!(verify(&repository, None).is_sound());
}
