//! From what was asked for to a mount that is ready.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use reelfs::format::record::FileKind;
use reelfs::id::{ClientName, Ordinal};
use reelfs::path;
use reelfs::repo::{Address, CacheBytes, Node, RepoError, Repository};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::errno::chain;
use crate::logger::{self, Target};
use crate::mountpoint::{self, MountError};
use crate::options::MountOptions;
use crate::supervisor;
use crate::view::Root;

/// Names the tape library where no option does.
pub(crate) const TAPE_LIBRARY_VARIABLE: &str = "REELFS_LIBRARY";

/// Why there is no mount.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The repository cannot be opened, or does not hold what was asked for.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The path is not in the generation.
    #[error("{address} does not exist")]
    NoPath {
        /// The address.
        address: String,
    },
    /// The path is no directory.
    #[error("{address} is not a directory; only directories can be mounted")]
    NotDirectory {
        /// The address.
        address: String,
    },
    /// The mount point or mounting failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The server failed, with what it said.
    #[error("{text}")]
    Server {
        /// What it said.
        text: String,
        /// Its exit code.
        code: u8,
    },
    /// The server cannot be started.
    #[error("cannot start the server")]
    Start(#[source] io::Error),
    /// Staging was demanded and cannot be.
    #[error(
        "staging needs a repository that can be written, mounted as a whole, by root or with -o allow_other"
    )]
    NoStaging(#[source] io::Error),
    /// The server died too often.
    #[error("the server died {count} times within {seconds} seconds; the mount stays dead")]
    Crashes {
        /// How often.
        count: usize,
        /// In what time.
        seconds: u64,
    },
}

impl LaunchError {
    /// Exit code of the command.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Repo(RepoError::NoRepository { .. }) => 10,
            Self::Repo(RepoError::Read(error)) if error.is_damage() => 12,
            Self::Repo(_) | Self::NoPath { .. } | Self::NotDirectory { .. } => 1,
            Self::Mount(_) | Self::Start(_) | Self::NoStaging(_) | Self::Crashes { .. } => 1,
            Self::Server { code, .. } => *code,
        }
    }

    /// What the user can do, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Repo(RepoError::NoRepository { .. }) => {
                Some("--repo or REELFS_REPO says where the repository is; 'reelfs init' makes one")
            }
            Self::Repo(RepoError::NoClient { .. }) => Some("'reelfs list' shows clients and generations"),
            Self::Repo(RepoError::Read(error)) if error.is_damage() => {
                Some("'reelfs verify' lists all that is damaged")
            }
            Self::NoPath { .. } => Some("'reelfs ls' shows what is there; symbolic links are not followed"),
            Self::NotDirectory { .. } => Some("'reelfs cat' writes a file out; its directory can be mounted"),
            Self::Mount(error) => error.hint(),
            Self::NoStaging(_) => Some("leave the option out; reelfs-mountd(8) says what staging needs"),
            _ => None,
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The repository.
    pub repository: PathBuf,
    /// Where to mount it.
    pub mountpoint: PathBuf,
    /// What of it; absent: everything.
    pub address: Option<Address>,
    /// What the table of mounts shows as the source; absent: repository and address.
    pub source: Option<String>,
    /// Options.
    pub options: MountOptions,
    /// Stay in the foreground until the mount is gone.
    pub is_foreground: bool,
}

/// The root of the mount, for the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlannedRoot {
    /// Everything.
    All,
    /// A client.
    Client(String),
    /// A directory of a generation.
    Directory {
        /// Number of the generation.
        ordinal: u32,
        /// Object id of the directory.
        object: u64,
    },
}

impl PlannedRoot {
    pub(crate) fn to_root(&self) -> Root {
        match self {
            Self::All => Root::All,
            Self::Client(name) => name.parse().map_or(Root::All, Root::Client),
            Self::Directory { ordinal, object } => Ordinal::new(*ordinal)
                .map_or(Root::All, |ordinal| Root::Directory { ordinal, object: *object }),
        }
    }
}

/// What supervisor and server need to know; everything is checked and absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The repository.
    pub repository: PathBuf,
    /// The mount point.
    pub mountpoint: PathBuf,
    /// What the table of mounts shows as the source.
    pub source: String,
    /// What is shown.
    pub root: PlannedRoot,
    /// Staging is mounted too.
    pub has_staging: bool,
    /// Cartridges are mounted too.
    pub has_tapes: bool,
    /// Options.
    pub options: MountOptions,
    /// Where to log to.
    pub log: Target,
}

impl Plan {
    /// Tells whether `clients` may be a mount of its own.
    pub(crate) fn has_clients(&self) -> bool {
        self.root == PlannedRoot::All && self.options.submount
    }
}

impl Request {
    /// What the mount will lack that others have, for people.
    #[must_use]
    pub fn lack(&self) -> Option<&'static str> {
        let is_asked_for = self.options.staging != Some(false);
        let lacks = self.address.is_none() && is_asked_for && !can_be_mounted_on(&self.options);
        lacks.then_some(
            "staging and tapes are left out: a private mount shuts fusermount3 out, which would mount them in it; \
             with -o allow_other they are there, if /etc/fuse.conf has the line user_allow_other",
        )
    }
}

/// Mounts: returns when the mount is ready, or in the foreground when it is gone.
///
/// # Errors
/// [`LaunchError`] with the reason.
pub fn launch(request: &Request) -> Result<(), LaunchError> {
    let plan = plan(request)?;
    if request.is_foreground {
        logger::start(plan.log);
        if let Some(text) = request.lack() {
            log::warn!("{text}");
        }
        return supervisor::supervise(&plan, || log::info!("mounted"));
    }
    let mut child = this_program()
        .arg("--supervise")
        .arg(to_json(&plan))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(LaunchError::Start)?;
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text).map_err(LaunchError::Start)?;
    }
    if text.trim() == supervisor::READY {
        return Ok(());
    }
    let code = child.wait().ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Err(LaunchError::Server { text: text.trim().to_owned(), code: code.unwrap_or(1) })
}

/// A command that runs this program again, also when its file was replaced meanwhile.
pub(crate) fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("mountd");
    command
}

// Started through a link in /proc, the process would have its name: `exe`, which no pgrep looks for.
fn set_process_name() {
    if let Err(errno) = nix::sys::prctl::set_name(c"mountd") {
        log::debug!("cannot set the name of the process: {errno}");
    }
}

pub(crate) fn to_json(plan: &Plan) -> String {
    serde_json::to_string(plan).unwrap_or_default()
}

fn plan(request: &Request) -> Result<Plan, LaunchError> {
    let repository = Repository::open(&request.repository, CacheBytes::default())?;
    let path = repository.root().unwrap_or(&request.repository).to_path_buf();
    let root = match &request.address {
        None => PlannedRoot::All,
        Some(address) => resolve(&repository, address)?,
    };
    let mountpoint = mountpoint::prepare(&request.mountpoint, &path)?;
    let source = request.source.clone().unwrap_or_else(|| source(&path, request.address.as_ref()));
    let log = if request.is_foreground { Target::Stderr } else { Target::System };
    let has_staging = has_staging(&root, &path, &request.options)?;
    let mut options = request.options.clone();
    options.tape_library = tape_library(&options);
    let has_tapes = root == PlannedRoot::All && options.tapes && can_be_mounted_on(&options);
    Ok(Plan { repository: path, mountpoint, source, root, has_staging, has_tapes, options, log })
}

// The server has another working directory than whoever mounts.
fn tape_library(options: &MountOptions) -> Option<String> {
    let named = options.tape_library.clone();
    let named =
        named.or_else(|| std::env::var(TAPE_LIBRARY_VARIABLE).ok()).filter(|name| !name.is_empty())?;
    if named.starts_with("iscsi://") {
        return Some(named);
    }
    let absolute = std::path::absolute(&named).ok().and_then(|path| path.into_os_string().into_string().ok());
    Some(absolute.unwrap_or(named))
}

// A private mount shuts out the program that would mount in it for its owner: it is set-user-id.
fn can_be_mounted_on(options: &MountOptions) -> bool {
    geteuid().is_root() || !options.is_private()
}

fn has_staging(root: &PlannedRoot, repository: &Path, options: &MountOptions) -> Result<bool, LaunchError> {
    let refusal = match root {
        PlannedRoot::All if !can_be_mounted_on(options) => Some(rustix::io::Errno::ACCESS),
        PlannedRoot::All => rustix::fs::access(repository, rustix::fs::Access::WRITE_OK).err(),
        _ => Some(rustix::io::Errno::INVAL),
    };
    match (options.staging, refusal) {
        (Some(true), Some(errno)) => Err(LaunchError::NoStaging(errno.into())),
        (wanted, refusal) => Ok(wanted != Some(false) && refusal.is_none()),
    }
}

fn source(repository: &Path, address: Option<&Address>) -> String {
    let mut source = repository.to_string_lossy().into_owned();
    if let Some(address) = address {
        source.push(':');
        source.push_str(&address.to_string());
    }
    source
}

fn resolve(repository: &Repository, address: &Address) -> Result<PlannedRoot, LaunchError> {
    // A path without a generation is one in the latest.
    if address.generation.is_none() && address.path.is_empty() {
        return resolve_client(repository, &address.client);
    }
    let id = repository.resolve(&address.client, address.generation())?;
    let generation = repository.generation(id.ordinal).map_err(RepoError::from)?;
    let mut object = reelfs::format::record::ROOT_OBJECT;
    for name in path::components(&address.path) {
        let found = generation.lookup(repository.pages(), object, name).map_err(RepoError::from)?;
        let entry = found.ok_or_else(|| LaunchError::NoPath { address: address.to_string() })?;
        match entry.node {
            Node::Object { object: below, .. } if entry.kind == FileKind::Directory => object = below,
            _ => return Err(LaunchError::NotDirectory { address: address.to_string() }),
        }
    }
    Ok(PlannedRoot::Directory { ordinal: id.ordinal.get(), object })
}

fn resolve_client(repository: &Repository, client: &ClientName) -> Result<PlannedRoot, LaunchError> {
    if !repository.clients()?.contains(client) {
        return Err(RepoError::NoClient { client: client.clone() }.into());
    }
    Ok(PlannedRoot::Client(client.to_string()))
}

/// Runs as the supervisor in the background: says [`supervisor::READY`] or the reason on standard output.
#[must_use]
pub fn run_supervisor(plan: &str) -> u8 {
    set_process_name();
    let Ok(plan) = serde_json::from_str::<Plan>(plan) else { return 2 };
    logger::start(plan.log);
    // It has no terminal that could end it; an error means that it leads a session already.
    let _leads = nix::unistd::setsid();
    let result = supervisor::supervise(&plan, || {
        say(supervisor::READY);
        // Who waits for the end of the output has it now.
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _closed = nix::unistd::dup2_stdout(&null);
        }
    });
    match result {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{}", chain(&error));
            let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            say(&format!("{}{hint}", chain(&error)));
            error.exit_code()
        }
    }
}

/// Runs as the server; says the reason on standard output if it cannot start.
#[must_use]
pub fn run_server(plan: &str, is_resumed: bool) -> u8 {
    set_process_name();
    let Ok(plan) = serde_json::from_str::<Plan>(plan) else { return 2 };
    match crate::server::serve(&plan, is_resumed) {
        Ok(()) => 0,
        Err(text) => {
            log::error!("{text}");
            say(&text);
            1
        }
    }
}

/// Runs as the lister of staging.
#[must_use]
pub fn run_lister(path: &str) -> u8 {
    set_process_name();
    match crate::lister::run(Path::new(path)) {
        Ok(()) => 0,
        // The server that started it says so.
        Err(_) => 1,
    }
}

fn say(text: &str) {
    // If nobody listens, nobody needs to know.
    let _said = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
}

/// Splits what stands in an fstab line, `REPOSITORY[:ADDRESS]`, where a repository is.
#[must_use]
pub fn split_spec(spec: &str) -> (PathBuf, Option<&str>) {
    let is_repository = |path: &str| Path::new(path).join(reelfs::format::config::FILE_NAME).exists();
    if !is_repository(spec) {
        for (index, _) in spec.match_indices(':') {
            let (path, address) = spec.split_at(index);
            if is_repository(path) {
                return (path.into(), address.strip_prefix(':'));
            }
        }
    }
    (std::ffi::OsStr::from_bytes(spec.as_bytes()).into(), None)
}
