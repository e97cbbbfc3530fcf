//! Backups.

use std::fs;

use crate::cuts;
use crate::disk::Disk;
use crate::machine::{Machine, can_mount};
use crate::promises::{Generation, Promises};
use crate::random::Random;
use crate::seen::{grow, look};

fn back_up(machine: &Machine, promises: &mut Promises) {
    let source = machine.path("source");
    let content = look(&source);
    let begun = machine.operation_count();
    machine.good(&["backup", source.to_str().unwrap(), "--client", "host"], "backup");
    let done = machine.operation_count();
    promises.generations.push(Generation { client: "host", content, begun, done });
}

#[test]
fn a_backup_outlives_a_loss_of_power_whole_or_not_at_all() {
    if !can_mount() {
        return;
    }
    let mut random = Random(cuts::seed(61));
    let machine = Machine::start(Disk::new());
    let mut promises = Promises::default();
    machine.good(&["init"], "init");
    let source = machine.path("source");
    fs::create_dir(&source).unwrap();
    grow(&source, &mut random, 30);
    machine.disk(|disk| disk.take_images(6, random.clone()));
    back_up(&machine, &mut promises);
    fs::write(source.join("new"), random.bytes(200_000)).unwrap();
    fs::write(source.join("d1/f1"), random.bytes(2000)).unwrap();
    fs::remove_dir_all(source.join("d2")).unwrap();
    back_up(&machine, &mut promises);
    machine.good(&["rebuild"], "rebuild");
    fs::rename(source.join("d3"), source.join("moved")).unwrap();
    back_up(&machine, &mut promises);
    let images = machine.disk(Disk::images);
    drop(machine);
    cuts::cut(&images, &promises, &mut random, 16);
}
