//! What a backup leaves out, in the syntax of gitignore.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// A pattern that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{origin}, line {line}: pattern {pattern:?} is not valid")]
pub struct ExcludeError {
    /// Where the pattern comes from.
    pub origin: String,
    /// Number of the line, from 1.
    pub line: usize,
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub source: ignore::Error,
}

/// Patterns in the syntax of gitignore, anchored at the root of the backup.
#[derive(Debug, Clone)]
pub struct Exclusions {
    matcher: Gitignore,
}

impl Exclusions {
    /// Takes lists of patterns, each with a name for messages; a later list wins over an earlier one, and
    /// in one list a later line over an earlier one.
    ///
    /// # Errors
    /// [`ExcludeError`] for the first pattern that is not valid.
    pub fn new(lists: &[(String, Vec<String>)]) -> Result<Self, ExcludeError> {
        let mut builder = GitignoreBuilder::new(".");
        for (origin, lines) in lists {
            for (index, pattern) in lines.iter().enumerate() {
                builder.add_line(None, pattern).map_err(|source| ExcludeError {
                    origin: origin.clone(),
                    line: index + 1,
                    pattern: pattern.clone(),
                    source,
                })?;
            }
        }
        let matcher = builder.build().map_err(|source| ExcludeError {
            origin: lists.iter().map(|(origin, _)| origin.as_str()).collect::<Vec<_>>().join(", "),
            line: lists.iter().map(|(_, lines)| lines.len()).sum(),
            pattern: String::from("all patterns together"),
            source,
        })?;
        Ok(Self { matcher })
    }

    /// Tells whether an object is left out; `relative_path` is its path below the root of the backup,
    /// without a leading `/`. Asked only for what lies in a directory that is not left out itself, as git
    /// does: what lies in one that is cannot come back by negation.
    #[must_use]
    pub fn is_excluded(&self, relative_path: &[u8], is_directory: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(relative_path));
        matches!(self.matcher.matched(path, is_directory), Match::Ignore(_))
    }

    /// Tells whether there is no pattern at all, so that nobody needs to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn exclusions(lists: &[&[&str]]) -> Exclusions {
        let lists: Vec<_> = lists
            .iter()
            .map(|lines| (String::from("test"), lines.iter().map(|line| (*line).to_owned()).collect()))
            .collect();
        Exclusions::new(&lists).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let list =
            exclusions(&[&["# comment", "", "*.o", "/build/", "cache/tmp", "**/deep/*", "!keep.o", "\\#x"]]);
        for (path, is_directory, expected) in [
            ("a.o", false, true),
            ("sub/dir/a.o", false, true),
            ("keep.o", false, false),
            ("sub/keep.o", false, false),
            ("build", true, true),
            ("build", false, false),
            ("sub/build", true, false),
            ("cache/tmp", false, true),
            ("sub/cache/tmp", false, false),
            ("a/deep/x", false, true),
            ("#x", false, true),
            ("# comment", false, false),
        ] {
            assert_eq!(list.is_excluded(path.as_bytes(), is_directory), expected, "{path}");
        }
    }

    #[test]
    fn a_later_list_wins_over_an_earlier_one() {
        let list = exclusions(&[&["*.log", "!a.log"], &["!b.log", "a.log"]]);
        assert!(list.is_excluded(b"a.log", false));
        assert!(!list.is_excluded(b"b.log", false));
        assert!(list.is_excluded(b"c.log", false));
    }

    #[test]
    fn names_that_are_not_utf_8_are_matched_by_bytes() {
        let list = exclusions(&[&["*.tmp", "x?y"]]);
        assert!(list.is_excluded(b"caf\xe9/\xff\xfe.tmp", false));
        assert!(list.is_excluded(b"x\xffy", false));
        assert!(!list.is_excluded(b"\xff\xfe", false));
    }

    #[test]
    fn without_patterns_nothing_is_left_out() {
        let list = exclusions(&[]);
        assert!(list.is_empty());
        assert!(!list.is_excluded(b"anything", true));
        assert!(!exclusions(&[&["x"]]).is_excluded(b".", true));
    }

    #[test]
    fn an_invalid_pattern_is_told_with_its_place() {
        let lists = [(String::from("command line"), vec![String::from("ok"), String::from("[z-a]")])];
        let error = Exclusions::new(&lists).unwrap_err();
        assert_eq!(error.to_string(), "command line, line 2: pattern \"[z-a]\" is not valid");
        assert!(std::error::Error::source(&error).is_some());
    }
}
