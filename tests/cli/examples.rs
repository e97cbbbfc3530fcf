//! The crontabs and units that are shipped, as a user would use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::staging::Mounted;
use crate::support::{Sandbox, ended};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    if !found.status.success() {
        eprintln!("skipped: there is no {program}");
    }
    found.status.success()
}

/// What cron takes of a crontab: variables, and commands without their times.
fn parse(crontab: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut variables, mut commands) = (Vec::new(), Vec::new());
    for line in crontab.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.contains(' ')) {
            variables.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let mut rest = line;
        for _ in 0..5 {
            rest = rest.trim_start().split_once(' ').expect("five fields before the command").1;
        }
        commands.push(rest.trim_start().to_owned());
    }
    (variables, commands)
}

#[test]
fn the_line_for_cron_makes_generations_also_when_files_go_away_under_rsync() {
    let sandbox = Sandbox::with_repository();
    if !has("rsync") {
        return;
    }
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    let (variables, commands) = parse(&example("staging/crontab"));
    assert_eq!(commands.len(), 2, "{commands:?}");
    fs::create_dir(mounted.1.join("staging/web1")).unwrap();
    sandbox.write("file", "first");
    let bin = PathBuf::from(env!("CARGO_BIN_EXE_reelfs")).parent().unwrap().to_owned();
    let put = |text: &str| {
        text.replace("/mnt/reelfs", mounted.1.to_str().unwrap())
            .replace("/srv/backups", sandbox.repository().to_str().unwrap())
            .replace("/home/", &format!("{}/", sandbox.source().display()))
            .replace(&format!("web1{}/", sandbox.source().display()), "web1/home/")
            .replace("/usr/local/bin", bin.to_str().unwrap())
    };
    let run = |more: Option<&Path>| {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(put(&commands[0])).env_clear();
        for (name, value) in &variables {
            let more = more.filter(|_| name == "PATH").map(|path| format!("{}:", path.display()));
            command.env(name, format!("{}{}", more.unwrap_or_default(), put(value)));
        }
        ended(&mut command)
    };
    let first = run(None);
    assert_eq!((first.code, &*first.out, &*first.error), (0, "", ""), "cron sends mail of any output");
    assert_eq!(sandbox.good(&["cat", "web1:home/file"]), "first");
    assert_eq!(run(None).code, 0);
    assert_eq!(sandbox.generations().len(), 1, "nothing changed");
    // An rsync that ends as this one does.
    let wrapped = sandbox.path("wrapped");
    fs::create_dir(&wrapped).unwrap();
    for (code, count) in [(24, 2), (23, 2), (12, 2)] {
        sandbox.write("file", format!("changed before {code}"));
        let rsync = "PATH=/usr/local/bin:/usr/bin:/bin rsync";
        fs::write(wrapped.join("rsync"), format!("#!/bin/sh\n{rsync} \"$@\"\nexit {code}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(wrapped.join("rsync"), executable).unwrap();
        let ended = run(Some(&wrapped));
        assert_eq!(ended.code == 0, code == 24, "{code}: {ended:?}");
        assert_eq!(sandbox.generations().len(), count, "{code}");
    }
    // Without the mount nothing is written where it would be.
    mounted.umount();
    let ended = run(None);
    assert!(ended.code != 0 && fs::read_dir(&mounted.1).unwrap().count() == 0, "{ended:?}");
}

#[test]
fn systemd_takes_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let sandbox = Sandbox::new();
    let program = sandbox.path("reelfs");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["reelfs-mount.service", "reelfs-commit@.service", "reelfs-commit@.timer"] {
        let text = example(&format!("staging/{name}"));
        let text = text.replace("/usr/local/bin/reelfs", program.to_str().unwrap());
        fs::write(sandbox.path(name), text).unwrap();
    }
    for name in ["reelfs-mount.service", "reelfs-commit@web1.service", "reelfs-commit@web1.timer"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).arg(sandbox.path(name));
        let ended = ended(&mut command);
        let told = format!("{}{}", ended.out, ended.error);
        // It looks at what else is installed, too.
        let is_ours = told.lines().any(|line| line.contains("reelfs"));
        assert!(!is_ours && (ended.code == 0 || !told.is_empty()), "{name}: {ended:?}");
    }
}
