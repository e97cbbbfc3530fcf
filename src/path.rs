//! Names of directory entries: what is a valid one, and how one is shown to people.

use std::fmt::Write as _;

/// Longest name of a directory entry, in bytes (Linux `NAME_MAX`).
pub const NAME_LEN_MAX: usize = 255;

/// Longest symbolic link target, in bytes (Linux `PATH_MAX`).
pub const SYMLINK_LEN_MAX: usize = 4096;

/// Tells whether `name` can stand in a directory: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
#[must_use]
pub fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_LEN_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| *byte == b'/' || *byte == 0)
}

/// Splits a path at `/`; empty parts and `.` are left out, `..` is kept for the caller to refuse.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Shows bytes on a terminal or in a log: control characters, invalid UTF-8 and `\` are escaped.
#[must_use]
pub fn display(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => shown.push_str("\\\\"),
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\r' => shown.push_str("\\r"),
                other if is_unsafe_to_show(other) => {
                    let mut buffer = [0; 4];
                    push_escaped(&mut shown, other.encode_utf8(&mut buffer).as_bytes());
                }
                other => shown.push(other),
            }
        }
        push_escaped(&mut shown, chunk.invalid());
    }
    shown
}

// Direction overrides can make a name look like another one; C1 controls drive terminals.
fn is_unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn push_escaped(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(shown, "\\x{byte:02x}").expect("writing to a string cannot fail");
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_that_could_lead_out_of_a_directory_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 256]] {
            assert!(!is_valid_name(name), "{name:?}");
        }
        for name in [&b"a"[..], b"...", b"..a", b"\xff\xfe", &[b'x'; 255]] {
            assert!(is_valid_name(name), "{name:?}");
        }
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(display(b"a\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(display(b"caf\xc3\xa9\xff"), "caf\u{e9}\\xff");
        assert_eq!(display("x\u{202e}gpj".as_bytes()), "x\\xe2\\x80\\xaegpj");
        assert_eq!(display(b"new\nline\\"), "new\\nline\\\\");
    }
}
