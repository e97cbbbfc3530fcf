//! Whether anybody else has a file open, mappings of it included.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

// fcntl(2); the same on all machines that Linux runs on.
const F_SETSIG: libc::c_int = 10;

/// Tells whether anybody but `file` itself, which is open for reading and writing, has the same file open: another
/// process, this one in another way, or the kernel for a mapping or for a file system that is stacked on this one.
/// Who opens it in that instant waits, but for one who will not wait (`O_NONBLOCK`), who is refused.
///
/// # Errors
/// If the file system, or the system's settings, do not let that be found out.
pub fn is_open_elsewhere(file: &File) -> io::Result<bool> {
    // Who opens it while the lease is held makes the kernel tell this process, by a signal that nobody minds.
    call(file, F_SETSIG, libc::SIGURG)?;
    match call(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => call(file, libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

#[allow(unsafe_code, reason = "the calls have no safe binding")]
fn call(file: &File, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: these commands take a number; the descriptor is open for as long as `file` is borrowed.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn others_who_have_a_file_open_are_seen_until_they_close_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = file.as_file();
        assert!(!is_open_elsewhere(own).unwrap());
        for is_writer in [true, false] {
            let other = File::options().read(true).write(is_writer).open(file.path()).unwrap();
            assert!(is_open_elsewhere(own).unwrap());
            drop(other);
            assert!(!is_open_elsewhere(own).unwrap());
        }
        // The same open file is no other one.
        let _same = own.try_clone().unwrap();
        assert!(!is_open_elsewhere(own).unwrap());
    }
}
