//! Which classes are taken for which.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Predictions;
use crate::error::Error;

/// How many photos of each class were answered with each: the confusion matrix, of which only what is not 0 is kept, so
/// that it takes no more than the photos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: BTreeMap<(usize, usize), usize>,
}

/// A place of the matrix that is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The photos' class: the row.
    pub class: usize,
    /// What was answered: the column.
    pub answered: usize,
    /// How many photos.
    pub photos: usize,
}

impl Predictions {
    /// The confusion matrix, by each photo's likeliest output.
    ///
    /// # Errors
    /// [`Error::NoConfusion`] where photos have any number of labels, which are not taken for one another.
    pub fn confusion(&self) -> Result<Confusion, Error> {
        if self.reading.by_labels {
            return Err(Error::NoConfusion);
        }
        let mut counts = BTreeMap::new();
        for ((_, labels), (answered, _)) in self.rows().zip(self.answers()) {
            *counts.entry((labels[0] as usize, answered)).or_default() += 1;
        }
        Ok(Confusion { classes: self.classes, counts })
    }
}

impl Confusion {
    /// Rows and columns.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Photos of `class` that were answered with `answered`.
    pub fn photos(&self, class: usize, answered: usize) -> usize {
        self.counts.get(&(class, answered)).copied().unwrap_or(0)
    }

    /// All that is not 0, row by row.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        self.counts.iter().map(|(&(class, answered), &photos)| Cell { class, answered, photos })
    }

    /// The photos of every class.
    pub fn row_sums(&self) -> Vec<usize> {
        let mut sums = vec![0; self.classes];
        self.cells().for_each(|cell| sums[cell.class] += cell.photos);
        sums
    }
}
