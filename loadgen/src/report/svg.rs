//! Plots as inline SVG: lines over time, percentiles, bars.
//!
//! For: the pages, which open without a network.
//! Not here: what is plotted (`html.rs`, `compare.rs`).
//! Invariants: a plot of nothing says so; every text is escaped.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Most points of a line: more than there are pixels show nothing more.
const POINTS_MAX: usize = 1000;
/// Marks on an axis.
const MARKS: f64 = 5.0;

/// A line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// Drawn in dashes.
    pub(crate) dashed: bool,
}

impl Line {
    pub(crate) fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.into(), points, dashed: false }
    }

    pub(crate) fn dashed(self) -> Line {
        Line { dashed: true, ..self }
    }
}

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
    /// Percentiles: 90, 99, 99.9 at even distances.
    Nines,
}

/// What a plot says beside its lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axes<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: (&'a str, Scale),
    pub(crate) y: (&'a str, Scale),
}

/// Text that is safe inside a page.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The class that colours the line with this index (the page's style sheet has eight).
fn colour(index: usize) -> usize {
    index % 8
}

/// A plot of lines, with its title and its legend.
pub(crate) fn plot(axes: Axes<'_>, lines: &[Line]) -> String {
    let title = escape(axes.title);
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let mut text = format!("<figure><figcaption>{title}</figcaption>");
    if points().next().is_none() {
        text.push_str("<p class=\"nothing\">nothing was measured</p></figure>");
        return text;
    }
    let x = Axis::over(axes.x.1, points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
    let y = Axis::over(axes.y.1, points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
    let _ =
        write!(text, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
    frame(&mut text, axes, &x, &y);
    for (index, line) in lines.iter().enumerate() {
        draw(&mut text, index, line, &x, &y);
    }
    text.push_str("</svg>");
    legend(&mut text, lines);
    text.push_str("</figure>");
    text
}

fn frame(text: &mut String, axes: Axes<'_>, x: &Axis, y: &Axis) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, label) in y.marks() {
        let at = y.place(value);
        let _ = write!(
            text,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for (value, label) in x.marks() {
        let at = x.place(value);
        let _ = write!(
            text,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"mark\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 16.0
        );
    }
    let _ = write!(
        text,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <text class=\"axis\" x=\"12\" y=\"{:.1}\" text-anchor=\"middle\" \
         transform=\"rotate(-90 12 {:.1})\">{}</text>",
        right,
        HEIGHT - 6.0,
        escape(axes.x.0),
        (TOP + bottom) / 2.0,
        (TOP + bottom) / 2.0,
        escape(axes.y.0)
    );
}

fn draw(text: &mut String, index: usize, line: &Line, x: &Axis, y: &Axis) {
    let step = line.points.len().div_ceil(POINTS_MAX).max(1);
    let mut path = String::new();
    for group in line.points.chunks(step) {
        // Of points that fall together the highest is shown: a spike must not vanish.
        let Some(first) = group.first() else { continue };
        let highest =
            group.iter().fold(*first, |most, one| if one.1 > most.1 { *one } else { most });
        let comma = if path.is_empty() { "" } else { " " };
        let _ = write!(path, "{comma}{:.1},{:.1}", x.place(highest.0), y.place(highest.1));
    }
    let (colour, dashes) = (colour(index), if line.dashed { " dashed" } else { "" });
    if let [(at_x, at_y)] = line.points[..] {
        let (at_x, at_y) = (x.place(at_x), y.place(at_y));
        let _ =
            write!(text, "<circle class=\"c{colour}\" cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"3\"/>");
    } else {
        let _ = write!(text, "<polyline class=\"line c{colour}{dashes}\" points=\"{path}\"/>");
    }
}

fn legend(text: &mut String, lines: &[Line]) {
    text.push_str("<ul class=\"legend\">");
    for (index, line) in lines.iter().enumerate() {
        let dashes = if line.dashed { " dashed" } else { "" };
        let (colour, name) = (colour(index), escape(&line.name));
        let _ = write!(text, "<li><i class=\"c{colour}{dashes}\"></i>{name}</li>");
    }
    text.push_str("</ul>");
}

/// Bars beside each other, longest first, with their numbers.
pub(crate) fn bars(title: &str, bars: &[(String, u64)]) -> String {
    let mut text = format!("<figure><figcaption>{}</figcaption>", escape(title));
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        text.push_str("<p class=\"nothing\">none</p></figure>");
        return text;
    }
    text.push_str("<table class=\"bars\">");
    for (name, count) in bars {
        let width = *count as f64 / most as f64 * 100.0;
        let _ = write!(
            text,
            "<tr><th>{}</th><td class=\"number\">{count}</td>\
             <td class=\"bar\"><b style=\"width:{width:.2}%\"></b></td></tr>",
            escape(name)
        );
    }
    text.push_str("</table></figure>");
    text
}

/// From values to places on the page.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Axis {
        let values = values.filter(|value| value.is_finite());
        let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = match scale {
            Scale::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Logarithmic => {
                let positive = values.filter(|value| *value > 0.0);
                let low = positive.fold(f64::INFINITY, f64::min);
                if low.is_finite() {
                    // Whole powers of ten, at least one apart.
                    let low = low.log10().floor();
                    (low, high.log10().ceil().max(low + 1.0))
                } else {
                    (0.0, 1.0)
                }
            }
            // From half to 99.999 %: what lies below is drawn at the edge.
            Scale::Nines => (nines(50.0), nines(99.999)),
        };
        Axis { scale, low, high, start, end }
    }

    fn measure(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(1e-9).log10(),
            Scale::Nines => nines(value),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (self.measure(value) - self.low) / (self.high - self.low).max(1e-12);
        self.start + (self.end - self.start) * share.clamp(0.0, 1.0)
    }

    fn marks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = round_step(self.high / MARKS);
                let count = (self.high / step).floor() as u32;
                let values = (0..=count).map(|index| f64::from(index) * step);
                values.map(|value| (value, short(value))).collect()
            }
            Scale::Logarithmic => {
                let (low, high) = (self.low as i32, self.high as i32);
                let powers = (low..=high).map(|power| 10f64.powi(power));
                powers.map(|value| (value, short(value))).collect()
            }
            Scale::Nines => {
                let values = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999];
                values.iter().map(|value| (*value, format!("{value}"))).collect()
            }
        }
    }
}

fn nines(percentile: f64) -> f64 {
    -(1.0 - (percentile / 100.0).clamp(0.0, 0.999_99)).log10()
}

/// 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-9).log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step);
    factor.unwrap_or(10.0) * power
}

/// A number as short as it may be.
pub(crate) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        100.0.. => format!("{scaled:.0}"),
        1.0.. => format!("{scaled:.1}"),
        _ => format!("{scaled:.3}"),
    };
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        &digits
    };
    format!("{digits}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few() {
        let axis = Axis::over(Scale::Linear, [0.0, 1234.0].into_iter(), 0.0, 100.0);
        let labels: Vec<String> = axis.marks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0", "500", "1000"]);
        let axis = Axis::over(Scale::Logarithmic, [0.3, 250.0].into_iter(), 0.0, 100.0);
        let labels: Vec<String> = axis.marks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0.1", "1", "10", "100", "1000"]);
        assert_eq!(axis.place(10.0), 50.0);
    }

    #[test]
    fn numbers_are_short() {
        let expected =
            [(0.0, "0"), (0.25, "0.25"), (12.5, "12.5"), (12_345.0, "12.3k"), (3e6, "3M")];
        expected.iter().for_each(|(value, text)| assert_eq!(short(*value), *text));
    }

    #[test]
    fn names_cannot_break_the_page_and_nothing_says_so() {
        let axes = Axes { title: "<t>", x: ("s", Scale::Linear), y: ("ms", Scale::Linear) };
        let text = plot(axes, &[Line::new("a<b", vec![(0.0, 1.0), (1.0, 2.0)])]);
        assert!(text.contains("a&lt;b") && !text.contains("<t>"), "{text}");
        assert!(plot(axes, &[]).contains("nothing was measured"));
        assert!(bars("none", &[]).contains("none"));
    }

    #[test]
    fn a_spike_among_many_points_is_kept() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        points[5003].1 = 100.0;
        let axes = Axes { title: "", x: ("", Scale::Linear), y: ("", Scale::Linear) };
        let text = plot(axes, &[Line::new("a", points)]);
        let high = format!("{:.1}", HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) / 1.05);
        assert!(text.contains(&format!(",{high} ")), "{high}: {text}");
    }
}
