//! When to ask again, and how long to wait before.

use std::time::{Duration, Instant, SystemTime};

use super::Error;
use crate::interrupt::{self, Interrupted};

/// Tries before it is given up, the first one counted.
const MOST_TRIES: u32 = 7;
/// Tries at a registry that has never answered: it is more likely not there than in trouble.
const MOST_TRIES_UNSEEN: u32 = 3;
/// The wait before the second try; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// A registry that asks for more patience than this is told of instead of waited for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Another try may succeed, after so long if the registry says.
    Passing { error: Error, after: Option<Duration> },
    /// It won't.
    Lasting(Error),
}

impl Trouble {
    pub(crate) fn passing(error: impl Into<Error>) -> Self {
        Trouble::Passing { error: error.into(), after: None }
    }
}

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Trouble::Lasting(error.into())
    }
}

/// The tries of one thing that is to be done.
#[derive(Debug)]
pub(crate) struct Tries {
    tried: u32,
    most: u32,
}

impl Tries {
    /// With less patience for a registry that was never `seen`.
    pub(crate) fn new(seen: bool) -> Self {
        Tries { tried: 0, most: if seen { MOST_TRIES } else { MOST_TRIES_UNSEEN } }
    }

    /// Something went forward: what comes is a new beginning.
    pub(crate) fn reset(&mut self) {
        self.tried = 0;
    }

    /// Waits for the next try, or gives the error of one that was the last. Ends early when `stop` says so.
    pub(crate) fn wait(&mut self, trouble: Trouble, stop: &dyn Fn() -> bool) -> Result<(), Error> {
        let (error, after) = match trouble {
            Trouble::Lasting(error) => return Err(error),
            Trouble::Passing { error, after } => (error, after.unwrap_or_default()),
        };
        self.tried += 1;
        if self.tried >= self.most || after > LONGEST_ASKED || stop() {
            return Err(error);
        }
        sleep(after.max(back_off(self.tried, random())), stop)?;
        if stop() { Err(error) } else { Ok(()) }
    }
}

/// Doubles with each try; `spread` of 256 parts takes up to half of it away, so that many clients don't come back as
/// one.
fn back_off(tried: u32, spread: u8) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << (tried - 1).min(16)).min(LONGEST_WAIT);
    whole - whole.mul_f64(f64::from(spread) / 512.0)
}

fn random() -> u8 {
    let mut byte = [0];
    // Without random numbers all wait alike, which does no harm.
    _ = getrandom::fill(&mut byte);
    byte[0]
}

fn sleep(time: Duration, stop: &dyn Fn() -> bool) -> Result<(), Interrupted> {
    let end = Instant::now() + time;
    while Instant::now() < end && !stop() {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())));
    }
    interrupt::check()
}

/// The statuses that pass: too many requests, and a server or proxy in trouble.
pub(crate) fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(header.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::HostError;

    #[test]
    fn waits_double_within_their_spread() {
        assert_eq!(back_off(1, 0), FIRST_WAIT);
        assert_eq!(back_off(3, 0), FIRST_WAIT * 4);
        assert_eq!(back_off(40, 0), LONGEST_WAIT);
        assert!(back_off(2, 255) > FIRST_WAIT && back_off(2, 255) < FIRST_WAIT * 2);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(30)));
        let later = now + Duration::from_secs(100);
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", later), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn lasting_trouble_and_too_long_a_wait_are_told_at_once() {
        let error = || Error::from(HostError::odd("ask", "r", "is odd"));
        let mut tries = Tries::new(true);
        assert!(tries.wait(Trouble::Lasting(error()), &|| false).is_err());
        let after = Some(LONGEST_ASKED + Duration::from_secs(1));
        assert!(tries.wait(Trouble::Passing { error: error(), after }, &|| false).is_err());
        assert!(tries.wait(Trouble::passing(error()), &|| true).is_err());
        let mut tries = Tries { tried: MOST_TRIES - 1, most: MOST_TRIES };
        assert!(tries.wait(Trouble::passing(error()), &|| false).is_err());
    }
}
