//! Identifiers: fingerprints, file ids, ordinals, client names and generation names.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// BLAKE3-256 of some data: the identity of a chunk, and of a file's whole content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The value that stands for "not known" in formats; no data is known to have it.
    pub const NONE: Self = Self([0; 32]);

    /// Computes the fingerprint of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        Self(*blake3::hash(data).as_bytes())
    }
}

/// Computes a [`Fingerprint`] of data that comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct FingerprintHasher(blake3::Hasher);

impl FingerprintHasher {
    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The fingerprint of all pieces.
    #[must_use]
    pub fn finish(&self) -> Fingerprint {
        Fingerprint(*self.0.finalize().as_bytes())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Identity of one sealed file or of a repository: 128 random bits, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub [u8; 16]);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for FileId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::FileId { text: text.escape_debug().to_string() };
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(error());
        }
        u128::from_str_radix(text, 16).map(|value| Self(value.to_be_bytes())).map_err(|_| error())
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Number of a generation, unique in its repository and never used again: 1 to [`Ordinal::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(u32);

impl Ordinal {
    /// Largest ordinal: it has 22 bits of an inode number.
    pub const MAX: u32 = (1 << 22) - 1;

    /// Checks the range.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&value).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a client name.
    #[error(
        "client name '{text}' is not 1 to 64 letters, digits, '.', '_' or '-' that begin with a letter or digit"
    )]
    Client {
        /// What was given, escaped.
        text: String,
    },
    /// Not a generation name.
    #[error("generation name '{text}' is not like 2026-11-21T04-00-00Z")]
    Generation {
        /// What was given, escaped.
        text: String,
    },
    /// Not a file id.
    #[error("file id '{text}' is not 32 hexadecimal digits")]
    FileId {
        /// What was given, escaped.
        text: String,
    },
}

/// Name of a client: 1 to 64 ASCII letters, digits, `.`, `_`, `-`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(String);

impl ClientName {
    /// Longest client name, in bytes.
    pub const LEN_MAX: usize = 64;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let valid = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.len() <= Self::LEN_MAX
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
        if !valid {
            return Err(NameError::Client { text: text.escape_debug().to_string() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Time of a generation in whole seconds since 1970 in UTC; unique and growing within a client.
///
/// It is shown as its name, `2026-11-21T04-00-00Z`: no colons, which Windows and tape refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationTime(i64);

impl GenerationTime {
    const FORMAT: &'static str = "%Y-%m-%dT%H-%M-%SZ";
    // 0000-01-01T00:00:00Z to 9999-12-31T23:59:59Z: names of four-digit years.
    const SECONDS_MIN: i64 = -62_167_219_200;
    const SECONDS_MAX: i64 = 253_402_300_799;

    /// Checks that the time has a year of four digits.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        let valid = (Self::SECONDS_MIN..=Self::SECONDS_MAX).contains(&seconds)
            && jiff::Timestamp::from_second(seconds).is_ok();
        valid.then_some(Self(seconds))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// One second later, for a generation made in the same second as the one before.
    #[must_use]
    pub fn next(self) -> Self {
        Self::from_seconds(self.0 + 1).unwrap_or(self)
    }
}

impl fmt::Display for GenerationTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_second(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{}", time.strftime(Self::FORMAT))
    }
}

impl FromStr for GenerationTime {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::Generation { text: text.escape_debug().to_string() };
        let time = jiff::civil::DateTime::strptime(Self::FORMAT, text).map_err(|_| error())?;
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| error())?;
        let parsed = Self::from_seconds(zoned.timestamp().as_second()).ok_or_else(error)?;
        // One spelling only: a file name maps to one generation.
        if parsed.to_string() == text { Ok(parsed) } else { Err(error()) }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_generation_name_comes_back_as_it_was_written() {
        let time: GenerationTime = "2026-11-21T04-00-00Z".parse().expect("valid");
        assert_eq!(time.seconds(), 1_795_233_600);
        assert_eq!(time.to_string(), "2026-11-21T04-00-00Z");
        for bad in ["2026-11-21", "2026-11-21T04:00:00Z", "2026-13-01T00-00-00Z", "", "26-11-21T04-00-00Z"] {
            assert!(bad.parse::<GenerationTime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_client_name_cannot_leave_its_directory_or_look_like_an_option() {
        for bad in ["", ".", "..", "a/b", "-x", ".hidden", "a:b", "a@b", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<ClientName>().is_err(), "{bad}");
        }
        for good in ["web1", "db-2.example.org", "A_1"] {
            assert!(good.parse::<ClientName>().is_ok(), "{good}");
        }
    }

    #[test]
    fn the_fingerprint_is_blake3() {
        assert_eq!(
            Fingerprint::of(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }
}
