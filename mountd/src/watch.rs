//! Tells the kernel when clients and generations appear or go.
//!
//! The directories' times are compared twice a second: that works on any file system, also where another
//! machine writes, and costs a `stat` for each client.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use reelfs::repo::catalog;

use crate::clients::{Client, Snapshot};
use crate::errno::chain;
use crate::session::Notices;
use crate::view::{CLIENTS, ROOT, View};

const PERIOD: Duration = Duration::from_millis(400);

type Times = BTreeMap<String, Option<SystemTime>>;

/// Starts the thread that watches.
pub(crate) fn start(view: Arc<View>, notices: Notices, is_resumed: bool) -> io::Result<()> {
    let mut watch =
        Watch { told: view.clients.snapshot(), times: BTreeMap::new(), is_fresh: false, view, notices };
    thread::Builder::new().name("watch".to_owned()).spawn(move || {
        if is_resumed {
            watch.tell_all();
        }
        loop {
            thread::sleep(PERIOD);
            watch.look();
        }
    })?;
    Ok(())
}

struct Watch {
    view: Arc<View>,
    notices: Notices,
    // What the kernel was last told of.
    told: Arc<Snapshot>,
    times: Times,
    // A change in the same tick of the file system's clock does not change a time: after each change the
    // directories are read once more. That also repeats what an answer under way may have crossed.
    is_fresh: bool,
}

impl Watch {
    fn look(&mut self) {
        let times = self.read_times();
        let is_changed = times != self.times;
        if !is_changed && !self.is_fresh {
            return;
        }
        let before = Arc::clone(&self.told);
        match self.view.clients.refresh(&self.view.repository) {
            Ok(now) => {
                self.tell(&before, &now);
                // On the second look, what was told last is told again.
                if !is_changed || *before == *now {
                    self.told = now;
                }
                self.is_fresh = is_changed;
                self.times = times;
            }
            Err(error) => log::warn!("cannot look for new generations: {}", chain(&error)),
        }
    }

    fn read_times(&self) -> Times {
        let mut times = Times::new();
        let Some(root) = self.view.repository.root() else { return times };
        let mut add = |name: String| {
            let time = modified(&root.join(&name));
            times.insert(name, time);
        };
        add(catalog::CLIENTS.to_owned());
        for client in self.view.clients.snapshot().clients() {
            add(catalog::client_directory(&client.name));
        }
        times
    }

    // What came just before the last server died was told to nobody.
    fn tell_all(&self) {
        for client in self.told.clients() {
            let number = self.view.client_number(client);
            // One with more generations was known before.
            if client.generations.len() <= 1 {
                self.notices.forget_name(CLIENTS, client.name.as_str());
            }
            self.notices.forget(client.latest_number);
            self.notices.forget_name(number, "latest");
            self.notices.forget(number);
        }
        self.notices.forget(CLIENTS);
        self.notices.forget(ROOT);
    }

    fn tell(&self, before: &Snapshot, now: &Snapshot) {
        let mut is_changed = false;
        for client in now.clients() {
            match before.get(&client.name) {
                Some(old) if old == client => {}
                Some(old) => self.tell_client(old, client),
                None => {
                    self.notices.forget_name(CLIENTS, client.name.as_str());
                    is_changed = true;
                }
            }
        }
        for gone in before.clients().filter(|client| now.get(&client.name).is_none()) {
            self.notices.forget_name(CLIENTS, gone.name.as_str());
            is_changed = true;
        }
        if is_changed || before.latest_time() != now.latest_time() {
            self.notices.forget(CLIENTS);
            self.notices.forget(ROOT);
        }
    }

    fn tell_client(&self, before: &Client, now: &Client) {
        let number = self.view.client_number(now);
        let all = before.generations.iter().chain(&now.generations);
        for changed in all.filter(|one| before.find(one.time) != now.find(one.time)) {
            self.notices.forget_name(number, &changed.time.to_string());
        }
        if before.latest() != now.latest() {
            self.notices.forget(now.latest_number);
            self.notices.forget_name(number, "latest");
        }
        self.notices.forget(number);
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}
