//! `reelfs umount`

use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::failure::Failure;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs umount /mnt/backup
  reelfs umount --lazy /mnt/backup

EXIT STATUS
  0 done; 1 it is busy, not a mount, or not ours to unmount; 2 usage";

const TYPE: &str = "fuse.reelfs";
const LISTED: &str = "'findmnt -t fuse.reelfs' lists what is mounted";
const MOUNTS: &str = "/proc/self/mounts";
const BUSY_ATTEMPT_COUNT: u32 = 20;
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Take a mount away
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where it is mounted
    mountpoint: PathBuf,
    /// Take it out of sight now, and away when the last program has closed its files
    #[arg(long, short)]
    lazy: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // A link leads to what it names, as for umount(8).
    let is_link = args.mountpoint.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let followed = is_link.then(|| args.mountpoint.canonicalize().ok()).flatten();
    let mountpoint = followed.unwrap_or_else(|| args.mountpoint.clone());
    let args = &Args { mountpoint, lazy: args.lazy };
    if let Some(kind) = kind_of_mount(&args.mountpoint)
        && kind != TYPE
        && (!kind.is_empty() || args.mountpoint.symlink_metadata().is_ok())
    {
        let path = reelfs::path::display(args.mountpoint.as_os_str().as_encoded_bytes());
        let what = match kind.as_str() {
            "" => format!("{path} is not a mount point"),
            kind => format!("{path} is not a mount of reelfs, but one of {kind}"),
        };
        return Err(Failure::failed(what).hint(LISTED));
    }
    // What is mounted on a dead mount cannot be reached, and nobody's work is lost with it.
    let is_lazy = args.lazy || is_dead(&args.mountpoint);
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    flags.set(MntFlags::MNT_DETACH, is_lazy);
    // Cartridges, staging and perhaps clients are mounted on the mount; when it is taken away lazily, all go at
    // once.
    let above = ["tapes", "staging", "clients"].map(|name| args.mountpoint.join(name));
    let above = above.iter().filter(|path| !is_lazy && is_mounted(path));
    for path in above.chain([&args.mountpoint]) {
        match unmount(path, flags) {
            Ok(()) => {}
            Err(Errno::EPERM) => by_helper(args, path, is_lazy)?,
            Err(errno) => return Err(refused(args, errno)),
        }
    }
    Ok(())
}

// What is mounted on a path, as the system lists it; empty if nothing is, and `None` if that cannot be told. The mount
// itself may be dead: it is not looked at.
fn kind_of_mount(path: &std::path::Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let wanted = match path.file_name() {
        Some(name) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            parent.unwrap_or(std::path::Path::new(".")).canonicalize().ok()?.join(name)
        }
        // The root, or what is above something: these have no name of their own.
        None => path.canonicalize().ok()?,
    };
    let mounts = std::fs::read(MOUNTS).ok()?;
    let mut kind = String::new();
    for line in mounts.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').skip(1);
        let (Some(point), Some(found)) = (fields.next(), fields.next()) else { continue };
        if unescaped(point) == wanted.as_os_str().as_bytes() {
            kind = String::from_utf8_lossy(found).into_owned();
        }
    }
    Some(kind)
}

// Blanks and the like are three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut left = field;
    while let Some((first, rest)) = left.split_first() {
        let digits = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        left = code.and_then(|_| rest.get(3..)).unwrap_or(rest);
    }
    bytes
}

// The daemon itself uses staging for moments, when much was renamed in it.
fn unmount(path: &std::path::Path, flags: MntFlags) -> nix::Result<()> {
    for _ in 0..BUSY_ATTEMPT_COUNT {
        match umount2(path, flags) {
            Err(Errno::EBUSY) => std::thread::sleep(BUSY_PAUSE),
            done => return done,
        }
    }
    umount2(path, flags)
}

// The kernel may know the attributes of the root by itself, but not this.
fn is_dead(path: &std::path::Path) -> bool {
    nix::sys::statvfs::statvfs(path) == Err(Errno::ENOTCONN)
}

fn is_mounted(path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &std::path::Path| path.symlink_metadata().map(|metadata| metadata.dev()).ok();
    let above = path.parent().and_then(device);
    above.is_some() && device(path).is_some_and(|device| Some(device) != above)
}

// The kernel lets only root unmount; the helper of FUSE is set-user-id and checks whose mount it is.
fn by_helper(args: &Args, path: &std::path::Path, is_lazy: bool) -> Result<(), Failure> {
    let mut command = std::process::Command::new("fusermount3");
    command.args(is_lazy.then_some("-z")).arg("-u").arg("--").arg(path);
    let output = match command.output() {
        Ok(output) => output,
        Err(_) => return Err(refused(args, Errno::EPERM)),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    Err(refused(args, if said.contains("busy") { Errno::EBUSY } else { Errno::EPERM }))
}

fn refused(args: &Args, errno: Errno) -> Failure {
    let path = reelfs::path::display(args.mountpoint.as_os_str().as_encoded_bytes());
    let (what, hint) = match errno {
        Errno::EBUSY => (
            format!("{path} is busy"),
            Some(format!("'fuser -vm {path}' shows who uses it; --lazy takes it away when they end")),
        ),
        Errno::EINVAL => (format!("{path} is not a mount point"), Some(LISTED.to_owned())),
        Errno::ENOENT => (format!("{path} does not exist"), Some(LISTED.to_owned())),
        Errno::EPERM => (
            format!("{path} cannot be unmounted by this user"),
            Some("the user who mounted it, or root, can".to_owned()),
        ),
        _ => (format!("cannot unmount {path}"), None),
    };
    let failure = match errno {
        Errno::EBUSY | Errno::EINVAL | Errno::ENOENT | Errno::EPERM => Failure::failed(what),
        _ => Failure::failed(Refused { what, source: errno.into() }),
    };
    Failure { hint, ..failure }
}

/// The kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Refused {
    what: String,
    source: std::io::Error,
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_no_mount_of_ours_is_known_by_whatever_path() {
        let kind = |path: &str| kind_of_mount(Path::new(path));
        let root = kind("/").expect("it can be told");
        assert!(!root.is_empty() && root != TYPE, "{root}");
        for path in ["/proc", "/proc/", "/proc/.", "/../proc"] {
            assert_eq!(kind(path).as_deref(), Some("proc"), "{path}");
        }
        assert_eq!(kind("/proc/../"), Some(root));
        assert_eq!(kind("/proc/self").as_deref(), Some(""));
    }
}
