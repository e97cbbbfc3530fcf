//! `tests/FAULTS.md`: each row names tests, and each test that is named exists.

use crate::rust;
use crate::tree::Tree;

const TABLE: &str = "tests/FAULTS.md";
/// Packages whose sources hold tests, and where these are; everything else is a suite.
const PACKAGES: &[(&str, &str)] = &[("reelfs", "src"), ("mountd", "mountd/src"), ("tools", "tools/src")];

/// Checks the rows of the table and the names in them.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let mut rows = Vec::new();
    for (index, line) in tree.text(TABLE).unwrap_or_default().lines().enumerate() {
        let number = index + 1;
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let &["", row, _, tests, ""] = &cells[..] else {
            // What is no row of three cells and not prose would be lost.
            if line.starts_with('|') {
                findings.push(format!("{TABLE}:{number}: a row has three cells"));
            }
            continue;
        };
        if row == "row" || row.starts_with('-') {
            continue;
        }
        if rows.contains(&row) {
            findings.push(format!("{TABLE}:{number}: `{row}` stands twice"));
        }
        rows.push(row);
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(format!("{TABLE}:{number}: `{row}` has no test"));
        }
        let missing = names.into_iter().filter(|name| !exists(tree, name));
        findings.extend(missing.map(|name| format!("{TABLE}:{number}: there is no test `{name}`")));
    }
    findings
}

// `suite::module::function`; a module is a file or a directory with a mod.rs.
fn exists(tree: &Tree, name: &str) -> bool {
    let Some((path, function)) = name.rsplit_once("::") else { return false };
    let Some((first, module)) = path.split_once("::") else { return false };
    let package = PACKAGES.iter().find(|(package, _)| *package == first);
    let root = package.map_or_else(|| format!("tests/{first}"), |(_, root)| (*root).to_owned());
    let module = module.replace("::", "/");
    [format!("{root}/{module}.rs"), format!("{root}/{module}/mod.rs")]
        .iter()
        .filter_map(|path| tree.text(path))
        .any(|text| has_test(&rust::code(text), function))
}

fn has_test(code: &str, function: &str) -> bool {
    let declaration = format!("fn {function}(");
    code.match_indices(&declaration).any(|(at, _)| {
        // Between the attribute and the function there are other attributes only.
        code[..at].rsplit_once("#[test]").is_some_and(|(_, between)| !between.contains("fn "))
    })
}

#[test]
fn a_planted_name_of_no_test_is_found() {
    let table = "\
| row | what | tests |
|---|---|---|
| F1 | good | `cli::a::holds` `reelfs::b::c::holds` |
| F2 | bad | `cli::a::lost` `cli::a::help` `tape::a::holds` `holds` |
| F3 | none | |
| F3 | twice | `cli::a::holds` |
| F4 | four | cells | `cli::a::holds` |
";
    let files = [
        (TABLE, table),
        ("tests/cli/a.rs", "#[test]\n#[ignore]\nfn holds() {}\nfn help() {}\n// #[test] fn lost() {}\n"),
        ("src/b/c/mod.rs", "mod test {\n    #[test]\n    fn holds() {}\n}\n"),
    ];
    let expected = [
        "tests/FAULTS.md:4: there is no test `cli::a::lost`",
        "tests/FAULTS.md:4: there is no test `cli::a::help`",
        "tests/FAULTS.md:4: there is no test `tape::a::holds`",
        "tests/FAULTS.md:4: there is no test `holds`",
        "tests/FAULTS.md:5: `F3` has no test",
        "tests/FAULTS.md:6: `F3` stands twice",
        "tests/FAULTS.md:7: a row has three cells",
    ];
    assert_eq!(check(&Tree::planted(&files)), expected);
}
