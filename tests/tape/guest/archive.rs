//! A cartridge of ours on a real `/dev/sg` node, and how its own README says to read it, with `mt`, `dd` and
//! GNU tar on the kernel's tape driver. In the virtual machine of `make test-guest` only.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reelfs::clock::Clock;
use reelfs::progress::Progress;
use reelfs::scsi::sg::SgDevice;
use reelfs::tape::archive::VolumeDescription;
use reelfs::tape::drive::{Drive, DriveOptions};
use reelfs::tape::reader::{VolumeReader, identify};
use reelfs::tape::writer::{Overwrite, Place, VolumeWriter, label};

use super::{load, named};
use crate::lab::{check_objects, description, index, object, objects, session, small, whole};

const README: &str = include_str!("../../../src/tape/archive/README.txt");

#[derive(Debug)]
struct RealTime(Instant);

impl Clock for RealTime {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

// The lines of the README between "t=" and "done".
fn loop_of_the_readme() -> String {
    let lines = README.lines().map(str::trim).skip_while(|line| !line.starts_with("t="));
    let mut script = String::from("mt() { gnu-mt \"$@\"; }\ntar() { gnu-tar \"$@\"; }\n");
    for line in lines {
        script.push_str(line);
        script.push('\n');
        if line == "done" {
            return script;
        }
    }
    panic!("the README has no loop");
}

#[test]
fn the_readme_of_a_cartridge_says_how_to_read_it() {
    let script = loop_of_the_readme();
    let (Some(device), Some(changer), Some(tape)) =
        (named("REELFS_TEST_SG_DRIVE"), named("REELFS_TEST_SG_CHANGER"), named("REELFS_TEST_ST"))
    else {
        return;
    };
    let barcode = load(&device, &changer);
    let progress = Progress::new();
    let transport = SgDevice::open(&device).unwrap_or_else(|error| panic!("{error}"));
    let clock = Arc::new(RealTime(Instant::now()));
    let mut drive =
        Drive::open(Box::new(transport), clock, DriveOptions::default()).expect("a drive on a real node");
    drive.wait_ready(&progress).expect("ready");
    // Other tests have left something on it.
    let overwrite =
        identify(&mut drive).expect("readable").name().map_or(Overwrite::Nothing, Overwrite::Named);
    let description = VolumeDescription { barcode, ..description(1) };
    label(&mut drive, &description, &overwrite, &session(), &progress).expect("labelled");
    let sessions = [objects(1, 12), vec![object("clients/web1/later.dtf", b"a tree".to_vec())]];
    for objects in &sessions {
        let mut writer = VolumeWriter::append(&mut drive, description.volume, session(), small(), &progress)
            .expect("ours");
        writer.write(objects, Place::default(), &progress).expect("written");
        writer.finish(false, &progress).expect("closed");
    }
    let all = sessions.concat();
    let found = index(&mut drive);
    check_objects(&mut drive, &found, &all);
    let scanned = VolumeReader::open(&mut drive).expect("ours").scan(&progress).expect("scanned");
    assert!(scanned.segments == found.segments);
    drop(drive);

    let home = tempfile::tempdir().expect("a directory");
    let script = script.replace("/dev/nst0", tape.to_str().expect("text"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(home.path()).output().expect("a shell");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let restored = home.path().join("restored");
    for object in &all {
        let one = restored.join(&*object.name);
        let bytes = fs::read(&one).unwrap_or_else(|_| {
            // In segments.
            let count = object.len.div_ceil(small().segment_bytes);
            let segment = |number| restored.join(format!("{}.{number:05}", object.name));
            (0..count).flat_map(|number| fs::read(segment(number)).expect(&complaints)).collect()
        });
        assert!(bytes == whole(object), "{}: {complaints}", object.name);
    }
}
