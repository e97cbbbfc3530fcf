//! Programs that read every file they find, and for which no tape is moved.

use std::fs;

/// Names of programs, or how they begin, as the kernel knows them: 15 bytes at most.
pub(super) const DEFAULT: &[&str] = &[
    "tracker-",
    "localsearch",
    "baloo_",
    "recoll",
    "updatedb",
    "mlocate",
    "plocate",
    "mandb",
    "tumblerd",
    "gdk-pixbuf-thum",
    "evince-thumbnai",
    "totem-video-thu",
    "ffmpegthumb",
    "gnome-thumbnail",
    "thumbnail.so",
    "clamscan",
    "clamd",
];

/// Tells whether a process is one of these programs.
pub(super) fn is_refused(pid: u32, names: &[String]) -> bool {
    // Process 0 is one of another namespace, or the kernel itself, which reads ahead.
    if pid == 0 || names.is_empty() {
        return false;
    }
    let Ok(name) = fs::read(format!("/proc/{pid}/comm")) else { return false };
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    names.iter().any(|begin| name.starts_with(begin.as_bytes()))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_process_is_known_by_the_beginning_of_its_name() {
        let own = std::process::id();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(is_refused(own, &[name.trim_end()[..4].to_owned()]));
        assert!(!is_refused(own, &["tracker-".to_owned()]));
        assert!(!is_refused(0, &[String::new()]));
    }
}
