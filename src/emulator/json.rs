//! Numbers in JSON from disk: none so large that counting on from it could overflow.

/// Bound of a number: nanoseconds since 1970 stay below it until 2116.
const NUMBER_MAX: u64 = 1 << 62;

/// Tells whether all numbers outside strings are small enough to be counted on from.
pub(super) fn has_small_numbers(json: &[u8]) -> bool {
    let (mut is_string, mut is_escaped, mut number) = (false, false, 0_u64);
    for byte in json {
        if is_string {
            is_string = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        is_string = *byte == b'"';
        // An exponent makes no integer, which all numbers here are.
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        number = digit.map_or(0, |digit| number.saturating_mul(10).saturating_add(digit));
        if number >= NUMBER_MAX {
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
            (r#"{"a":1795233600000000000}"#, true),
            (r#"{"a":4611686018427387903}"#, true),
            (r#"{"a":4611686018427387904}"#, false),
            (r#"{"a":"4611686018427387904"}"#, true),
            (r#"{"a":99999999999999999999999}"#, false),
            (r#"{"a":"\"","b":18446744073709551615}"#, false),
        ] {
            assert_eq!(has_small_numbers(json.as_bytes()), is_small, "{json}");
        }
    }
}
