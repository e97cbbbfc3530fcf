//! The files of the project, by path.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Directories that are made by tools and are no part of the project.
const MADE_BY_TOOLS: &[&str] = &[".git", "target", "corpus", "artifacts", "__pycache__"];

/// Texts by path from the root of the project; a file that is not UTF-8 has an empty text.
#[derive(Debug)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// The project's own files: what git tracks or would track, or all of an exported tree.
    pub(crate) fn of_project() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        match tracked(root) {
            Some(tracked) => paths = tracked,
            None => walk(root, "", &mut paths),
        }
        let read = |path: String| {
            let bytes = fs::read(root.join(&path)).ok()?;
            Some((path, String::from_utf8(bytes).unwrap_or_default()))
        };
        Self { files: paths.into_iter().filter_map(read).collect() }
    }

    /// A tree made for a test.
    #[cfg(test)]
    pub(crate) fn planted(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self { files: files.iter().map(owned).collect() }
    }

    /// All files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Rust sources.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Text of one file, if there is one.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let listed = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<_> = listed.split_terminator('\0').map(str::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn walk(root: &Path, below: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(below)).expect("the project can be read") {
        let entry = entry.expect("the project can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let kind = entry.file_type().expect("the project can be read");
        if kind.is_dir() && !MADE_BY_TOOLS.contains(&name.as_str()) {
            walk(root, &path, paths);
        } else if kind.is_file() {
            paths.push(path);
        }
    }
}

#[test]
fn the_project_is_found_without_git_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(root, "", &mut paths);
    for path in ["Cargo.toml", "src/lib.rs", "tests/tidy/tree.rs"] {
        assert!(paths.iter().any(|found| found == path), "{path}");
        assert!(Tree::of_project().text(path).is_some(), "{path}");
    }
    assert!(!paths.iter().any(|path| path.starts_with(".git/")));
}
