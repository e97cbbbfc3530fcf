//! `vtape serve`: the library as an iSCSI target.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reelfs::emulator::{IscsiTarget, TargetSettings};
use reelfs::progress::Progress;
use reelfs::scsi::iscsi::chap::Credentials;

use super::open;
use crate::context::watch_signals;
use crate::failure::Failure;
use crate::output::{Output, object, tell};

const AFTER_HELP: &str = "\
EXAMPLES
  Serve, and look at it from another terminal:
    vtape serve /srv/library --iscsi 127.0.0.1:3260
    iscsi-ls -s iscsi://127.0.0.1:3260
  As drives of this machine, /dev/st0 and so on:
    iscsiadm -m discovery -t sendtargets -p 127.0.0.1
    iscsiadm -m node --login
  As drives of a virtual machine:
    qemu-system-x86_64 ... -device virtio-scsi-pci,id=s0 \\
      -drive if=none,id=t1,format=raw,file=iscsi://127.0.0.1:3260/iqn.2026-11.net.reelfs:vt00000001/1 \\
      -device scsi-generic,drive=t1,bus=s0.0
  To other machines, which must know a secret:
    vtape serve /srv/library --iscsi 0.0.0.0:3260 --chap-user web1 --chap-secret-file /etc/vtape.secret

EXIT STATUS
    0  ended by a signal
    1  failed
    2  the arguments make no sense
   10  the directory holds no library";

/// Show a library as an iSCSI target until a signal comes
///
/// Logical unit 0 is the changer, 1 the first drive. Several initiators can use it at once, and reelfs the
/// directory; a second `serve` of one directory is refused. Whoever can connect can read and write all cartridges, unless a secret is asked for.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Directory of the library
    dir: PathBuf,
    /// Address and port to listen on; port 0 takes any
    #[arg(long, default_value = "127.0.0.1:3260", value_name = "ADDRESS:PORT")]
    iscsi: SocketAddr,
    /// Name of the target; made of the serial number if not given
    #[arg(long, value_name = "IQN")]
    name: Option<String>,
    /// Initiators must prove by CHAP that they are this user
    #[arg(long, value_name = "USER", requires = "chap_secret_file")]
    chap_user: Option<String>,
    /// File with the secret of the user, 12 to 255 characters; only its owner may read it
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    chap_secret_file: Option<PathBuf>,
    /// Name by which the target proves itself to initiators that ask for it
    #[arg(long, value_name = "USER", requires = "target_secret_file")]
    target_user: Option<String>,
    /// File with the secret of the target; another one than that of the user
    #[arg(long, value_name = "FILE", requires = "target_user")]
    target_secret_file: Option<PathBuf>,
}

pub(super) fn run(args: &Args, json: bool, out: &mut Output) -> Result<(), Failure> {
    let library = open(&args.dir)?;
    let serial = library.status()?.serial;
    let name =
        args.name.clone().unwrap_or_else(|| format!("iqn.2026-11.net.reelfs:{}", serial.to_lowercase()));
    if !name.starts_with("iqn.") || name.len() > 223 || !name.is_ascii() {
        return Err(Failure::usage("the name of a target begins with 'iqn.' and has at most 223 characters"));
    }
    let initiator = credentials(args.chap_user.as_deref(), args.chap_secret_file.as_deref())?;
    let target = credentials(args.target_user.as_deref(), args.target_secret_file.as_deref())?;
    let is_same = |a: &Credentials| target.as_ref().is_some_and(|b| a.secret == b.secret);
    if initiator.as_ref().is_some_and(is_same) {
        return Err(Failure::usage("the target must have another secret than the user"));
    }
    if initiator.is_none() && !args.iscsi.ip().is_loopback() {
        tell("vtape: warning: whoever can reach the address can read and write all cartridges");
    }
    let listener = TcpListener::bind(args.iscsi).map_err(|source| {
        Failure::failed(Bind { address: args.iscsi, source }).hint("another program may use the port")
    })?;
    let settings = TargetSettings {
        name: name.clone(),
        initiator,
        target,
        random: Arc::new(|| crate::clock::new_id().0),
    };
    let last = library.last_lun();
    let server = IscsiTarget::start(library, settings, listener)?;
    let address = server.address();
    if json {
        out.json(object([
            ("address", address.to_string().into()),
            ("target", name.into()),
            ("last_lun", last.into()),
        ]))?;
    } else {
        let target = format!("iscsi://{address}/{name}");
        out.line(&format!(
            "{target} is the library; {target}/0 is its changer, /1 to /{last} are its drives"
        ))?;
    }
    out.flush()?;
    wait_for_signal()?;
    drop(server);
    Ok(())
}

fn wait_for_signal() -> Result<(), Failure> {
    let progress = Arc::new(Progress::new());
    watch_signals(Arc::clone(&progress))?;
    while progress.check().is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn credentials(user: Option<&str>, file: Option<&Path>) -> Result<Option<Credentials>, Failure> {
    let (Some(user), Some(file)) = (user, file) else { return Ok(None) };
    let secret = read_secret(file)?;
    if !(12..=255).contains(&secret.len()) {
        return Err(Failure::usage("a secret has 12 to 255 characters"));
    }
    Ok(Some(Credentials { user: user.to_owned(), secret }))
}

fn read_secret(file: &Path) -> Result<String, Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = reelfs::path::display(file.as_os_str().as_encoded_bytes());
    let read = || {
        let opened = fs::File::open(file)?;
        let mode = opened.metadata()?.permissions().mode();
        let mut text = String::new();
        opened.take(4096).read_to_string(&mut text)?;
        Ok((mode, text))
    };
    let (mode, text) = read().map_err(|source| Failure::failed(Secret { path: path.clone(), source }))?;
    if mode & 0o077 != 0 {
        let error = format!("{path}: others than its owner may read the secret");
        return Err(Failure::failed(error).hint(format!("chmod 600 {path}")));
    }
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
struct Bind {
    address: SocketAddr,
    source: std::io::Error,
}

/// The file with a secret cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
struct Secret {
    path: String,
    source: std::io::Error,
}
