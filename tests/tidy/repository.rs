//! The repository as a whole: fixtures, tests, and traces of the machine it was written on.

use std::collections::BTreeSet;

use crate::rust;
use crate::tree::Tree;

/// Directories of machines, in pieces so that this file does not hold what it forbids.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "bash_jobs"), concat!("/.pye", "nv/")];

/// Hosts that files may name: public pages, licences and name spaces. No package registry: from where
/// packages come is a matter of the machine that builds.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "bford.info",
    "creativecommons.org",
    "docs.rs",
    "github.com",
    "localhost",
    "man7.org",
    "matplotlib.org",
    "purl.org",
    "www.apache.org",
    "www.usenix.org",
    "www.w3.org",
];

/// The one package source that a lock file may name.
const LOCK_SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Checks that the README of the fixtures tells of each directory.
pub(crate) fn check_fixtures(tree: &Tree) -> Vec<String> {
    let readme = tree.text("fixtures/README.md").unwrap_or_default();
    let directories: BTreeSet<&str> = tree
        .files()
        .filter_map(|(path, _)| path.strip_prefix("fixtures/")?.rsplit_once('/'))
        .map(|(directory, _)| directory)
        .collect();
    directories
        .into_iter()
        // A golden repository and a set of findings are explained as a whole.
        .filter(|directory| !parents(directory).any(|parent| readme.contains(&format!("`{parent}`"))))
        .filter(|directory| !(directory.starts_with("fuzz/") && readme.contains("`fuzz/<target>`")))
        .map(|directory| format!("fixtures/README.md:1: says nothing of `{directory}`"))
        .collect()
}

// A directory and those above it, but not the topmost.
fn parents(directory: &str) -> impl Iterator<Item = &str> {
    let ends = directory.match_indices('/').map(|(end, _)| end).skip(1).chain([directory.len()]);
    ends.map(|end| &directory[..end])
}

/// Checks that no test file is left out of its main file, and no main file out of the manifest.
pub(crate) fn check_tests(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let is_declared = |main: &str| {
        [("Cargo.toml", ""), ("mountd/Cargo.toml", "../"), ("tools/Cargo.toml", "../")].iter().any(
            |(manifest, above)| {
                let text = tree.text(manifest).unwrap_or_default();
                text.contains(&format!("path = \"{above}{main}\""))
            },
        )
    };
    for (path, _) in tree.rust() {
        let Some((package, below)) = path.split_once("tests/").filter(|(package, _)| {
            package.is_empty() || package.matches('/').count() == 1 && package.ends_with('/')
        }) else {
            continue;
        };
        // What several suites take in with `#[path]`; the compiler says if none does.
        if below.starts_with("shared/") {
            continue;
        }
        let Some((suite, file)) = below.split_once('/') else {
            if package.is_empty() {
                findings.push(format!("{path}:1: tests stand in a directory with a main.rs"));
            }
            continue;
        };
        let main = format!("{package}tests/{suite}/main.rs");
        let main_code = rust::code(tree.text(&main).unwrap_or_default());
        let module = file.split(['/', '.']).next().unwrap_or_default();
        let declared = || rust::words(&main_code, module).any(|at| main_code[..at].ends_with("mod "));
        if file == "main.rs" {
            if package.is_empty() && !is_declared(&main) {
                findings.push(format!("{path}:1: Cargo.toml has no [[test]] of this path"));
            }
        } else if !declared() {
            findings.push(format!("{path}:1: {main} has no `mod {module};`"));
        }
    }
    findings
}

/// Checks that no file names a directory of the machine it was written on.
pub(crate) fn check_machine_paths(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        for place in MACHINE_PATHS {
            for (at, _) in text.match_indices(place) {
                let before = text[..at].chars().next_back();
                let inside = |c: char| c.is_alphanumeric() || "_-.}".contains(c);
                if !place.starts_with("/.") && before.is_some_and(inside) {
                    continue;
                }
                findings.push(format!("{path}:{}: names `{place}`", rust::line_of(text, at)));
            }
        }
    }
    findings
}

/// Checks the hosts that files name.
pub(crate) fn check_hosts(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        let is_lock = path.ends_with("Cargo.lock");
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if is_lock && line.starts_with("source = ") && line != LOCK_SOURCE {
                findings.push(format!("{path}:{number}: a package from elsewhere than the public registry"));
            }
            for host in line.split("://").skip(1).map(host_of) {
                if host.contains('.') && !HOSTS.contains(&host) {
                    findings
                        .push(format!("{path}:{number}: host `{host}` is not in tests/tidy/repository.rs"));
                }
            }
        }
    }
    findings
}

fn host_of(after_scheme: &str) -> &str {
    let end = after_scheme.find(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c)));
    after_scheme[..end.unwrap_or(after_scheme.len())].trim_end_matches('.')
}

#[test]
fn a_planted_fixture_without_a_word_is_found() {
    let files = [("fixtures/README.md", "`format/v1`: golden"), ("fixtures/format/v1/a.bin", "")];
    assert_eq!(check_fixtures(&Tree::planted(&files)), [""; 0]);
    let files = [("fixtures/README.md", "`format/v1`: golden"), ("fixtures/format/v2/a.bin", "")];
    assert_eq!(check_fixtures(&Tree::planted(&files)), ["fixtures/README.md:1: says nothing of `format/v2`"]);
}

#[test]
fn a_planted_test_that_nobody_runs_is_found() {
    let manifest = ("Cargo.toml", "[[test]]\nname = \"a\"\npath = \"tests/a/main.rs\"\n");
    let main = ("tests/a/main.rs", "mod known;\n// mod lost;\n");
    let files = [manifest, main, ("tests/a/known.rs", ""), ("tests/a/known/deep.rs", "")];
    assert_eq!(check_tests(&Tree::planted(&files)), [""; 0]);
    let files = [manifest, main, ("tests/a/lost.rs", ""), ("tests/b/main.rs", ""), ("tests/c.rs", "")];
    let expected = [
        "tests/a/lost.rs:1: tests/a/main.rs has no `mod lost;`",
        "tests/b/main.rs:1: Cargo.toml has no [[test]] of this path",
        "tests/c.rs:1: tests stand in a directory with a main.rs",
    ];
    assert_eq!(check_tests(&Tree::planted(&files)), expected);
    let files = [("mountd/tests/m/main.rs", ""), ("mountd/tests/m/x.rs", "")];
    assert_eq!(
        check_tests(&Tree::planted(&files)),
        ["mountd/tests/m/x.rs:1: mountd/tests/m/main.rs has no `mod x;`"]
    );
}

#[test]
fn a_planted_path_of_a_machine_is_found() {
    let text = format!("ok: net{0}x\nbad: {0}x\n", MACHINE_PATHS[0]);
    let expected = format!("README.md:2: names `{}`", MACHINE_PATHS[0]);
    assert_eq!(check_machine_paths(&Tree::planted(&[("README.md", &text)])), [expected]);
}

#[test]
fn a_planted_host_is_found() {
    let text =
        format!("{0}github.com/a {0}localhost:80 {0}mirror.example/simple", "https:/".to_owned() + "/");
    let findings = check_hosts(&Tree::planted(&[("Makefile", &text)]));
    assert_eq!(findings, ["Makefile:1: host `mirror.example` is not in tests/tidy/repository.rs"]);
    let lock = ("fuzz/Cargo.lock", "source = \"sparse+x\"\n");
    assert_eq!(check_hosts(&Tree::planted(&[lock])).len(), 1);
    assert_eq!(check_hosts(&Tree::planted(&[("Cargo.lock", LOCK_SOURCE)])), [""; 0]);
}
