//! From a photo to a training example: crop, flip, policy, jitter, normalising, erasing, in torchvision's order
//! (`references/classification/presets.py`).

use crate::auto::{Auto, Canvas};
use crate::color::Jitter;
use crate::crop::{self, Border};
use crate::mix::{Erase, Mix};
use crate::random::Random;
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_run::preprocess::levels;
use mobilenet_run::{Image, preprocess};

/// How a photo comes to the network's size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Crop {
    /// As in evaluation.
    #[default]
    Evaluation,
    /// A random window, resized (torchvision's `RandomResizedCrop`).
    RandomResized {
        /// Its part of the photo's area, least and most.
        scale: [f32; 2],
        /// Its width over height, least and most.
        ratio: [f32; 2],
    },
    /// A random window of the photo with a border around it (torchvision's `RandomCrop`), for small photos. Photos of
    /// another size are first resized to cover the network's.
    Padded {
        /// The border, in pixels.
        pad: usize,
        /// What is in it.
        border: Border,
    },
}

/// Everything that is done to photos at random.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// How a photo comes to the network's size.
    pub crop: Crop,
    /// How often left and right change places.
    pub flip: f32,
    /// AutoAugment or RandAugment.
    pub auto: Option<Auto>,
    /// What those do around and between pixels.
    pub canvas: Canvas,
    /// Changes of colour.
    pub jitter: Option<Jitter>,
    /// Random erasing.
    pub erase: Option<Erase>,
    /// Mixup and CutMix.
    pub mix: Mix,
}

impl Augment {
    /// Nothing: photos as in evaluation.
    pub fn none() -> Augment {
        Augment::default()
    }

    /// torchvision's for ImageNet: a random window of 8 to 100 % of the area, shaped 3:4 to 4:3, and a flip.
    pub fn standard() -> Augment {
        let crop = Crop::RandomResized { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] };
        Augment { crop, flip: 0.5, ..Augment::none() }
    }

    /// The usual one for CIFAR: 4 black pixels around, a random window, and a flip.
    pub fn small() -> Augment {
        Augment { crop: Crop::Padded { pad: 4, border: Border::Zero }, flip: 0.5, ..Augment::none() }
    }

    /// Writes an example of `image` into `out`: 3×H×W normalised values of [`Preprocessing::size`].
    ///
    /// # Panics
    /// As [`preprocess()`].
    pub fn apply(&self, image: &Image, preprocessing: &Preprocessing, random: &mut Random, out: &mut [f32]) {
        let mut example = match self.crop {
            Crop::Evaluation if !self.changes_pixels() => {
                preprocess(image, preprocessing, out);
                return self.erase(preprocessing, random, out);
            }
            Crop::Evaluation => crop::evaluation(image, preprocessing),
            Crop::RandomResized { scale, ratio } => crop::resized(image, scale, ratio, preprocessing, random),
            Crop::Padded { pad, border } => crop::padded(image, pad, border, preprocessing, random),
        };
        if random.chance(self.flip) {
            crop::flip(&mut example);
        }
        if let Some(auto) = self.auto {
            auto.apply(&mut example, self.canvas, random);
        }
        if let Some(jitter) = self.jitter {
            jitter.apply(&mut example, random);
        }
        normalise(&example, preprocessing, out);
        self.erase(preprocessing, random, out);
    }

    fn changes_pixels(&self) -> bool {
        self.flip > 0.0 || self.auto.is_some() || self.jitter.is_some()
    }

    fn erase(&self, preprocessing: &Preprocessing, random: &mut Random, out: &mut [f32]) {
        if let Some(erase) = &self.erase {
            erase.apply(out, preprocessing.size, random);
        }
    }
}

/// `(level / 255 − mean) / std` into planes.
fn normalise(image: &Image, preprocessing: &Preprocessing, out: &mut [f32]) {
    let plane = image.width * image.height;
    assert_eq!(out.len(), 3 * plane, "values for 3×{}×{}", image.height, image.width);
    for (plane, color) in out.chunks_exact_mut(plane).zip(preprocessing.channel_order.colors()) {
        let value = levels(preprocessing, color);
        for (to, from) in plane.iter_mut().zip(image.rgb.chunks_exact(3)) {
            *to = value[usize::from(from[color])];
        }
    }
}
