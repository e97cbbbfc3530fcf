//! `reelfs mount`

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::context::Context;
use crate::failure::Failure;
use crate::{place, session};

// Name of the daemon where it was built.
const DAEMON: &str = "mountd";
// Name of the daemon where it is installed.
const INSTALLED: &str = "reelfs-mountd";

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs mount /mnt/backup                     all clients and generations, and staging
  ls /mnt/backup/clients/web1/latest
  mkdir /mnt/backup/staging/web1; rsync -a /home /mnt/backup/staging/web1/
  reelfs mount -o ro /mnt/backup               without staging
  reelfs mount /mnt/web1 web1@latest           one generation
  reelfs mount /mnt/etc web1:etc --uid alice --gid users --umask 077
  reelfs umount /mnt/backup

  The command returns when the mount is ready. New generations appear in it by themselves. With
  --foreground it stays until the mount is gone, for services. 'mountd --help' lists all
  options of -o.

EXIT STATUS
  0 mounted; 1 failed; 2 usage; 10 no repository; 12 the repository is damaged";

/// Show generations as a file system
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Directory to mount at
    mountpoint: PathBuf,
    /// What to show: CLIENT[@GENERATION][:PATH]; everything if left out
    address: Option<OsString>,
    /// Stay in the foreground until the mount is gone
    #[arg(long, short)]
    foreground: bool,
    /// Show everything as owned by this user, by name or number
    #[arg(long, value_name = "USER")]
    uid: Option<OsString>,
    /// Show everything as owned by this group, by name or number
    #[arg(long, value_name = "GROUP")]
    gid: Option<OsString>,
    /// Take these permission bits away from everything, in octal
    #[arg(long, value_name = "OCTAL")]
    umask: Option<OsString>,
    /// More options of the mount, such as private, noexec, ro; 'mountd --help' lists them
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<OsString>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    if let Some(address) = &args.address {
        place::parse(address)?;
    }
    let repository = session::directory(context)?;
    let mut command = Command::new(daemon());
    command.arg("--repo").arg(repository);
    for options in &args.options {
        command.arg("-o").arg(options);
    }
    for (name, value) in [("--uid", &args.uid), ("--gid", &args.gid), ("--umask", &args.umask)] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    if args.foreground {
        command.arg("--foreground");
    }
    command.arg("--").arg(&args.mountpoint).args(&args.address);
    // The daemon takes the place of this process, and its exit code is ours.
    let source = command.exec();
    let program = reelfs::path::display(command.get_program().as_encoded_bytes());
    Err(Failure::failed(Start { program, source })
        .hint("mountd or reelfs-mountd is expected beside reelfs, or reelfs-mountd in a directory of PATH"))
}

/// The daemon cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}")]
struct Start {
    program: String,
    source: std::io::Error,
}

// On a PATH the plain name is that of the server of NFS.
fn daemon() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = [DAEMON, INSTALLED].map(|name| own.with_file_name(name));
    beside.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(INSTALLED))
}
