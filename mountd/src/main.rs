//! The mount daemon: shows a repository as a file system. Also the helper of mount(8).

use std::io::Write as _;
use std::process::ExitCode;

use mountd::cli::{self, Task};
use mountd::errno::chain;
use mountd::launch;
use mountd::mountpoint;

// As umount(8).
const FAILED_TO_UNMOUNT: u8 = 32;

fn main() -> ExitCode {
    let task = match cli::parse(std::env::args_os().collect()) {
        Ok(task) => task,
        Err(error) => {
            // If standard error is closed, there is nobody to tell.
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    ExitCode::from(match task {
        Task::Nothing => 0,
        Task::Supervise(plan) => launch::run_supervisor(&plan),
        Task::Serve(plan) => launch::run_server(&plan, false),
        Task::Resume(plan) => launch::run_server(&plan, true),
        Task::List(path) => launch::run_lister(&path),
        Task::Unmount { mountpoint, is_lazy } => match mountpoint::unmount(&mountpoint, is_lazy) {
            Ok(()) => 0,
            Err(error) => {
                let _written =
                    writeln!(std::io::stderr(), "umount: {}: {}", mountpoint.display(), chain(&error));
                FAILED_TO_UNMOUNT
            }
        },
        Task::Mount(request) => match launch::launch(&request) {
            Ok(()) => {
                if let (false, Some(text)) = (request.is_foreground, request.lack()) {
                    let _written = writeln!(std::io::stderr(), "mountd: {text}");
                }
                0
            }
            Err(error) => {
                let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                let _written = writeln!(std::io::stderr(), "mountd: {}{hint}", chain(&error));
                error.exit_code()
            }
        },
    })
}
