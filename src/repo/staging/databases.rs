//! Names of files that databases write in place: these are never handed to the kernel to be written
//! directly, so that a freeze of them is of one moment.

use super::objects::Loaded;
use super::tree::StagingTree;
use crate::index::staging::FrozenPlace;

const SUFFIXES: &[&[u8]] = &[
    b".db",
    b".db3",
    b".sqlite",
    b".sqlite3",
    b"-wal",
    b"-shm",
    b"-journal",
    b".ibd",
    b".frm",
    b".myd",
    b".myi",
    b".mad",
    b".mai",
    b".mdb",
    b".ldb",
    b".sdb",
    b".s3db",
];
const PREFIXES: &[&[u8]] =
    &[b"ibdata", b"ib_logfile", b"#ib_redo", b"undo_", b"undo0", b"aria_log", b"pg_control", b"pg_filenode"];

/// Tells whether a file of this name is likely a database's.
#[must_use]
pub(super) fn is_database_name(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    SUFFIXES.iter().any(|suffix| lower.ends_with(suffix))
        || PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
        || is_postgresql_name(&lower)
}

// Relations are numbers with a fork and a segment ("16384_vm", "16384.1"), log segments 24 hexadecimal digits,
// states of transactions 4.
fn is_postgresql_name(name: &[u8]) -> bool {
    if (name.len() == 24 || name.len() == 4 && name.starts_with(b"0"))
        && name.iter().all(u8::is_ascii_hexdigit)
    {
        return true;
    }
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = name.get(digits..).unwrap_or_default();
    let rest =
        [&b"_fsm"[..], b"_vm", b"_init"].iter().find_map(|fork| rest.strip_prefix(*fork)).unwrap_or(rest);
    let is_segment =
        rest.strip_prefix(b".").is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit));
    digits > 0 && (rest.is_empty() || is_segment)
}

impl StagingTree {
    pub(super) fn is_database(&self, object: &Loaded) -> bool {
        if let Some(home) = &object.state.home {
            return is_database_name(&home.name);
        }
        match self.nodes.place(object.number, &self.store) {
            Some(FrozenPlace::Entry(home)) => is_database_name(&home.name),
            _ => false,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn files_of_databases_are_known_by_their_names() {
        for name in [
            "a.db",
            "A.SQLITE",
            "a.db-wal",
            "x-journal",
            "ibdata1",
            "t.ibd",
            "16384",
            "16384_fsm",
            "16384.1",
            "2619_vm.3",
            "000000010000000000000001",
            "pg_control",
            "000A",
            "global_priv.MAD",
        ] {
            assert!(is_database_name(name.as_bytes()), "{name}");
        }
        for name in ["a.dbx", "photo.jpg", "16384.txt", "1.", "_vm", "wal", "notes"] {
            assert!(!is_database_name(name.as_bytes()), "{name}");
        }
    }
}
