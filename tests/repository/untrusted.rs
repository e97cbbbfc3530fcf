//! A repository that somebody else has prepared (S18, S19): no database of his is opened, no link of his is
//! followed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use reelfs::index::{Index, IndexError, UntrustedError};
use reelfs::job::open_index::{IndexNews, open_index};
use reelfs::progress::Progress;
use reelfs::repo::{CacheBytes, RepoError, Repository};
use tempfile::{TempDir, tempdir};

use crate::support::{backup, new_id};

/// A repository in a directory with one generation and its index.
fn repository() -> (TempDir, Repository) {
    let directory = tempdir().unwrap();
    let root = directory.path().join("repository");
    let repository = Repository::create(&root, new_id()).unwrap();
    let source = tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    backup(&repository, None, source.path()).unwrap();
    drop(open_index(&repository, 0, &Progress::new(), &mut |_| {}).unwrap());
    (directory, repository)
}

// What lies below a directory, with its bytes.
fn bytes_below(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.map(|path| (path.display().to_string(), fs::read(path).unwrap_or_default())).collect();
    found.sort();
    found
}

#[test]
fn an_index_with_links_in_it_is_not_opened_but_made_again() {
    for what in ["index", "index/LOCK", "index/CURRENT", "index/IDENTITY"] {
        let (directory, repository) = repository();
        let place = directory.path().join("repository").join(what);
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&place, &elsewhere).unwrap();
        symlink(&elsewhere, &place).unwrap();
        let before = if elsewhere.is_dir() { bytes_below(&elsewhere) } else { Vec::new() };
        if what == "index" {
            // The repository itself is not opened with a directory that is a link.
            let error = Repository::open(repository.root().unwrap(), CacheBytes::default()).unwrap_err();
            assert!(matches!(error, RepoError::Linked { .. }), "{error}");
        }
        let mut news = Vec::new();
        let index = open_index(&repository, 0, &Progress::new(), &mut |one| news.push(one)).unwrap();
        assert!(matches!(&news[..], [IndexNews::Damaged(text)] if text.contains("is not a")), "{news:?}");
        assert!(index.unwrap().chunks().count() > 0, "{what}");
        assert!(!place.is_symlink(), "{what}");
        if elsewhere.is_dir() {
            assert_eq!(bytes_below(&elsewhere), before, "{what}");
        }
    }
}

#[test]
fn an_index_of_another_user_is_not_opened() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let (_directory, repository) = repository();
    let path = repository.root().unwrap().join("index");
    for given in [path.clone(), path.join("CURRENT")] {
        std::os::unix::fs::chown(&given, Some(65534), None).unwrap();
        for opened in [Index::open(&path), Index::open_read_only(&path)] {
            let error = opened.unwrap_err();
            assert!(
                matches!(
                    &error,
                    IndexError::Untrusted { source: UntrustedError::Owner { owner: 65534, user: 0, .. }, .. }
                ),
                "{error:?}"
            );
            assert!(!error.is_damage(), "it stays for its owner");
        }
        std::os::unix::fs::chown(&given, Some(0), None).unwrap();
    }
    Index::open(&path).unwrap();
}

#[test]
fn a_repository_that_others_can_write_to_or_that_leads_elsewhere_is_refused() {
    let (directory, repository) = repository();
    let root = repository.root().unwrap();
    let open = || Repository::open(root, CacheBytes::default()).map(drop);
    fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(open(), Err(RepoError::Insecure { mode: 0o777, .. })));
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["clients", "full", "delta", "merge", "index", "staging"] {
        let (place, away) = (root.join(name), directory.path().join(name));
        if place.exists() {
            fs::rename(&place, &away).unwrap();
        }
        symlink(&away, &place).unwrap();
        assert!(matches!(open(), Err(RepoError::Linked { .. })), "{name}");
        fs::remove_file(&place).unwrap();
        if away.exists() {
            fs::rename(&away, &place).unwrap();
        }
    }
    open().unwrap();
}

#[test]
fn a_planted_lock_makes_no_file_elsewhere() {
    let (directory, repository) = repository();
    let place = repository.root().unwrap().join("lock");
    let elsewhere = directory.path().join("elsewhere");
    if place.exists() {
        fs::remove_file(&place).unwrap();
    }
    symlink(&elsewhere, &place).unwrap();
    repository.lock().unwrap_err();
    assert!(!elsewhere.exists());
}
