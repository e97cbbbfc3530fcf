//! Tells the kernel when clients and generations appear or go.
//!
//! The directories' times are compared twice a second: that works on any file system, also where another
//! machine writes, and costs a `stat` for each client. Of what is committed here it is told at once ([`crate::bell`]).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use reelfs::repo::{GenerationId, catalog};

use crate::clients::{Client, Snapshot};
use crate::errno::chain;
use crate::plain::Place;
use crate::session::Notices;
use crate::view::{CLIENTS, ROOT, View};

const PERIOD: Duration = Duration::from_millis(400);

type Times = BTreeMap<String, Option<SystemTime>>;

/// Starts the thread that watches for the tree of everything, or of one client.
pub(crate) fn start(view: Arc<View>, notices: Notices) -> io::Result<()> {
    Watch::new(view, notices, None).start(Weak::new())
}

/// Starts the thread that watches for the connection of `clients` without extended attributes: when a generation
/// comes that has some, the connection is taken off its place. `checked` are the generations known to have none.
/// The thread ends when `connection` is gone.
pub(crate) fn start_plain(
    view: Arc<View>,
    notices: Notices,
    place: Arc<Place>,
    checked: Arc<Snapshot>,
    connection: Weak<()>,
) -> io::Result<()> {
    Watch::new(view, notices, Some(Plain { place, checked })).start(connection)
}

struct Plain {
    place: Arc<Place>,
    checked: Arc<Snapshot>,
}

impl Plain {
    // Takes the connection off its place if a generation has attributes that it cannot show.
    fn check(&mut self, view: &View, now: &Arc<Snapshot>) {
        let is_new = |client: &Client, generation: &GenerationId| {
            self.checked.get(&client.name).and_then(|known| known.find(generation.time)) != Some(*generation)
        };
        let has_xattrs = now.clients().any(|client| {
            let mut all = client.generations.iter();
            all.any(|generation| is_new(client, generation) && !view.is_plain(generation.ordinal))
        });
        if has_xattrs {
            self.place.take_off();
        } else {
            self.checked = Arc::clone(now);
        }
    }
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
    plain: Option<Plain>,
}

impl Watch {
    fn new(view: Arc<View>, notices: Notices, plain: Option<Plain>) -> Self {
        let told = view.clients.snapshot();
        Self { told, times: BTreeMap::new(), is_fresh: false, view, notices, plain }
    }

    // A connection that never was lasts as long as the process.
    fn start(mut self, connection: Weak<()>) -> io::Result<()> {
        let is_endless = connection.ptr_eq(&Weak::new());
        let listener = self.view.bell.listen();
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            self.tell_all();
            while is_endless || connection.strong_count() > 0 {
                let rung = listener.wait(PERIOD);
                self.look(rung.is_some());
                if let Some(count) = rung {
                    listener.answer(count);
                }
            }
        })?;
        Ok(())
    }

    // The number by which the kernel knows the directory of clients.
    fn clients_number(&self) -> u64 {
        if self.plain.is_some() { ROOT } else { CLIENTS }
    }

    // What came just before a server died was told to nobody. A kernel that has no server before this one knows
    // nothing that it could forget.
    fn tell_all(&self) {
        for client in self.told.clients() {
            let number = self.view.client_number(client);
            // One with more generations was known before.
            if client.generations.len() <= 1 {
                self.notices.forget_name(self.clients_number(), client.name.as_str());
            }
            self.notices.forget(client.latest_number);
            self.notices.forget_name(number, "latest");
            self.notices.forget(number);
        }
        self.notices.forget(self.clients_number());
        self.notices.forget(ROOT);
    }

    // Who knows that there is something new need not ask the times.
    fn look(&mut self, is_known_new: bool) {
        let times = self.read_times();
        let is_changed = times != self.times;
        if !is_changed && !self.is_fresh && !is_known_new {
            return;
        }
        let before = Arc::clone(&self.told);
        match self.view.clients.refresh(&self.view.repository) {
            Ok(now) => {
                if let Some(plain) = &mut self.plain {
                    plain.check(&self.view, &now);
                }
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

    fn tell(&self, before: &Snapshot, now: &Snapshot) {
        let mut is_changed = false;
        for client in now.clients() {
            match before.get(&client.name) {
                Some(old) if old == client => {}
                Some(old) => self.tell_client(old, client),
                None => {
                    self.notices.forget_name(self.clients_number(), client.name.as_str());
                    is_changed = true;
                }
            }
        }
        for gone in before.clients().filter(|client| now.get(&client.name).is_none()) {
            self.notices.forget_name(self.clients_number(), gone.name.as_str());
            is_changed = true;
        }
        if is_changed || before.latest_time() != now.latest_time() {
            self.notices.forget(self.clients_number());
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
