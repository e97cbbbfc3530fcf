//! Layers of the library: a module uses only lower ones, and neighbours never use each other.

use crate::rust;
use crate::tree::Tree;

/// Modules of `src/` from the bottom layer up.
const LAYERS: &[&[&str]] = &[
    &["allocator", "clock", "codec", "checksum", "id", "path", "progress"],
    &["format", "chunk", "storage", "scsi"],
    &["index", "live", "tape", "library", "emulator"],
    &["repo"],
    &["job"],
];

/// Packages on top of the library; they never use each other.
const TOP: &[&str] = &["mountd", "tools"];

/// Checks all sources of the library and of the packages on top.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let code = rust::code(text);
        if let Some(below) = path.strip_prefix("src/") {
            check_library(path, below, &code, &mut findings);
        }
        for package in TOP.iter().filter(|package| path.starts_with(&format!("{package}/"))) {
            for other in TOP.iter().filter(|other| *other != package) {
                for at in rust::words(&code, other).filter(|at| code[at + other.len()..].starts_with("::")) {
                    let line = rust::line_of(&code, at);
                    findings.push(format!("{path}:{line}: `{package}` must not use `{other}`"));
                }
            }
        }
    }
    findings
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn check_library(path: &str, below: &str, code: &str, findings: &mut Vec<String>) {
    let own = below.split(['/', '.']).next().unwrap_or_default();
    if below == "lib.rs" {
        return;
    }
    let Some(own_layer) = layer_of(own) else {
        findings.push(format!("{path}:1: `{own}` has no layer"));
        return;
    };
    for (at, used) in used_modules(code) {
        let line = rust::line_of(code, at);
        match layer_of(used) {
            Some(layer) if used != own && layer >= own_layer => {
                findings.push(format!("{path}:{line}: `{own}` must not use `{used}`"));
            }
            None if used == "*" || used.is_empty() => {
                findings.push(format!("{path}:{line}: name the module that is used"));
            }
            _ => {}
        }
    }
    let parts = below.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    for (at, _) in code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with("super::")) {
        let chain = code[at..].split("super::").take_while(|before| before.is_empty()).count();
        let in_test = at >= rust::before_tests(code).len();
        if chain >= parts + usize::from(in_test) {
            let line = rust::line_of(code, at);
            findings.push(format!("{path}:{line}: reach other modules by `crate::`, not by `super::`"));
        }
    }
}

// Modules after each `crate::`, also those of `crate::{x, y::z}`, with the offset.
fn used_modules(code: &str) -> Vec<(usize, &str)> {
    let mut used = Vec::new();
    for at in rust::words(code, "crate") {
        let Some(rest) = code[at + "crate".len()..].trim_start().strip_prefix("::") else {
            continue;
        };
        let rest = rest.trim_start();
        match rest.strip_prefix('{') {
            Some(group) => used.extend(group_heads(group).into_iter().map(|head| (at, head))),
            None if rest.starts_with('*') => used.push((at, "*")),
            None => used.push((at, rust::first_word(rest))),
        }
    }
    used
}

// First words of the parts of a group, whose opening brace has been taken.
fn group_heads(group: &str) -> Vec<&str> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let part = group[start..at].trim();
                if !part.is_empty() {
                    heads.push(if part.starts_with('*') { "*" } else { rust::first_word(part) });
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

#[test]
fn a_planted_use_of_a_higher_layer_or_a_neighbour_is_found() {
    for (path, text, expected) in [
        ("src/codec.rs", "\nuse crate::format::page;", "src/codec.rs:2: `codec` must not use `format`"),
        (
            "src/chunk/split.rs",
            "use crate::format::page;",
            "src/chunk/split.rs:1: `chunk` must not use `format`",
        ),
        (
            "src/format/x.rs",
            "use crate::{\n    codec::{Reader, put},\n    storage::Storage,\n};",
            "src/format/x.rs:1: `format` must not use `storage`",
        ),
        (
            "src/index/mod.rs",
            "fn f() { crate::repo::open() }",
            "src/index/mod.rs:1: `index` must not use `repo`",
        ),
        ("src/repo/a/b.rs", "use crate :: job :: Job;", "src/repo/a/b.rs:1: `repo` must not use `job`"),
        ("src/format/x.rs", "use crate::*;", "src/format/x.rs:1: name the module that is used"),
        (
            "src/format/x.rs",
            "use super::super::repo::R;",
            "src/format/x.rs:1: reach other modules by `crate::`, not by `super::`",
        ),
        ("src/new.rs", "", "src/new.rs:1: `new` has no layer"),
        ("mountd/src/a.rs", "use tools::b;", "mountd/src/a.rs:1: `mountd` must not use `tools`"),
    ] {
        assert_eq!(check(&Tree::planted(&[(path, text)])), [expected], "{text}");
    }
}

#[test]
fn lower_layers_the_own_module_and_comments_are_allowed() {
    let text = "//! As [`crate::job`].\nuse crate::{codec, id::FileId};\nuse super::page;\nuse crate::format::x;\n\
                #[cfg(test)]\nmod test {\n    use super::super::page;\n    const S: &str = \"crate::repo\";\n}";
    assert_eq!(check(&Tree::planted(&[("src/format/y.rs", text)])), [""; 0]);
}
