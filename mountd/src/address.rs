//! Addresses of what is to be mounted: `CLIENT[@GENERATION][:PATH]`.

use std::str::FromStr;

use reelfs::id::{ClientName, NameError};

/// A client, one of its generations, or a directory in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The client.
    pub client: ClientName,
    /// Name, prefix, `latest` or `-2`; absent: the client with all its generations, unless there is a path.
    pub generation: Option<String>,
    /// Path in the generation, without a leading `/`; empty for the root.
    pub path: String,
}

impl FromStr for Address {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (place, path) = match text.split_once(':') {
            Some((place, path)) => (place, Some(path.trim_matches('/'))),
            None => (text, None),
        };
        let (client, generation) = match place.split_once('@') {
            Some((client, generation)) => (client, Some(generation.to_owned())),
            None => (place, None),
        };
        // A path without a generation is one in the latest.
        let generation = generation.or_else(|| path.map(|_| "latest".to_owned()));
        Ok(Self { client: client.parse()?, generation, path: path.unwrap_or_default().to_owned() })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_address_names_a_client_a_generation_or_a_directory() {
        let parse = |text: &str| {
            let address: Address = text.parse().expect("valid");
            (address.client.to_string(), address.generation, address.path)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parse("web1"), ("web1".into(), None, String::new()));
        assert_eq!(parse("web1@-2"), ("web1".into(), some("-2"), String::new()));
        assert_eq!(parse("web1:/etc/ssh/"), ("web1".into(), some("latest"), "etc/ssh".into()));
        assert_eq!(parse("web1@2026-11:a:b"), ("web1".into(), some("2026-11"), "a:b".into()));
        assert!("@latest".parse::<Address>().is_err());
        assert!("../x".parse::<Address>().is_err());
    }
}
