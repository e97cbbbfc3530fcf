//! Starts machines on what a loss of power left of a disk, and looks whether every promise is kept.

use std::fs;
use std::io::Write as _;

use crate::disk::{Image, Loss};
use crate::machine::Machine;
use crate::promises::Promises;
use crate::random::Random;
use crate::seen::{Tree, assert_same, look};

/// How many cuts are tried, unless the environment says so.
const COUNT: &str = "REELFS_POWER_CUTS";
/// The first seed, unless it is that of the suite.
const SEED: &str = "REELFS_POWER_SEED";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seed of a history.
pub(crate) fn seed(of_suite: u64) -> u64 {
    let seed = number(SEED).unwrap_or(of_suite).max(1);
    println!("seed {seed}");
    seed
}

/// Cuts the power at some of the moments, and once more while the machine recovers from that.
pub(crate) fn cut(images: &[Image], promises: &Promises, random: &mut Random, count: u64) {
    let count = number(COUNT).unwrap_or(count);
    let operation_count = images.last().map_or(0, Image::operation_count);
    println!("{} images of {operation_count} operations, {count} cuts", images.len());
    for _ in 0..count {
        let image = &images[random.below(images.len() as u64) as usize];
        let loss = Loss::chosen(random);
        let moment = image.operation_count();
        let what = format!("power lost after operation {moment} with {loss:?}");
        let machine = Machine::start(image.after(loss, random));
        let is_cut_again = random.below(4) == 0;
        if is_cut_again {
            machine.disk(|disk| disk.take_images(60, random.clone()));
        }
        let begun = Check { machine: &machine, promises, moment, what: &what }.run();
        if !is_cut_again {
            continue;
        }
        let mut images = machine.disk(crate::disk::Disk::images);
        drop(machine);
        images.retain(|image| image.operation_count() <= begun);
        if images.is_empty() {
            continue;
        }
        let image = &images[random.below(images.len() as u64) as usize];
        let loss = Loss::chosen(random);
        let what = format!("{what}, and again {} operations later with {loss:?}", image.operation_count());
        let machine = Machine::start(image.after(loss, random));
        Check { machine: &machine, promises, moment, what: &what }.run();
    }
}

struct Check<'a> {
    machine: &'a Machine,
    promises: &'a Promises,
    moment: u64,
    what: &'a str,
}

impl Check<'_> {
    // Returns how many operations had been made before the next commit began.
    fn run(&self) -> u64 {
        let Self { machine, what, .. } = self;
        machine.good(&["verify"], what);
        machine.mount(what);
        for client in ["host", "web1"] {
            self.generations(client);
        }
        for file in self.promises.files_at(self.moment) {
            let found = fs::read(machine.staging(&file.path)).ok();
            let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(Vec::len);
            assert!(
                found == file.bytes,
                "{what}: {} was synced: {:?} bytes expected, {:?} found",
                file.path,
                len(&file.bytes),
                len(&found)
            );
        }
        let begun = machine.operation_count();
        if machine.staging("").exists() {
            self.commit();
        }
        machine.unmount(what);
        machine.good(&["verify"], what);
        begun
    }

    fn names(&self, client: &str) -> Vec<String> {
        let directory = self.machine.mountpoint().join("clients").join(client);
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "latest").collect();
        names.sort();
        names
    }

    fn look(&self, client: &str, name: &str) -> Tree {
        look(&self.machine.mountpoint().join("clients").join(client).join(name))
    }

    // Those that were made are there, and the one that was being made is whole or not there.
    fn generations(&self, client: &str) {
        let what = self.what;
        let (done_count, begun) = self.promises.generations_at(client, self.moment);
        let names = self.names(client);
        let is_expected = (done_count..=begun.len()).contains(&names.len());
        assert!(is_expected, "{what}: {done_count} to {} generations of {client}: {names:?}", begun.len());
        for (name, made) in names.iter().zip(&begun) {
            assert_same(&made.content, &self.look(client, name), &format!("{what}: {client}@{name}"));
        }
    }

    // Staging can be written and committed, and nothing of it is changed by that.
    fn commit(&self) {
        let Self { machine, what, .. } = self;
        let mut file = fs::File::create(machine.staging("after")).unwrap();
        file.write_all(what.as_bytes()).unwrap();
        drop(file);
        let staged = look(&machine.staging(""));
        let count = self.names("web1").len();
        machine.good(&["commit", "web1"], what);
        // It is shown within a second.
        let mut names = self.names("web1");
        for _ in 0..500 {
            if names.len() > count {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            names = self.names("web1");
        }
        assert_eq!(names.len(), count + 1, "{what}: one generation more");
        let name = names.last().expect("there is one");
        assert_same(&staged, &self.look("web1", name), &format!("{what}: committed"));
        assert_same(&staged, &look(&machine.staging("")), &format!("{what}: staged after the commit"));
    }
}
