//! Gradients of several small batches, averaged before the optimizer's step: a large batch in little memory.

/// The mean of the gradients of the batches since the last [`Accumulator::reset`], every photo counting the same.
pub(crate) struct Accumulator {
    mean: Vec<Vec<f32>>,
    photos: usize,
}

impl Accumulator {
    /// For gradients of these sizes.
    pub fn new(gradients: &[Vec<f32>]) -> Accumulator {
        Accumulator { mean: gradients.iter().map(|g| vec![0.0; g.len()]).collect(), photos: 0 }
    }

    /// Takes in a batch's gradients, themselves a mean over its photos.
    pub fn add(&mut self, gradients: &[Vec<f32>], photos: usize) {
        self.photos += photos;
        let share = photos as f32 / self.photos as f32;
        for (mean, gradient) in self.mean.iter_mut().zip(gradients) {
            if self.photos == photos {
                mean.copy_from_slice(gradient);
            } else {
                mean.iter_mut().zip(gradient).for_each(|(m, g)| *m += share * (g - *m));
            }
        }
    }

    /// The mean.
    pub fn mean(&self) -> &[Vec<f32>] {
        &self.mean
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.photos = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_photo_counts_the_same() {
        let mut accumulator = Accumulator::new(&[vec![0.0; 2]]);
        for _ in 0..2 {
            accumulator.add(&[vec![1.0, -4.0]], 6);
            assert_eq!(accumulator.mean(), [[1.0, -4.0]]);
            accumulator.add(&[vec![5.0, 4.0]], 2);
            assert_eq!(accumulator.mean(), [[2.0, -2.0]]);
            accumulator.reset();
        }
    }
}
