//! Arguments of the command, and of mount(8) when it calls the program as its helper.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use reelfs::repo::Address;

use crate::launch::{Request, split_spec};
use crate::options::MountOptions;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Mount.
    Mount(Box<Request>),
    /// Unmount what is mounted here, staging first.
    Unmount {
        /// The mount point.
        mountpoint: PathBuf,
        /// Out of sight now, away when the last user has gone.
        is_lazy: bool,
    },
    /// Only check the arguments.
    Nothing,
    /// Be the supervisor.
    Supervise(String),
    /// Be the first server.
    Serve(String),
    /// Be a server after the first.
    Resume(String),
    /// Be the lister of the staging that is mounted here.
    List(String),
}

const INTERNAL: [&str; 4] = ["supervise", "serve", "resume", "list"];

const AFTER_LONG_HELP: &str = "\
Options of -o, and of mount(8):
  uid=USER, gid=GROUP    show everything as owned by them, by name or number
  umask=OCTAL            take these permission bits away from everything
  private, allow_other   only who mounts may use it, or all users; all is the default for root
  suid, nosuid           let set-id bits have effect, or not: the default
  dev, nodev             let devices be opened, or not: the default
  exec, noexec           let programs be run: the default, or not
  symfollow, nosymfollow follow symbolic links: the default, or not
  ro, nostaging          without staging
  staging                no mount without staging
  submount, nosubmount
                         make 'clients' a mount of its own where nothing has extended attributes, or never
  passthrough, nopassthrough
                         let the kernel write new files of staging itself: the default, or not
  tapes, notapes         show cartridges: the default, or not
  tape_library=LIBRARY   where they are: /dev/sgN, a directory, iscsi://HOST[:PORT]/TARGET; or REELFS_LIBRARY
  tape_wait=SECONDS      wait for a drive so long; 300
  tape_idle=SECONDS      put away a cartridge that was not read from for so long; 60
  tape_cache=MIB         bound of the cache on disk of what was read from tape; 4096
  tape_refuse=NAME:...   programs that move no tape
  spin, nospin           answer without sleeping while requests come, or not
  page_cache=MIB         bound of the cache of tree pages; 16
  frame_cache=MIB        bound of the cache of data; 32
  read_ahead=KIB         how far the kernel reads ahead; 1024

Who is not root needs fusermount3, has no suid, dev and nosymfollow, and staging and cartridges only
with allow_other.

Examples:
  mountd --repo /srv/backup /mnt
  mountd --repo /srv/backup /mnt web1@latest
  mountd --repo /srv/backup /mnt web1@2026-11:/etc -o uid=alice,umask=077";

/// The command as clap knows it.
#[must_use]
pub fn command() -> Command {
    let path = || value_parser!(PathBuf);
    let mut command = Command::new("mountd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Show a repository as a file system")
        .after_help(
            "Examples:\n  mountd --repo /srv/backup /mnt\n  mountd --repo /srv/backup /mnt web1@latest\n  \
             mountd --repo /srv/backup /mnt web1@2026-11:/etc -o uid=alice,umask=077",
        )
        .after_long_help(AFTER_LONG_HELP)
        .arg(
            Arg::new("repo")
                .long("repo")
                .value_name("DIR")
                .env("REELFS_REPO")
                .value_parser(path())
                .help("The repository"),
        )
        .arg(Arg::new("mountpoint").value_name("MOUNTPOINT").value_parser(path()).help("Where to mount it"))
        .arg(
            Arg::new("address")
                .value_name("ADDRESS")
                .value_parser(value_parser!(OsString))
                .help("CLIENT[@GENERATION][:PATH]: what to show; everything if left out"),
        )
        .arg(
            Arg::new("foreground")
                .long("foreground")
                .short('f')
                .action(ArgAction::SetTrue)
                .help("Stay in the foreground until the mount is gone"),
        )
        .arg(
            Arg::new("options")
                .short('o')
                .value_name("OPTIONS")
                .action(ArgAction::Append)
                .help("Options separated by commas, as mount(8) takes them; --help lists all"),
        );
    for (name, what) in [
        ("uid", "Show everything as owned by this user"),
        ("gid", "Show everything as owned by this group"),
        ("umask", "Take these permission bits away from everything"),
        ("page-cache", "MiB of decompressed tree pages to keep"),
        ("frame-cache", "MiB of decompressed data to keep"),
    ] {
        command = command.arg(Arg::new(name).long(name).value_name("VALUE").help(what));
    }
    for (name, what) in [
        ("private", "Only the user who mounts may use the mount"),
        ("suid", "Let set-id bits have effect"),
        ("dev", "Let devices be opened"),
        ("spin", "Answer without sleeping while requests come"),
        ("no-spin", "Sleep between requests"),
    ] {
        command = command.arg(Arg::new(name).long(name).action(ArgAction::SetTrue).help(what));
    }
    for name in INTERNAL {
        command = command.arg(Arg::new(name).long(name).value_name("PLAN").hide(true));
    }
    command
}

/// Reads the arguments, the program's name first.
///
/// # Errors
/// What clap says, with usage.
pub fn parse(arguments: Vec<OsString>) -> Result<Task, clap::Error> {
    let name = arguments.first().map(PathBuf::from).unwrap_or_default();
    let is_called =
        |names: [&str; 2]| name.file_name().is_some_and(|name| names.iter().any(|one| name == *one));
    if is_called(["mount.reelfs", "mount.fuse.reelfs"]) {
        return parse_helper(arguments);
    }
    if is_called(["umount.reelfs", "umount.fuse.reelfs"]) {
        return parse_unmount_helper(arguments);
    }
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let internal: [fn(String) -> Task; 4] = [Task::Supervise, Task::Serve, Task::Resume, Task::List];
    for (name, make) in INTERNAL.into_iter().zip(internal) {
        if let Some(plan) = text(name) {
            return Ok(make(plan));
        }
    }
    let required = |command: &mut Command, name: &str| {
        matches
            .get_one::<PathBuf>(name)
            .cloned()
            .ok_or_else(|| command.error(ErrorKind::MissingRequiredArgument, format!("{name} was not given")))
    };
    let repository = required(&mut command, "repo")?;
    let mountpoint = required(&mut command, "mountpoint")?;
    let address = match matches.get_one::<OsString>("address") {
        Some(text) => Some(parse_address(&mut command, text)?),
        None => None,
    };
    let options = parse_options(&mut command, &matches)?;
    let is_foreground = matches.get_flag("foreground");
    let request = Request { repository, mountpoint, address, source: None, options, is_foreground };
    Ok(Task::Mount(Box::new(request)))
}

fn parse_address(command: &mut Command, text: &OsStr) -> Result<Address, clap::Error> {
    Address::parse(text).map_err(|error| command.error(ErrorKind::ValueValidation, error))
}

fn parse_options(command: &mut Command, matches: &ArgMatches) -> Result<MountOptions, clap::Error> {
    let mut lists: Vec<String> = matches.get_many::<String>("options").unwrap_or_default().cloned().collect();
    for (argument, option) in [
        ("uid", "uid"),
        ("gid", "gid"),
        ("umask", "umask"),
        ("page-cache", "page_cache"),
        ("frame-cache", "frame_cache"),
    ] {
        if let Some(value) = matches.get_one::<String>(argument) {
            lists.push(format!("{option}={value}"));
        }
    }
    for (argument, option) in
        [("private", "private"), ("suid", "suid"), ("dev", "dev"), ("spin", "spin"), ("no-spin", "nospin")]
    {
        if matches.get_flag(argument) {
            lists.push(option.to_owned());
        }
    }
    let mut options = MountOptions::default();
    for list in lists {
        options.parse(&list, false).map_err(|error| command.error(ErrorKind::ValueValidation, error))?;
    }
    Ok(options)
}

// umount(8) calls: DIR [-f] [-l] [-n] [-v] [-r] [-t TYPE] [-N NAMESPACE]
fn parse_unmount_helper(arguments: Vec<OsString>) -> Result<Task, clap::Error> {
    let flag = |name: &'static str, short: char| Arg::new(name).short(short).action(ArgAction::SetTrue);
    let value = |name: &'static str, short: char| Arg::new(name).short(short).value_name("VALUE").hide(true);
    let command = Command::new("umount.reelfs")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Unmount a repository, for umount(8)")
        .arg(Arg::new("dir").value_name("DIR").required(true).value_parser(value_parser!(PathBuf)))
        .arg(flag("lazy", 'l').help("Take it out of sight now, and away when nobody uses it any more"))
        .args(
            [('f', "force"), ('n', "no-mtab"), ('v', "verbose"), ('r', "read-only")]
                .map(|(short, name)| flag(name, short).help("Ignored")),
        )
        .args([value("type", 't'), value("namespace", 'N')]);
    let matches = command.try_get_matches_from(arguments)?;
    let mountpoint = matches.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
    Ok(Task::Unmount { mountpoint, is_lazy: matches.get_flag("lazy") })
}

// mount(8) calls: SPEC DIR [-s] [-f] [-n] [-v] -o OPTIONS
fn parse_helper(arguments: Vec<OsString>) -> Result<Task, clap::Error> {
    let flag = |name: &'static str, what: &'static str| {
        Arg::new(name).short(name.chars().next()).action(ArgAction::SetTrue).help(what)
    };
    let mut command = Command::new("mount.reelfs")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Mount a repository, for mount(8)")
        .arg(Arg::new("spec").value_name("REPOSITORY[:ADDRESS]").required(true))
        .arg(Arg::new("dir").value_name("DIR").required(true).value_parser(value_parser!(PathBuf)))
        .arg(flag("sloppy", "Ignore options that are not known"))
        .arg(flag("fake", "Do everything but mount"))
        .arg(flag("n", "Ignored"))
        .arg(flag("v", "Ignored"))
        .arg(Arg::new("options").short('o').value_name("OPTIONS").action(ArgAction::Append))
        .arg(Arg::new("type").short('t').value_name("TYPE").hide(true));
    let matches = command.try_get_matches_from_mut(arguments)?;
    let mut options = MountOptions::default();
    for list in matches.get_many::<String>("options").unwrap_or_default() {
        options
            .parse(list, matches.get_flag("sloppy"))
            .map_err(|error| command.error(ErrorKind::ValueValidation, error))?;
    }
    if matches.get_flag("fake") {
        return Ok(Task::Nothing);
    }
    let spec = matches.get_one::<String>("spec").cloned().unwrap_or_default();
    let mountpoint = matches.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
    let (repository, address) = split_spec(&spec);
    let address = match address {
        Some(text) => Some(parse_address(&mut command, OsStr::new(text))?),
        None => None,
    };
    let request =
        Request { repository, mountpoint, address, source: Some(spec), options, is_foreground: false };
    Ok(Task::Mount(Box::new(request)))
}

#[cfg(test)]
mod test {
    use super::*;

    // Names in the arms of `MountOptions::set` and `set_value` that set something.
    fn options() -> Vec<&'static str> {
        let lines = include_str!("options.rs").lines().map(str::trim_start);
        let arms = lines.take_while(|line| *line != "#[cfg(test)]").filter(|line| line.starts_with('"'));
        let patterns = arms.filter_map(|line| line.split_once(" => ")).filter(|(_, what)| *what != "{}");
        patterns.flat_map(|(pattern, _)| pattern.split('"').skip(1).step_by(2)).collect()
    }

    #[test]
    fn help_and_manual_name_every_option() {
        let help = command().render_long_help().to_string();
        let manual = include_str!("../../man/reelfs-mountd.8");
        let has = |text: &str, name: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
        };
        assert!(options().len() > 30, "{:?}", options());
        for name in options().into_iter().filter(|name| *name != "remount") {
            assert!(has(&help, name), "mountd --help does not name {name}");
            assert!(has(manual, name), "reelfs-mountd(8) does not name {name}");
        }
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest.is_some_and(|longest| longest <= 110), "a line of {longest:?} characters");
    }
}
