//! What happens to normalised photos: erasing a part of one, and mixing two of a batch.
//!
//! As torchvision 0.29's `RandomErasing` and `transforms.v2.MixUp` and `CutMix`, which pair each photo with the one
//! before it in the batch.

use crate::Target;
use crate::random::Random;

/// Tries for a rectangle that is smaller than the photo.
const TRIES: usize = 10;

/// Random erasing (Zhong et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Erase {
    /// How often.
    pub probability: f32,
    /// The rectangle's part of the area, least and most.
    pub scale: [f32; 2],
    /// Height over width, least and most.
    pub ratio: [f32; 2],
    /// With noise of deviation 1 instead of zeros, which are the mean colour.
    pub noise: bool,
}

impl Default for Erase {
    /// torchvision's.
    fn default() -> Erase {
        Erase { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], noise: false }
    }
}

impl Erase {
    /// Erases in `planes`, 3×H×W normalised values.
    pub fn apply(&self, planes: &mut [f32], [height, width]: [usize; 2], random: &mut Random) {
        if !random.chance(self.probability) {
            return;
        }
        let [scale, ratio] = [self.scale, self.ratio].map(|range| range.map(f64::from));
        for _ in 0..TRIES {
            let area = (height * width) as f64 * random.range(scale);
            let aspect = random.range(ratio.map(f64::ln)).exp();
            let h = (area * aspect).sqrt().round_ties_even() as usize;
            let w = (area / aspect).sqrt().round_ties_even() as usize;
            if h < height && w < width {
                let (top, left) = (random.below(height - h + 1), random.below(width - w + 1));
                for plane in planes.chunks_exact_mut(height * width) {
                    for row in plane.chunks_exact_mut(width).skip(top).take(h) {
                        row[left..left + w].fill_with(|| if self.noise { random.normal() } else { 0.0 });
                    }
                }
                return;
            }
        }
    }
}

/// How the photos of a batch are mixed. Where both are asked for, chance picks one for each batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Mixup (Zhang et al. 2017) with shares from Beta(α, α); 0 is none.
    pub mixup: f32,
    /// CutMix (Yun et al. 2019), likewise.
    pub cutmix: f32,
}

/// The other half of a mixed batch's labels: the loss is `share · loss(targets) + (1 − share) · loss(others)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mixed {
    /// For each photo, what the one that was mixed in shows.
    pub others: Vec<Target>,
    /// For each photo, the share of its own target.
    pub shares: Vec<f32>,
}

impl Mix {
    /// Whether anything is mixed.
    pub(crate) fn is_on(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// Mixes a batch of 3×H×W values a photo.
    pub(crate) fn apply(
        &self,
        images: &mut [f32],
        targets: &[Target],
        size: [usize; 2],
        random: &mut Random,
    ) -> Option<Mixed> {
        let [mixup, cutmix] = [self.mixup, self.cutmix].map(|alpha| alpha > 0.0);
        if targets.is_empty() || !self.is_on() {
            return None;
        }
        let cut = cutmix && (!mixup || random.below(2) == 1);
        let share = random.beta(f64::from(if cut { self.cutmix } else { self.mixup }));
        let length = 3 * size[0] * size[1];
        let share = if cut {
            let area = Patch::random(size, share, random);
            roll(images, length, |image, before| area.paste(image, before, size));
            1.0 - area.area() as f32 / (size[0] * size[1]) as f32
        } else {
            roll(images, length, |image, before| {
                for (value, other) in image.iter_mut().zip(before) {
                    *value = *value * share + other * (1.0 - share);
                }
            });
            share
        };
        let mut others = targets.to_vec();
        others.rotate_right(1);
        Some(Mixed { others, shares: vec![share; targets.len()] })
    }
}

/// Calls `mix` with each photo and the unchanged one before it, the first with the last.
fn roll(images: &mut [f32], length: usize, mut mix: impl FnMut(&mut [f32], &[f32])) {
    let last = images[images.len() - length..].to_vec();
    // From the end, so that the one before is still as it was.
    for start in (length..images.len()).step_by(length).rev() {
        let (before, image) = images.split_at_mut(start);
        mix(&mut image[..length], &before[start - length..]);
    }
    mix(&mut images[..length], &last);
}

/// A rectangle that CutMix pastes.
struct Patch {
    top: usize,
    left: usize,
    bottom: usize,
    right: usize,
}

impl Patch {
    /// `1 − share` of the area, about any pixel, less what would lie outside.
    fn random([height, width]: [usize; 2], share: f32, random: &mut Random) -> Patch {
        let (x, y) = (random.below(width), random.below(height));
        let half = 0.5 * (1.0 - f64::from(share)).sqrt();
        let (w, h) = ((half * width as f64) as usize, (half * height as f64) as usize);
        let (top, bottom) = (y.saturating_sub(h), (y + h).min(height));
        Patch { top, left: x.saturating_sub(w), bottom, right: (x + w).min(width) }
    }

    fn area(&self) -> usize {
        (self.bottom - self.top) * (self.right - self.left)
    }

    fn paste(&self, image: &mut [f32], other: &[f32], [height, width]: [usize; 2]) {
        for (plane, other) in image.chunks_exact_mut(height * width).zip(other.chunks_exact(height * width)) {
            for y in self.top..self.bottom {
                let row = y * width + self.left..y * width + self.right;
                plane[row.clone()].copy_from_slice(&other[row]);
            }
        }
    }
}
