//! Rows of features brought to one size, so that one rate fits all networks.

use crate::head::Head;

/// What rows are shifted and divided by.
pub(crate) struct Scale {
    mean: Vec<f32>,
    length: f32,
}

impl Scale {
    /// The rows' mean, and their root mean square distance from it.
    pub fn of<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone, len: usize) -> Scale {
        let n = rows.clone().count() as f64;
        let mut mean = vec![0.0; len];
        for row in rows.clone() {
            mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / n);
        }
        let square = |row: &[f32]| row.iter().zip(&mean).map(|(&x, mean)| (f64::from(x) - mean).powi(2)).sum::<f64>();
        let squares: f64 = rows.map(square).sum();
        // Rows that are all the same have no size.
        let length = (squares / n).sqrt().max(f64::from(f32::EPSILON)) as f32;
        Scale { mean: mean.into_iter().map(|mean| mean as f32).collect(), length }
    }

    /// A row in these terms.
    pub fn apply(&self, row: &[f32]) -> impl Iterator<Item = f32> {
        row.iter().zip(&self.mean).map(|(x, mean)| (x - mean) / self.length)
    }

    /// The classifier of plain rows that does what `head` does to scaled ones, which may have zeros behind the features.
    pub fn undo(&self, head: Head) -> Head {
        let (len, Head { mut weight, mut bias }) = (head.features(), head);
        for (row, bias) in weight.chunks_exact_mut(len).zip(&mut bias) {
            row.iter_mut().for_each(|w| *w /= self.length);
            *bias -= row.iter().zip(&self.mean).map(|(w, mean)| f64::from(w * mean)).sum::<f64>() as f32;
        }
        let weight = weight.chunks_exact(len).flat_map(|row| &row[..self.mean.len()]).copied().collect();
        Head { weight, bias }
    }
}
