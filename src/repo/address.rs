//! Addresses: `CLIENT[@GENERATION][:PATH]`.
//!
//! A client's name holds neither `@` nor `:`, and a generation's name no `:`, so that the first `:`
//! ends both and the path after it can be any bytes.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use thiserror::Error;

use crate::id::{ClientName, NameError};
use crate::path;

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is nothing before `@` or `:`.
    #[error("address '{text}' has no client; it should be like web1, web1@latest or web1@-2:etc/hosts")]
    NoClient {
        /// What was given, escaped.
        text: String,
    },
    /// The client's name is not one.
    #[error("address '{text}' does not begin with a client")]
    Client {
        /// What was given, escaped.
        text: String,
        /// What is wrong with the name.
        source: NameError,
    },
    /// The generation cannot be one.
    #[error(
        "generation '{generation}' in address '{text}' is neither a name like 2026-11-21T04-00-00Z, nor the \
         beginning of one, nor 'latest', nor '-2' for the one before the latest"
    )]
    Generation {
        /// What was given, escaped.
        text: String,
        /// The part between `@` and `:`, escaped.
        generation: String,
    },
    /// The path leads upwards.
    #[error("the path in address '{text}' has a part '..'; write it from the root of the backup down")]
    Upwards {
        /// What was given, escaped.
        text: String,
    },
}

/// A place in the repository: a client, one of its generations, and a path in that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The client.
    pub client: ClientName,
    /// Name of a generation, the beginning of one, `latest`, or `-2`; `None` if none was given.
    pub generation: Option<String>,
    /// Path below the root of the backup, without `/` at its ends; empty for the root.
    pub path: Vec<u8>,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`AddressError`] if it is none.
    pub fn parse(text: &OsStr) -> Result<Self, AddressError> {
        let bytes = text.as_bytes();
        let shown = || path::display(bytes);
        let (head, path) = split(bytes, b':');
        let (client, generation) = split(head, b'@');
        if client.is_empty() {
            return Err(AddressError::NoClient { text: shown() });
        }
        let client = String::from_utf8_lossy(client)
            .parse()
            .map_err(|source| AddressError::Client { text: shown(), source })?;
        let generation = match generation {
            None => None,
            Some(bytes) => Some(checked_generation(bytes).ok_or_else(|| AddressError::Generation {
                text: shown(),
                generation: path::display(bytes),
            })?),
        };
        let parts: Vec<&[u8]> = path::components(path.unwrap_or_default()).collect();
        if parts.iter().any(|part| *part == b"..") {
            return Err(AddressError::Upwards { text: shown() });
        }
        Ok(Self { client, generation, path: parts.join(&b'/') })
    }

    /// The generation that was asked for, which is the latest if none was.
    #[must_use]
    pub fn generation(&self) -> &str {
        self.generation.as_deref().unwrap_or("latest")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client)?;
        if let Some(generation) = &self.generation {
            write!(f, "@{generation}")?;
        }
        if !self.path.is_empty() {
            write!(f, ":{}", path::display(&self.path))?;
        }
        Ok(())
    }
}

fn split(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |byte| *byte == separator);
    (parts.next().unwrap_or_default(), parts.next())
}

fn checked_generation(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text == "latest" {
        return Some(text.to_owned());
    }
    if let Some(back) = text.strip_prefix('-') {
        let is_number = !back.is_empty() && back.bytes().all(|byte| byte.is_ascii_digit());
        return (is_number && back.parse::<usize>().is_ok_and(|back| back > 0)).then(|| text.to_owned());
    }
    const EXAMPLE: &[u8] = b"0000-00-00T00-00-00Z";
    let fits = |(given, pattern): (u8, &u8)| match pattern {
        b'0' => given.is_ascii_digit(),
        other => given == *other,
    };
    let valid = !text.is_empty() && text.len() <= EXAMPLE.len() && text.bytes().zip(EXAMPLE).all(fits);
    valid.then(|| text.to_owned())
}

#[cfg(test)]
mod test {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Address, AddressError> {
        Address::parse(OsStr::from_bytes(bytes))
    }

    #[test]
    fn every_part_but_the_client_can_be_left_out() {
        for (text, client, generation, path) in [
            (&b"web1"[..], "web1", None, &b""[..]),
            (b"web1:", "web1", None, b""),
            (b"web1:/", "web1", None, b""),
            (b"web1@latest", "web1", Some("latest"), b""),
            (b"web1@-2:etc", "web1", Some("-2"), b"etc"),
            (b"web1@2026-11:/etc//ssh/./x/", "web1", Some("2026-11"), b"etc/ssh/x"),
            (b"a.b@2026-11-21T04-00-00Z:x", "a.b", Some("2026-11-21T04-00-00Z"), b"x"),
        ] {
            let address = parse(text).expect("valid");
            let again = Address::parse(OsStr::new(&address.to_string())).expect("valid");
            assert_eq!(again, address, "what is shown can be given");
            assert_eq!(
                (address.client.as_str(), address.generation.as_deref(), &address.path[..]),
                (client, generation, path)
            );
        }
    }

    #[test]
    fn a_path_can_be_any_bytes() {
        assert_eq!(parse(b"web1:a@b:c\xff\n d").expect("valid").path, b"a@b:c\xff\n d");
        assert_eq!(parse(b"web1:@-2").expect("valid").path, b"@-2");
        assert_eq!(parse(b"web1:...").expect("valid").path, b"...");
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for bad in [&b""[..], b":etc", b"@latest", b"-x", b"web 1", b"../x", b"web1@", b"web1@-0", b"web1@-"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        for bad in [&b"web1@newest"[..], b"web1@2026/11", b"web1@2026-11-21T04-00-00Zx", b"web1@-2x"] {
            assert!(
                parse(bad).expect_err("not valid").to_string().contains("2026-11-21T04-00-00Z"),
                "{bad:?}"
            );
        }
        assert_eq!(
            parse(b"web1:a/../b").expect_err("not valid").to_string(),
            "the path in address 'web1:a/../b' has a part '..'; write it from the root of the backup down"
        );
    }
}
