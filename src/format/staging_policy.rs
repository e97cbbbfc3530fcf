//! How a client's staging becomes generations: the tables `staging` and `client.NAME` of `reelfs.toml`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Policy of one client's staging, or of all that have none of their own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StagingPolicy {
    /// Bounds on what staging takes.
    pub space: SpacePolicy,
    /// When files are safe to be taken, and what becomes of those that are not.
    pub safe: SafePolicy,
    /// When a commit is made without being asked for.
    pub commit: CommitPolicy,
    /// How changes in a file are found.
    pub sfp: SfpPolicy,
}

/// Bounds on what staging takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpacePolicy {
    /// Most bytes that a client's staged data may take; 0 for no bound.
    pub cap_bytes: u64,
    /// Bytes that stay free on the disk, so that a commit or a discard is still possible.
    pub reserve_bytes: u64,
}

impl Default for SpacePolicy {
    fn default() -> Self {
        Self { cap_bytes: 0, reserve_bytes: 256 << 20 }
    }
}

/// When files are safe to be taken, and what becomes of those that are not (row H2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SafePolicy {
    /// A file that is open for writing is safe when it was not written for so long.
    pub quiet: Span,
    /// A commit waits so long for all files to become safe.
    pub give_up: Span,
    /// What becomes of a file that is not safe by then.
    pub inconsistent: Inconsistent,
    /// Files that are safe only together: lists of patterns in gitignore syntax. Databases of known kinds
    /// need none.
    pub groups: Vec<Vec<String>>,
}

impl Default for SafePolicy {
    fn default() -> Self {
        Self {
            quiet: Span::from_secs(5),
            give_up: Span::from_secs(60),
            inconsistent: Inconsistent::Commit,
            groups: Vec::new(),
        }
    }
}

/// What a commit does with a file that is not safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inconsistent {
    /// Takes it as it stood at the freeze, and marks it.
    Commit,
    /// Leaves it in the generation as it last was safe; the change stays pending.
    KeepLastSafe,
}

/// When a commit is made without being asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommitPolicy {
    /// What starts a commit.
    pub when: When,
    /// A commit is made so long after the last one if something is pending; 0 for never.
    pub every: Span,
    /// Time without a write after which `when = "silence"` commits.
    pub silence: Span,
    /// With `when = "silence"`, time after the first write at which it commits without silence.
    pub silence_limit: Span,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        Self {
            when: When::Asked,
            every: Span::from_secs(0),
            silence: Span::from_secs(3),
            silence_limit: Span::from_secs(80),
        }
    }
}

/// What starts a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// `reelfs commit`, or the time of `every`.
    Asked,
    /// Also the silence after writes (row J9).
    Silence,
}

/// How changes in a file that was written in place are found (row H6): a file of which more than `percent`
/// was written, and less than `bytes`, is cut anew (SFP); of any other only what was written (FDA).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SfpPolicy {
    /// Per cent of the file: 0 to 100.
    pub percent: u8,
    /// Bytes written.
    pub bytes: u64,
}

impl Default for SfpPolicy {
    fn default() -> Self {
        Self { percent: 10, bytes: 2 << 20 }
    }
}

/// A span of time, written as a number with a unit: `ms`, `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The span.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(unit_at)?;
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(*milliseconds).map(Self::from_millis)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fits = |(_, milliseconds): &&(&str, u64)| all > 0 && all.is_multiple_of(*milliseconds);
        let (unit, milliseconds) = UNITS.iter().rev().find(fits).unwrap_or(&("s", 1000));
        write!(f, "{}{unit}", all / milliseconds)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("\"{text}\" is no span of time, such as \"5s\" or \"1h\""))
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn spans_come_back_from_their_text() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("1500ms", 1500),
            ("3s", 3000),
            ("80s", 80_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ] {
            let span = Span::parse(text).expect(text);
            assert_eq!(span.duration().as_millis(), milliseconds, "{text}");
            assert_eq!(span.to_string(), text);
        }
        assert_eq!(Span::parse("60s").expect("valid").to_string(), "1m");
        for text in ["", "5", "s", "5 s", "-5s", "5w", "99999999999999999999s", "9999999999999999h"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
