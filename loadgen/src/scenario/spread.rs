//! How long a pause is: a fixed time, or one drawn from a distribution.
//!
//! For: `pause`.
//! Not here: the timers (`desk/`).
//! Invariants: a pause is never negative and never longer than a day.

use super::VariableId;
use super::xml::Element;
use super::{ScenarioError, action};
use strowger_sip::entropy::Entropy;
use strowger_sip::time::{Duration, secs};

/// Longest pause: what is longer is a mistake in the scenario or an unlucky draw.
const LONGEST: Duration = secs(86_400);

/// The length of a pause. Parameters are in milliseconds where they are times.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Spread {
    /// What the command line says (`--hold`).
    Hold,
    Fixed(f64),
    Variable(VariableId),
    Uniform {
        low: f64,
        high: f64,
    },
    Normal {
        mean: f64,
        deviation: f64,
    },
    LogNormal {
        mean: f64,
        deviation: f64,
    },
    Exponential {
        mean: f64,
    },
    Weibull {
        scale: f64,
        shape: f64,
    },
    Pareto {
        minimum: f64,
        shape: f64,
    },
}

/// The attributes that say how long a `pause` is.
pub(super) const ATTRIBUTES: &[&str] = &[
    "milliseconds",
    "variable",
    "distribution",
    "value",
    "min",
    "max",
    "mean",
    "stdev",
    "lambda",
    "k",
    "x_m",
    "sanity_check",
];

/// Reads the attributes of a `pause`.
pub(super) fn read(
    element: &Element,
    variables: &mut action::Names,
) -> Result<Spread, ScenarioError> {
    let number = |name: &str| -> Result<f64, ScenarioError> {
        let Some(text) = element.attribute(name) else {
            return Err(element.error(format!("this pause needs {name}=\"...\"")));
        };
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| element.error(format!("{name}={text:?} is not a number")))
    };
    if element.attribute("milliseconds").is_some() {
        return Ok(Spread::Fixed(number("milliseconds")?));
    }
    if let Some(name) = element.attribute("variable") {
        return Ok(Spread::Variable(variables.id(name)));
    }
    match element.attribute("distribution") {
        None => Ok(Spread::Hold),
        Some("fixed") => Ok(Spread::Fixed(number("value")?)),
        Some("uniform") => Ok(Spread::Uniform { low: number("min")?, high: number("max")? }),
        Some("normal") => Ok(Spread::Normal { mean: number("mean")?, deviation: number("stdev")? }),
        Some("lognormal") => {
            Ok(Spread::LogNormal { mean: number("mean")?, deviation: number("stdev")? })
        }
        Some("exponential") => Ok(Spread::Exponential { mean: number("mean")? }),
        Some("weibull") => Ok(Spread::Weibull { scale: number("lambda")?, shape: number("k")? }),
        Some("pareto") => Ok(Spread::Pareto { minimum: number("x_m")?, shape: number("k")? }),
        Some(other) => Err(element.error(format!(
            "distribution {other:?} is not known; known are fixed, uniform, normal, lognormal, \
             exponential, weibull and pareto"
        ))),
    }
}

impl Spread {
    /// Draws a length. `hold` and `variable` stand for what only the caller knows.
    pub(crate) fn draw(
        &self,
        entropy: &mut Entropy,
        hold: Duration,
        variable: impl FnOnce(VariableId) -> f64,
    ) -> Duration {
        let millis = match self {
            Spread::Hold => return hold,
            Spread::Fixed(millis) => *millis,
            Spread::Variable(id) => variable(*id),
            Spread::Uniform { low, high } => low + (high - low) * unit(entropy),
            Spread::Normal { mean, deviation } => mean + deviation * normal(entropy),
            Spread::LogNormal { mean, deviation } => (mean + deviation * normal(entropy)).exp(),
            Spread::Exponential { mean } => -mean * unit(entropy).ln(),
            Spread::Weibull { scale, shape } => scale * (-unit(entropy).ln()).powf(1.0 / shape),
            Spread::Pareto { minimum, shape } => minimum / unit(entropy).powf(1.0 / shape),
        };
        Duration::try_from_secs_f64(millis.max(0.0) / 1000.0).map_or(LONGEST, |t| t.min(LONGEST))
    }
}

/// Above 0, at most 1.
fn unit(entropy: &mut Entropy) -> f64 {
    let bits = u32::try_from(entropy.below(1 << 32)).unwrap_or(0);
    (f64::from(bits) + 1.0) / 4_294_967_296.0
}

/// The standard normal distribution (Box and Muller).
fn normal(entropy: &mut Entropy) -> f64 {
    let radius = (-2.0 * unit(entropy).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(entropy)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(spread: &Spread) -> f64 {
        let mut entropy = Entropy::new((1, 2));
        let draws = (0..20_000).map(|_| spread.draw(&mut entropy, secs(1), |_| 0.0));
        draws.map(|draw| draw.as_secs_f64() * 1000.0).sum::<f64>() / 20_000.0
    }

    #[test]
    fn the_means_are_those_of_the_distributions() {
        let expected = [
            (Spread::Hold, 1000.0),
            (Spread::Fixed(70.0), 70.0),
            (Spread::Uniform { low: 100.0, high: 300.0 }, 200.0),
            (Spread::Normal { mean: 500.0, deviation: 50.0 }, 500.0),
            (Spread::LogNormal { mean: 5.0, deviation: 0.1 }, 149.2),
            (Spread::Exponential { mean: 250.0 }, 250.0),
            (Spread::Weibull { scale: 100.0, shape: 1.0 }, 100.0),
            (Spread::Pareto { minimum: 100.0, shape: 3.0 }, 150.0),
        ];
        for (spread, expected) in expected {
            let found = mean(&spread);
            assert!((found - expected).abs() < expected * 0.03, "{spread:?}: {found}");
        }
    }

    #[test]
    fn no_draw_is_negative_or_endless() {
        let mut entropy = Entropy::new((1, 2));
        let negative = Spread::Fixed(-5.0).draw(&mut entropy, secs(1), |_| 0.0);
        assert_eq!(negative, Duration::ZERO);
        let long = Spread::Pareto { minimum: 1e300, shape: 0.01 };
        assert_eq!(long.draw(&mut entropy, secs(1), |_| 0.0), LONGEST);
    }
}
