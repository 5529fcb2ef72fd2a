//! AutoAugment (Cubuk et al. 2018) and RandAugment (2019) as torchvision 0.29 has them (`transforms/autoaugment.py`).

use crate::affine::{self, Sampling};
use crate::color;
use crate::policies::{self, Policy, Step};
use crate::random::Random;
use mobilenet_run::Image;

/// One of the operations that policies are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it, and `affine` and `color` say the rest")]
pub enum Op {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

/// RandAugment's operations, in torchvision's order.
pub const ALL: [Op; 14] = [
    Op::Identity,
    Op::ShearX,
    Op::ShearY,
    Op::TranslateX,
    Op::TranslateY,
    Op::Rotate,
    Op::Brightness,
    Op::Color,
    Op::Contrast,
    Op::Sharpness,
    Op::Posterize,
    Op::Solarize,
    Op::AutoContrast,
    Op::Equalize,
];

/// Magnitudes of AutoAugment's policies: 0 to 9.
pub const AUTO_BINS: usize = 10;

/// Magnitudes of RandAugment: 0 to 30.
pub const RAND_BINS: usize = 31;

/// Operations chosen for every photo anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto {
    /// AutoAugment's policy for ImageNet.
    ImageNet,
    /// AutoAugment's policy for CIFAR-10.
    Cifar10,
    /// RandAugment.
    Rand {
        /// How many operations, one after the other.
        count: usize,
        /// How strong, from 0 to 30; 9 is torchvision's default.
        magnitude: usize,
    },
}

/// How moved photos are read and what is outside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Canvas {
    /// Between pixels.
    pub sampling: Sampling,
    /// Outside.
    pub fill: [u8; 3],
}

impl Auto {
    /// Changes a photo.
    pub fn apply(self, image: &mut Image, canvas: Canvas, random: &mut Random) {
        match self {
            Auto::ImageNet => by_policy(policies::IMAGENET, image, canvas, random),
            Auto::Cifar10 => by_policy(policies::CIFAR10, image, canvas, random),
            Auto::Rand { count, magnitude } => {
                for _ in 0..count {
                    let op = ALL[random.below(ALL.len())];
                    let strength = op.magnitude(magnitude.min(RAND_BINS - 1), RAND_BINS, image);
                    let negative = op.is_signed() && random.below(2) == 1;
                    op.apply(image, if negative { -strength } else { strength }, canvas);
                }
            }
        }
    }
}

fn by_policy(policies: &[Policy], image: &mut Image, canvas: Canvas, random: &mut Random) {
    let policy = &policies[random.below(policies.len())];
    for Step(op, probability, bin) in policy {
        let (chance, negative) = (random.unit(), random.below(2) == 0);
        if chance <= *probability {
            let strength = op.magnitude(*bin, AUTO_BINS, image);
            op.apply(image, if negative && op.is_signed() { -strength } else { strength }, canvas);
        }
    }
}

impl Op {
    /// Whether it goes either way, by chance.
    pub fn is_signed(self) -> bool {
        use Op::*;
        matches!(self, ShearX | ShearY | TranslateX | TranslateY | Rotate | Brightness | Color | Contrast | Sharpness)
    }

    /// How strong magnitude `bin` of `bins` is, for a photo of this size.
    pub fn magnitude(self, bin: usize, bins: usize, image: &Image) -> f64 {
        let ramp = |from: f32, to: f32| f64::from(linspace(from, to, bin, bins));
        let pixels = |side: usize| (150.0 / 331.0 * side as f64) as f32;
        match self {
            Op::ShearX | Op::ShearY => ramp(0.0, 0.3),
            Op::TranslateX => ramp(0.0, pixels(image.width)),
            Op::TranslateY => ramp(0.0, pixels(image.height)),
            Op::Rotate => ramp(0.0, 30.0),
            Op::Brightness | Op::Color | Op::Contrast | Op::Sharpness => ramp(0.0, 0.9),
            Op::Posterize => 8.0 - (bin as f64 / ((bins - 1) as f64 / 4.0)).round_ties_even(),
            Op::Solarize => ramp(255.0, 0.0),
            Op::Identity | Op::AutoContrast | Op::Equalize | Op::Invert => 0.0,
        }
    }

    /// Carries it out.
    pub fn apply(self, image: &mut Image, magnitude: f64, canvas: Canvas) {
        let matrix = match self {
            Op::ShearX => affine::shear_x(magnitude),
            Op::ShearY => affine::shear_y(magnitude),
            Op::TranslateX => affine::translate(magnitude.trunc(), 0.0),
            Op::TranslateY => affine::translate(0.0, magnitude.trunc()),
            Op::Rotate => affine::rotate(image, magnitude),
            Op::Brightness => return color::brightness(image, 1.0 + magnitude),
            Op::Color => return color::saturation(image, 1.0 + magnitude),
            Op::Contrast => return color::contrast(image, 1.0 + magnitude),
            Op::Sharpness => return color::sharpness(image, 1.0 + magnitude),
            Op::Posterize => return color::posterize(image, magnitude as u32),
            Op::Solarize => return color::solarize(image, magnitude),
            Op::AutoContrast => return color::autocontrast(image),
            Op::Equalize => return color::equalize(image),
            Op::Invert => return color::invert(image),
            Op::Identity => return,
        };
        *image = affine::transform(image, &matrix, canvas.sampling, canvas.fill);
    }
}

/// `torch.linspace(from, to, count)[index]`, which counts from the nearer end.
fn linspace(from: f32, to: f32, index: usize, count: usize) -> f32 {
    let step = (to - from) / (count - 1) as f32;
    if index < count / 2 { from + step * index as f32 } else { to - step * (count - index - 1) as f32 }
}
