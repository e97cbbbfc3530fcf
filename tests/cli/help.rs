//! Help that teaches, man pages that say the same, completions that work.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Sandbox;

// All commands, also those of commands: `tape archive`.
fn commands() -> Vec<String> {
    let mut found = Vec::new();
    collect(&tools::cli(), "", &mut found);
    found
}

fn collect(command: &clap::Command, above: &str, found: &mut Vec<String>) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("{above}{}", command.get_name());
        collect(command, &format!("{name} "), found);
        found.push(name);
    }
}

#[test]
fn every_help_teaches_by_example_and_lists_exit_codes() {
    let sandbox = Sandbox::new();
    assert!(commands().len() >= 14, "{:?}", commands());
    for name in commands() {
        let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        let help = sandbox.good(&words);
        for heading in ["\nEXAMPLES\n", "\nEXIT STATUS\n", "Usage: reelfs "] {
            assert!(help.contains(heading), "{name}: {heading:?} is missing from\n{help}");
        }
        assert!(
            help.contains(&format!("  reelfs {name} ")) || help.contains(&format!("reelfs {name}\n")),
            "{name}"
        );
        let longest = help.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 110, "{name}: a line of {longest} characters");
    }
    let help = sandbox.good(&["--help"]);
    assert!(help.contains("\nADDRESSES\n") && help.contains("EXIT STATUS"));
}

#[test]
fn the_man_pages_are_those_that_the_command_writes() {
    let sandbox = Sandbox::new();
    let written = sandbox.path("man");
    fs::create_dir(&written).unwrap();
    sandbox.good(&["man", written.to_str().unwrap()]);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man");
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.filter(|name| name.to_str().unwrap().starts_with("reelfs")).collect();
        names.retain(|name| name.to_str().unwrap().ends_with(".1"));
        names.sort();
        names
    };
    assert_eq!(names(&written), names(&kept), "run: reelfs man man");
    for name in names(&written) {
        let page = fs::read_to_string(written.join(&name)).unwrap();
        let kept = fs::read_to_string(kept.join(&name)).unwrap();
        assert!(page == kept, "{name:?} is not up to date; run: reelfs man man");
    }
}

#[test]
fn completions_are_scripts_that_the_shell_accepts() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.good(&["completions", shell]);
        assert!(script.contains("backup") && script.contains("one-file-system"), "{shell}");
        let path = sandbox.path("script");
        fs::write(&path, script).unwrap();
        // Only what is installed can be asked.
        if let Ok(checked) = Command::new(shell).arg("-n").arg(&path).status() {
            assert!(checked.success(), "{shell}");
        }
    }
}
