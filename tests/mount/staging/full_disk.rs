//! A staging whose disk is full (F12, F13): writers get `ENOSPC`, and what is there can be committed or dropped.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use reelfs::job::control::{RefusalKind, Request};
use reelfs::job::verify::{self, VerifyOptions};
use reelfs::progress::Progress;

use super::committed::{ask, commit, try_ask};
use super::{Stage, has};
use crate::support::{Random, Site, can_mount, shell, shell_ok, wait_until};

const MIB: u64 = 1 << 20;

fn site(size: u64, reserve: u64) -> Site {
    let site = Site::on_small_disk(size);
    let file = site.repository.join("reelfs.toml");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str(&format!("\n[staging.space]\nreserve_bytes = {reserve}\n"));
    fs::write(&file, text).unwrap();
    site
}

fn stage(size: u64, reserve: u64) -> Stage {
    let stage = Stage::on(site(size, reserve));
    // The policy is read when something is asked.
    ask(&stage, &Request::Status { client: None });
    stage
}

fn assert_sound(stage: &Stage) {
    let repository = stage.site.open();
    let verified = verify::run(&repository, None, &[], &VerifyOptions::default(), &Progress::new()).unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}

fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOSPC)
}

// Takes all space of the disk.
fn ballast(stage: &Stage) -> PathBuf {
    let path = stage.site.repository.with_file_name("ballast");
    let mut file = File::create(&path).unwrap();
    let block = vec![1; 64 << 10];
    while file.write_all(&block).is_ok() {}
    path
}

#[test]
fn rsync_into_a_full_staging_fails_and_goes_on_after_a_commit_through_the_reserve() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let stage = stage(64 * MIB, 16 * MIB);
    let text = b"a line that is the same in all of the file\n".repeat(25_000);
    for number in 0..60 {
        let mut file = File::create(stage.site.source.join(format!("f{number:02}"))).unwrap();
        writeln!(file, "{number}").unwrap();
        file.write_all(&text).unwrap();
    }
    let trees = [&*stage.site.source, &stage.root()];
    let refused = shell("rsync -a $1/ $2/", &trees);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(11), "{error}");
    assert!(error.contains("No space left on device"), "{error}");
    commit(&stage);
    wait_until("what was committed gives its space back", || {
        shell("rsync -a $1/ $2/", &trees).status.success()
    });
    commit(&stage);
    assert_eq!(shell_ok("rsync -anci $1/ $2/", &trees), "");
    assert_sound(&stage);
}

#[test]
fn what_does_not_fit_is_not_committed_and_can_be_discarded() {
    if !can_mount() {
        return;
    }
    let stage = stage(64 * MIB, 8 * MIB);
    let mut random = Random(81);
    let mut written = 0;
    let refused = (0..80).find_map(|number| {
        let result = fs::write(stage.path(&format!("f{number}")), random.bytes(MIB));
        written += u64::from(result.is_ok());
        result.err()
    });
    assert!(refused.as_ref().is_some_and(is_full), "{refused:?}");
    assert!(written > 40, "{written} MiB fit");
    let request = reelfs::job::control::CommitRequest {
        client: "web1".into(),
        now: true,
        ..reelfs::job::control::CommitRequest::default()
    };
    let refusal = try_ask(&stage, &Request::Commit(request)).unwrap_err();
    assert!(refusal.text.contains("No space left") || refusal.text.contains("no space"), "{refusal:?}");
    assert_ne!(refusal.kind, RefusalKind::Usage);
    assert!(stage.site.open().generations(&"web1".parse().unwrap()).unwrap().is_empty());
    assert_eq!(fs::read(stage.path("f0")).unwrap().len() as u64, MIB, "it is staged as before");
    ask(&stage, &Request::Discard { client: "web1".into() });
    wait_until("the space is back", || fs::write(stage.path("new"), vec![1; 30 << 20]).is_ok());
    commit(&stage);
    assert_sound(&stage);
}

#[test]
fn a_disk_without_any_space_refuses_changes_is_readable_and_goes_on_once_there_is_space() {
    if !can_mount() {
        return;
    }
    let stage = stage(32 * MIB, 0);
    fs::write(stage.path("kept"), "kept").unwrap();
    let ballast = ballast(&stage);
    // The log of the database has space that was reserved for it.
    let mut refused_count = 0;
    for number in 0..20_000 {
        let target = "t".repeat(4000);
        if let Err(error) = std::os::unix::fs::symlink(target, stage.path(&format!("l{number}"))) {
            assert!(is_full(&error), "{number}: {error}");
            refused_count += 1;
        }
        if refused_count > 20 {
            break;
        }
    }
    assert!(refused_count > 20, "{refused_count}");
    assert_eq!(fs::read_to_string(stage.path("kept")).unwrap(), "kept");
    assert!(fs::read_dir(stage.root()).unwrap().count() > 0);
    fs::remove_file(ballast).unwrap();
    wait_until("changes are taken again", || {
        thread::sleep(Duration::from_millis(50));
        fs::write(stage.path("after"), "after").is_ok()
    });
    File::open(stage.path("after")).unwrap().sync_all().unwrap();
    commit(&stage);
    wait_until("the generation is shown", || stage.mount().path("clients/web1/latest/after").exists());
    assert_sound(&stage);
}
