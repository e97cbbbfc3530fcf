//! Big-endian fields of CDBs, parameter lists and replies. What lies beyond the end reads as zero.

/// One byte.
pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Two bytes.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array_at(bytes, at))
}

/// Three bytes.
pub(super) fn u24_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([0, u8_at(bytes, at), u8_at(bytes, at + 1), u8_at(bytes, at + 2)])
}

/// Four bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

/// Eight bytes.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, at))
}

/// `N` bytes.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    for (index, byte) in array.iter_mut().enumerate() {
        *byte = u8_at(bytes, at + index);
    }
    array
}

/// The low three bytes of a number.
pub(super) fn u24(value: u32) -> [u8; 3] {
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}

/// A number in one byte; the largest if it has no room.
pub(super) fn saturated_u8(value: usize) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// A number in two bytes; the largest if it has no room.
pub(super) fn saturated_u16(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// A number in four bytes; the largest if it has no room.
pub(super) fn saturated_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Text in `N` bytes, filled with spaces; what is not printable ASCII becomes a space.
pub(super) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = if (0x20..0x7f).contains(&from) { from } else { b' ' };
    }
    field
}
