//! Staging and its commits, with a server that is killed meanwhile.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::Mutex;

use crate::cuts;
use crate::disk::Disk;
use crate::machine::{Machine, can_mount, has, shown};
use crate::promises::{Generation, Promises};
use crate::random::Random;
use crate::seen::{grow, look};

/// A machine, and what its programs promised.
struct History {
    machine: Machine,
    promises: Mutex<Promises>,
}

impl History {
    fn promise(&self, what: impl FnOnce(&mut Promises, u64)) {
        let mut promises = self.promises.lock().unwrap();
        // After the answer has come: what it promises is on the disk.
        what(&mut promises, self.machine.operation_count());
    }

    fn changing(&self, path: &str) {
        self.promise(|promises, now| promises.changing(path, now));
    }

    fn open(&self, path: &str) -> File {
        let mut options = File::options();
        options.read(true).write(true).create(true).open(self.machine.staging(path)).unwrap()
    }

    fn sync(&self, file: &File, path: &str) {
        file.sync_all().unwrap();
        let bytes = Some(fs::read(self.machine.staging(path)).unwrap());
        self.promise(|promises, now| promises.synced(path, bytes, now));
    }

    fn write_and_sync(&self, path: &str, bytes: &[u8]) {
        self.changing(path);
        let mut file = self.open(path);
        file.set_len(0).unwrap();
        file.write_all(bytes).unwrap();
        self.sync(&file, path);
    }

    // As careful programs replace a file.
    fn replace(&self, path: &str, bytes: &[u8]) {
        let other = format!("{path}.new");
        self.write_and_sync(&other, bytes);
        self.changing(path);
        self.changing(&other);
        fs::rename(self.machine.staging(&other), self.machine.staging(path)).unwrap();
        File::open(self.machine.staging("")).unwrap().sync_all().unwrap();
        self.promise(|promises, now| {
            promises.synced(path, Some(bytes.to_vec()), now);
            promises.synced(&other, None, now);
        });
    }

    fn remove(&self, path: &str) {
        self.changing(path);
        fs::remove_file(self.machine.staging(path)).unwrap();
        File::open(self.machine.staging("")).unwrap().sync_all().unwrap();
        self.promise(|promises, now| promises.synced(path, None, now));
    }

    // Writes over parts of a file, as a database does.
    fn patch(&self, path: &str, random: &mut Random) {
        self.changing(path);
        let file = self.open(path);
        let len = file.metadata().unwrap().len().max(1);
        for _ in 0..1 + random.below(6) {
            let count = 1 + random.below(9000) as usize;
            let bytes = random.bytes(count);
            file.write_all_at(&bytes, random.below(len)).unwrap();
        }
        match random.below(4) {
            0 => file.set_len(random.below(len)).unwrap(),
            1 => file.set_len(len + random.below(30_000)).unwrap(),
            _ => {}
        }
        self.sync(&file, path);
    }

    fn rsync(&self, more: &[&str]) {
        let source = format!("{}/", self.machine.path("source").display());
        let mut command = Command::new("rsync");
        command.args(["-aHAX", "--delete"]).args(more).arg(source).arg(self.machine.staging("tree/"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
    }

    fn commit(&self) {
        let content = look(&self.machine.staging(""));
        let begun = self.machine.operation_count();
        self.machine.good(&["commit", "web1"], "commit");
        self.promise(|promises, done| {
            promises.generations.push(Generation { client: "web1", content, begun, done });
        });
    }

    // Many at once: the one who does not sync himself must not be told too early that it is done.
    fn write_at_once(&self, round: u64, random: &Random) {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let mut random = Random(random.0 ^ (thread + 1));
                scope.spawn(move || {
                    for number in 0..6 {
                        let len = 1 + random.below(6000) as usize;
                        let bytes = random.bytes(len);
                        self.write_and_sync(&format!("synced-{round}-{thread}-{number}"), &bytes);
                    }
                });
            }
        });
    }
}

fn history(random: &mut Random) -> History {
    let machine = Machine::start(Disk::new());
    machine.good(&["init"], "init");
    let source = machine.path("source");
    fs::create_dir(&source).unwrap();
    grow(&source, random, 40);
    machine.disk(|disk| disk.take_images(12, random.clone()));
    machine.mount("mount");
    fs::create_dir(machine.staging("")).unwrap();
    let history = History { machine, promises: Mutex::default() };
    history.rsync(&[]);
    history.write_at_once(1, random);
    history.write_and_sync("large", &random.bytes(300_000));
    history.commit();
    history
}

fn second_half(history: &History, random: &mut Random) {
    for round in 0..6 {
        history.patch("large", random);
        history.patch("tree/d0/f10", random);
        history.replace("replaced", &random.bytes(1000 + round));
    }
    let source = history.machine.path("source");
    fs::write(source.join("d1/f11"), random.bytes(50_000)).unwrap();
    fs::remove_file(source.join("d2/f2")).unwrap();
    history.changing("tree/d0/f10");
    history.rsync(&["--inplace"]);
    history.remove("synced-1-0-0");
    history.commit();
    // A server that is killed may have had names that were not synced; another one is asked to sync.
    let (mut plain, mut over) = (history.open("killed"), history.open("synced-1-1-1"));
    history.changing("synced-1-1-1");
    for file in [&mut plain, &mut over] {
        file.write_all(b"written before the kill").unwrap();
    }
    history.machine.kill_server();
    plain.write_all(b", and after").unwrap();
    over.seek(SeekFrom::Start(3)).unwrap();
    history.sync(&plain, "killed");
    history.sync(&over, "synced-1-1-1");
    drop((plain, over));
    history.write_at_once(2, random);
    history.commit();
    history.machine.unmount("unmount");
    history.machine.mount("mount again");
    for _ in 0..3 {
        history.patch("large", random);
    }
}

#[test]
fn what_was_synced_into_staging_or_committed_outlives_a_loss_of_power() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let mut random = Random(cuts::seed(62));
    let history = history(&mut random);
    second_half(&history, &mut random);
    let images = history.machine.disk(Disk::images);
    let History { machine, promises } = history;
    drop(machine);
    cuts::cut(&images, &promises.into_inner().unwrap(), &mut random, 24);
}
