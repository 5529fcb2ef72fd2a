//! Line charts as SVG, in the page's colours.

use maud::{Markup, html};

/// Units of the picture; a unit is a pixel at its natural size.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 260.0;
/// Where the plot lies: left, top, right, bottom.
const PLOT: [f64; 4] = [48.0, 12.0, WIDTH - 24.0, HEIGHT - 38.0];
/// Ticks along an axis, at most.
const MAX_TICKS: f64 = 6.0;
/// Points of a line that have a circle with a title, at most.
const MAX_MARKED: usize = 120;

/// Values along an axis.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// What is measured.
    pub label: &'static str,
    pub from: f64,
    pub to: f64,
    /// What a tick's number ends with.
    pub unit: &'static str,
}

/// A line.
pub struct Line {
    pub name: &'static str,
    /// Its colour, a class of the style sheet.
    pub class: &'static str,
    /// Along both axes, from left to right.
    pub points: Vec<[f64; 2]>,
    /// Whether single points are marked and tell their values.
    pub is_marked: bool,
}

/// A chart to draw in.
pub struct Chart {
    pub x: Axis,
    pub y: Axis,
}

impl Axis {
    /// From the least to the largest of the numbers among `values`; `None` where there are none.
    pub fn over(label: &'static str, unit: &'static str, values: impl Iterator<Item = f64>) -> Option<Axis> {
        let ends = values.filter(|value| value.is_finite()).fold(None, |ends: Option<[f64; 2]>, value| {
            let [least, largest] = ends.unwrap_or([value; 2]);
            Some([least.min(value), largest.max(value)])
        });
        let [from, to] = ends?;
        // A line along an edge is hard to see, and one value alone spans no axis.
        let room = if to > from { (to - from) * 0.05 } else { from.abs().max(1.0) * 0.1 };
        Some(Axis { label, from: from - room, to: to + room, unit })
    }

    /// Shares of 1, in percent.
    pub fn percent(label: &'static str) -> Axis {
        Axis { label, from: 0.0, to: 100.0, unit: " %" }
    }

    /// Round numbers within, and their decimals.
    fn ticks(&self) -> (Vec<f64>, usize) {
        let span = self.to - self.from;
        let power = 10f64.powf((span / MAX_TICKS).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| span / step <= MAX_TICKS).unwrap_or(span);
        let first = (self.from / step).ceil();
        let ticks = (0..=MAX_TICKS as usize).map(|i| (first + i as f64) * step);
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        (ticks.take_while(|tick| *tick <= self.to + span * 1e-9).collect(), decimals)
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }
}

impl Chart {
    fn x(&self, value: f64) -> f64 {
        let [left, _, right, _] = PLOT;
        left + self.x.share(value) * (right - left)
    }

    fn y(&self, value: f64) -> f64 {
        let [_, top, _, bottom] = PLOT;
        bottom - self.y.share(value) * (bottom - top)
    }

    /// The picture: axes, and what is `inside`. `about` is what a screen reader says.
    pub fn draw(&self, about: &str, inside: &Markup) -> Markup {
        let [left, top, right, bottom] = PLOT;
        let ((x_ticks, x_decimals), (y_ticks, y_decimals)) = (self.x.ticks(), self.y.ticks());
        html! {
            svg class="chart" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(about) {
                @for tick in y_ticks {
                    @let y = number(self.y(tick));
                    line class="grid" x1=(left) x2=(right) y1=(y) y2=(y) {}
                    text x=(left - 6.0) y=(y) dy="4" text-anchor="end" { (decimal(tick, y_decimals)) (self.y.unit) }
                }
                @for tick in x_ticks {
                    @let x = number(self.x(tick));
                    line class="grid" x1=(x) x2=(x) y1=(top) y2=(bottom) {}
                    text x=(x) y=(bottom + 15.0) text-anchor="middle" { (decimal(tick, x_decimals)) (self.x.unit) }
                }
                text x=((left + right) / 2.0) y=(HEIGHT - 4.0) text-anchor="middle" { (self.x.label) }
                (inside)
            }
        }
    }

    /// A line, broken where a value is no number.
    pub fn line(&self, line: &Line) -> Markup {
        let is_marked = line.is_marked && line.points.len() <= MAX_MARKED;
        let runs = line.points.split(|point| !point.iter().all(|value| value.is_finite()));
        let place = |&[x, y]: &[f64; 2]| format!("{},{}", number(self.x(x)), number(self.y(y)));
        html! {
            @for run in runs.filter(|run| !run.is_empty()) {
                polyline class={ "line " (line.class) } points=(run.iter().map(place).collect::<Vec<_>>().join(" ")) {}
                @for [x, y] in run.iter().filter(|_| is_marked) {
                    circle class={ "dot " (line.class) } cx=(number(self.x(*x))) cy=(number(self.y(*y))) r="2.5" {
                        title { (line.name) ", " (self.x.label) " " (short(*x)) ": " (short(*y)) (self.y.unit) }
                    }
                }
            }
        }
    }

    /// A bar from the bottom, with a title.
    pub fn bar(&self, [from, to]: [f64; 2], height: f64, title: &str) -> Markup {
        let (left, right, top) = (self.x(from), self.x(to), self.y(height));
        html! {
            rect class="bar" x=(number(left + 0.5)) y=(number(top)) width=(number(right - left - 1.0))
                height=(number(PLOT[3] - top)) { title { (title) } }
        }
    }

    /// An upright line with a word beside it.
    pub fn mark(&self, x: f64, word: &str) -> Markup {
        let at = number(self.x(x));
        let (anchor, apart) = if self.x.share(x) > 0.6 { ("end", "-4") } else { ("start", "4") };
        html! {
            line class="mark" x1=(at) x2=(at) y1=(PLOT[1]) y2=(PLOT[3]) {}
            text x=(at) dx=(apart) y=(PLOT[1] + 12.0) text-anchor=(anchor) { (word) }
        }
    }
}

/// A chart's heading and what its colours mean.
pub fn legend(title: &str, lines: &[Line]) -> Markup {
    html! {
        figcaption {
            strong { (title) }
            @for line in lines {
                " " span class="key" { span class=(line.class) {} (line.name) }
            }
        }
    }
}

/// A place in the picture, to a tenth of a pixel.
fn number(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Without the minus of a zero.
fn decimal(value: f64, decimals: usize) -> String {
    format!("{:.decimals$}", if value.abs() < 1e-9 { 0.0 } else { value })
}

/// With at most three decimals.
fn short(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: f64, to: f64) -> Axis {
        Axis { label: "x", from, to, unit: "" }
    }

    #[test]
    fn ticks_are_round_few_and_within() {
        for (ends, expected, decimals) in [
            ((0.0, 100.0), vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0], 0),
            ((0.5, 3.1), vec![0.5, 1.0, 1.5, 2.0, 2.5, 3.0], 1),
            ((-0.02, 0.031), vec![-0.02, -0.01, 0.0, 0.01, 0.02, 0.03], 2),
            ((0.9, 1.1), vec![0.9, 0.95, 1.0, 1.05, 1.1], 2),
        ] {
            let (ticks, found) = axis(ends.0, ends.1).ticks();
            assert_eq!((ticks.len(), found), (expected.len(), decimals), "{ticks:?}");
            assert!(ticks.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{ticks:?} {expected:?}");
        }
    }

    #[test]
    fn an_axis_spans_the_numbers_among_its_values() {
        let over = |values: &[f64]| Axis::over("x", "", values.iter().copied()).map(|axis| [axis.from, axis.to]);
        assert_eq!(over(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(over(&[3.0, f64::NAN, 1.0]), Some([0.9, 3.1]));
        let [from, to] = over(&[2.0]).unwrap();
        assert!(from < 2.0 && to > 2.0);
    }

    #[test]
    fn a_line_is_broken_at_what_is_no_number() {
        let chart = Chart { x: axis(0.0, 4.0), y: axis(0.0, 1.0) };
        let points = vec![[0.0, 0.0], [1.0, 1.0], [2.0, f64::NAN], [3.0, 0.5]];
        let line = chart.line(&Line { name: "a", class: "b", points, is_marked: true }).into_string();
        assert_eq!((line.matches("<polyline").count(), line.matches("<circle").count()), (2, 3));
        assert!(line.contains("points=\"48,222 140,12\"") && !line.contains("NaN"), "{line}");
    }
}
