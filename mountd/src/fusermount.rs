//! Mounting for users who are not root, by `fusermount3`: it is set-user-id, checks that the mount point is the
//! user's, mounts, and hands over the descriptor.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::mount::MsFlags;
use thiserror::Error;

use crate::handover;

const PROGRAM: &str = "fusermount3";
// Names the descriptor of the socket; here it is the program's standard input.
const SOCKET_VARIABLE: (&str, &str) = ("_FUSE_COMMFD", "0");

/// Why `fusermount3` did not do it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FusermountError {
    /// It is not installed, or cannot be run.
    #[error("only root can mount without {PROGRAM}")]
    Missing(#[source] io::Error),
    /// It refused.
    #[error("{PROGRAM} refused: {text}")]
    Refused {
        /// What it said.
        text: String,
    },
    /// The option is for root alone.
    #[error("only root can mount with {option}")]
    Option {
        /// Name of the option.
        option: &'static str,
    },
    /// The descriptor did not come.
    #[error("{PROGRAM} handed over no descriptor")]
    Handover(#[source] io::Error),
}

impl FusermountError {
    /// What the user can do, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing(_) => Some("install fuse3, or try sudo"),
            Self::Refused { text } if text.contains("user_allow_other") => {
                Some("a line 'user_allow_other' in /etc/fuse.conf lets users share their mounts")
            }
            Self::Refused { text } if text.contains("/dev/fuse") => {
                Some("who mounts must be able to open /dev/fuse: its mode is 0666 on most systems")
            }
            Self::Refused { .. } => Some("a mount point must belong to who mounts"),
            Self::Option { .. } => Some("leave the option out, or try sudo"),
            Self::Handover(_) => None,
        }
    }
}

/// Mounts, and returns the descriptor that a server answers on.
///
/// # Errors
/// [`FusermountError`] if it refuses.
pub(crate) fn mount(
    path: &Path,
    source: &str,
    is_private: bool,
    flags: MsFlags,
) -> Result<OwnedFd, FusermountError> {
    let options = option_list(source, is_private, flags)?;
    let (socket, theirs) = handover::pair().map_err(FusermountError::Handover)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-o").arg(options).arg("--").arg(path).env(SOCKET_VARIABLE.0, SOCKET_VARIABLE.1);
    let output = command.stdin(Stdio::from(theirs)).output();
    // The command holds the other end, and nothing would be the end of what comes.
    drop(command);
    check(output)?;
    let taken = handover::take_bare(&socket).map_err(FusermountError::Handover)?;
    taken.ok_or_else(|| FusermountError::Handover(io::ErrorKind::UnexpectedEof.into()))
}

/// Takes a mount of this user off its place.
///
/// # Errors
/// [`FusermountError`] if it is busy, or not this user's.
pub(crate) fn unmount(path: &Path, is_lazy: bool) -> Result<(), FusermountError> {
    let mut command = Command::new(PROGRAM);
    command.arg("-u").args(is_lazy.then_some("-z")).arg("--").arg(path).stdin(Stdio::null());
    check(command.output())
}

fn check(output: io::Result<Output>) -> Result<(), FusermountError> {
    let output = output.map_err(FusermountError::Missing)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim().strip_prefix(PROGRAM).unwrap_or(text.trim());
    Err(FusermountError::Refused { text: text.trim_start_matches([':', ' ']).to_owned() })
}

// Set-id bits and devices never have effect in a user's mount.
fn option_list(source: &str, is_private: bool, flags: MsFlags) -> Result<String, FusermountError> {
    let symlinks = MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);
    for (is_refused, option) in [
        (!flags.contains(MsFlags::MS_NOSUID), "suid"),
        (!flags.contains(MsFlags::MS_NODEV), "dev"),
        (flags.contains(symlinks), "nosymfollow"),
    ] {
        if is_refused {
            return Err(FusermountError::Option { option });
        }
    }
    let mut options = String::from("nosuid,nodev,default_permissions,subtype=reelfs");
    for (is_set, option) in [
        (flags.contains(MsFlags::MS_RDONLY), ",ro"),
        (flags.contains(MsFlags::MS_NOEXEC), ",noexec"),
        (flags.contains(MsFlags::MS_NOATIME), ",noatime"),
        (!is_private, ",allow_other"),
    ] {
        options.push_str(if is_set { option } else { "" });
    }
    options.push_str(",fsname=");
    for character in source.chars() {
        if matches!(character, ',' | '\\') {
            options.push('\\');
        }
        options.push(character);
    }
    Ok(options)
}

#[cfg(test)]
mod test {
    use super::*;

    const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

    #[test]
    fn a_users_mount_is_private_by_kernel_checks_and_a_comma_in_its_source_is_no_option() {
        let list = option_list("/srv/a,suid", true, SAFE | MsFlags::MS_RDONLY).unwrap();
        assert_eq!(list, r"nosuid,nodev,default_permissions,subtype=reelfs,ro,fsname=/srv/a\,suid");
        assert!(option_list("/srv", false, SAFE).unwrap().contains(",allow_other,"));
    }

    #[test]
    fn a_refusal_says_what_can_be_done_about_it() {
        for (text, word) in [
            ("failed to open /dev/fuse: Permission denied", "/dev/fuse"),
            (
                "option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
                "user_allow_other",
            ),
            ("user has no write access to mountpoint /mnt", "mount point"),
        ] {
            let hint = FusermountError::Refused { text: text.to_owned() }.hint();
            assert!(hint.is_some_and(|hint| hint.contains(word)), "{text}: {hint:?}");
        }
    }

    #[test]
    fn what_only_root_may_ask_for_is_named() {
        for (flags, option) in [(MsFlags::MS_NODEV, "suid"), (MsFlags::MS_NOSUID, "dev")] {
            let error = option_list("/srv", true, flags).unwrap_err();
            assert_eq!(error.to_string(), format!("only root can mount with {option}"));
        }
    }
}
