//! Whose cartridge it is, by its first blocks.

use super::ustar::decode_header;
use super::{RECORD_LEN, VolumeLabel};
use crate::path;

/// What the first blocks of a cartridge show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recognised {
    /// One of ours.
    Ours(VolumeLabel),
    /// Linear Tape File System (ISO/IEC 20919).
    Ltfs {
        /// Volume serial of the label.
        serial: String,
    },
    /// Labels of ISO 1001 (ANSI X3.27) or their EBCDIC form (IBM standard labels).
    Ansi {
        /// Volume serial of the label.
        serial: String,
        /// Whether the label is in EBCDIC.
        is_ebcdic: bool,
    },
    /// A tar or pax archive.
    Tar,
    /// A cpio archive.
    Cpio,
    /// Amanda.
    Amanda {
        /// Name of the tape.
        label: String,
    },
    /// Bacula.
    Bacula,
    /// Bareos.
    Bareos,
    /// Anything else.
    Unknown,
}

impl Recognised {
    /// What to call it, in one word or two.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ours(_) => "reelfs",
            Self::Ltfs { .. } => "LTFS",
            Self::Ansi { is_ebcdic: false, .. } => "ANSI labels",
            Self::Ansi { is_ebcdic: true, .. } => "EBCDIC labels",
            Self::Tar => "tar",
            Self::Cpio => "cpio",
            Self::Amanda { .. } => "Amanda",
            Self::Bacula => "Bacula",
            Self::Bareos => "Bareos",
            Self::Unknown => "unknown",
        }
    }
}

/// Tells whose cartridge begins with this block.
#[must_use]
pub fn recognise(first: &[u8]) -> Recognised {
    if let Ok(Some(label)) = VolumeLabel::decode(first) {
        return Recognised::Ours(label);
    }
    let at = |offset: usize, len: usize| first.get(offset..offset + len).unwrap_or_default();
    if first.starts_with(b"VOL1") {
        let serial = path::display(at(4, 6).trim_ascii_end());
        return match at(24, 4) {
            b"LTFS" => Recognised::Ltfs { serial },
            _ => Recognised::Ansi { serial, is_ebcdic: false },
        };
    }
    // "VOL1" in code page 037.
    if first.starts_with(&[0xe5, 0xd6, 0xd3, 0xf1]) {
        let serial: Vec<u8> = at(4, 6).iter().map(|byte| ascii_of_ebcdic(*byte)).collect();
        let serial = path::display(serial.trim_ascii_end());
        return Recognised::Ansi { serial, is_ebcdic: true };
    }
    if let Some(rest) = first.strip_prefix(b"AMANDA: ") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let label = line.split(|byte| *byte == b' ').skip_while(|word| *word != b"TAPE").nth(1);
        let label = label.unwrap_or_default();
        return Recognised::Amanda { label: path::display(label.get(..64).unwrap_or(label)) };
    }
    // Block header: checksum 4, length 4, number 4, identifier 4.
    if matches!(at(12, 4), b"BB01" | b"BB02") {
        let head = first.get(..1024).unwrap_or(first);
        let is_bareos = head.windows(6).any(|word| word == b"Bareos");
        return if is_bareos { Recognised::Bareos } else { Recognised::Bacula };
    }
    let is_tar = first
        .first_chunk::<RECORD_LEN>()
        .is_some_and(|record| matches!(decode_header(record, 0), Ok(Some(_))));
    if is_tar {
        return Recognised::Tar;
    }
    if matches!(at(0, 6), b"070701" | b"070702" | b"070707")
        || matches!(at(0, 2), [0xc7, 0x71] | [0x71, 0xc7])
    {
        return Recognised::Cpio;
    }
    Recognised::Unknown
}

// Letters, digits and space of code page 037, which is all that a volume serial has.
fn ascii_of_ebcdic(byte: u8) -> u8 {
    match byte {
        0x40 => b' ',
        0xc1..=0xc9 => byte - 0xc1 + b'A',
        0xd1..=0xd9 => byte - 0xd1 + b'J',
        0xe2..=0xe9 => byte - 0xe2 + b'S',
        0xf0..=0xf9 => byte - 0xf0 + b'0',
        _ => b'?',
    }
}

#[cfg(test)]
mod test {
    use super::super::NewEntry;
    use super::*;

    fn label(implementation: &str) -> Vec<u8> {
        format!("VOL1{:6} {:13}{implementation:13}{:42}4", "ABC123", "", "").into_bytes()
    }

    #[test]
    fn cartridges_of_each_program_are_told_apart() {
        let ours = VolumeLabel::new("RL0001L8");
        assert_eq!(recognise(&ours.encode()), Recognised::Ours(VolumeLabel { serial: "RL0001".to_owned() }));
        assert_eq!(ours.encode().len(), label("REELFS").len());
        assert_eq!(recognise(&label("LTFS")).as_str(), "LTFS");
        let ansi = Recognised::Ansi { serial: "ABC123".to_owned(), is_ebcdic: false };
        assert_eq!(recognise(&label("OTHER")), ansi);
        let ebcdic =
            [&[0xe5, 0xd6, 0xd3, 0xf1, 0xc1, 0xd1, 0xe2, 0xf0, 0xf9, 0x40][..], &[0x40; 70]].concat();
        let serial = "AJS09".to_owned();
        assert_eq!(recognise(&ebcdic), Recognised::Ansi { serial, is_ebcdic: true });
        let amanda = Recognised::Amanda { label: "Daily-01".to_owned() };
        assert_eq!(recognise(b"AMANDA: TAPESTART DATE 20261121 TAPE Daily-01\n\x0c\n"), amanda);
        let bacula = [&[0; 12][..], b"BB02", &[0; 16], b"Bacula 1.0 immortal\n"].concat();
        assert_eq!(recognise(&bacula), Recognised::Bacula);
        let bareos = [&[0; 12][..], b"BB02", &[0; 16], b"Bareos 2.0 immortal\n"].concat();
        assert_eq!(recognise(&bareos), Recognised::Bareos);
        let tar = NewEntry { name: "x", size: 0, mtime_seconds: 0, keywords: Vec::new() }.encode();
        assert_eq!(recognise(&tar), Recognised::Tar);
        assert_eq!(recognise(b"070701"), Recognised::Cpio);
        assert_eq!(recognise(&[0; 1024]), Recognised::Unknown);
        assert_eq!(recognise(b""), Recognised::Unknown);
    }
}
