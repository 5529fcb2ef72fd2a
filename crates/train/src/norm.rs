//! Batch norm's statistics and gradients, a value a channel, from sums that the kernels leave.

mod shared;

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

    /// The `which`-th sum of a piece's channel.
    fn of_piece(&self, which: usize, piece: usize, c: usize) -> f64 {
        let at = (piece * blocks(self.channels) + c / LANES) * self.each + which;
        f64::from(self.values[at * LANES + c % LANES])
    }

    /// The `which`-th sum of channel `c` over all pieces.
    pub fn get(&self, which: usize, c: usize) -> f64 {
        (0..self.pieces).map(|piece| self.of_piece(which, piece, c)).sum()
    }

    /// Number of values, mean and variance of channel `c`.
    fn mean_and_variance(&self, c: usize) -> [f64; 3] {
        // Every piece's sums are about a value of its own.
        let part = |piece: usize| [0, 1, 2, 3].map(|which| self.of_piece(which, piece, c));
        let (total, count) = (0..self.pieces)
            .map(part)
            .fold((0.0, 0.0), |(total, count), [sum, _, about, pixels]| (total + sum + about * pixels, count + pixels));
        let mean = total / count;
        let squares = (0..self.pieces).map(part).map(|[sum, square, about, pixels]| {
            let d = mean - about;
            square - 2.0 * d * sum + pixels * d * d
        });
        [count, mean, (squares.sum::<f64>() / count).max(0.0)]
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
        for c in 0..sums.channels {
            let (mean, variance) = match statistics {
                Statistics::Running => (f64::from(v.mean[c]), f64::from(v.variance[c])),
                Statistics::Batch { momentum } => {
                    let [m, mean, variance] = match &shared {
                        Some(moments) => moments.get(c, v.mean[c]),
                        None => sums.mean_and_variance(c),
                    };
                    let move_to = |running: &mut f32, new: f64| *running += momentum * (new as f32 - *running);
                    move_to(&mut v.mean[c], mean);
                    move_to(&mut v.variance[c], variance * m / (m - 1.0).max(1.0));
                    (mean, variance)
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
        let own = |i: usize| {
            let d = sums.get(0, i);
            [d, (sums.get(1, i) + (f64::from(centre[i]) - mean[i]) * d) * inverse[i]]
        };
        let group = group.filter(|_| statistics != Statistics::Running);
        let shared = group.map(|group| shared::gradients(count, (0..sums.channels).map(own), group));
        for i in 0..sums.channels {
            let (mean, inverse, scale) = (mean[i], inverse[i], f64::from(scale[i]));
            let [d, d_unit] = own(i);
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
