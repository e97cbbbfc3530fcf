//! Options of a mount: `-o ro,uid=1000,private` and the like.

use nix::mount::MsFlags;
use nix::unistd::{Group, User, geteuid};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attributes::OwnerMap;

/// An option that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No such option.
    #[error("unknown option '{option}'")]
    Unknown {
        /// The option.
        option: String,
    },
    /// The value is not one of those allowed.
    #[error("option {name}: '{value}' is not {expected}")]
    Value {
        /// Name of the option.
        name: String,
        /// The value given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A mount cannot be changed once it is there.
    #[error("a reelfs mount cannot be remounted; unmount it and mount it again")]
    Remount,
}

/// How a repository is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOptions {
    /// Whom everything is shown to belong to.
    pub owners: OwnerMap,
    /// Only the user who mounts may use the mount; absent: unless that is root.
    pub private: Option<bool>,
    /// Set-id bits have effect.
    pub allows_suid: bool,
    /// Devices can be opened.
    pub allows_devices: bool,
    /// Programs cannot be run.
    pub forbids_programs: bool,
    /// Symbolic links are shown, but not followed.
    pub forbids_symlinks: bool,
    /// Staging is mounted too; absent: if what is mounted is everything, may be written, and can be.
    pub staging: Option<bool>,
    /// The kernel writes new files of staging itself, where it can.
    pub passthrough: bool,
    /// `clients` is a mount of its own while nothing in it has extended attributes.
    pub submount: bool,
    /// Cartridges are mounted too, if what is mounted is everything.
    pub tapes: bool,
    /// The library in which cartridges are; absent: what `REELFS_LIBRARY` says.
    pub tape_library: Option<String>,
    /// Longest wait for a free drive, in seconds.
    pub tape_wait_seconds: u64,
    /// A cartridge that nobody read from for so many seconds is put away.
    pub tape_idle_seconds: u64,
    /// Bytes of the cache on disk of what was read from tape.
    pub tape_cache_bytes: u64,
    /// Beginnings of names of programs for which no tape is moved; absent: indexers and thumbnailers that are known.
    pub tape_refuse: Option<Vec<String>>,
    /// The dispatcher spins while requests come; absent: if there is more than one CPU.
    pub spin: Option<bool>,
    /// Bytes of the cache of decompressed pages.
    pub page_cache_bytes: u64,
    /// Bytes of the cache of decompressed frames.
    pub frame_cache_bytes: u64,
    /// The kernel reads so many KiB ahead.
    pub read_ahead_kib: u32,
}

impl Default for MountOptions {
    fn default() -> Self {
        let cache = reelfs::repo::CacheBytes::default();
        Self {
            owners: OwnerMap::default(),
            private: None,
            allows_suid: false,
            allows_devices: false,
            forbids_programs: false,
            forbids_symlinks: false,
            staging: None,
            passthrough: true,
            submount: true,
            tapes: true,
            tape_library: None,
            tape_wait_seconds: 300,
            tape_idle_seconds: 60,
            tape_cache_bytes: 4 << 30,
            tape_refuse: None,
            spin: None,
            page_cache_bytes: cache.pages,
            frame_cache_bytes: cache.frames,
            read_ahead_kib: 1024,
        }
    }
}

impl MountOptions {
    /// Takes a list of options with commas between; in quotes a comma is part of a value.
    ///
    /// # Errors
    /// [`OptionError`] at the first that is not known, unless `is_sloppy`, or not valid.
    pub fn parse(&mut self, list: &str, is_sloppy: bool) -> Result<(), OptionError> {
        for option in split(list) {
            match self.set(&option) {
                Err(OptionError::Unknown { .. }) if is_sloppy => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn set(&mut self, option: &str) -> Result<(), OptionError> {
        if let Some((name, value)) = option.split_once('=') {
            return self.set_value(name, value);
        }
        match option {
            "private" => self.private = Some(true),
            "allow_other" => self.private = Some(false),
            "suid" => self.allows_suid = true,
            "nosuid" => self.allows_suid = false,
            "dev" => self.allows_devices = true,
            "nodev" => self.allows_devices = false,
            "exec" => self.forbids_programs = false,
            "noexec" => self.forbids_programs = true,
            "nosymfollow" => self.forbids_symlinks = true,
            "symfollow" => self.forbids_symlinks = false,
            "staging" => self.staging = Some(true),
            "nostaging" | "ro" => self.staging = Some(false),
            "passthrough" => self.passthrough = true,
            "nopassthrough" => self.passthrough = false,
            "submount" => self.submount = true,
            "nosubmount" => self.submount = false,
            "tapes" => self.tapes = true,
            "notapes" => self.tapes = false,
            "spin" => self.spin = Some(true),
            "nospin" => self.spin = Some(false),
            "remount" => return Err(OptionError::Remount),
            // What mount(8) says of the fstab line, what holds anyway, and `rw`, which it says by default.
            "rw"
            | "default_permissions"
            | "defaults"
            | "auto"
            | "noauto"
            | "nofail"
            | "_netdev"
            | "user"
            | "users"
            | "nouser"
            | "owner"
            | "group"
            | "async"
            | "sync"
            | "atime"
            | "noatime"
            | "diratime"
            | "nodiratime"
            | "relatime"
            | "norelatime"
            | "strictatime"
            | "lazytime"
            | "nolazytime"
            | "silent"
            | "loud"
            | "" => {}
            other if other.starts_with("x-") || other.starts_with("X-") => {}
            other => return Err(OptionError::Unknown { option: other.to_owned() }),
        }
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let invalid =
            |expected| OptionError::Value { name: name.to_owned(), value: value.to_owned(), expected };
        match name {
            "uid" => self.owners.uid = Some(parse_user(value).ok_or_else(|| invalid("a user"))?),
            "gid" => self.owners.gid = Some(parse_group(value).ok_or_else(|| invalid("a group"))?),
            "umask" => {
                let mask = u16::from_str_radix(value, 8).ok().filter(|mask| *mask <= 0o777);
                self.owners.umask = mask.ok_or_else(|| invalid("an octal number up to 777"))?;
            }
            "page_cache" => self.page_cache_bytes = parse_mib(value).ok_or_else(|| invalid("MiB"))?,
            "frame_cache" => self.frame_cache_bytes = parse_mib(value).ok_or_else(|| invalid("MiB"))?,
            "read_ahead" => self.read_ahead_kib = value.parse().map_err(|_| invalid("KiB"))?,
            "tape_library" => self.tape_library = Some(value.to_owned()),
            "tape_wait" => self.tape_wait_seconds = value.parse().map_err(|_| invalid("seconds"))?,
            "tape_idle" => self.tape_idle_seconds = value.parse().map_err(|_| invalid("seconds"))?,
            "tape_cache" => self.tape_cache_bytes = parse_mib(value).ok_or_else(|| invalid("MiB"))?,
            "tape_refuse" => {
                let names = value.split(':').filter(|name| !name.is_empty());
                self.tape_refuse = Some(names.map(str::to_owned).collect());
            }
            "comment" => {}
            other if other.starts_with("x-") || other.starts_with("X-") => {}
            _ => return Err(OptionError::Unknown { option: format!("{name}={value}") }),
        }
        Ok(())
    }

    /// Tells whether only the user who mounts may use the mount.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private.unwrap_or_else(|| !geteuid().is_root())
    }

    /// Flags of mount(2) for the tree of generations.
    ///
    /// Who is not root can mount on a directory only where the kernel lets him write: there the server alone
    /// refuses changes, with the same error.
    #[must_use]
    pub fn flags(&self, is_mounted_on: bool) -> MsFlags {
        let mut flags = self.staging_flags();
        flags.set(MsFlags::MS_RDONLY, !is_mounted_on || geteuid().is_root());
        flags
    }

    /// Flags of mount(2) for staging.
    #[must_use]
    pub fn staging_flags(&self) -> MsFlags {
        let mut flags = MsFlags::MS_NOATIME;
        for (is_set, flag) in [
            (!self.allows_suid, MsFlags::MS_NOSUID),
            (!self.allows_devices, MsFlags::MS_NODEV),
            (self.forbids_programs, MsFlags::MS_NOEXEC),
            (self.forbids_symlinks, MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW)),
        ] {
            flags.set(flag, is_set);
        }
        flags
    }
}

fn parse_user(text: &str) -> Option<u32> {
    parse_id(text).or_else(|| User::from_name(text).ok().flatten().map(|user| user.uid.as_raw()))
}

fn parse_group(text: &str) -> Option<u32> {
    parse_id(text).or_else(|| Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw()))
}

// The last number stands for nobody in chown(2), and the kernel takes no inode with it.
fn parse_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

fn parse_mib(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|mib| (1..=1 << 20).contains(mib)).map(|mib| mib << 20)
}

fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    for character in list.chars() {
        is_quoted ^= character == '"';
        match parts.last_mut() {
            Some(part) if character != ',' || is_quoted => part.push(character),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn options_of_mount_8_are_taken_and_those_of_fstab_alone_are_ignored() {
        let mut options = MountOptions::default();
        options
            .parse(
                "rw,noexec,nosuid,nodev,_netdev,nofail,users,uid=0,gid=root,umask=022,comment=\"a,b\"",
                false,
            )
            .expect("valid");
        assert_eq!(options.owners, OwnerMap { uid: Some(0), gid: Some(0), umask: 0o022 });
        assert!(options.flags(false).contains(MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC));
    }

    #[test]
    fn a_mount_is_read_only_and_without_set_id_and_devices_unless_asked_for() {
        let mut options = MountOptions::default();
        let safe = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        assert!(options.flags(false).contains(safe));
        options.parse("suid,dev,rw", false).expect("valid");
        assert!(!options.flags(false).intersects(MsFlags::MS_NOSUID | MsFlags::MS_NODEV));
        assert!(options.flags(false).contains(MsFlags::MS_RDONLY));
    }

    #[test]
    fn what_is_not_an_option_is_refused() {
        for bad in [
            "frobnicate",
            "uid=no such user",
            "uid=4294967295",
            "gid=-1",
            "umask=9",
            "umask=1777",
            "remount,ro",
            "page_cache=0",
        ] {
            assert!(MountOptions::default().parse(bad, false).is_err(), "{bad}");
        }
        assert!(MountOptions::default().parse("frobnicate,a=b", true).is_ok());
    }
}
