//! Text keys, by which the two ends agree (RFC 7143, sections 6 and 13).

use thiserror::Error;

/// Most bytes of text that one exchange may have.
pub const TEXT_LEN_MAX: usize = 65_536;
/// Most keys that one exchange may have.
const KEYS_MAX: usize = 256;
/// Longest name of a key (RFC 7143, 6.1).
const KEY_LEN_MAX: usize = 63;
/// Longest value that one key may have here; the standard's longest is a CHAP binary of 1024 bytes in
/// hexadecimal, and lists of addresses go beyond that only for targets with thousands of ports.
const VALUE_LEN_MAX: usize = 8192;

/// Why text cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TextError {
    /// It has more keys or bytes than any login needs.
    #[error("login text has more than {max} {what}")]
    TooMuch {
        /// `keys` or `bytes`.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// A part is not `key=value` in UTF-8, or is too long.
    #[error("login text at byte {offset} is not a key with a value")]
    Malformed {
        /// Where the part begins.
        offset: usize,
    },
    /// A value is not what its key wants.
    #[error("login key {key} has the value {value:?}")]
    Value {
        /// Name of the key.
        key: String,
        /// The value.
        value: String,
    },
}

/// Keys with their values, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    pairs: Vec<(String, String)>,
}

impl Keys {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes text.
    ///
    /// # Errors
    /// [`TextError`] if it is malformed or too much.
    pub fn parse(text: &[u8]) -> Result<Self, TextError> {
        if text.len() > TEXT_LEN_MAX {
            return Err(TextError::TooMuch { what: "bytes", max: TEXT_LEN_MAX });
        }
        let mut pairs = Vec::new();
        let mut offset = 0;
        for part in text.split(|byte| *byte == 0) {
            // Padding, and what is behind the last NUL.
            if !part.is_empty() {
                let malformed = || TextError::Malformed { offset };
                let pair = std::str::from_utf8(part).map_err(|_| malformed())?;
                let (key, value) = pair.split_once('=').ok_or_else(malformed)?;
                if key.is_empty() || key.len() > KEY_LEN_MAX || value.len() > VALUE_LEN_MAX {
                    return Err(malformed());
                }
                if pairs.len() == KEYS_MAX {
                    return Err(TextError::TooMuch { what: "keys", max: KEYS_MAX });
                }
                pairs.push((key.to_owned(), value.to_owned()));
            }
            offset += part.len() + 1;
        }
        Ok(Self { pairs })
    }

    /// Encodes the keys.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (key, value) in &self.pairs {
            text.extend_from_slice(key.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            text.push(0);
        }
        text
    }

    /// Adds a key.
    pub fn push(&mut self, key: &str, value: impl Into<String>) {
        self.pairs.push((key.to_owned(), value.into()));
    }

    /// The keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of a key, the first if it comes more than once.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// The value of a key as a number.
    ///
    /// # Errors
    /// [`TextError::Value`] if it is none.
    pub fn number(&self, key: &str) -> Result<Option<u32>, TextError> {
        let parse = |value: &str| {
            parse_number(value).ok_or_else(|| TextError::Value { key: key.into(), value: value.into() })
        };
        self.get(key).map(parse).transpose()
    }

    /// The value of a key as `Yes` or `No`.
    ///
    /// # Errors
    /// [`TextError::Value`] if it is neither.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, TextError> {
        match self.get(key) {
            None => Ok(None),
            Some("Yes") => Ok(Some(true)),
            Some("No") => Ok(Some(false)),
            Some(value) => Err(TextError::Value { key: key.into(), value: value.into() }),
        }
    }
}

/// The value for `Yes` and `No`.
#[must_use]
pub fn yes_no(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// A number, decimal or hexadecimal (RFC 7143, 6.1).
#[must_use]
pub fn parse_number(value: &str) -> Option<u32> {
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
        None if !value.starts_with('+') => value.parse().ok(),
        _ => None,
    }
}

/// Binary as text, in hexadecimal (RFC 7143, 6.1).
#[must_use]
pub fn encode_binary(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    ["0x".to_owned()].into_iter().chain(digits).collect()
}

/// Binary from text, in hexadecimal or Base64 (RFC 7143, 6.1).
#[must_use]
pub fn decode_binary(value: &str) -> Option<Vec<u8>> {
    let (prefix, digits) = value.split_at_checked(2)?;
    match prefix {
        "0x" | "0X" => decode_hexadecimal(digits),
        "0b" | "0B" => decode_base64(digits),
        _ => None,
    }
}

fn decode_hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let values: Option<Vec<u8>> = digits.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    // An odd count of digits lacks a leading zero.
    let mut values = values.filter(|values| !values.is_empty())?;
    if values.len() % 2 == 1 {
        values.insert(0, 0);
    }
    Some(values.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

fn decode_base64(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    // What is left must be filled with zeros, and six bits alone are half a byte.
    let left = held & ((1 << bits) - 1);
    (left == 0 && bits < 6).then_some(bytes)
}
