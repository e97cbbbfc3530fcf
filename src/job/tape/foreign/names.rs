//! Which names of entries can be shown, and where.

/// Longest name of one component in bytes, as file systems have it.
const COMPONENT_LEN_MAX: usize = 255;
/// Longest name of an entry in bytes; each component may have to become a directory.
const NAME_LEN_MAX: usize = 16 << 10;

/// The components of an entry's name; `None` if it leads out of the archive, or no file system could have it.
pub(super) fn components(name: &[u8]) -> Option<Vec<&[u8]>> {
    if name.len() > NAME_LEN_MAX || name.contains(&0) {
        return None;
    }
    let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    let is_good = |part: &&[u8]| *part != b".." && part.len() <= COMPONENT_LEN_MAX;
    parts.iter().all(is_good).then_some(parts)
}

/// The name of a piece of a file of which other pieces are on other volumes: it must not be taken for the file.
pub(super) fn of_piece(name: &[u8], from: u64, to: u64, total: u64) -> Vec<u8> {
    let suffix = format!("~bytes-{from}-{to}-of-{total}");
    let mut name = name.to_vec();
    // The last component must have room for it.
    let start = name.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    name.truncate(start + COMPONENT_LEN_MAX.saturating_sub(suffix.len()).min(name.len() - start));
    name.extend_from_slice(suffix.as_bytes());
    name
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused_and_others_made_relative() {
        let shown = |name: &[u8]| components(name).map(|parts| parts.join(&b'/'));
        assert_eq!(shown(b"/etc//./passwd"), Some(b"etc/passwd".to_vec()));
        assert_eq!(shown(b"./"), Some(Vec::new()));
        assert_eq!(shown(b"a/../../etc"), None);
        assert_eq!(shown(b".."), None);
        assert_eq!(shown(b"a\0b"), None);
        assert_eq!(shown(&[b'x'; 256]), None);
        assert_eq!(shown(&vec![b'/'; 1 << 20]), None);
        assert_eq!(of_piece(b"a/big", 5, 9, 20), b"a/big~bytes-5-9-of-20");
        let long = [b"d/".to_vec(), vec![b'x'; 255]].concat();
        assert_eq!(components(&of_piece(&long, 0, 1, 2)).unwrap()[1].len(), 255);
    }
}
