//! Numbers, times and modes as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reelfs::format::record::{FileKind, Time};

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size with one digit after the point: `17 B`, `1.5 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut tenths = u128::from(count) * 10;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        // What would be rounded to 1024.0 is 1.0 of the next unit.
        if tenths + 5 < 10_240 || (unit == "B" && count < 1024) {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// A number with the thing that it counts: `1 file`, `12 345 files`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => match thing.strip_suffix('y') {
            Some(stem) => format!("{} {stem}ies", grouped(number)),
            None => format!("{} {thing}s", grouped(number)),
        },
    }
}

/// A number in groups of three digits: `12 345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time to the second, in UTC or in the local time zone; `@` and seconds where no calendar reaches.
pub(crate) fn time(time: Time, local: bool) -> String {
    let Ok(stamp) = Timestamp::from_second(time.seconds) else { return format!("@{}", time.seconds) };
    let zone = if local { TimeZone::system() } else { TimeZone::UTC };
    stamp.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time to the nanosecond as RFC 3339 has it, in UTC; `@` and seconds where no calendar reaches.
pub(crate) fn exact_time(time: Time) -> String {
    let second = Timestamp::from_second(time.seconds);
    match second {
        Ok(stamp) => format!("{}.{:09}Z", stamp.strftime("%Y-%m-%dT%H:%M:%S"), time.nanoseconds),
        Err(_) => format!("@{}.{:09}", time.seconds, time.nanoseconds),
    }
}

/// Kind and permissions as `ls -l` shows them: `-rwsr-xr-x`.
pub(crate) fn mode(kind: FileKind, permissions: u16) -> String {
    let mut text = String::with_capacity(10);
    text.push(kind.letter());
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = permissions >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, permissions & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A duration with one digit after the point: `0.3 s`, `2 min 05 s`.
pub(crate) fn duration(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{}.{} s", duration.as_secs(), duration.subsec_millis() / 100),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_keeps_them_short() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), expected, "{count}");
        }
    }

    #[test]
    fn counts_are_grouped_and_plural() {
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "entry"), "0 entries");
        assert_eq!(count(1_234_567, "file"), "1 234 567 files");
    }

    #[test]
    fn modes_look_as_in_ls() {
        assert_eq!(mode(FileKind::Regular, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode(FileKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode(FileKind::Regular, 0o7644), "-rwSr-Sr-T");
        assert_eq!(mode(FileKind::Symlink, 0o777), "lrwxrwxrwx");
    }

    #[test]
    fn times_before_1970_and_beyond_the_calendar_are_shown() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        assert_eq!(time(at(-1, 0), false), "1969-12-31 23:59:59");
        assert_eq!(exact_time(at(-1, 5)), "1969-12-31T23:59:59.000000005Z");
        assert_eq!(time(at(i64::MAX, 0), false), format!("@{}", i64::MAX));
    }
}
