//! A line a class, sortable where scripts may run.

use maud::{Markup, html};

use super::Assessment;
use super::text::percent;
use crate::assess::ClassFigures;

pub fn table(assessment: &Assessment) -> Markup {
    let Assessment { names, figures, .. } = assessment;
    let has_precisions = figures.iter().any(|class| class.average_precision.is_some());
    html! {
        div class="scroll" {
            table class="sortable" {
                thead {
                    tr {
                        th scope="col" { "class" }
                        @for name in ["photos", "precision", "recall", "F1"] { th scope="col" class="number" { (name) } }
                        @if has_precisions { th scope="col" class="number" { "average precision" } }
                        @else { th scope="col" { "most often taken for" } }
                    }
                }
                tbody { @for class in figures { (row(class, names, has_precisions)) } }
            }
        }
    }
}

fn row(class: &ClassFigures, names: &[String], has_precisions: bool) -> Markup {
    let share = |share: Option<f64>| {
        let width = format!("--share:{:.0}%", 100.0 * share.unwrap_or(0.0));
        html! { td class="number share" data-value=(share.unwrap_or(-1.0)) style=(width) { (percent(share)) } }
    };
    html! {
        tr {
            th scope="row" { (names[class.class]) }
            td class="number" data-value=(class.photos) { (class.photos) }
            (share(class.precision)) (share(class.recall)) (share(class.f1))
            @if has_precisions { (share(class.average_precision)) }
            @else { td { @if let Some(most) = class.confused { (names[most.with]) " (" (most.photos) ")" } } }
        }
    }
}
