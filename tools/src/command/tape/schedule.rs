//! When an archive has to begin so that it is done at a certain time of day.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::context::Context;
use crate::failure::Failure;

/// Time between two looks whether the command was interrupted.
const TICK: Duration = Duration::from_millis(200);

/// Reads a time of day, `17:30`.
pub(super) fn parse(text: &str) -> Result<Time, String> {
    let wrong = || format!("'{text}' is no time of day like 17:30");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        if is_number { digits.parse::<i8>().ok() } else { None }
    };
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

/// The next moment at which it is this time of day, after `now_seconds`.
pub(super) fn next(time: Time, now_seconds: i64, zone: &TimeZone) -> Option<i64> {
    let now = Timestamp::from_second(now_seconds).ok()?.to_zoned(zone.clone());
    let today = now.date().to_datetime(time).to_zoned(zone.clone()).ok()?;
    let next = if today.timestamp() > now.timestamp() {
        today
    } else {
        now.date().checked_add(1.day()).ok()?.to_datetime(time).to_zoned(zone.clone()).ok()?
    };
    Some(next.timestamp().as_second())
}

/// Waits for a moment; a signal ends it.
pub(super) fn wait_until(seconds: i64, context: &Context) -> Result<(), Failure> {
    while crate::clock::now_seconds() < seconds {
        context.progress.check()?;
        std::thread::sleep(TICK);
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_next_time_of_day_is_today_or_tomorrow() {
        let zone = TimeZone::UTC;
        // 2026-11-21T04:00:00Z
        let now = 1_795_233_600;
        let at = |text| next(parse(text).unwrap(), now, &zone);
        assert_eq!(at("17:30"), Some(now + 13 * 3600 + 30 * 60));
        assert_eq!(at("04:00"), Some(now + 24 * 3600));
        assert_eq!(at("03:59"), Some(now + 24 * 3600 - 60));
    }

    #[test]
    fn only_a_time_of_day_is_one() {
        for bad in ["", "17", "17:3", "24:00", "17:60", "1730", "-1:00", "17:30:00", "+7:30"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
