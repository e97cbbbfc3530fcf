//! Files that are being written: waited for, marked, or left as they last were, groups only together.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reelfs::format::record::{ROOT_OBJECT, Time};
use reelfs::format::staging_policy::{Inconsistent, Span};
use reelfs::id::FileId;
use reelfs::job::commit::{CommitSummary, Outside};
use reelfs::progress::Progress;
use reelfs::repo::staging::Listed;

use super::scene::{Scene, Staged};
use crate::support::{new_id, random};

/// The system's clock: backing files have their times from it.
#[derive(Debug)]
struct Clock;

impl Outside for Clock {
    #[expect(clippy::disallowed_methods, reason = "tests stand at the edge")]
    fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Time { seconds: i64::try_from(now.as_secs()).unwrap(), nanoseconds: now.subsec_nanos() }
    }

    fn sleep(&self, span: Duration) {
        thread::sleep(span);
    }

    fn new_id(&self) -> FileId {
        new_id()
    }
}

pub(super) fn quick(inconsistent: Inconsistent) -> Scene {
    let mut scene = Scene::new();
    scene.policy.safe.quiet = Span::from_millis(300);
    scene.policy.safe.give_up = Span::from_millis(1200);
    scene.policy.safe.inconsistent = inconsistent;
    scene
}

pub(super) fn commit(scene: &Scene, staged: &Staged) -> CommitSummary {
    let progress = Progress::new();
    let mut commit = scene.commit_of(staged, &progress);
    commit.outside = Arc::new(Clock);
    commit.run(&mut |_| {}).unwrap()
}

fn commit_now(mut scene: Scene, staged: &Staged) -> (Scene, CommitSummary) {
    scene.options.now = true;
    let summary = commit(&scene, staged);
    scene.options.now = false;
    (scene, summary)
}

/// Writes through the backing file whenever the generation's id is made, which is after the freeze.
#[derive(Debug)]
struct WritesAtFreeze {
    backing: Arc<File>,
    large: Vec<u8>,
}

impl Outside for WritesAtFreeze {
    fn now(&self) -> Time {
        Clock.now()
    }

    fn sleep(&self, span: Duration) {
        Clock.sleep(span);
    }

    fn new_id(&self) -> FileId {
        self.backing.write_all_at(&self.large[..1000], 0).unwrap();
        Clock.new_id()
    }
}

/// Runs `then` while a thread writes to the file again and again.
fn while_written<T>(staged: &Staged, path: &str, then: impl FnOnce() -> T) -> T {
    let handle = staged.open(path, false);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                staged.write_at(&handle, 0, &random(number, 100));
                number += 1;
                thread::sleep(Duration::from_millis(20));
            }
        });
        thread::sleep(Duration::from_millis(50));
        let result = then();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_file_that_nobody_has_open_is_taken_at_once() {
    let scene = quick(Inconsistent::Commit);
    let staged = scene.stage("web1");
    staged.write("file", b"just now");
    let started = Instant::now();
    let summary = commit(&scene, &staged);
    assert!(summary.is_complete());
    assert!(started.elapsed() < Duration::from_millis(1000), "{:?}", started.elapsed());
    assert!(summary.waited < Duration::from_millis(100), "{:?}", summary.waited);
}

#[test]
fn a_file_that_was_written_is_waited_for_until_it_is_quiet() {
    let scene = quick(Inconsistent::Commit);
    let staged = scene.stage("web1");
    let handle = staged.open("file", false);
    staged.write_at(&handle, 0, b"just now");
    let summary = commit(&scene, &staged);
    assert!(summary.is_complete(), "{summary:?}");
    assert!(summary.waited >= Duration::from_millis(200), "{:?}", summary.waited);
}

#[test]
fn a_file_that_finds_no_rest_is_taken_as_it_stands_and_marked() {
    let scene = quick(Inconsistent::Commit);
    let staged = scene.stage("web1");
    staged.write("busy", &random(1, 1000));
    staged.write("calm", b"calm");
    let summary = while_written(&staged, "busy", || commit(&scene, &staged));
    assert!(summary.waited >= Duration::from_millis(1200), "{:?}", summary.waited);
    assert_eq!(summary.inconsistent.count, 1, "{summary:?}");
    assert_eq!(summary.inconsistent.listed[0].path, "busy");
    let totals = summary.stored.committed.as_ref().unwrap().totals;
    assert_eq!(totals.inconsistent_count, 1, "the mark is in the generation");
    let read = scene.read(&summary);
    assert_eq!(read["busy"].len(), 1000);
    assert_eq!(read["calm"], b"calm");
    // What was written since is pending, and is taken when it is safe.
    let handle = staged.open("busy", false);
    staged.write_at(&handle, 0, b"since then");
    drop(handle);
    thread::sleep(Duration::from_millis(350));
    let next = commit(&scene, &staged);
    assert_eq!(next.stored.committed.as_ref().unwrap().totals.inconsistent_count, 0);
    assert_eq!(scene.read(&next), staged.seen());
}

#[test]
fn by_policy_a_file_that_finds_no_rest_stays_as_it_last_was_safe() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    let safe = random(1, 200_000);
    staged.write("busy", &safe);
    commit(&scene, &staged);
    staged.write("other", b"other");
    let summary = while_written(&staged, "busy", || {
        staged.write("new and busy.tmp", b"x");
        commit(&scene, &staged)
    });
    assert_eq!(summary.kept_back.count, 1, "{summary:?}");
    assert_eq!(summary.kept_back.listed[0].reason, "was not safe, stays as it last was");
    let read = scene.read(&summary);
    assert_eq!(read["busy"], safe, "as it last was");
    assert_eq!(read["other"], b"other");
    assert!(staged.tree.is_changed().unwrap(), "the change is still staged");
    assert_ne!(staged.seen()["busy"], safe);
    thread::sleep(Duration::from_millis(350));
    let next = commit(&scene, &staged);
    assert_eq!(scene.read(&next), staged.seen());
    scene.verify();
}

#[test]
fn the_files_of_a_database_are_taken_only_together() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    let safe = random(1, 50_000);
    for path in ["data.db", "data.db-wal", "alone.db"] {
        staged.write(path, &safe);
    }
    commit(&scene, &staged);
    for path in ["data.db", "alone.db"] {
        staged.patch(path, 4096, b"changed");
    }
    let summary = while_written(&staged, "data.db-wal", || commit(&scene, &staged));
    let read = scene.read(&summary);
    assert_eq!(read["data.db"], safe, "not without its log");
    assert_eq!(read["data.db-wal"], safe);
    assert_ne!(read["alone.db"], safe);
    assert_eq!(summary.kept_back.count, 2, "{summary:?}");
    thread::sleep(Duration::from_millis(350));
    let next = commit(&scene, &staged);
    assert_eq!(scene.read(&next), staged.seen());
}

#[test]
fn data_directories_and_listed_groups_are_recognised() {
    let mut scene = quick(Inconsistent::KeepLastSafe);
    scene.policy.safe.groups = vec![vec!["/app/*.dat".to_owned(), "/app/index".to_owned()]];
    let staged = scene.stage("web1");
    for directory in ["pg", "pg/global", "pg/base", "app", "base"] {
        staged.make_directory(directory);
    }
    let files = ["pg/PG_VERSION", "pg/global/pg_control", "pg/base/1", "app/a.dat", "app/index", "base/x"];
    for path in files {
        staged.write(path, b"first");
    }
    commit(&scene, &staged);
    for path in files {
        staged.write(path, b"later");
    }
    let summary = while_written(&staged, "pg/base/1", || {
        while_written(&staged, "app/a.dat", || commit(&scene, &staged))
    });
    let read = scene.read(&summary);
    for path in &files[..5] {
        assert_eq!(read[*path], b"first", "{path}");
    }
    assert_eq!(read["base/x"], b"later");
}

#[test]
fn a_file_that_is_being_written_and_was_moved_stays_under_the_name_that_it_had() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    let (safe, next) = (random(1, 200_000), random(2, 1000));
    staged.write("log", &safe);
    staged.write("moved", &next);
    staged.write("gone", b"gone");
    commit(&scene, &staged);
    let summary = while_written(&staged, "log", || {
        // As logs are turned: another takes the name, and yet another that one's.
        staged.rename("log", "log.1");
        staged.rename("moved", "log");
        staged.write("moved", b"new in its place");
        staged.unlink("gone");
        staged.write("other", b"other");
        commit(&scene, &staged)
    });
    let read = scene.read(&summary);
    let expected = [("log", &safe[..]), ("moved", &next), ("other", b"other")];
    assert_eq!(read, expected.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into());
    scene.verify();
    let seen = staged.seen();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["log", "log.1", "moved", "other"], "as they were moved");
    assert_eq!(seen["log"], next);
    thread::sleep(Duration::from_millis(350));
    let after = commit(&scene, &staged);
    assert_eq!(scene.read(&after), seen);
    assert!(!staged.tree.is_changed().unwrap());
    scene.verify();
}

#[test]
fn a_file_that_is_being_written_gets_no_second_name_before_it_is_safe() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    let safe = random(1, 200_000);
    staged.write("one", &safe);
    staged.write("linked", &safe);
    staged.link("linked", "linked too");
    commit(&scene, &staged);
    for (path, name) in [("one", "second"), ("linked", "third")] {
        let summary = while_written(&staged, path, || {
            staged.link(path, name);
            commit(&scene, &staged)
        });
        let kept = &summary.kept_back.listed;
        assert_eq!(kept.len(), 1, "{summary:?}");
        assert!([path, name].contains(&&*kept[0].path), "{kept:?}");
        let read = scene.read(&summary);
        assert!(!read.contains_key(name), "{:?}", read.keys());
        assert!(read[path] == safe, "as it last was");
        scene.verify();
        assert!(staged.seen().contains_key(name));
        thread::sleep(Duration::from_millis(350));
        let after = commit(&scene, &staged);
        assert_eq!(scene.read(&after), staged.seen());
        assert!(!staged.tree.is_changed().unwrap());
        scene.verify();
    }
}

#[test]
fn a_file_that_is_being_written_and_has_lost_its_name_to_a_directory_is_there_all_the_same() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    let safe = random(1, 200_000);
    staged.make_directory("old");
    for path in ["log", "old/inner", "next"] {
        staged.write(path, &safe);
    }
    commit(&scene, &staged);
    let summary = while_written(&staged, "log", || {
        while_written(&staged, "old/inner", || {
            // A directory has taken the name; the directory that it was in is gone.
            staged.rename("log", "log.1");
            staged.make_directory("log");
            staged.write("log/new", b"new");
            staged.rename("old/inner", "inner");
            staged.remove_directory("old");
            commit(&scene, &staged)
        })
    });
    let mut marked: Vec<_> = summary.inconsistent.listed.iter().map(|problem| &*problem.path).collect();
    marked.sort_unstable();
    assert_eq!(marked, ["inner", "log.1"], "{summary:?}");
    let read = scene.read(&summary);
    assert_eq!(read.keys().collect::<Vec<_>>(), ["inner", "log", "log.1", "log/new", "next"]);
    scene.verify();
    thread::sleep(Duration::from_millis(350));
    staged.write("next", b"later");
    let after = commit(&scene, &staged);
    assert!(after.is_complete(), "{after:?}");
    assert_eq!(scene.read(&after), staged.seen());
    scene.verify();
}

#[test]
fn a_file_that_is_being_written_and_has_taken_the_name_of_a_hard_link_is_there() {
    // One name of two is left, none, both wait, or a directory had the name; the file is new, was moved, or is linked.
    for round in 0..12 {
        let scene = quick(Inconsistent::KeepLastSafe);
        let staged = scene.stage("web1");
        staged.write("a", b"old");
        staged.link("a", "b");
        staged.make_directory("directory");
        staged.write("moved", &random(1, 5000));
        staged.write("linked", &random(2, 5000));
        staged.link("linked", "linked too");
        commit(&scene, &staged);
        let (hot, taken) = (["new", "moved", "linked"][round / 4], ["a", "a", "a", "directory"][round % 4]);
        if hot == "new" {
            staged.write("new", b"new");
        }
        let commit_hot = || {
            match round % 4 {
                1 => staged.unlink("b"),
                3 => staged.remove_directory("directory"),
                _ => {}
            }
            staged.rename(hot, taken);
            commit(&scene, &staged)
        };
        let summary = while_written(&staged, hot, || match round % 4 {
            2 => while_written(&staged, "b", commit_hot),
            _ => commit_hot(),
        });
        assert!(
            summary.inconsistent.listed.iter().any(|problem| problem.path == taken),
            "{round}: {summary:?}"
        );
        scene.verify();
        let (read, seen) = (scene.read(&summary), staged.seen());
        assert_eq!(read.keys().collect::<Vec<_>>(), seen.keys().collect::<Vec<_>>(), "{round}");
        thread::sleep(Duration::from_millis(350));
        staged.write("more", b"later");
        let after = commit(&scene, &staged);
        assert!(after.is_complete(), "{after:?}");
        assert_eq!(scene.read(&after), staged.seen(), "{round}");
        scene.verify();
        staged.tree.discard().unwrap();
        assert_eq!(scene.read(&after), staged.seen(), "{round}");
    }
}

#[test]
fn a_hard_link_with_the_name_of_a_file_that_is_being_written_is_taken_and_staging_keeps_it() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    for path in ["a1", "a2"] {
        staged.write(path, b"old");
    }
    commit(&scene, &staged);
    let (one, two) = (staged.open("a1", false), staged.open("a2", false));
    for handle in [&one, &two] {
        staged.write_at(handle, 0, b"HOT");
    }
    staged.rename("a1", "b1");
    staged.rename("a2", "b2");
    staged.write("a1", b"PRECIOUS");
    staged.link("a1", "a2");
    let seen = staged.seen();
    let summary = commit_now(scene, &staged);
    let mut marked: Vec<_> = summary.1.inconsistent.listed.iter().map(|problem| &*problem.path).collect();
    marked.sort_unstable();
    assert_eq!(marked, ["b1", "b2"], "{:?}", summary.1);
    let scene = summary.0;
    assert_eq!(staged.seen(), seen, "staging is as it was");
    assert_eq!(scene.read(&summary.1), seen);
    scene.verify();
    drop((one, two));
    staged.write("a1", b"PRECIOUS still");
    let after = commit(&scene, &staged);
    assert_eq!(scene.read(&after)["a2"], b"PRECIOUS still");
    assert_eq!(scene.read(&after), staged.seen());
    scene.verify();
}

#[test]
fn of_a_turned_log_whose_commit_kept_the_old_name_each_name_is_a_file_of_its_own() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    staged.write("log", b"old");
    commit(&scene, &staged);
    staged.rename("log", "log.1");
    let handle = staged.open("log", false);
    staged.write_at(&handle, 0, b"new");
    let (scene, summary) = commit_now(scene, &staged);
    let kept = scene.read(&summary);
    assert_eq!((&kept["log"][..], &kept["log.1"][..]), (&b"old"[..], &b"old"[..]));
    drop(handle);
    staged.tree.discard().unwrap();
    // Listed first, then looked up, and listed again.
    assert_eq!(staged.seen(), kept);
    let numbers = (staged.number("log"), staged.number("log.1"));
    assert_ne!(numbers.0, numbers.1);
    let mut listing = staged.tree.open_directory(ROOT_OBJECT).unwrap();
    let mut listed = Vec::new();
    let mut take = |entry: Listed<'_>| {
        listed.push(entry.number);
        true
    };
    staged.tree.list(&mut listing, 0, true, &mut take).unwrap();
    assert_eq!(listed, <[u64; 2]>::from(numbers), "as they were looked up");
    staged.write("log.1", b"oldX");
    let read = |path| {
        let handle = staged.tree.open_file(staged.number(path), false, false, staged.caller()).unwrap();
        staged.tree.read(&handle, 0, 100).unwrap()
    };
    assert_eq!((read("log"), read("log.1")), (b"old".to_vec(), b"oldX".to_vec()));
    let after = commit(&scene, &staged);
    let expected = scene.read(&after);
    assert_eq!((&expected["log"][..], &expected["log.1"][..]), (&b"old"[..], &b"oldX"[..]));
    assert_eq!((read("log"), read("log.1")), (b"old".to_vec(), b"oldX".to_vec()));
    scene.verify();
}

#[test]
fn a_file_that_replaced_another_and_is_written_while_it_is_read_is_taken_and_marked() {
    let scene = quick(Inconsistent::KeepLastSafe);
    let staged = scene.stage("web1");
    staged.write("a", &random(1, 100_000));
    staged.write("b", b"replaced");
    commit(&scene, &staged);
    let handle = staged.open("a", true);
    let backing = staged.tree.begin_passthrough(&handle).unwrap().expect("all of it was written anew");
    // Too long to be copied while who writes it waits.
    let large = random(2, 34_000_000);
    backing.write_all_at(&large, 0).unwrap();
    staged.rename("a", "b");
    thread::sleep(Duration::from_millis(350));
    // What the kernel writes directly once the file was frozen.
    let progress = Progress::new();
    let mut job = scene.commit_of(&staged, &progress);
    job.outside = Arc::new(WritesAtFreeze { backing, large: large.clone() });
    let summary = job.run(&mut |_| {}).unwrap();
    let marked: Vec<_> = summary.inconsistent.listed.iter().map(|problem| &*problem.path).collect();
    assert_eq!((marked, summary.kept_back.count), (vec!["b"], 0), "{summary:?}");
    let read = scene.read(&summary);
    assert_eq!(read.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(read["b"].len(), large.len());
    scene.verify();
}

#[test]
fn files_that_are_open_for_writing_are_counted_whether_they_were_written_or_not() {
    let scene = quick(Inconsistent::Commit);
    let staged = scene.stage("web1");
    for path in ["written", "not written", "read"] {
        staged.write(path, b"first");
    }
    let scene = commit_now(scene, &staged).0;
    assert_eq!(staged.tree.open_for_writing_count(), 0);
    let handles = (staged.open("written", false), staged.open("not written", false));
    let again = staged.open("written", false);
    let read = staged.tree.open_file(staged.number("read"), false, false, staged.caller()).unwrap();
    staged.write_at(&handles.0, 0, b"later");
    assert_eq!(staged.tree.open_for_writing_count(), 2);
    let (_, summary) = commit_now(scene, &staged);
    assert!(summary.stored.committed.is_some());
    assert_eq!(staged.tree.open_for_writing_count(), 2, "a commit closes nothing");
    drop((handles.1, again, read));
    assert_eq!(staged.tree.open_for_writing_count(), 1);
    drop(handles.0);
    assert_eq!(staged.tree.open_for_writing_count(), 0);
}
