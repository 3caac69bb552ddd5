//! Wall-clock dates, and how a shard's instants map to them.
//!
//! For: what outlives a restart or leaves the node: rows of storage, nonces, XML documents.
//! Not here: reading a clock (the edge does, once, and hands in an [`Epoch`]), timers (`time.rs`).
//! Invariants: dates are UTC, in whole seconds; nothing here fails or panics on absurd values.

use crate::time::{Duration, Instant};
use std::fmt;
use std::ops::Add;

const DAY_SECONDS: u64 = 86_400;

/// Seconds since 1970-01-01 00:00:00 UTC, until 2106-02-07 06:28:15: in 32 bits, because tables of
/// millions of objects hold several each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(u32);

impl UnixTime {
    /// The last date there is.
    pub const LAST: UnixTime = UnixTime(u32::MAX);

    /// The date this many seconds after the beginning of 1970; the last one at most.
    pub const fn from_secs(seconds: u64) -> UnixTime {
        if seconds > u32::MAX as u64 { UnixTime::LAST } else { UnixTime(seconds as u32) }
    }

    /// Seconds since the beginning of 1970.
    pub const fn as_secs(self) -> u64 {
        self.0 as u64
    }

    /// Time from `earlier` to here; zero when `earlier` is later.
    pub const fn since(self, earlier: UnixTime) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0) as u64)
    }

    /// Reads `YYYY-MM-DD HH:MM:SS` (a `T` for the blank too; fractions and zones are ignored).
    pub fn parse(text: &str) -> Option<UnixTime> {
        let number = |from: usize, to: usize| -> Option<u64> { text.get(from..to)?.parse().ok() };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let sane = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 61;
        let seconds = || days_from_civil(year, month, day) * DAY_SECONDS + hour * 3600;
        sane.then(|| UnixTime::from_secs(seconds() + minute * 60 + second))
    }
}

/// Months as a Date header writes them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl UnixTime {
    /// Reads a Date header (RFC 3261 §20.17): `Sat, 13 Nov 2010 23:29:00 GMT`.
    pub fn parse_rfc1123(text: &str) -> Option<UnixTime> {
        let (_, rest) = text.trim().split_once(',')?;
        let mut words = rest.split_whitespace();
        let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let zone = words.next()?;
        let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
        let day: u8 = day.parse().ok()?;
        if !zone.eq_ignore_ascii_case("GMT") || words.next().is_some() {
            return None;
        }
        UnixTime::parse(&format!("{year}-{month:02}-{day:02} {time}"))
    }
}

impl Add<Duration> for UnixTime {
    type Output = UnixTime;
    fn add(self, span: Duration) -> UnixTime {
        UnixTime::from_secs(self.as_secs().saturating_add(span.as_secs()))
    }
}

impl fmt::Display for UnixTime {
    /// `YYYY-MM-DD HH:MM:SS` in UTC, as SQL writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.as_secs() / DAY_SECONDS);
        let rest = self.as_secs() % DAY_SECONDS;
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// What the wall clock showed when the node's instants began; the same on all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    start_micros: u64,
}

impl Epoch {
    /// Unix time, in microseconds, at [`Instant::START`].
    pub const fn new(start_micros: u64) -> Epoch {
        Epoch { start_micros }
    }

    /// The date of an instant.
    pub const fn date(&self, at: Instant) -> UnixTime {
        UnixTime::from_secs(self.micros(at) / 1_000_000)
    }

    /// Microseconds of Unix time of an instant.
    pub const fn micros(&self, at: Instant) -> u64 {
        self.start_micros.saturating_add(at.as_micros())
    }

    /// The instant of a date; the start when the date is before it.
    pub const fn instant(&self, date: UnixTime) -> Instant {
        let micros = date.as_secs().saturating_mul(1_000_000);
        Instant::from_micros(micros.saturating_sub(self.start_micros))
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March, so that the
/// leap day is a year's last.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    #[test]
    fn dates_are_written_and_read_back() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_906_229_495, "2030-05-28 20:11:35"),
            (u64::from(u32::MAX), "2106-02-07 06:28:15"),
        ] {
            assert_eq!(UnixTime::from_secs(seconds).to_string(), text);
            assert_eq!(UnixTime::parse(text), Some(UnixTime::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn rubbish_is_no_date() {
        for text in ["", "2030", "2030-13-01 00:00:00", "1969-12-31 23:59:59", "2030-05-28T99:0"] {
            assert_eq!(UnixTime::parse(text), None, "{text}");
        }
        assert_eq!(UnixTime::from_secs(u64::MAX) + secs(9), UnixTime::LAST);
        assert_eq!(UnixTime::parse("9999-12-31 23:59:59"), Some(UnixTime::LAST));
    }

    #[test]
    fn a_date_header_is_read() {
        let read = |text| UnixTime::parse_rfc1123(text).map(|date| date.to_string());
        let date = "2010-11-13 23:29:00".to_owned();
        assert_eq!(read("Sat, 13 Nov 2010 23:29:00 GMT"), Some(date));
        for text in [
            "",
            "Sat, 13 Nov 2010 23:29:00 CET",
            "Sat, 13 Foo 2010 23:29:00 GMT",
            "Sat, 13 Nov 2010 GMT",
            "13 Nov 2010 23:29:00 GMT",
            "Sat, 13 Nov 2010 23:29:00 GMT x",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn instants_map_to_dates_and_back() {
        let epoch = Epoch::new(1_000_000_500_000);
        let at = Instant::START + secs(10);
        assert_eq!(epoch.date(at), UnixTime(1_000_010));
        assert_eq!(epoch.instant(UnixTime(1_000_011)), Instant::from_micros(10_500_000));
        assert_eq!(epoch.instant(UnixTime(3)), Instant::START);
    }
}
