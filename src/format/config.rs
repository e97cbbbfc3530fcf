//! `reelfs.toml`: identity and settings of a repository, small and human-readable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::staging_policy::StagingPolicy;
use crate::id::{ClientName, FileId};

/// Name of the file in the repository.
pub const FILE_NAME: &str = "reelfs.toml";
/// Version of the repository layout.
pub const VERSION: u32 = 1;

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A later version of the program made it.
    #[error("format version {version}; this program reads version {VERSION}")]
    Version {
        /// The version.
        version: u32,
    },
    /// Not TOML, or not the fields of a configuration.
    #[error("{FILE_NAME} cannot be parsed")]
    Parse(#[source] Box<toml::de::Error>),
    /// The policy of a client is not valid.
    #[error("{FILE_NAME}: table [client.{client}]")]
    Client {
        /// The client.
        client: String,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// A value out of range.
    #[error("{FILE_NAME}: {field} is {value}, expected {expected}")]
    Value {
        /// Name of the field.
        field: String,
        /// The value found.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
}

/// The configuration of a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Layout version, [`VERSION`].
    pub version: u32,
    /// Identity of the repository, 32 hexadecimal digits.
    pub id: String,
    /// How data is cut and packed.
    #[serde(default)]
    pub chunking: Chunking,
    /// How data is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// What is backed up.
    #[serde(default)]
    pub policy: Policy,
    /// How staging becomes generations, for clients that have no policy of their own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub staging: StagingPolicy,
    /// What is different for single clients: fields as in `staging`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client: BTreeMap<String, toml::Table>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How data is cut and packed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chunking {
    /// Frames of large files are filled up to about this many bytes before compression: 16 KiB to 8 MiB.
    pub frame_bytes: u32,
    /// Frames of small files are filled up to about this many bytes before compression: 16 KiB to 8 MiB.
    #[serde(skip_serializing_if = "is_default_pack")]
    pub pack_bytes: u32,
    /// Files up to this many bytes are one chunk: 1 KiB to 8 MiB.
    pub whole_file_bytes: u32,
    /// A BDF is closed and the next one begun after about this many bytes: 1 MiB and up.
    pub bdf_bytes: u64,
}

// Small files are most often read with their neighbours, large ones often at any place: the measurement is in
// `bench/chunk-sizes.md`.
const PACK_BYTES: u32 = 512 << 10;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_default_pack(pack_bytes: &u32) -> bool {
    *pack_bytes == PACK_BYTES
}

impl Default for Chunking {
    fn default() -> Self {
        Self {
            frame_bytes: 256 << 10,
            pack_bytes: PACK_BYTES,
            whole_file_bytes: 128 << 10,
            bdf_bytes: 4 << 30,
        }
    }
}

/// How data is compressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// zstd level: 1 to 19; 0 stores everything as it is.
    pub level: i32,
    /// Compress changed files against their previous version.
    pub delta: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Self { level: 3, delta: true }
    }
}

/// What is backed up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Patterns in gitignore syntax that no backup takes in.
    pub exclude: Vec<String>,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Config {
    /// The defaults for a new repository.
    #[must_use]
    pub fn new(id: FileId) -> Self {
        Self {
            version: VERSION,
            id: id.to_string(),
            chunking: Chunking::default(),
            compression: Compression::default(),
            policy: Policy::default(),
            staging: StagingPolicy::default(),
            client: BTreeMap::new(),
        }
    }

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] if the text or a value is not valid.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        // A later version may have settings that are not known here.
        match toml::from_str(text) {
            Ok(Versioned { version }) if version != VERSION => return Err(ConfigError::Version { version }),
            _ => {}
        }
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse(Box::new(error)))?;
        let value = |field: &str, value: &dyn ToString, expected| {
            Err(ConfigError::Value { field: field.to_owned(), value: value.to_string(), expected })
        };
        if config.id.parse::<FileId>().is_err() {
            return value("id", &config.id, "32 hexadecimal digits");
        }
        if !(16 << 10..=8 << 20).contains(&config.chunking.frame_bytes) {
            return value("chunking.frame_bytes", &config.chunking.frame_bytes, "16384 to 8388608");
        }
        if !(16 << 10..=8 << 20).contains(&config.chunking.pack_bytes) {
            return value("chunking.pack_bytes", &config.chunking.pack_bytes, "16384 to 8388608");
        }
        if !(1 << 10..=8 << 20).contains(&config.chunking.whole_file_bytes) {
            return value("chunking.whole_file_bytes", &config.chunking.whole_file_bytes, "1024 to 8388608");
        }
        if config.chunking.bdf_bytes < 1 << 20 {
            return value("chunking.bdf_bytes", &config.chunking.bdf_bytes, "1048576 or more");
        }
        if !(0..=19).contains(&config.compression.level) {
            return value("compression.level", &config.compression.level, "0 to 19");
        }
        let mut percents = vec![("staging.sfp.percent".to_owned(), config.staging.sfp.percent)];
        for name in config.client.keys() {
            let Ok(client) = name.parse() else { return value("client", name, "names of clients") };
            let merged = config.merged_staging(&client)?;
            percents.push((format!("client.{name}.sfp.percent"), merged.sfp.percent));
        }
        match percents.into_iter().find(|(_, percent)| *percent > 100) {
            Some((field, percent)) => value(&field, &percent, "0 to 100"),
            None => Ok(config),
        }
    }

    fn merged_staging(&self, client: &ClientName) -> Result<StagingPolicy, ConfigError> {
        let Some(own) = self.client.get(client.as_str()) else { return Ok(self.staging.clone()) };
        let mut merged = toml::Table::try_from(&self.staging).expect("plain values can be written as TOML");
        for (name, value) in own {
            match (merged.get_mut(name), value) {
                (Some(toml::Value::Table(general)), toml::Value::Table(own)) => general.extend(own.clone()),
                _ => drop(merged.insert(name.clone(), value.clone())),
            }
        }
        merged
            .try_into()
            .map_err(|error| ConfigError::Client { client: client.to_string(), source: Box::new(error) })
    }

    /// How the client's staging becomes generations.
    ///
    /// # Panics
    /// Never: [`Config::parse`] checked it.
    #[must_use]
    pub fn staging_policy(&self, client: &ClientName) -> StagingPolicy {
        self.merged_staging(client).expect("policies were checked when the configuration was read")
    }

    /// The text of the file.
    ///
    /// # Panics
    /// Never: the fields are plain values.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body = toml::to_string_pretty(self).expect("plain values can be written as TOML");
        format!("# A reelfs repository. See reelfs.toml(5).\n{body}")
    }

    /// Identity of the repository.
    ///
    /// # Panics
    /// Never: [`Config::parse`] checked it.
    #[must_use]
    pub fn repository_id(&self) -> FileId {
        self.id.parse().expect("the id was checked when it was read or made")
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::format::staging_policy::{Inconsistent, Span, When};

    fn with(text: &str) -> Result<Config, ConfigError> {
        Config::parse(&format!("version = 1\nid = \"{}\"\n{text}", FileId([7; 16])))
    }

    #[test]
    fn a_client_differs_from_the_others_only_in_what_it_says() {
        let text = "[staging]\nsafe.quiet = \"7s\"\ncommit.every = \"1d\"\n\
                    [client.web1]\ncommit.when = \"silence\"\nsafe.inconsistent = \"keep-last-safe\"\n";
        let config = with(text).expect("valid");
        assert_eq!(Config::parse(&config.to_text()).expect("valid"), config);
        let own = config.staging_policy(&"web1".parse().expect("a name"));
        assert_eq!((own.commit.when, own.commit.every), (When::Silence, Span::from_secs(86_400)));
        assert_eq!((own.safe.inconsistent, own.safe.quiet), (Inconsistent::KeepLastSafe, Span::from_secs(7)));
        let other = config.staging_policy(&"web2".parse().expect("a name"));
        assert_eq!((other.commit.when, other.safe.inconsistent), (When::Asked, Inconsistent::Commit));
    }

    #[test]
    fn a_later_version_is_named_whatever_else_it_says() {
        let error = Config::parse("version = 2\nid = 7\nnovelty = [1]\n").expect_err("refused");
        assert_eq!(error.to_string(), "format version 2; this program reads version 1");
    }

    #[test]
    fn a_slip_of_the_pen_in_a_policy_is_refused() {
        for text in [
            "[client.web1]\ncomit.when = \"silence\"",
            "[client.web1]\ncommit.when = \"sometimes\"",
            "[client.web1]\ncommit.every = 5",
            "[client.web1]\nsfp.percent = 101",
            "[client.web1]\ncommit = 7",
            "[client.\"../x\"]",
            "[staging]\nsafe.quiet = \"soon\"",
        ] {
            assert!(with(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_in_the_policy_of_a_client_names_its_table() {
        let table = "[staging]\nsfp.percent = 5\n[client.web1]\nsfp.percent = 7\n[client.web2]\n";
        let error = with(&format!("{table}commit.when = \"sometimes\"")).expect_err("refused");
        assert_eq!(error.to_string(), "reelfs.toml: table [client.web2]");
        let error = with(&format!("{table}sfp.percent = 101")).expect_err("refused").to_string();
        assert_eq!(error, "reelfs.toml: client.web2.sfp.percent is 101, expected 0 to 100");
    }
}
