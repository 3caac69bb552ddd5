//! How long a binding lives: RFC 3261 §10.3 step 7 and the registrar's bounds.
//!
//! For: turning what an agent asks for into what it gets.
//! Invariants: what is granted lies within the bounds, however it varies; zero is never granted.

use super::settings::{MinExpiresMode, Settings};
use strowger_sip::entropy::Entropy;

/// What an agent gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// The binding goes.
    Removal,
    /// It lives so many seconds.
    Seconds(u32),
}

/// A lifetime that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooBrief;

/// What an agent that asks for so many seconds, or for nothing, gets; without entropy, nothing
/// varies.
pub(crate) fn grant(
    asked: Option<u32>,
    settings: &Settings,
    entropy: Option<&mut Entropy>,
) -> Result<Granted, TooBrief> {
    let (seconds, percent) = match asked {
        Some(0) => return Ok(Granted::Removal),
        Some(seconds) => (seconds, settings.expires_range),
        None => (settings.default_expires, settings.default_expires_range),
    };
    if seconds < settings.min_expires && settings.min_expires_mode == MinExpiresMode::Refuse {
        return Err(TooBrief);
    }
    let varied = entropy.map_or(seconds, |entropy| vary(seconds, percent, entropy));
    let varied = varied.max(settings.min_expires).max(1);
    let capped = if settings.max_expires > 0 { varied.min(settings.max_expires) } else { varied };
    Ok(Granted::Seconds(capped))
}

/// So many seconds, more or less by up to so many percent.
fn vary(seconds: u32, percent: u32, entropy: &mut Entropy) -> u32 {
    if percent == 0 {
        return seconds;
    }
    let span = u64::from(seconds) * u64::from(percent.min(100)) / 100;
    let varied = u64::from(seconds) - span + entropy.below(2 * span + 1);
    u32::try_from(varied).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(asked: Option<u32>, settings: &Settings) -> Result<Granted, TooBrief> {
        grant(asked, settings, Some(&mut Entropy::new((1, 2))))
    }

    #[test]
    fn bounds_are_kept() {
        let settings = Settings { max_expires: 7200, ..Settings::default() };
        assert_eq!(granted(None, &settings), Ok(Granted::Seconds(3600)));
        assert_eq!(granted(Some(0), &settings), Ok(Granted::Removal));
        assert_eq!(granted(Some(10), &settings), Ok(Granted::Seconds(60)));
        assert_eq!(granted(Some(u32::MAX), &settings), Ok(Granted::Seconds(7200)));
        let strict = Settings { min_expires_mode: MinExpiresMode::Refuse, ..settings };
        assert_eq!(granted(Some(10), &strict), Err(TooBrief));
        assert_eq!(granted(Some(60), &strict), Ok(Granted::Seconds(60)));
    }

    #[test]
    fn without_entropy_nothing_varies() {
        let settings = Settings { expires_range: 100, ..Settings::default() };
        assert_eq!(grant(Some(600), &settings, None), Ok(Granted::Seconds(600)));
    }

    #[test]
    fn variation_stays_in_its_range() {
        let mut entropy = Entropy::new((1, 2));
        let drawn: Vec<u32> = (0..1000).map(|_| vary(1000, 10, &mut entropy)).collect();
        assert!(drawn.iter().all(|seconds| (900..=1100).contains(seconds)));
        assert!(drawn.iter().any(|seconds| *seconds < 950));
        assert!(drawn.iter().any(|seconds| *seconds > 1050));
        vary(u32::MAX, 100, &mut entropy);
    }
}
