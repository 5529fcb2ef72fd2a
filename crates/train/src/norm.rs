//! Batch norm's statistics and gradients, a value a channel, from sums that the kernels leave.

use mobilenet_kernels::AlignedBuf;
use mobilenet_kernels::layout::{LANES, blocks};
use mobilenet_kernels::prologue::Norm;

use crate::program::Statistics;

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

/// Sums a lane of every image, as `norm::sum` leaves them.
#[derive(Clone, Copy)]
pub(crate) struct Sums<'a> {
    pub values: &'a [f32],
    /// Values for each lane: 3 of moments, 2 on the way back.
    pub each: usize,
    pub images: usize,
    pub channels: usize,
}

impl Sums<'_> {
    /// Values that the sums of so many images and channels take.
    pub fn len(images: usize, channels: usize, each: usize) -> usize {
        images * blocks(channels) * each * LANES
    }

    /// The `which`-th sum of an image's channel.
    fn of_image(&self, which: usize, image: usize, c: usize) -> f64 {
        let at = (image * blocks(self.channels) + c / LANES) * self.each + which;
        f64::from(self.values[at * LANES + c % LANES])
    }

    /// The `which`-th sum of channel `c` over all images.
    pub fn get(&self, which: usize, c: usize) -> f64 {
        (0..self.images).map(|image| self.of_image(which, image, c)).sum()
    }

    /// Mean and variance of channel `c`, of which every image has `pixels` values.
    fn moments(&self, c: usize, pixels: f64) -> (f64, f64) {
        let all = self.images as f64 * pixels;
        // Every image's sums are about a value of its own.
        let part = |image: usize| [0, 1, 2].map(|which| self.of_image(which, image, c));
        let total: f64 = (0..self.images).map(|image| part(image)[0] + part(image)[2] * pixels).sum();
        let mean = total / all;
        let squares = (0..self.images).map(|image| {
            let [sum, square, about] = part(image);
            let d = mean - about;
            square - 2.0 * d * sum + pixels * d * d
        });
        (mean, (squares.sum::<f64>() / all).max(0.0))
    }
}

/// γ, β and the running mean and variance of a batch norm.
pub(crate) struct NormValues<'a> {
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub mean: &'a mut [f32],
    pub variance: &'a mut [f32],
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

    /// Factors from the batch's moments, of `pixels` values a channel and image, which move the running ones too; from the
    /// running ones where those are used.
    pub fn forward(&mut self, sums: Sums, pixels: usize, epsilon: f32, statistics: Statistics, v: NormValues) {
        for c in 0..sums.channels {
            let (mean, variance) = match statistics {
                Statistics::Running => (f64::from(v.mean[c]), f64::from(v.variance[c])),
                Statistics::Batch { momentum } => {
                    let m = (sums.images * pixels) as f64;
                    let (mean, variance) = sums.moments(c, pixels as f64);
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

    /// Gradients of γ and β from the sums of d and d · (x − centre), and the factors for that of the input:
    /// γ/σ · (d − mean(d) − x̂ · mean(d · x̂)), the means being zero where the running statistics were used.
    pub fn backward(&mut self, sums: Sums, count: usize, statistics: Statistics, gamma: &mut [f32], beta: &mut [f32]) {
        let [a, b, c] = &mut self.back;
        for i in 0..sums.channels {
            let (mean, inverse, scale) = (self.mean[i], self.inverse[i], f64::from(self.scale[i]));
            let d = sums.get(0, i);
            let d_unit = (sums.get(1, i) + (f64::from(self.centre[i]) - mean) * d) * inverse;
            (gamma[i], beta[i]) = (d_unit as f32, d as f32);
            let through_statistics = match statistics {
                Statistics::Batch { .. } => 1.0 / count as f64,
                Statistics::Running => 0.0,
            };
            let slope = -scale * d_unit * inverse * through_statistics;
            a[i] = scale as f32;
            b[i] = slope as f32;
            c[i] = (-scale * d * through_statistics - slope * mean) as f32;
        }
    }
}
