//! Rust sources: sizes, `unsafe`, names, characters.

use crate::rust;
use crate::tree::Tree;

/// Lines of a source file before its `mod test`.
const FILE_LINES_MAX: usize = 500;
/// Lines of one function, signature to closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// The files in which `unsafe` may appear.
const UNSAFE_FILES: &[&str] = &[
    "mountd/src/fuse_fd.rs",
    "src/allocator.rs",
    "src/scsi/sg/ioctl.rs",
    "src/storage/openers.rs",
    "src/storage/write_back.rs",
    "src/storage/write_hold.rs",
];
/// Words that say nothing about what a file holds.
const EMPTY_WORDS: &[&str] = &["util", "utils", "common", "manager", "helper", "helpers", "misc"];

/// Checks that `unsafe` stands in the listed files only.
pub(crate) fn check_unsafe(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust().filter(|(path, _)| !UNSAFE_FILES.contains(path)) {
        let code = rust::code(text);
        for at in rust::words(&code, "unsafe") {
            let line = rust::line_of(&code, at);
            findings.push(format!("{path}:{line}: unsafe is allowed only in {}", UNSAFE_FILES.join(", ")));
        }
    }
    findings
}

/// Checks the lengths of files and functions.
pub(crate) fn check_sizes(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let lines = rust::before_tests(text).lines().count();
        if lines > FILE_LINES_MAX {
            findings
                .push(format!("{path}:{lines}: {lines} lines before the tests, at most {FILE_LINES_MAX}"));
        }
        let code = rust::code(text);
        for at in rust::words(&code, "fn") {
            let lines = function_lines(&code[at..]);
            if lines > FUNCTION_LINES_MAX {
                let line = rust::line_of(&code, at);
                findings
                    .push(format!("{path}:{line}: function of {lines} lines, at most {FUNCTION_LINES_MAX}"));
            }
        }
    }
    findings
}

// Lines from `fn` to the closing brace; 0 for a declaration or a type.
fn function_lines(code: &str) -> usize {
    if rust::first_word(&code["fn".len()..]).is_empty() {
        return 0;
    }
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            // A `;` in brackets belongs to an array type.
            ';' if depth == 0 && code[..at].matches('[').count() == code[..at].matches(']').count() => {
                return 0;
            }
            '{' => depth += 1,
            '}' if depth == 1 => return rust::line_of(code, at),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    0
}

/// Checks that no file is named after nothing in particular.
pub(crate) fn check_names(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, _) in tree.rust() {
        let words = path.trim_end_matches(".rs").split(['/', '_', '-', '.']);
        for word in words.filter(|word| EMPTY_WORDS.contains(word)) {
            findings.push(format!("{path}:1: `{word}` does not say what is inside"));
        }
    }
    findings
}

/// Checks that sources are ASCII before their tests: look-alikes and direction marks cannot hide.
pub(crate) fn check_ascii(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust().filter(|(path, _)| !path.contains("tests/")) {
        for (index, line) in rust::before_tests(text).lines().enumerate() {
            if let Some(other) = line.chars().find(|c| !c.is_ascii()) {
                findings.push(format!("{path}:{}: {other:?} is not ASCII", index + 1));
            }
        }
    }
    findings
}

#[test]
fn a_planted_unsafe_is_found() {
    for text in
        ["\nunsafe { f() }", "\nunsafe fn f() {}", "\npub unsafe extern \"C\" fn f() {}", "\nunsafe\n{}"]
    {
        let findings = check_unsafe(&Tree::planted(&[("src/repo/a.rs", text)]));
        let expected = format!("src/repo/a.rs:2: unsafe is allowed only in {}", UNSAFE_FILES.join(", "));
        assert_eq!(findings, [expected], "{text}");
    }
    let allowed = [("mountd/src/fuse_fd.rs", "unsafe {}"), ("src/a.rs", "// unsafe\n#![deny(unsafe_code)]")];
    assert_eq!(check_unsafe(&Tree::planted(&allowed)), [""; 0]);
}

#[test]
fn a_planted_long_file_or_function_is_found() {
    let long = "//\n".repeat(501);
    let findings = check_sizes(&Tree::planted(&[("src/a.rs", &long)]));
    assert_eq!(findings, ["src/a.rs:501: 501 lines before the tests, at most 500"]);
    let tested = format!("{}mod test {{\n{}}}\n", "//\n".repeat(500), "//\n".repeat(500));
    assert_eq!(check_sizes(&Tree::planted(&[("src/a.rs", &tested)])), [""; 0]);
    let function = |lines: usize| {
        format!(
            "impl A {{\n    pub async fn f<const N: usize>(a: [u8; N]) -> [u8; 2] {{\n{}    }}\n}}\n",
            "        x(\"}\");\n".repeat(lines - 2)
        )
    };
    let findings = check_sizes(&Tree::planted(&[("src/a.rs", &function(71))]));
    assert_eq!(findings, ["src/a.rs:2: function of 71 lines, at most 70"]);
    assert_eq!(check_sizes(&Tree::planted(&[("src/a.rs", &function(70))])), [""; 0]);
    let types =
        format!("trait T {{\n    fn f(&self);\n}}\ntype F = fn(u8);\n{}", "const X: u8 = 0;\n".repeat(80));
    assert_eq!(check_sizes(&Tree::planted(&[("src/a.rs", &types)])), [""; 0]);
}

#[test]
fn a_planted_empty_name_is_found() {
    for path in ["src/util.rs", "src/repo/common/x.rs", "mountd/src/path_helper.rs"] {
        assert_eq!(check_names(&Tree::planted(&[(path, "")])).len(), 1, "{path}");
    }
    assert_eq!(check_names(&Tree::planted(&[("src/utility.rs", ""), ("src/repo/mod.rs", "")])), [""; 0]);
}

#[test]
fn a_planted_look_alike_is_found() {
    let findings = check_ascii(&Tree::planted(&[("src/a.rs", "\nlet \u{430} = 1;")]));
    assert_eq!(findings, ["src/a.rs:2: '\u{430}' is not ASCII"]);
    let allowed =
        [("src/a.rs", "#[cfg(test)]\nmod test {\n    // \u{e9}\n}"), ("tests/b/main.rs", "// \u{e9}")];
    assert_eq!(check_ascii(&Tree::planted(&allowed)), [""; 0]);
}
