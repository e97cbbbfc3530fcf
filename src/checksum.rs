//! CRC-32 (ISO-HDLC, as in zip and Ethernet), which guards every header, page and frame; CRC32C
//! (Castagnoli), which guards what goes over iSCSI and the blocks on the way to a drive.

/// Computes the CRC-32 of `parts` one after the other.
#[must_use]
pub fn crc32(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Computes the CRC32C of `parts` one after the other.
#[must_use]
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7143_are_met() {
        // Appendix A.4: the digest's bytes in the order of the wire, least significant first.
        assert_eq!(crc32c(&[&[0; 32]]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(&[&[0xff; 32]]).to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
        let counting: Vec<u8> = (0..32).collect();
        let (first, second) = counting.split_at(7);
        assert_eq!(crc32c(&[first, second]).to_le_bytes(), [0x4e, 0x79, 0xdd, 0x46]);
    }

    #[test]
    fn the_check_value_of_the_standard_is_met() {
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926);
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    }
}
