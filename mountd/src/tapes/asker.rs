//! Whether the program that asked still waits for its answer.
//!
//! A read from tape may wait for minutes, and the kernel lets a program that was killed leave only when its request is
//! answered. It tells nobody of signals for pages that it reads ahead, so they are looked for where they are pending.

use std::fs;
use std::io;

/// HUP, INT, QUIT, KILL, ALRM and TERM, as bits of a mask in `/proc/PID/status`.
const ENDING: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 8 | 1 << 13 | 1 << 14;

/// Tells whether a thread is there and no signal is pending by which a user ends a program.
pub(super) fn waits(thread: u32) -> bool {
    // 0 is a thread of another namespace, or the kernel itself.
    if thread == 0 {
        return true;
    }
    match fs::read_to_string(format!("/proc/{thread}/status")) {
        Ok(status) => !is_ending(&status),
        // It may have ended between opening and reading.
        Err(error) => error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(libc::ESRCH),
    }
}

fn is_ending(status: &str) -> bool {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let mask = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(0);
    let pending = mask("SigPnd") | mask("ShdPnd");
    field("State").starts_with(['Z', 'X']) || pending & !mask("SigBlk") & !mask("SigIgn") & ENDING != 0
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_thread_that_was_told_to_end_waits_no_more() {
        let status = |state: &str, pending: u64, shared: u64, blocked: u64, ignored: u64| {
            format!(
                "Name:\tcat\nState:\t{state}\nSigQ:\t1/9\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\n\
                 SigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n"
            )
        };
        for (text, expected) in [
            (status("S (sleeping)", 0, 0, 0, 0), false),
            (status("Z (zombie)", 0, 0, 0, 0), true),
            (status("D (disk sleep)", 1 << 8, 0, 0, 0), true),
            (status("D (disk sleep)", 0, 1 << 1, 0, 0), true),
            (status("D (disk sleep)", 0, 1 << 1, 1 << 1, 0), false),
            (status("D (disk sleep)", 0, 1 << 1, 0, 1 << 1), false),
            (status("D (disk sleep)", 0, 1 << 16, 0, 0), false),
        ] {
            assert_eq!(is_ending(&text), expected, "{text}");
        }
    }

    #[test]
    fn this_thread_waits_and_one_that_is_not_there_does_not() {
        assert!(waits(std::process::id()) && waits(0));
        assert!(!waits(u32::MAX));
    }
}
