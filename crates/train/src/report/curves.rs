//! Losses and accuracies over the epochs.

use maud::{Markup, html};

use super::chart::{Axis, Chart, Line, legend};
use crate::log::history::{Epoch, Figures, History};

/// Points of the steps' losses that are drawn, each the mean of those around it.
const STEPS: usize = 300;

/// Both charts; what the log has no figures for is left out.
pub fn curves(history: &History) -> Markup {
    let validation = |figure: fn(&Figures) -> Option<f64>| {
        by_epoch(history, move |epoch| epoch.validation.as_ref().and_then(figure))
    };
    let percent = |points: Vec<[f64; 2]>| points.into_iter().map(|[x, y]| [x, 100.0 * y]).collect();
    let marked = |name, class, points| Line { name, class, points, is_marked: true };
    let losses = vec![
        Line { name: "single steps", class: "c0", points: steps(history), is_marked: false },
        marked("training", "c1", by_epoch(history, |epoch| epoch.training_loss)),
        marked("validation", "c2", validation(|figures| figures.loss)),
    ];
    let accuracies = vec![
        marked("training, top-1", "c1", percent(by_epoch(history, |epoch| epoch.training_top1))),
        marked("validation, top-1", "c2", percent(validation(|figures| figures.top1))),
        marked("validation, top-5", "c3", percent(validation(|figures| figures.top5))),
        marked(
            "validation, mean average precision",
            "c4",
            percent(validation(|figures| figures.mean_average_precision)),
        ),
    ];
    html! {
        div class="charts" { (chart("Loss", "", losses)) (chart("Accuracy", " %", accuracies)) }
    }
}

fn chart(title: &str, unit: &'static str, lines: Vec<Line>) -> Markup {
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    let values = |axis: usize| lines.iter().flat_map(move |line| line.points.iter().map(move |point| point[axis]));
    let axes = (Axis::over("epoch", "", values(0).chain([0.0])), Axis::over("", unit, values(1)));
    let (Some(x), Some(y)) = axes else { return html! {} };
    let chart = Chart { x: Axis { from: 0.0, ..x }, y };
    html! {
        figure {
            (legend(title, &lines))
            (chart.draw(&format!("{title} by epoch"), &html! { @for line in &lines { (chart.line(line)) } }))
        }
    }
}

fn by_epoch(history: &History, figure: impl Fn(&Epoch) -> Option<f64>) -> Vec<[f64; 2]> {
    history.epochs.iter().filter_map(|epoch| Some([epoch.epoch, figure(epoch)?])).collect()
}

/// Means of as many steps as leave at most [`STEPS`] points; none where epochs tell more.
fn steps(history: &History) -> Vec<[f64; 2]> {
    if history.steps.len() <= history.epochs.len() {
        return Vec::new();
    }
    let mean = |steps: &[crate::log::history::Step]| {
        let sums = steps.iter().fold([0.0; 2], |[x, y], step| [x + step.epoch, y + step.loss]);
        sums.map(|sum| sum / steps.len() as f64)
    };
    history.steps.chunks(history.steps.len().div_ceil(STEPS).max(1)).map(mean).collect()
}
