//! A command that is killed or interrupted during an archive (F32).

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{MIB, Vault, two_generations};
use crate::support::Random;

// Lets the archive run for so long and then sends it a signal.
fn interrupt(vault: &Vault, after: Duration, signal: Signal) -> Option<i32> {
    let mut command = vault.command(&["archive", "--generations", "all", "--memory", "16"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(after);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // It may have ended by itself.
    let _ended = kill(pid, signal);
    child.wait().unwrap().code()
}

fn check(vault: &Vault) {
    vault.archive(&["--generations", "all"]);
    vault.restore_and_compare();
    // Whatever was interrupted, the cartridges alone tell all.
    fs::remove_dir_all(vault.sandbox.repository().join("tapes")).unwrap();
    let inventory = vault.json(&["inventory"]);
    for element in inventory.iter().filter(|element| element["full"] == true) {
        // One that was never labelled is blank.
        let ended = vault.run(&["scan", element["barcode"].as_str().unwrap()]);
        assert!(ended.code == 0 || ended.error.contains("blank"), "{ended:?}");
    }
    vault.restore_and_compare();
    for element in inventory.iter().filter(|element| element["full"] == true) {
        let ended = vault.run(&["verify", element["barcode"].as_str().unwrap()]);
        assert!(ended.code == 0 || ended.error.contains("blank"), "{ended:?}");
    }
}

#[test]
fn an_archive_that_is_killed_at_any_moment_is_gone_on_with() {
    let mut numbers = Random(0x5eed_0f32);
    for round in 0..4 {
        let vault = Vault::new(5, 24 * MIB);
        two_generations(&vault.sandbox, 30_000_000);
        for _ in 0..2 {
            let milliseconds = 40 + numbers.below(1200);
            let code = interrupt(&vault, Duration::from_millis(milliseconds), Signal::SIGKILL);
            eprintln!("round {round}: killed after {milliseconds} ms: {code:?}");
        }
        check(&vault);
    }
}

#[test]
fn an_archive_that_is_asked_to_stop_ends_with_its_own_code_and_is_gone_on_with() {
    let vault = Vault::new(5, 24 * MIB);
    two_generations(&vault.sandbox, 30_000_000);
    let mut codes = Vec::new();
    for milliseconds in [60, 200, 400] {
        codes.push(interrupt(&vault, Duration::from_millis(milliseconds), Signal::SIGINT));
    }
    eprintln!("{codes:?}");
    // Before it listens to signals, SIGINT ends it at once.
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 130) | None)), "{codes:?}");
    check(&vault);
}
