//! Numbers in JSON from disk: none so large that counting on from it could overflow.

/// Most digits of a number: below 2^60.
const DIGITS_MAX: usize = 18;

/// Tells whether all numbers outside strings are small enough to be counted on from.
pub(super) fn has_small_numbers(json: &[u8]) -> bool {
    let (mut is_string, mut is_escaped, mut digits) = (false, false, 0);
    for byte in json {
        if is_string {
            is_string = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        is_string = *byte == b'"';
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        // An exponent makes no integer, which all numbers here are.
        if digits > DIGITS_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn large_numbers_are_found_outside_strings_only() {
        for (json, is_small) in [
            (r#"{"a":999999999999999999}"#, true),
            (r#"{"a":1000000000000000000}"#, false),
            (r#"{"a":"1000000000000000000"}"#, true),
            (r#"{"a":"\"","b":18446744073709551615}"#, false),
        ] {
            assert_eq!(has_small_numbers(json.as_bytes()), is_small, "{json}");
        }
    }
}
