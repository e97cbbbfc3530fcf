//! One owner for each dependency: the place that alone names it, and would alone change with it.

use crate::rust;
use crate::tree::Tree;

/// Dependency, and the files or directories that may name it; tests may name any.
const OWNERS: &[(&str, &[&str])] = &[
    ("base64", &["tools/src/output.rs"]),
    ("blake3", &["src/id.rs"]),
    ("clap", &["tools/", "mountd/src/cli.rs"]),
    ("clap_complete", &["tools/"]),
    ("clap_mangen", &["tools/"]),
    ("crc32c", &["src/checksum.rs"]),
    ("crc32fast", &["src/checksum.rs"]),
    ("env_logger", &["tools/", "mountd/"]),
    ("fastcdc", &["src/chunk/split.rs"]),
    ("fuser", &["mountd/src/filesystem.rs", "mountd/src/session.rs"]),
    ("getrandom", &["tools/src/clock.rs"]),
    ("globset", &["tools/src/command/find.rs"]),
    ("ignore", &["src/live/"]),
    ("indicatif", &["tools/"]),
    ("jiff", &["src/id.rs", "tools/"]),
    ("libc", EVERYWHERE),
    ("log", EVERYWHERE),
    ("md5", &["src/scsi/iscsi/"]),
    (
        "nix",
        &[
            "src/live/",
            "src/index/trust.rs",
            "src/repo/repository.rs",
            "src/storage/byte_locks.rs",
            "mountd/",
            "tools/",
        ],
    ),
    ("quick_cache", &["src/repo/", "src/job/verify/pointers.rs"]),
    ("rayon", &["src/job/"]),
    ("reelfs", &["mountd/", "tools/"]),
    ("rocksdb", &["src/index/"]),
    ("rustix", &["src/live/", "src/scsi/sg/", "src/storage/", "mountd/"]),
    (
        "serde",
        &[
            "src/format/config.rs",
            "src/format/staging_policy.rs",
            "src/job/control/",
            "src/emulator/",
            "src/tape/",
            "src/library/",
            "mountd/",
            "tools/",
        ],
    ),
    ("serde_json", &["src/job/control/", "src/emulator/", "src/tape/", "src/library/", "mountd/", "tools/"]),
    ("signal_hook", &["tools/src/context.rs"]),
    ("thiserror", EVERYWHERE),
    ("toml", &["src/format/config.rs"]),
    ("zstd", &["src/chunk/compress.rs"]),
];

/// What of the tests may name a dependency that would otherwise spread; tests may name all others.
const TEST_OWNERS: &[(&str, &[&str])] = &[("fuser", &["tests/powercut/filesystem.rs"])];

const EVERYWHERE: &[&str] = &["src/", "mountd/", "tools/"];
const PACKAGES: &[&str] = &["", "mountd/", "tools/"];

/// Checks that every dependency has an owner and that nobody else names it.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for package in PACKAGES {
        let manifest = format!("{package}Cargo.toml");
        for (line, name) in dependencies(tree.text(&manifest).unwrap_or_default()) {
            if !OWNERS.iter().any(|(owned, _)| *owned == name) {
                findings.push(format!("{manifest}:{line}: `{name}` has no owner in tests/tidy/owners.rs"));
            }
        }
    }
    for (path, text) in tree.rust() {
        let shipped = ["src/", "mountd/src/", "tools/src/"].iter().any(|place| path.starts_with(place));
        let owners = match shipped {
            true => OWNERS,
            false if path.starts_with("tests/") => TEST_OWNERS,
            false => continue,
        };
        let code = rust::code(text);
        let code = if shipped { rust::before_tests(&code) } else { &code };
        for (name, places) in owners {
            // A file `src/live.rs` is the module `src/live/` too.
            let owned = |place: &&str| path.starts_with(place) || path == place.replace("/.rs", ".rs");
            let is_module = |place: &&str| path.strip_suffix(".rs") == place.strip_suffix('/');
            if places.iter().any(|place| owned(place) || is_module(place)) {
                continue;
            }
            for at in rust::words(code, name).filter(|at| names_crate(code, *at, name)) {
                let line = rust::line_of(code, at);
                findings.push(format!("{path}:{line}: `{name}` belongs to {}", places.join(", ")));
            }
        }
    }
    findings
}

// Tells `name::x`, `use name;` and `use name as x` from a local of the same name.
fn names_crate(code: &str, at: usize, name: &str) -> bool {
    let before = code[..at].trim_end();
    let after = code[at + name.len()..].trim_start();
    let is_local_path = before.ends_with("::") && !before.ends_with(" ::");
    (after.starts_with("::") && !is_local_path)
        || rust::words(before, "use").any(|word| word + "use".len() == before.len())
        || before.ends_with("extern crate")
}

fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut section = "";
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim();
        } else if section == "[dependencies]" && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let name = line.split([' ', '=', '.']).next().unwrap_or_default();
            found.push((index + 1, name.replace('-', "_")));
        }
    }
    found
}

#[test]
fn a_planted_use_outside_the_owner_is_found() {
    for (path, text, expected) in [
        ("src/repo/open.rs", "use rocksdb::DB;", "src/repo/open.rs:1: `rocksdb` belongs to src/index/"),
        ("src/index/a.rs", "\nfn f() { blake3::hash(b) }", "src/index/a.rs:2: `blake3` belongs to src/id.rs"),
        ("tools/src/x.rs", "use toml;", "tools/src/x.rs:1: `toml` belongs to src/format/config.rs"),
        ("src/job/a.rs", "let s = ::zstd::x();", "src/job/a.rs:1: `zstd` belongs to src/chunk/compress.rs"),
        (
            "tests/mount/x.rs",
            "use fuser::Session;",
            "tests/mount/x.rs:1: `fuser` belongs to tests/powercut/filesystem.rs",
        ),
        (
            "Cargo.toml",
            "[dependencies]\nleft-pad = \"1\"",
            "Cargo.toml:2: `left_pad` has no owner in tests/tidy/owners.rs",
        ),
    ] {
        assert_eq!(check(&Tree::planted(&[(path, text)])), [expected], "{text}");
    }
}

#[test]
fn the_owner_tests_and_locals_of_the_same_name_are_allowed() {
    let tree = Tree::planted(&[
        ("src/index/mod.rs", "use rocksdb::DB;"),
        ("src/live.rs", "use ignore::Walk;"),
        ("src/chunk/split.rs", "use fastcdc::v2020;\n#[cfg(test)]\nmod test {\n    use blake3::Hasher;\n}"),
        ("src/repo/a.rs", "let ignore = policy.ignore(); // zstd::x\nself::zstd::f();"),
        ("tests/repository/x.rs", "use zstd::x;"),
    ]);
    assert_eq!(check(&tree), [""; 0]);
}
