//! The learning rate over the epochs.

use std::f64::consts::PI;

/// How the rate falls after the warm-up. Epochs here are counted from the warm-up's end, as torchvision's references do
/// (`SequentialLR`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fall {
    /// Not at all.
    Constant,
    /// × `factor` after every `every` epochs.
    Step {
        /// Epochs between falls.
        every: f64,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// × `factor` over every `every` epochs, a little at each step.
    Exponential {
        /// Epochs over which the rate falls once.
        every: f64,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// Half a cosine down to `floor` times the peak at the last epoch (arXiv 1608.03983).
    Cosine {
        /// The last rate over the first.
        floor: f64,
    },
}

/// A learning rate for every moment of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Epochs of linear rise to the peak.
    pub warmup: f64,
    /// Where the rise starts, as a share of the peak.
    pub warmup_from: f64,
    /// What follows.
    pub fall: Fall,
}

impl Schedule {
    /// The rate at `epoch` of `epochs`; 0.5 is the middle of the first epoch.
    ///
    /// ```
    /// use mobilenet_train::schedule::{Fall, Schedule};
    /// let schedule = Schedule { peak: 0.1, warmup: 2.0, warmup_from: 0.0, fall: Fall::Cosine { floor: 0.0 } };
    /// assert_eq!(schedule.rate(1.0, 10.0), 0.05);
    /// assert_eq!(schedule.rate(2.0, 10.0), 0.1);
    /// ```
    pub fn rate(&self, epoch: f64, epochs: f64) -> f64 {
        if epoch < self.warmup {
            return self.peak * (self.warmup_from + (1.0 - self.warmup_from) * epoch / self.warmup);
        }
        let (epoch, epochs) = (epoch - self.warmup, epochs - self.warmup);
        self.peak
            * match self.fall {
                Fall::Constant => 1.0,
                Fall::Step { every, factor } => factor.powf((epoch / every).floor()),
                Fall::Exponential { every, factor } => factor.powf(epoch / every),
                Fall::Cosine { floor } if epoch < epochs => {
                    floor + (1.0 - floor) * 0.5 * (1.0 + (PI * epoch / epochs).cos())
                }
                Fall::Cosine { floor } => floor,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(warmup: f64, fall: Fall) -> Schedule {
        Schedule { peak: 0.5, warmup, warmup_from: 0.0, fall }
    }

    #[test]
    fn warm_up_is_a_straight_line_that_meets_every_fall_at_the_peak() {
        let falls = [
            Fall::Constant,
            Fall::Step { every: 3.0, factor: 0.5 },
            Fall::Exponential { every: 2.0, factor: 0.25 },
            Fall::Cosine { floor: 0.0 },
        ];
        for fall in falls {
            let rates = [0.0, 1.0, 2.5, 4.0].map(|epoch| schedule(4.0, fall).rate(epoch, 10.0));
            assert_eq!(rates, [0.0, 0.125, 0.3125, 0.5], "{fall:?}");
        }
        let from = Schedule { warmup_from: 0.5, ..schedule(4.0, Fall::Constant) };
        assert_eq!([0.0, 2.0, 4.0, 9.0].map(|epoch| from.rate(epoch, 10.0)), [0.25, 0.375, 0.5, 0.5]);
    }

    #[test]
    fn steps_fall_at_once_and_exponentials_bit_by_bit() {
        let step = schedule(1.0, Fall::Step { every: 2.5, factor: 0.5 });
        assert_eq!([1.0, 3.49, 3.5, 5.99, 6.0].map(|e| step.rate(e, 10.0)), [0.5, 0.5, 0.25, 0.25, 0.125]);
        let exponential = schedule(0.0, Fall::Exponential { every: 2.0, factor: 0.25 });
        assert_eq!([0.0, 1.0, 2.0, 4.0].map(|e| exponential.rate(e, 10.0)), [0.5, 0.25, 0.125, 0.03125]);
    }

    #[test]
    fn cosine_ends_at_its_floor_and_stays_there() {
        let cosine = schedule(2.0, Fall::Cosine { floor: 0.5 });
        let near = |rate: f64, right: f64| assert!((rate - right).abs() < 1e-15, "{rate} is not {right}");
        near(cosine.rate(2.0, 10.0), 0.5);
        near(cosine.rate(6.0, 10.0), 0.375);
        near(cosine.rate(4.0, 10.0), 0.5 * (0.5 + 0.25 * (1.0 + 0.5f64.sqrt())));
        assert_eq!([cosine.rate(10.0, 10.0), cosine.rate(12.0, 10.0)], [0.25; 2]);
        // A run shorter than its warm-up must not divide by zero.
        assert_eq!(schedule(2.0, Fall::Cosine { floor: 0.0 }).rate(2.0, 2.0), 0.0);
    }
}
