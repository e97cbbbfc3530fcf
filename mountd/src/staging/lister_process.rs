//! The process that asks the mount for something on behalf of its server ([`crate::lister`]).

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::launch::this_program;

/// The process.
#[derive(Debug)]
pub(super) struct Lister {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Lister {
    /// Starts it for the staging that is mounted at `path`.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let mut command = this_program();
        command.arg("--list").arg(path).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, input, output })
    }

    /// Gives it a batch, and returns when that is done.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn run(&mut self, batch: &[u8]) -> io::Result<()> {
        self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(batch)?;
        self.output.read_exact(&mut [0])
    }
}

impl Drop for Lister {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        if let Err(error) = self.child.wait() {
            log::debug!("the lister: {error}");
        }
    }
}
