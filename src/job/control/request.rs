//! What is asked for over the control socket: one JSON object in a line, from whoever may use the socket.

use serde::{Deserialize, Serialize};

/// What a program asks of staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What each client has pending.
    Status {
        /// Only this client.
        client: Option<String>,
    },
    /// Makes a generation of what is staged.
    Commit(CommitRequest),
    /// Tells what a commit would do.
    Preview(CommitRequest),
    /// Drops all changes.
    Discard {
        /// The client.
        client: String,
    },
    /// Stands a client's staging on a generation; makes staging for a client that has none.
    Stage {
        /// The client.
        client: String,
        /// Name of the generation, a prefix of it, `latest`, or `-2`.
        generation: String,
    },
    /// Waits until no commit of the client is running.
    Wait {
        /// The client.
        client: String,
    },
    /// Whether the mount has this client.
    Find {
        /// The client.
        client: String,
    },
    /// Answers, and does nothing.
    Ping,
}

impl Request {
    /// The client that it is about, if it is one.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        match self {
            Self::Status { client } => client.as_deref(),
            Self::Commit(request) | Self::Preview(request) => Some(&request.client),
            Self::Discard { client } | Self::Stage { client, .. } => Some(client),
            Self::Wait { client } | Self::Find { client } => Some(client),
            Self::Ping => None,
        }
    }
}

/// How a commit is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitRequest {
    /// The client.
    pub client: String,
    /// A remark that is kept with the generation.
    #[serde(default)]
    pub message: String,
    /// Make a generation even if nothing changed.
    #[serde(default)]
    pub always: bool,
    /// Do not wait for files that are being written.
    #[serde(default)]
    pub now: bool,
    /// Wait for the end of another commit or backup.
    #[serde(default)]
    pub wait: bool,
    /// Tell what was done with each file.
    #[serde(default)]
    pub files: bool,
}
