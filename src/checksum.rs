//! CRC-32 (ISO-HDLC, as in zip and Ethernet), which guards every header, page and frame.

/// Computes the CRC-32 of `parts` one after the other.
#[must_use]
pub fn crc32(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Computes the CRC-32C (Castagnoli, as in iSCSI and logical block protection) of `parts` one after the other.
#[must_use]
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard_is_met() {
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926);
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn the_check_values_of_castagnoli_are_met() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
        // RFC 7143, appendix A.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
    }
}
