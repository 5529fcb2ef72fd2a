//! Whether a photo resembles any that a network was checked with: a network is often sure of what it has never seen.
//!
//! The measure is the cosine between a photo's features and those of the nearest of the file's
//! [exemplars](mobilenet_net::exemplars) (nearest neighbours as Sun et al. use them, arXiv 2204.06507).

use std::path::Path;

use mobilenet_net::exemplars::Exemplars;
use mobilenet_net::{Graph, Recognised};

use crate::error::Error;

/// What a network's photos look like to its classifier.
pub struct Familiar {
    /// Values of a row.
    len: usize,
    /// Rows of length 1.
    rows: Vec<f32>,
}

impl Familiar {
    /// The exemplars in the file at `path`, of the network that `recognised` describes; `None` where the file has none, or
    /// does not say how similar a photo has to be.
    ///
    /// # Errors
    /// Exemplars that are another network's.
    pub fn open(path: &Path, graph: &Graph, recognised: &Recognised) -> Result<Option<Familiar>, Error> {
        if recognised.about.familiarity.is_none() {
            return Ok(None);
        }
        let node = graph.find(graph.features_tap()).expect("every network has pooled features");
        let exemplars = Exemplars::read(path, recognised.spec.classes, graph[node].channels)?;
        Ok(exemplars.map(|exemplars| Familiar::of(exemplars.len, exemplars.rows)))
    }

    /// For rows of so many features.
    pub fn of(len: usize, mut rows: Vec<f32>) -> Familiar {
        for row in rows.chunks_exact_mut(len.max(1)) {
            let norm = norm(row);
            row.iter_mut().for_each(|x| *x /= norm);
        }
        Familiar { len, rows }
    }

    /// The similarity of a photo with these features, from -1 to 1; of none where there are no exemplars.
    pub fn similarity(&self, features: &[f32]) -> f32 {
        self.nearest(features, usize::MAX)
    }

    /// The similarity of an exemplar to the nearest other one.
    ///
    /// # Panics
    /// Where there is no such exemplar.
    pub fn similarity_of(&self, exemplar: usize) -> f32 {
        self.nearest(&self.rows[exemplar * self.len..][..self.len], exemplar)
    }

    fn nearest(&self, features: &[f32], but: usize) -> f32 {
        let norm = norm(features);
        let rows = self.rows.chunks_exact(self.len.max(1)).enumerate().filter(|(i, _)| *i != but);
        let cosine = |row: &[f32]| row.iter().zip(features).map(|(a, b)| a * b).sum::<f32>() / norm;
        rows.map(|(_, row)| cosine(row)).fold(-1.0, f32::max)
    }
}

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_as_similar_as_its_nearest_exemplar() {
        let familiar = Familiar::of(2, vec![3.0, 0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!(familiar.similarity(&[2.0, 0.0]), 1.0);
        assert!((familiar.similarity(&[-1.0, 1.0]) - 0.5f32.sqrt()).abs() < 1e-6);
        assert!((familiar.similarity_of(0) - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(familiar.similarity(&[0.0, 0.0]), 0.0);
    }
}
