//! Two charts of how far probabilities can be trusted: the reliability diagram, and what a threshold refuses.

use maud::{Markup, html};

use super::Assessment;
use super::chart::{Axis, Chart, Line, legend};
use super::text::percent;
use crate::assess::{BINS, Calibration};

/// Accuracy over confidence, a bar a bin (Guo et al., arXiv 1706.04599, figure 1).
pub fn reliability(calibration: &Calibration) -> Markup {
    let chart = Chart { x: Axis::percent("probability that the network gives"), y: Axis::percent("") };
    let edge = |i: usize| 100.0 * i as f64 / BINS as f64;
    let filled = calibration.bins.iter().enumerate().filter_map(|(i, bin)| Some((i, bin, bin.accuracy?)));
    let ideal = [Line { name: "as it should be", class: "c0", points: vec![[0.0; 2], [100.0; 2]], is_marked: false }];
    let inside = html! {
        @for (i, bin, accuracy) in filled {
            (chart.bar([edge(i), edge(i + 1)], 100.0 * accuracy, &format!(
                "{} answers at {} on average: {} are right", bin.answers, percent(bin.confidence), percent(bin.accuracy)
            )))
        }
        (chart.line(&ideal[0]))
    };
    html! {
        figure {
            (legend("Share that is right", &ideal))
            (chart.draw("Share of answers that are right, by their probability", &inside))
        }
    }
}

/// What a threshold does to photos of known classes, and of unknown ones where there are any.
pub fn unknown(assessment: &Assessment) -> Markup {
    let chart = Chart { x: Axis::percent("threshold"), y: Axis::percent("") };
    let line = |name, class, points: Vec<[f64; 2]>| Line {
        name,
        class,
        points: points.into_iter().map(|point| point.map(|share| 100.0 * share)).collect(),
        is_marked: false,
    };
    let Assessment { refusals, answered, .. } = assessment;
    let lines = [
        line("known refused", "c2", refusals.iter().map(|r| [r.threshold, r.known_refused]).collect()),
        line("unknown found", "c1", refusals.iter().filter_map(|r| Some([r.threshold, r.unknown_found?])).collect()),
        line("right among the answered", "c3", answered.iter().map(|a| [a.threshold, a.right]).collect()),
    ];
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    let inside = html! {
        @for line in &lines { (chart.line(line)) }
        @if let Some(threshold) = assessment.threshold {
            (chart.mark(100.0 * threshold, &format!("in use: {}", percent(Some(threshold)))))
        }
    };
    html! {
        figure {
            (legend("Answering ‘unknown’ below a threshold", &lines))
            (chart.draw("Shares of photos by threshold", &inside))
            @if let Some(least) = assessment.familiarity {
                figcaption {
                    "The network also answers ‘unknown’ where a photo is less similar than " (format!("{least:.2}"))
                    " to all that it was checked with, which the chart does not show."
                }
            }
        }
    }
}
