//! Which daemon to ask: a repository that is mounted several times has one for each mount, and each has the clients
//! that were used there first.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::message::{Answer, ServedBy};
use super::request::Request;
use super::socket::{ControlClient, sockets};

// A daemon that is asked and does not say has the client no more than one that is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// The daemon for a client.
#[derive(Debug)]
pub enum Daemon {
    /// No mount is served.
    None,
    /// Of the only mount, or of that which has the client.
    One(ControlClient),
    /// There are several mounts, and none has the client.
    Free,
}

impl Daemon {
    /// Finds the daemon to be asked about a client, or about all of them.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn find(root: &Path, client: Option<&str>) -> io::Result<Self> {
        let mut reached = Vec::new();
        for name in sockets(root)? {
            if let Some(daemon) = ControlClient::connect_to(root, &name)? {
                reached.push((name, daemon));
            }
        }
        if reached.len() <= 1 {
            return Ok(reached.pop().map_or(Self::None, |(_, only)| Self::One(only)));
        }
        let mut names: Vec<String> = reached.iter().map(|(name, _)| name.clone()).collect();
        let mut alive = Vec::new();
        for (name, daemon) in reached {
            match ask(daemon, client) {
                Said::Has(_) => {
                    alive = vec![name];
                    break;
                }
                Said::HasNot => alive.push(name),
                Said::Nothing => {}
            }
        }
        match (alive.pop(), alive.is_empty()) {
            // All are ending: who asks one finds that out.
            (None, _) => Self::one(root, names.pop()),
            (last, true) => Self::one(root, last),
            _ => Ok(Self::Free),
        }
    }

    fn one(root: &Path, name: Option<String>) -> io::Result<Self> {
        let daemon = name.map(|name| ControlClient::connect_to(root, &name)).transpose()?;
        Ok(daemon.flatten().map_or(Self::None, Self::One))
    }
}

// Daemons whose socket is none of `ours`.
fn others(root: &Path, ours: &[String]) -> impl Iterator<Item = ControlClient> {
    let names = sockets(root).unwrap_or_default().into_iter().filter(|name| !ours.contains(name));
    names.filter_map(|name| ControlClient::connect_to(root, &name).ok().flatten())
}

/// The mount that has a client, of those whose socket is none of `ours`. A daemon that is ending has none any more.
#[must_use]
pub fn served_by_other(root: &Path, client: &str, ours: &[String]) -> Option<ServedBy> {
    others(root, ours).find_map(|daemon| match ask(daemon, Some(client)) {
        Said::Has(found) => Some(found),
        _ => None,
    })
}

/// Tells whether there are daemons whose socket is none of `ours`.
#[must_use]
pub fn has_others(root: &Path, ours: &[String]) -> bool {
    others(root, ours).any(|daemon| !matches!(ask(daemon, None), Said::Nothing))
}

/// What a daemon said of a client.
enum Said {
    Has(ServedBy),
    HasNot,
    /// It is ending, or hangs.
    Nothing,
}

fn ask(mut daemon: ControlClient, client: Option<&str>) -> Said {
    let request = match client {
        Some(client) => Request::Find { client: client.to_owned() },
        None => Request::Ping,
    };
    let mut ask = || -> io::Result<Option<Answer>> {
        daemon.set_patience(Some(PATIENCE))?;
        daemon.ask(&request)?;
        daemon.answer()
    };
    match ask() {
        Ok(Some(Answer::Found(found))) => Said::Has(found),
        Ok(Some(_)) => Said::HasNot,
        Ok(None) | Err(_) => Said::Nothing,
    }
}
