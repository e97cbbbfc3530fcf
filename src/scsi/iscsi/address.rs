//! Addresses of logical units: `iscsi://[user[%secret]@]host[:port]/target/lun`, as libiscsi has them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::chap::Credentials;

/// The port that IANA gave iSCSI.
pub const PORT: u16 = 3260;
/// What an address begins with.
const SCHEME: &str = "iscsi://";
/// Longest name of a target (RFC 7143, 4.2.7.1).
const TARGET_LEN_MAX: usize = 223;

/// Where targets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// Name and secret, if the target asks for them.
    pub credentials: Option<Credentials>,
    /// Name or number of the host.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Where a logical unit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where its target is.
    pub portal: Portal,
    /// Name of the target.
    pub target: String,
    /// Number of the logical unit.
    pub lun: u16,
}

/// Why text is no address. The text is not told: it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an address of the form iscsi://[user[%secret]@]host[:port]/target/lun: {problem}")]
pub struct AddressError {
    problem: &'static str,
}

/// From `iscsi://[user[%secret]@]host[:port]`.
impl FromStr for Portal {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |problem| AddressError { problem };
        let authority = text.strip_prefix(SCHEME).ok_or(wrong("another scheme"))?;
        // A secret may hold an `@`, a host cannot.
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(parse_credentials(credentials)), place),
            None => (None, authority),
        };
        if place.is_empty() {
            return Err(wrong("no host"));
        }
        let (host, port) = parse_place(place).ok_or(wrong("host or port"))?;
        Ok(Self { credentials, host, port })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |problem| AddressError { problem };
        let rest = text.strip_prefix(SCHEME).ok_or(wrong("another scheme"))?;
        let (authority, path) = rest.split_once('/').ok_or(wrong("no target"))?;
        let portal = format!("{SCHEME}{authority}").parse()?;
        let (target, lun) = path.rsplit_once('/').ok_or(wrong("no logical unit"))?;
        if !is_target_name(target) {
            return Err(wrong("name of the target"));
        }
        let lun = lun.parse().ok().filter(|lun| *lun < 0x4000).ok_or(wrong("logical unit"))?;
        Ok(Self { portal, target: target.to_owned(), lun })
    }
}

/// Tells whether a text can be the name of a target (RFC 7143, 4.2.7.2).
pub(super) fn is_target_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
    !text.is_empty() && text.len() <= TARGET_LEN_MAX && text.chars().all(is_allowed)
}

fn parse_credentials(text: &str) -> Credentials {
    let (user, secret) = text.split_once('%').unwrap_or((text, ""));
    Credentials { user: user.to_owned(), secret: secret.to_owned() }
}

// An IPv6 address stands in brackets.
fn parse_place(place: &str) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
    Some((host.to_owned(), port))
}

/// Writes the address without its secret, so that it can be shown.
impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if let Some(credentials) = &self.credentials {
            write!(f, "{}@", credentials.user)?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if self.port != PORT {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Writes the address without its secret, so that it can be shown.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.portal, self.target, self.lun)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_address_is_understood_and_shown_without_its_secret() {
        let address: Address =
            "iscsi://me%p@ss@[::1]:3270/iqn.2026-01.lab:vtl/3".parse().expect("an address");
        let credentials = address.portal.credentials.clone().expect("credentials");
        assert_eq!((credentials.user.as_str(), credentials.secret.as_str()), ("me", "p@ss"));
        assert_eq!((address.portal.host.as_str(), address.portal.port, address.lun), ("::1", 3270, 3));
        assert_eq!(address.target, "iqn.2026-01.lab:vtl");
        assert_eq!(address.to_string(), "iscsi://me@[::1]:3270/iqn.2026-01.lab:vtl/3");
        assert!(!format!("{address:?}").contains("p@ss"));
        let plain: Address = "iscsi://library/iqn.x/0".parse().expect("an address");
        assert_eq!((plain.portal.port, plain.to_string().as_str()), (PORT, "iscsi://library/iqn.x/0"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for text in [
            "http://a/b/0",
            "iscsi://a",
            "iscsi://a/b",
            "iscsi://a/b/x",
            "iscsi://a/b/99999",
            "iscsi:///b/0",
            "iscsi://a:b/c/0",
            "iscsi://[::1/c/0",
            "iscsi://a//0",
            "iscsi://a/b\n/0",
            "iscsi://u%topsecret@/b/0",
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(!error.contains("topsecret"), "{error}");
        }
    }
}
