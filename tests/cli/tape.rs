//! The tape commands over an emulated library in a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reelfs::emulator::{CartridgeSpec, EmulatedLibrary, Generation, LibraryShape, ManualClock};
use serde_json::Value;

use crate::support::{Ended, Numbers, Sandbox, ended};

const MIB: u64 = 1 << 20;

/// A sandbox with an emulated library beside the repository.
pub(crate) struct Vault {
    pub(crate) sandbox: Sandbox,
}

impl Vault {
    /// Two LTO-8 drives and cartridges of this capacity, `RL0001L8` and so on.
    pub(crate) fn new(cartridge_count: u16, capacity_bytes: u64) -> Self {
        let shape = LibraryShape::new(Generation::Lto8).with_cartridges(
            cartridge_count,
            Generation::Lto8,
            Some(capacity_bytes),
        );
        Self::with_shape(&shape)
    }

    pub(crate) fn with_shape(shape: &LibraryShape) -> Self {
        let sandbox = Sandbox::with_repository();
        EmulatedLibrary::create(&sandbox.path("library"), shape).unwrap();
        Self { sandbox }
    }

    pub(crate) fn emulated(&self) -> EmulatedLibrary {
        EmulatedLibrary::open(&self.sandbox.path("library"), Arc::new(ManualClock::default())).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(&[]);
        command.arg("tape").args(arguments);
        command.env("REELFS_LIBRARY", self.sandbox.path("library"));
        command.env("XDG_CACHE_HOME", self.sandbox.path("cache"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.good(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Archives with little memory; must succeed.
    pub(crate) fn archive(&self, more: &[&str]) -> Value {
        let arguments: Vec<&str> =
            ["archive", "--memory", "16"].into_iter().chain(more.iter().copied()).collect();
        self.json(&arguments).pop().unwrap()
    }

    /// Fails as a device does, with this text in the message.
    pub(crate) fn refused(&self, arguments: &[&str], text: &str) {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 13, "{arguments:?}: {ended:?}");
        assert!(ended.error.contains(text), "{text:?} is not in {}", ended.error);
        assert!(ended.error.contains("error: "), "{}", ended.error);
    }

    /// Takes the repository away.
    pub(crate) fn lose_repository(&self) {
        fs::rename(self.sandbox.repository(), self.sandbox.path("lost")).unwrap();
    }

    pub(crate) fn restored(&self) -> PathBuf {
        self.sandbox.path("restored")
    }
}

/// Two generations of a source with files of all sizes; returns nothing that the test needs to know.
pub(crate) fn two_generations(sandbox: &Sandbox) {
    let mut numbers = Numbers(0x5eed_0004);
    for index in 0..40 {
        let len = usize::try_from(numbers.below(60_000)).unwrap();
        sandbox.write(&format!("small/{}/{index}", index % 5), numbers.bytes(len));
    }
    sandbox.write("large", numbers.bytes(9_000_000));
    sandbox.write("text", "the same line again\n".repeat(50_000));
    sandbox.backup(&[]);
    sandbox.write("small/3/new", "new in the second generation");
    let mut large = fs::read(sandbox.source().join("large")).unwrap();
    large[4_000_000..4_000_100].fill(7);
    sandbox.write("large", large);
    sandbox.backup(&[]);
}

pub(crate) fn assert_same(left: &Path, right: &Path) {
    let output = Command::new("diff").arg("-r").arg("--no-dereference").args([left, right]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_was_archived_is_restored_from_tape_alone() {
    let vault = Vault::new(4, 256 * MIB);
    two_generations(&vault.sandbox);
    let archived = vault.archive(&["--client", "web1", "--generations", "all"]);
    assert_eq!(archived["barcodes"], serde_json::json!(["RL0001L8"]), "{archived}");
    assert!(archived["bytes"].as_u64().unwrap() > 9_000_000, "{archived}");
    let again = vault.archive(&["--generations", "all"]);
    assert_eq!(again["bytes"], 0, "{again}");
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8"]);
    let listed = vault.json(&["list"]);
    assert_eq!(listed.iter().filter(|line| line["kind"] == "generation").count(), 2, "{listed:?}");
    let target = vault.restored();
    vault.good(&["restore", "web1", target.to_str().unwrap()]);
    assert_same(&vault.sandbox.source(), &target);
}
