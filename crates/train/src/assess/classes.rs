//! Figures of each class.

use serde::Serialize;

use super::{Confusion, Predictions, SAID};
use crate::evaluate::average_precision;

/// A class's figures. Of labels, one counts as answered where its probability is ½ or more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Its index among the network's outputs.
    pub class: usize,
    /// Photos that show it.
    pub photos: usize,
    /// Photos that it was answered for.
    pub answered: usize,
    /// Share of its answers that are right; none without an answer.
    pub precision: Option<f64>,
    /// Share of its photos that were answered with it; none without a photo.
    pub recall: Option<f64>,
    /// The harmonic mean of both: 2 · right / (photos + answered); none where there is neither.
    pub f1: Option<f64>,
    /// Of labels: [`average_precision`]; none without a photo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// Of classes: the other class that its photos were most often answered with, the first of equals; none where all are
    /// right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confused: Option<Confused>,
}

/// What a class's photos were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confused {
    /// The class that was answered.
    pub with: usize,
    /// How many photos.
    pub photos: usize,
}

impl ClassFigures {
    fn new(class: usize, [photos, answered, right]: [usize; 3]) -> ClassFigures {
        let share = |of: usize, all: usize| (all > 0).then(|| of as f64 / all as f64);
        ClassFigures {
            class,
            photos,
            answered,
            precision: share(right, answered),
            recall: share(right, photos),
            f1: share(2 * right, photos + answered),
            average_precision: None,
            confused: None,
        }
    }
}

impl Predictions {
    /// Every class's figures, in the order of the network's outputs.
    pub fn class_figures(&self) -> Vec<ClassFigures> {
        match self.confusion() {
            Ok(confusion) => of_classes(&confusion),
            Err(_) => (0..self.classes).map(|label| self.of_label(label)).collect(),
        }
    }

    fn of_label(&self, label: usize) -> ClassFigures {
        let scores = self.rows().map(|(row, labels)| (row[label], labels.contains(&(label as u32))));
        let mut scores: Vec<(f32, bool)> = scores.collect();
        let is_said = |&(logit, _): &(f32, bool)| f64::from(self.probabilities(&[logit], false)[0]) >= SAID;
        let photos = scores.iter().filter(|(_, has)| *has).count();
        let answered = scores.iter().filter(|score| is_said(score)).count();
        let right = scores.iter().filter(|score| score.1 && is_said(score)).count();
        ClassFigures {
            average_precision: average_precision(&mut scores),
            ..ClassFigures::new(label, [photos, answered, right])
        }
    }
}

fn of_classes(confusion: &Confusion) -> Vec<ClassFigures> {
    let mut counts = vec![[0; 3]; confusion.classes()];
    let mut confused: Vec<Option<Confused>> = vec![None; confusion.classes()];
    for cell in confusion.cells() {
        counts[cell.class][0] += cell.photos;
        counts[cell.answered][1] += cell.photos;
        if cell.class == cell.answered {
            counts[cell.class][2] = cell.photos;
        } else if confused[cell.class].is_none_or(|most| most.photos < cell.photos) {
            confused[cell.class] = Some(Confused { with: cell.answered, photos: cell.photos });
        }
    }
    let figures = counts.into_iter().zip(confused).enumerate();
    figures.map(|(class, (counts, confused))| ClassFigures { confused, ..ClassFigures::new(class, counts) }).collect()
}
