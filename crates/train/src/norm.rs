//! Batch norm's statistics and gradients, a value a channel, from sums that the kernels leave.

mod shared;

use std::ops::Range;

use mobilenet_kernels::AlignedBuf;
use mobilenet_kernels::layout::{LANES, blocks};
use mobilenet_kernels::norm::{BACKWARD, MOMENTS};
use mobilenet_kernels::prologue::Norm;

use crate::group::Group;
use crate::program::Statistics;
use crate::steps;

/// What a batch norm knows between forward and back.
pub(crate) struct NormState {
    scale: AlignedBuf,
    shift: AlignedBuf,
    /// The mean, rounded: what the sums on the way back are about.
    pub centre: AlignedBuf,
    /// The gradient of its input is d · a + x · b + c.
    pub back: [AlignedBuf; 3],
    mean: Vec<f64>,
    /// 1 / √(variance + ε).
    inverse: Vec<f64>,
}

/// Sums a lane of every image or part of an image, as kernels leave them.
#[derive(Clone, Copy)]
pub(crate) struct Sums<'a> {
    values: &'a [f32],
    /// Values for each lane.
    each: usize,
    /// Images, or parts of all images.
    pieces: usize,
    channels: usize,
}

impl<'a> Sums<'a> {
    pub fn moments(values: &'a [f32], channels: usize) -> Sums<'a> {
        Sums::new(values, MOMENTS, channels)
    }

    pub fn backward(values: &'a [f32], channels: usize) -> Sums<'a> {
        Sums::new(values, BACKWARD, channels)
    }

    fn new(values: &'a [f32], each: usize, channels: usize) -> Sums<'a> {
        Sums { values, each, pieces: values.len() / (blocks(channels) * each * LANES), channels }
    }

    /// Values that the sums of so many pieces and channels take.
    pub fn len(pieces: usize, channels: usize, each: usize) -> usize {
        pieces * blocks(channels) * each * LANES
    }

    /// The channels of a block.
    fn channels_of(&self, block: usize) -> Range<usize> {
        block * LANES..((block + 1) * LANES).min(self.channels)
    }

    /// The `which`-th sum of a piece's lanes.
    fn of_piece(&self, which: usize, piece: usize, block: usize) -> &[f32; LANES] {
        let at = ((piece * blocks(self.channels) + block) * self.each + which) * LANES;
        self.values[at..].first_chunk().expect("a value a lane")
    }

    /// The `which`-th sum of a block's lanes over all pieces.
    pub fn of_block(&self, which: usize, block: usize) -> [f64; LANES] {
        let mut sums = [0.0; LANES];
        for piece in 0..self.pieces {
            let of_piece = self.of_piece(which, piece, block);
            sums.iter_mut().zip(of_piece).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        sums
    }

    /// Number of values, means and variances of a block's lanes.
    fn means_and_variances(&self, block: usize) -> [[f64; LANES]; 3] {
        // Every piece's sums are about a value of its own.
        let part = |piece: usize| [0, 1, 2, 3].map(|which| self.of_piece(which, piece, block));
        let [mut counts, mut means, mut variances] = [[0.0; LANES]; 3];
        for [sum, _, about, pixels] in (0..self.pieces).map(part) {
            for lane in 0..LANES {
                let [sum, about, pixels] = [sum, about, pixels].map(|v| f64::from(v[lane]));
                means[lane] += sum + about * pixels;
                counts[lane] += pixels;
            }
        }
        means.iter_mut().zip(counts).for_each(|(mean, count)| *mean /= count);
        for [sum, square, about, pixels] in (0..self.pieces).map(part) {
            for lane in 0..LANES {
                let [sum, square, about, pixels] = [sum, square, about, pixels].map(|v| f64::from(v[lane]));
                let d = means[lane] - about;
                variances[lane] += square - 2.0 * d * sum + pixels * d * d;
            }
        }
        variances.iter_mut().zip(counts).for_each(|(variance, count)| *variance = (*variance / count).max(0.0));
        [counts, means, variances]
    }
}

/// γ, β and the running mean and variance of a batch norm.
pub(crate) struct NormValues<'a> {
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub mean: &'a mut [f32],
    pub variance: &'a mut [f32],
}

impl NormValues<'_> {
    /// Those of a batch norm among all parameters' values.
    pub fn of<'a>(values: &'a mut [Vec<f32>], norm: &steps::Norm) -> NormValues<'a> {
        let [gamma, beta, mean, variance] = &mut values[norm.gamma..norm.gamma + 4] else {
            unreachable!("a batch norm has four tensors")
        };
        NormValues { gamma, beta, mean, variance }
    }
}

impl NormState {
    pub fn new(channels: usize) -> NormState {
        let lanes = || AlignedBuf::zeroed(blocks(channels) * LANES);
        NormState {
            scale: lanes(),
            shift: lanes(),
            centre: lanes(),
            back: [lanes(), lanes(), lanes()],
            mean: vec![0.0; channels],
            inverse: vec![0.0; channels],
        }
    }

    pub fn norm(&self) -> Norm<'_> {
        Norm { scale: &self.scale, shift: &self.shift }
    }

    /// Factors from the batch's moments, over all ranks of a `group`, which move the running ones too; from the running ones
    /// where those are used.
    pub fn forward(
        &mut self,
        sums: Sums,
        epsilon: f32,
        statistics: Statistics,
        v: NormValues,
        group: Option<&dyn Group>,
    ) {
        let group = group.filter(|_| statistics != Statistics::Running);
        let shared = group.map(|group| shared::Moments::new(sums, v.mean, group));
        for block in 0..blocks(sums.channels) {
            let own = match (statistics, &shared) {
                (Statistics::Batch { .. }, None) => Some(sums.means_and_variances(block)),
                _ => None,
            };
            for c in sums.channels_of(block) {
                let [mean, variance] = match statistics {
                    Statistics::Running => [&v.mean, &v.variance].map(|values| f64::from(values[c])),
                    Statistics::Batch { momentum } => {
                        let of_batch = shared.as_ref().map(|moments| moments.get(c, v.mean[c]));
                        let of_own = own.map(|values| values.map(|v| v[c % LANES]));
                        let [m, mean, variance] = of_batch.or(of_own).expect("the batch has moments");
                        let move_to = |running: &mut f32, new: f64| *running += momentum * (new as f32 - *running);
                        move_to(&mut v.mean[c], mean);
                        move_to(&mut v.variance[c], variance * m / (m - 1.0).max(1.0));
                        [mean, variance]
                    }
                };
                let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
                let scale = f64::from(v.gamma[c]) * inverse;
                (self.mean[c], self.inverse[c]) = (mean, inverse);
                self.centre[c] = mean as f32;
                self.scale[c] = scale as f32;
                self.shift[c] = (f64::from(v.beta[c]) - mean * scale) as f32;
            }
        }
    }

    /// Gradients of γ and β from the sums of d and d · (x − centre) over `count` values, and the factors for that of the
    /// input: γ/σ · (d − mean(d) − x̂ · mean(d · x̂)), the means being zero where the running statistics were used. In a
    /// `group` the means are over all ranks, and the gradients of γ and β are this rank's share of their sum.
    pub fn backward(
        &mut self,
        sums: Sums,
        count: usize,
        statistics: Statistics,
        [gamma, beta]: [&mut [f32]; 2],
        group: Option<&dyn Group>,
    ) {
        let NormState { scale, centre, back: [a, b, c], mean, inverse, .. } = self;
        // Of a channel, from its block's sums.
        let own = |[d, d_x]: &[[f64; LANES]; 2], i: usize| {
            let (d, d_x) = (d[i % LANES], d_x[i % LANES]);
            [d, (d_x + (f64::from(centre[i]) - mean[i]) * d) * inverse[i]]
        };
        let of_block = |block: usize| [0, 1].map(|which| sums.of_block(which, block));
        let group = group.filter(|_| statistics != Statistics::Running);
        let shared = group.map(|group| {
            let all = (0..blocks(sums.channels)).flat_map(|block| {
                let of_block = of_block(block);
                sums.channels_of(block).map(move |i| own(&of_block, i))
            });
            shared::gradients(count, all, group)
        });
        for block in 0..blocks(sums.channels) {
            let of_block = of_block(block);
            for i in sums.channels_of(block) {
                let [d, d_unit] = own(&of_block, i);
                let (mean, inverse, scale) = (mean[i], inverse[i], f64::from(scale[i]));
                (gamma[i], beta[i]) = (d_unit as f32, d as f32);
                let (count, [d, d_unit]) = shared.as_ref().map_or((count as f64, [d, d_unit]), |(n, all)| (*n, all[i]));
                let through_statistics = match statistics {
                    Statistics::Batch { .. } => 1.0 / count,
                    Statistics::Running => 0.0,
                };
                let slope = -scale * d_unit * inverse * through_statistics;
                a[i] = scale as f32;
                b[i] = slope as f32;
                c[i] = (-scale * d * through_statistics - slope * mean) as f32;
            }
        }
    }
}
