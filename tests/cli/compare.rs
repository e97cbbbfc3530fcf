//! `diff` tells the same as a comparison of whole listings, whatever the trees share.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;

use crate::support::{Random, Sandbox};

fn listed(sandbox: &Sandbox, address: &str) -> BTreeMap<String, Value> {
    let mut entries = BTreeMap::new();
    for mut entry in sandbox.json(&["ls", "-R", address]) {
        for volatile in ["atime", "ctime", "inode", "links", "generation", "allocated_bytes"] {
            entry.as_object_mut().unwrap().remove(volatile);
        }
        entries.insert(entry["path"].as_str().unwrap().to_owned(), entry);
    }
    entries
}

fn expected(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let mut differences = BTreeMap::new();
    for path in before.keys().chain(after.keys()) {
        let change = match (before.get(path), after.get(path)) {
            (Some(_), None) => "removed",
            (None, Some(_)) => "added",
            (Some(one), Some(other)) if one == other => continue,
            (Some(one), Some(other)) if one["kind"] != other["kind"] => "type",
            (Some(one), Some(other)) if one["blake3"] != other["blake3"] => "modified",
            (Some(one), Some(other)) if one["target"] != other["target"] => "modified",
            _ => "attributes",
        };
        differences.insert(path.clone(), change.to_owned());
    }
    differences
}

// Of a place that changed its kind the entry itself and what is below it are told; the path decides.
fn told(sandbox: &Sandbox, before: &str, after: &str) -> BTreeMap<String, String> {
    let mut differences = BTreeMap::new();
    for difference in sandbox.json(&["diff", "--all", before, after]) {
        let path = difference["path"].as_str().unwrap().to_owned();
        let change = difference["change"].as_str().unwrap().to_owned();
        assert!(differences.insert(path.clone(), change).is_none(), "{path} was told twice");
    }
    // Listings do not have the root.
    differences.remove("");
    differences
}

fn change(sandbox: &Sandbox, numbers: &mut Random) {
    let source = sandbox.source();
    for _ in 0..numbers.below(12) {
        let directory = format!("d{}/e{}", numbers.below(6), numbers.below(4));
        let path = source.join(&directory).join(format!("f{}", numbers.below(40)));
        let parent = path.parent().unwrap();
        match numbers.below(8) {
            0 => drop(fs::remove_file(&path)),
            1 => drop(fs::remove_dir_all(parent)),
            2 if parent.is_dir() => {
                let mode = 0o700 + u32::try_from(numbers.below(64)).unwrap();
                fs::set_permissions(parent, fs::Permissions::from_mode(mode)).unwrap();
            }
            3 => {
                drop(fs::rename(parent, source.join(format!("d{}/e{}", numbers.below(6), numbers.below(4)))))
            }
            4 if parent.is_dir() => drop(symlink(format!("to-{}", numbers.below(3)), &path)),
            5 if path.is_file() => drop(fs::hard_link(&path, source.join(format!("h{}", numbers.below(5))))),
            6 if parent.is_dir() => drop(fs::create_dir(&path)),
            _ if parent.is_file() || path.is_dir() => {}
            _ => {
                fs::create_dir_all(parent).unwrap();
                let broken = path.is_symlink();
                if !broken {
                    fs::write(&path, format!("content {}", numbers.below(9))).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_comparison_tells_what_whole_listings_tell() {
    let mut numbers = Random(0x5eed_cafe);
    let sandbox = Sandbox::with_repository();
    for number in 0..900 {
        sandbox.write(&format!("d{}/e{}/f{}", number % 6, number / 6 % 4, number / 24), format!("{number}"));
    }
    // Enough names for a tree of several levels.
    for number in 0..3000 {
        sandbox.write(&format!("many/a-rather-long-name-that-fills-pages-{number}"), "");
    }
    sandbox.backup(&[]);
    for round in 0..10 {
        change(&sandbox, &mut numbers);
        sandbox.backup(if round % 4 == 3 { &["--always", "--full"] } else { &["--always"] });
    }
    let listings: Vec<_> = (1..=11).map(|back| listed(&sandbox, &format!("web1@-{back}"))).collect();
    let name = |back: usize| format!("web1@-{back}");
    for (one, other) in (1..11).map(|back| (back + 1, back)).chain([(11, 1), (1, 11), (7, 3), (4, 4)]) {
        let expected = expected(&listings[one - 1], &listings[other - 1]);
        assert_eq!(told(&sandbox, &name(one), &name(other)), expected, "{one} and {other} back");
    }
    let below = told(&sandbox, "web1@-11:d1", "web1@-1:d1");
    let whole = told(&sandbox, "web1@-11", "web1@-1");
    let whole: BTreeMap<String, String> = whole
        .into_iter()
        .filter_map(|(path, change)| Some((path.strip_prefix("d1/")?.to_owned(), change)))
        .collect();
    assert_eq!(below, whole);
}

#[test]
fn a_change_through_another_name_of_a_file_is_told_for_all_its_names() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("a/one", "before");
    fs::create_dir(sandbox.source().join("b")).unwrap();
    fs::hard_link(sandbox.source().join("a/one"), sandbox.source().join("b/two")).unwrap();
    sandbox.backup(&[]);
    fs::write(sandbox.source().join("a/one"), "after").unwrap();
    sandbox.backup(&[]);
    let shown = sandbox.good(&["diff", "web1@-2", "web1"]);
    assert_eq!(shown, "M        5 B  a/one  (was 6 B)\nM        5 B  b/two  (was 6 B)\n");
    assert_eq!(sandbox.good(&["diff", "web1", "web1"]), "");
    assert_eq!(sandbox.good(&["diff", "web1:a/one", "web1:b/two"]), "");
}
