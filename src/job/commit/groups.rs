//! Files that are safe only together (row H2): those of a database, and those that the policy lists.
//!
//! Known kinds, found around the member that is being written:
//!
//! - SQLite: `NAME`, `NAME-wal`, `NAME-shm`, `NAME-journal` (sqlite.org, "Temporary Files Used By SQLite").
//! - PostgreSQL: all below the directory that has `PG_VERSION` and `global/pg_control` ("Database File
//!   Layout" in its manual).
//! - MariaDB and MySQL: all below the directory that has `ibdata1`, `aria_log_control` or `#innodb_redo`.

use crate::live::{ExcludeError, Exclusions};

const SQLITE_SUFFIXES: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];
// Names that together tell a data directory.
const DATA_DIRECTORIES: [&[&[u8]]; 4] =
    [&[b"PG_VERSION", b"global/pg_control"], &[b"ibdata1"], &[b"aria_log_control"], &[b"#innodb_redo"]];

/// Groups that the policy lists.
#[derive(Debug, Default)]
pub(super) struct ListedGroups {
    groups: Vec<Exclusions>,
}

impl ListedGroups {
    /// Reads the policy.
    pub(super) fn new(groups: &[Vec<String>]) -> Result<Self, ExcludeError> {
        let named = |patterns: &Vec<String>| ("reelfs.toml, safe.groups".to_owned(), patterns.clone());
        let groups = groups.iter().map(|patterns| Exclusions::new(&[named(patterns)]));
        Ok(Self { groups: groups.collect::<Result<_, _>>()? })
    }
}

/// A group that one file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Tree,
}

/// Groups of which a member is not safe.
#[derive(Debug, Default)]
pub(super) struct Groups {
    // Path of the database file, or of the directory.
    databases: Vec<(Kind, Vec<u8>)>,
    listed: Vec<Exclusions>,
}

impl Groups {
    /// Tells whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.databases.is_empty() && self.listed.is_empty()
    }

    /// Adds the groups that the file at this path belongs to; `exists` tells of other paths.
    pub(super) fn add(&mut self, path: &[u8], listed: &ListedGroups, exists: &dyn Fn(&[u8]) -> bool) {
        let found = [
            data_directory(path, exists).map(|root| (Kind::Tree, root)),
            Some((Kind::Sqlite, main_file(path))),
        ];
        for group in found.into_iter().flatten() {
            if !self.databases.contains(&group) {
                self.databases.push(group);
            }
        }
        for group in listed.groups.iter().filter(|group| group.is_excluded(path, false)) {
            self.listed.push(group.clone());
        }
    }

    /// Tells whether the file at this path belongs to one.
    pub(super) fn contains(&self, path: &[u8]) -> bool {
        let is_in = |(kind, root): &(Kind, Vec<u8>)| match kind {
            Kind::Sqlite => main_file(path) == *root,
            Kind::Tree => {
                path.strip_prefix(&root[..]).is_some_and(|rest| root.is_empty() || rest.starts_with(b"/"))
            }
        };
        self.databases.iter().any(is_in) || self.listed.iter().any(|group| group.is_excluded(path, false))
    }
}

// The database file that a file of SQLite belongs to; any other file belongs to itself.
fn main_file(path: &[u8]) -> Vec<u8> {
    let main = SQLITE_SUFFIXES.iter().find_map(|suffix| path.strip_suffix(*suffix));
    main.unwrap_or(path).to_vec()
}

// The data directory that a file lies in: the deepest one that looks like one.
fn data_directory(path: &[u8], exists: &dyn Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = crate::path::components(path).collect();
    (0..parts.len()).rev().find_map(|depth| {
        let directory = parts.get(..depth)?.join(&b'/');
        let has = |name: &&[u8]| {
            let separator = if directory.is_empty() { &b""[..] } else { b"/" };
            exists(&[&directory, separator, name].concat())
        };
        DATA_DIRECTORIES.iter().any(|names| names.iter().all(has)).then_some(directory)
    })
}

#[cfg(test)]
mod test {
    use super::*;

    fn groups(path: &str, listed: &[&[&str]]) -> Groups {
        let listed: Vec<Vec<String>> =
            listed.iter().map(|group| group.iter().map(|pattern| (*pattern).to_owned()).collect()).collect();
        let mut groups = Groups::default();
        let present: [&[u8]; 4] =
            [b"srv/pg/PG_VERSION", b"srv/pg/global/pg_control", b"mysql/ibdata1", b"srv/PG_VERSION"];
        let exists = |path: &[u8]| present.contains(&path);
        groups.add(path.as_bytes(), &ListedGroups::new(&listed).expect("valid patterns"), &exists);
        groups
    }

    #[test]
    fn the_files_of_a_database_belong_together() {
        for (unsafe_path, members, others) in [
            (
                "app/data.db-wal",
                &["app/data.db", "app/data.db-shm", "app/data.db-journal"][..],
                &["app/data.db2", "data.db", "app/other.db-wal"][..],
            ),
            (
                "srv/pg/base/16384/2619",
                &["srv/pg/pg_wal/000000010000000000000001", "srv/pg/global/pg_control", "srv/pg/PG_VERSION"],
                &["srv/pgx/PG_VERSION", "srv/file"],
            ),
            ("mysql/ibdata1", &["mysql/shop/orders.ibd", "mysql/aria_log_control"], &["mysql2/ibdata1"]),
            ("mysql/shop/orders.ibd", &["mysql/ibdata1", "mysql/shop/lines.ibd"], &["other/x.ibd"]),
            ("project/base/file", &[], &["project/global/file", "project/base/other"]),
        ] {
            let groups = groups(unsafe_path, &[]);
            for member in members {
                assert!(groups.contains(member.as_bytes()), "{unsafe_path}: {member}");
            }
            for other in others {
                assert!(!groups.contains(other.as_bytes()), "{unsafe_path}: {other}");
            }
        }
    }

    #[test]
    fn the_policy_lists_groups_by_patterns() {
        let listed: &[&[&str]] = &[&["/srv/app/*.dat", "/srv/app/index"], &["/srv/other/"]];
        let groups = groups("srv/app/a.dat", listed);
        assert!(groups.contains(b"srv/app/index"));
        assert!(groups.contains(b"srv/app/b.dat"));
        assert!(!groups.contains(b"srv/other/a"));
    }
}
