//! When a trusted key, or a list of them, stops being trusted.

use std::fmt;
use std::str::FromStr;

/// The last moment of something: `2026-12-31`, to the end of that day, or `2026-12-31T12:00:00Z`; both in UTC.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expiry {
    /// Seconds since 1970. First: moments are compared by it.
    seconds: u64,
    text: String,
}

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no date: write `2026-12-31`, or `2026-12-31T12:00:00Z` in UTC")]
pub struct NotAMoment(String);

impl Expiry {
    /// Whether it is over at `now`, seconds since 1970.
    pub fn has_passed(&self, now: u64) -> bool {
        now > self.seconds
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Expiry {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let seconds = seconds(text).ok_or_else(|| NotAMoment(text.chars().take(40).collect()))?;
        Ok(Expiry { seconds, text: text.into() })
    }
}

fn seconds(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        None => (text, [23, 59, 59]),
        Some((date, time)) => (date, fields(time.strip_suffix('Z')?, ':', [2, 2, 2])?),
    };
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = time;
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // The Gregorian calendar in years that begin with March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Three numbers of exactly so many digits.
fn fields(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut next = |digits: usize| {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse().ok()
    };
    let found = [next(digits[0])?, next(digits[1])?, next(digits[2])?];
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_counts_to_its_end() {
        let day: Expiry = "2026-12-31".parse().unwrap();
        // `date -ud '2027-01-01' +%s`.
        assert!(!day.has_passed(1_798_761_599) && day.has_passed(1_798_761_600));
        assert!("2026-12-31T12:00:00Z".parse::<Expiry>().unwrap() < day);
        assert_eq!(day.to_string(), "2026-12-31");
        for bad in ["", "2026", "2026-13-01", "2026-02-29", "2100-02-29", "2026-1-1", "1969-12-31", "2026-01-00"] {
            assert!(bad.parse::<Expiry>().is_err(), "{bad}");
        }
        for bad in ["2026-01-01T", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+01:00"] {
            assert!(bad.parse::<Expiry>().is_err(), "{bad}");
        }
        assert!("2000-02-29".parse::<Expiry>().is_ok());
    }

    proptest! {
        #[test]
        fn every_moment_is_read_as_images_write_it(seconds in 0_u64..253_402_300_800) {
            let expiry: Expiry = crate::image::rfc3339(seconds).parse().unwrap();
            prop_assert_eq!(expiry.seconds, seconds);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZ:-]{0,24}|.{0,24}") {
            let _ = text.parse::<Expiry>();
        }
    }
}
