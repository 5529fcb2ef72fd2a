//! The page around all parts. Style and script are within it, and a policy in its head forbids browsers to load anything.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::text::{count, milliseconds, percent};
use super::{Assessment, Report, calibration, classes, curves, pictures};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("sort.js");
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// Classes whose confusion matrix is drawn at most: of more, a place is less than half a pixel.
const MAX_MATRIX: usize = 2000;

pub fn html(report: &Report) -> String {
    let title = format!("{}: {}", report.name, report.card.network());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body(report)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn body(report: &Report) -> Markup {
    let Report { name, date, card, history, assessment, mistakes, first_batch } = report;
    html! {
        header {
            h1 { (name) }
            p { (card.network()) ", " (date) }
        }
        (figures(report))
        section { h2 { "Card" } (card.table()) }
        @if !history.epochs.is_empty() || !history.steps.is_empty() {
            section { h2 { "Curves" } (curves::curves(history)) }
        }
        @if let Some(assessment) = assessment { (assessed(assessment)) }
        @if !mistakes.is_empty() {
            section {
                h2 { "Worst mistakes" }
                p { "Validation photos that were answered wrongly with the highest probability: what they show → what was \
                     answered. Photos under a wrong class are found here, too." }
                (pictures::gallery(mistakes))
            }
        }
        @if let Some(picture) = first_batch {
            section {
                h2 { "First batch" }
                p { "Photos as training showed them, cut, turned and coloured at random." }
                (pictures::first_batch(picture))
            }
        }
    }
}

/// The figures that people ask for first.
fn figures(report: &Report) -> Markup {
    let tile = |value: String, name: &str| html! { div { strong { (value) } span { (name) } } };
    html! {
        section class="tiles" {
            @if let Some(Assessment { evaluation, calibration, .. }) = &report.assessment {
                @let of = format!("top-1 of {} validation photos", evaluation.photos);
                @if evaluation.top1.is_some() { (tile(percent(evaluation.top1), &of)) }
                @if evaluation.top5.is_some() { (tile(percent(evaluation.top5), "top-5")) }
                @if evaluation.mean_average_precision.is_some() {
                    (tile(percent(evaluation.mean_average_precision), "mean average precision"))
                }
                (tile(format!("{:.3}", evaluation.loss), "validation loss"))
                (tile(format!("{:.3}", calibration.error), "calibration error"))
            }
            @for latency in &report.card.latencies {
                @let threads = if latency.threads == 1 { "1 thread".into() } else { format!("{} threads", latency.threads) };
                (tile(milliseconds(latency.milliseconds), &format!("a photo, {threads}")))
            }
            (tile(format!("{}B", count(report.card.file_bytes)), "file"))
        }
    }
}

fn assessed(assessment: &Assessment) -> Markup {
    let Assessment { names, confusion, calibration, .. } = assessment;
    html! {
        @if let Some(confusion) = confusion {
            @if names.len() <= MAX_MATRIX {
                section {
                    h2 { "Confusion matrix" }
                    div class="scroll matrix" { (PreEscaped(confusion.svg(names, "Validation photos"))) }
                }
            }
        }
        section { h2 { "Classes" } (classes::table(assessment)) }
        section {
            h2 { "Probabilities" }
            p { "Where bars end on the line, answers are right as often as their probability says: the calibration error, the \
                 mean distance, is " (format!("{:.3}", calibration.error)) "." }
            div class="charts" { (calibration::reliability(calibration)) (calibration::unknown(assessment)) }
        }
    }
}
