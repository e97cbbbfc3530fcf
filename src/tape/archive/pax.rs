//! Records of pax headers (POSIX.1-2017, pax, "pax Extended Header"): `%d %s=%s\n`, the number being
//! the length of the whole record.

use super::{ArchiveError, shown};

/// Keyword and value of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyword {
    /// Keyword: UTF-8 without `=`.
    pub name: String,
    /// Value: any bytes; an empty one takes back what an earlier header said.
    pub value: Vec<u8>,
}

/// Appends one record.
pub fn encode_record(target: &mut Vec<u8>, name: &str, value: &[u8]) {
    let rest = 1 + name.len() + 1 + value.len() + 1;
    let mut len = rest + 1;
    while len != rest + digits(len) {
        len = rest + digits(len);
    }
    target.extend_from_slice(format!("{len} {name}=").as_bytes());
    target.extend_from_slice(value);
    target.push(b'\n');
}

fn digits(value: usize) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Decodes the records of one header; `offset` of its content is for messages.
///
/// # Errors
/// [`ArchiveError::Field`] if a length, a keyword or the end of a record is wrong.
pub fn decode_records(bytes: &[u8], offset: u64) -> Result<Vec<Keyword>, ArchiveError> {
    let mut rest = bytes;
    let mut keywords = Vec::new();
    while !rest.is_empty() {
        let at = offset + (bytes.len() - rest.len()) as u64;
        let error = |field, expected| ArchiveError::Field {
            structure: "pax record",
            offset: at,
            field,
            expected,
            found: shown(rest),
        };
        let space = rest.iter().take(20).position(|byte| *byte == b' ');
        let (number, _) = space.and_then(|at| rest.split_at_checked(at)).unwrap_or_default();
        let len = std::str::from_utf8(number).ok().and_then(|text| text.parse::<usize>().ok());
        let len = len.ok_or_else(|| error("length", "a decimal number and a space"))?;
        let (record, after) =
            rest.split_at_checked(len).ok_or_else(|| error("length", "that of a record which is there"))?;
        let body = record.get(number.len() + 1..).and_then(|body| body.strip_suffix(b"\n"));
        let body = body.ok_or_else(|| error("end", "a line feed"))?;
        let equals = body.iter().position(|byte| *byte == b'=');
        let equals = equals.ok_or_else(|| error("keyword", "a keyword and '='"))?;
        let name = body.get(..equals).unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| error("keyword", "UTF-8"))?;
        let value = body.get(equals + 1..).unwrap_or_default().to_vec();
        keywords.push(Keyword { name: name.to_owned(), value });
        rest = after;
    }
    Ok(keywords)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        // POSIX.1-2017, pax, "pax Extended Header": the length includes all of the record.
        for (value_len, start) in [(0, "5 a=\n"), (3, "8 a="), (4, "9 a="), (5, "11 a="), (92, "98 a=")] {
            let mut bytes = Vec::new();
            encode_record(&mut bytes, "a", &vec![b'v'; value_len]);
            assert!(bytes.starts_with(start.as_bytes()), "{:?}", String::from_utf8_lossy(&bytes));
            let number: usize = start.split(' ').next().expect("a number").parse().expect("a number");
            assert_eq!(bytes.len(), number);
        }
    }

    #[test]
    fn records_come_back_and_hostile_ones_are_refused() {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, "path", b"a=b\nc\xff");
        encode_record(&mut bytes, "REELFS.part", b"");
        let keywords = decode_records(&bytes, 0).expect("valid");
        assert_eq!(keywords.len(), 2);
        assert_eq!(keywords[0], Keyword { name: "path".to_owned(), value: b"a=b\nc\xff".to_vec() });
        for bad in [
            &b"0 a=b\n"[..],
            b"1 ",
            b"99999999999999999999 a=b\n",
            b"6 a=b",
            b"7 a=bc",
            b"6 abc\n",
            b"-6 a=b\n",
            b"7 \xff\xff=\n\n",
            b"x",
        ] {
            assert!(decode_records(bad, 0).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
