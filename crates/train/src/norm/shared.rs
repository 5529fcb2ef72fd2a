//! A batch norm's sums over the ranks of a group, so that its statistics are those of the whole batch.

use mobilenet_kernels::layout::{LANES, blocks};

use super::Sums;
use crate::group::Group;

/// The moments of all ranks' values, channel by channel: their number, mean and variance.
pub(super) struct Moments {
    count: f64,
    /// Mean, and mean square, about a value of each channel's own.
    of: Vec<[f64; 2]>,
}

impl Moments {
    /// `about` is near each channel's mean, or at least no further from it than some thousand deviations, and the same for
    /// all ranks: in double precision what then cancels out leaves enough digits.
    pub fn new(sums: Sums, about: &[f32], group: &dyn Group) -> Moments {
        let mut all = vec![0.0; 1 + 2 * sums.channels];
        // Of a rank without photos there is no mean.
        for block in (0..blocks(sums.channels)).filter(|_| sums.pieces > 0) {
            let values = sums.means_and_variances(block);
            for c in sums.channels_of(block) {
                let [count, mean, variance] = values.map(|v| v[c % LANES]);
                let apart = mean - f64::from(about[c]);
                all[0] = count;
                all[1 + 2 * c] = count * apart;
                all[2 + 2 * c] = count * (variance + apart * apart);
            }
        }
        group.sum(&mut all);
        let (count, of) = (all[0], all[1..].as_chunks::<2>().0.iter());
        Moments { count, of: of.map(|sums| sums.map(|sum| sum / count)).collect() }
    }

    /// Number of values, mean and variance of channel `c`.
    pub fn get(&self, c: usize, about: f32) -> [f64; 3] {
        let [apart, square] = self.of[c];
        [self.count, f64::from(about) + apart, (square - apart * apart).max(0.0)]
    }
}

/// All ranks' sums of two gradients a channel, and of the values that they are over.
pub(super) fn gradients(count: usize, own: impl Iterator<Item = [f64; 2]>, group: &dyn Group) -> (f64, Vec<[f64; 2]>) {
    let mut all: Vec<f64> = std::iter::once(count as f64).chain(own.flatten()).collect();
    group.sum(&mut all);
    (all[0], all[1..].as_chunks().0.to_vec())
}
