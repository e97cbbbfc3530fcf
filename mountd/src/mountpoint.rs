//! The mount point: what stands in the way, mount(2) and its undoing.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{geteuid, getgid, getuid};
use thiserror::Error;

use crate::fusermount::{self, FusermountError};

/// Type of the file system, as `findmnt -t` takes it.
pub const TYPE: &str = "fuse.reelfs";
const DEVICE: &str = "/dev/fuse";
const MOUNTS: &str = "/proc/self/mountinfo";
// Dead mounts can lie one over the other.
const DEAD_COUNT_MAX: usize = 16;
const BUSY_ATTEMPT_COUNT: u32 = 20;
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Why there is no mount.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mount point is missing, or is not to be reached.
    #[error("cannot use the mount point {path}")]
    Mountpoint {
        /// The mount point.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The mount point is a file.
    #[error("the mount point {path} is not a directory")]
    NotDirectory {
        /// The mount point.
        path: String,
    },
    /// The repository would be hidden by its own mount, or the mount lie in it.
    #[error("the mount point {path} and the repository {repository} overlap")]
    Overlap {
        /// The mount point.
        path: String,
        /// The repository.
        repository: String,
    },
    /// A repository is mounted there.
    #[error("{path} is a reelfs mount already")]
    Mounted {
        /// The mount point.
        path: String,
    },
    /// There is no FUSE.
    #[error("cannot open {DEVICE}: is the fuse module loaded?")]
    Device {
        /// Why.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("cannot mount on {path}")]
    Mount {
        /// The mount point.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The program that mounts for users who are not root did not.
    #[error("cannot mount on {path}")]
    Fusermount {
        /// The mount point.
        path: String,
        /// Why.
        source: FusermountError,
    },
}

impl MountError {
    /// What the user can do, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let kind = match self {
            Self::Mountpoint { source, .. } | Self::Device { source } | Self::Mount { source, .. } => {
                source.kind()
            }
            Self::NotDirectory { .. } => return Some("name a directory, best an empty one"),
            Self::Fusermount { source, .. } => return source.hint(),
            Self::Overlap { .. } => return Some("name a directory outside the repository"),
            Self::Mounted { .. } => {
                return Some("'reelfs umount' takes it off; 'findmnt' tells what is mounted");
            }
        };
        match (self, kind) {
            (Self::Mountpoint { .. }, io::ErrorKind::NotFound) => Some("make the directory first: mkdir -p"),
            (Self::Mountpoint { .. }, io::ErrorKind::NotADirectory) => {
                Some("a part of the path is a file; name a directory")
            }
            (Self::Device { .. }, io::ErrorKind::NotFound) => Some("'modprobe fuse' loads the module"),
            (_, io::ErrorKind::PermissionDenied) => Some("only root can mount here: try sudo"),
            _ => None,
        }
    }
}

fn shown(path: &Path) -> String {
    reelfs::path::display(path.as_os_str().as_encoded_bytes())
}

/// Checks a mount point, takes dead mounts off it, and returns its absolute path.
///
/// # Errors
/// [`MountError`] if it cannot be used.
pub fn prepare(path: &Path, repository: &Path) -> Result<PathBuf, MountError> {
    let refused = |source| MountError::Mountpoint { path: shown(path), source };
    remove_dead(path).map_err(refused)?;
    let absolute = path.canonicalize().map_err(refused)?;
    if !absolute.is_dir() {
        return Err(MountError::NotDirectory { path: shown(path) });
    }
    // Reading the repository through its own mount would wait for itself.
    if absolute.starts_with(repository) || repository.starts_with(&absolute) {
        return Err(MountError::Overlap { path: shown(&absolute), repository: shown(repository) });
    }
    if find(&absolute).is_some_and(|mounted| mounted.kind == TYPE) {
        return Err(MountError::Mounted { path: shown(&absolute) });
    }
    Ok(absolute)
}

fn remove_dead(path: &Path) -> io::Result<()> {
    for _ in 0..DEAD_COUNT_MAX {
        if !is_dead(path) {
            break;
        }
        log::info!("{} is a dead mount; taking it off", shown(path));
        detach(path)?;
    }
    Ok(())
}

// A mount whose server died answers ENOTCONN to everything that the kernel does not know by itself, as it
// may know the attributes of the root.
fn is_dead(path: &Path) -> bool {
    rustix::fs::statvfs(path).err() == Some(rustix::io::Errno::NOTCONN)
}

/// Takes a mount off its place; it goes on for those who use it.
///
/// # Errors
/// The refusal of the kernel.
pub fn detach(path: &Path) -> io::Result<()> {
    take_off(path, true)
}

fn take_off(path: &Path, is_lazy: bool) -> io::Result<()> {
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    flags.set(MntFlags::MNT_DETACH, is_lazy);
    match unmount_one(path, flags) {
        Err(Errno::EPERM) if !geteuid().is_root() => {
            fusermount::unmount(path, is_lazy).map_err(io::Error::other)
        }
        result => Ok(result?),
    }
}

// The server itself uses staging for moments, when much was renamed in it.
fn unmount_one(path: &Path, flags: MntFlags) -> nix::Result<()> {
    for _ in 0..BUSY_ATTEMPT_COUNT {
        match umount2(path, flags) {
            Err(Errno::EBUSY) => std::thread::sleep(BUSY_PAUSE),
            done => return done,
        }
    }
    umount2(path, flags)
}

/// Unmounts a mount with what is mounted on its `staging`, `tapes` and `clients` directories.
///
/// # Errors
/// The refusal of the kernel.
pub fn unmount(path: &Path, is_lazy: bool) -> io::Result<()> {
    if let Some(mounted) = find(path).filter(|mounted| mounted.kind != TYPE) {
        let what = format!("it is not a mount of reelfs, but one of {}", mounted.kind);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    // What is mounted on a dead mount cannot be reached, and nobody's work is lost with it.
    if is_lazy || is_dead(path) {
        return detach(path);
    }
    for name in [crate::view::TAPES_NAME, crate::view::STAGING_NAME, crate::view::CLIENTS_NAME] {
        let above = path.join(name);
        if find(&above).is_some_and(|mounted| mounted.kind == TYPE) {
            take_off(&above, false)?;
        }
    }
    take_off(path, false)
}

/// Mounts, and returns the descriptor that a server answers on; who is not root needs `fusermount3` for it.
///
/// # Errors
/// [`MountError`] if the kernel or `fusermount3` refuses.
pub fn attach(path: &Path, source: &str, is_private: bool, flags: MsFlags) -> Result<OwnedFd, MountError> {
    if !geteuid().is_root() {
        return fusermount::mount(path, source, is_private, flags)
            .map_err(|source| MountError::Fusermount { path: shown(path), source });
    }
    let device = File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|source| MountError::Device { source })?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_fd().as_raw_fd(),
        getuid(),
        getgid()
    );
    if !is_private {
        data.push_str(",allow_other");
    }
    match mount(Some(source), path, Some(TYPE), flags, Some(data.as_str())) {
        Ok(()) => Ok(device.into()),
        Err(errno @ Errno::EPERM) => {
            let source = io::Error::other(format!("{errno}: only root can mount"));
            Err(MountError::Mount { path: shown(path), source })
        }
        Err(errno) => Err(MountError::Mount { path: shown(path), source: errno.into() }),
    }
}

/// A line of the table of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Device number, `major:minor`.
    pub device: String,
    /// Type of the file system.
    pub kind: String,
}

/// Finds the mount that is seen at a path, without touching the path.
#[must_use]
pub fn find(path: &Path) -> Option<Mounted> {
    let table = fs::read_to_string(MOUNTS).ok()?;
    table.lines().rev().find_map(|line| parse_line(line, path))
}

// 36 35 98:0 /root /mount/point rw,noatime shared:1 - fuse.reelfs source rw
fn parse_line(line: &str, path: &Path) -> Option<Mounted> {
    let mut fields = line.split(' ');
    let device = fields.nth(2)?;
    let place = fields.nth(1)?;
    if unescape(place) != path.as_os_str().as_encoded_bytes() {
        return None;
    }
    let kind = fields.skip_while(|field| *field != "-").nth(1)?;
    Some(Mounted { device: device.to_owned(), kind: kind.to_owned() })
}

// Space, tab, newline and backslash are octal in the table.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if *first == b'\\' => {
                bytes.push(value);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Lets the kernel read further ahead on a mount than it does by itself.
pub fn set_read_ahead(path: &Path, kib: u32) {
    let Some(mounted) = find(path) else { return };
    let setting = format!("/sys/class/bdi/{}/read_ahead_kb", mounted.device);
    // Slower without, but right.
    if let Err(error) = fs::write(&setting, kib.to_string()) {
        log::debug!("{setting}: {error}");
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_line_of_the_table_of_mounts_is_read() {
        let line = r"36 35 0:98 / /mnt/my\040backups ro,nosuid shared:1 master:2 - fuse.reelfs /repo ro";
        let found = parse_line(line, Path::new("/mnt/my backups"));
        assert_eq!(found, Some(Mounted { device: "0:98".into(), kind: "fuse.reelfs".into() }));
        assert_eq!(parse_line(line, Path::new("/mnt")), None);
        assert_eq!(parse_line("", Path::new("/mnt")), None);
    }

    #[test]
    fn a_mount_point_in_the_repository_or_above_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let (repository, inside, beside) = (root.join("r"), root.join("r/full"), root.join("rr"));
        for path in [&inside, &beside] {
            fs::create_dir_all(path).unwrap();
        }
        for path in [&root, &repository, &inside] {
            assert!(matches!(prepare(path, &repository), Err(MountError::Overlap { .. })), "{path:?}");
        }
        assert_eq!(prepare(&beside, &repository).unwrap(), beside);
    }
}
