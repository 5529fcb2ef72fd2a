//! How a photo becomes a network's input: a property of the weights, not of the architecture.

use crate::graph::Padding;
use crate::names::Origin;

/// How a photo reaches the crop's surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// The shorter side gets so many pixels; the longer one follows.
    ShortSide(usize),
    /// Both sides get so many pixels, whatever the photo's form.
    Squash(usize),
}

/// The resampling filter, antialiased as Pillow has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle.
    Bilinear,
    /// Catmull–Rom (a = −0.5).
    Bicubic,
}

/// From a decoded photo to RGB values `(x / 255 − mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// First the photo is resized,
    pub resize: Resize,
    /// by this filter,
    pub filter: Filter,
    /// then the central square of so many pixels is cut out.
    pub crop: usize,
    /// Subtracted from red, green and blue between 0 and 1.
    pub mean: [f32; 3],
    /// Divides the differences.
    pub std: [f32; 3],
    /// Whether class 0 stands for none of the others and is left out of answers.
    pub background_class: bool,
}

/// ImageNet's mean, which torchvision and timm subtract (timm@1.0.31 data/constants.py).
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// ImageNet's standard deviation (the same file).
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// ImageNet's 1000 classes and TensorFlow's background.
const CLASSES_WITH_BACKGROUND: usize = 1001;

/// The papers' input size.
const RESOLUTION: usize = 224;

impl Preprocessing {
    /// What the weights' origin does to a photo. `resolution` is the size that the weights were trained for, where the
    /// file gives one.
    ///
    /// torchvision@0.29 `presets.ImageClassification`: short side 256, bilinear, crop 224. Its second weights of V2 and
    /// V3-Large want 232, which no file says. timm@1.0.31: the crop is 0.875 of the short side, bicubic, except for the
    /// `tf_` weights, recognised by SAME padding: bilinear and values from −1 to 1.
    pub fn for_origin(origin: Origin, padding: Padding, classes: usize, resolution: Option<usize>) -> Preprocessing {
        let crop = resolution.unwrap_or(RESOLUTION);
        let tensorflow = padding == Padding::Same;
        let filter = if origin == Origin::Timm && !tensorflow { Filter::Bicubic } else { Filter::Bilinear };
        let (mean, std) = if tensorflow { ([0.5; 3], [0.5; 3]) } else { (IMAGENET_MEAN, IMAGENET_STD) };
        Preprocessing {
            resize: Resize::ShortSide(crop * 8 / 7),
            filter,
            crop,
            mean,
            std,
            background_class: classes == CLASSES_WITH_BACKGROUND,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvision_resizes_to_256_and_crops_224() {
        let p = Preprocessing::for_origin(Origin::Torchvision, Padding::Symmetric, 1000, None);
        assert_eq!((p.resize, p.crop, p.filter), (Resize::ShortSide(256), 224, Filter::Bilinear));
        assert_eq!((p.mean, p.background_class), (IMAGENET_MEAN, false));
    }

    #[test]
    fn timms_crop_is_seven_eighths_and_tf_weights_want_minus_one_to_one() {
        let p = Preprocessing::for_origin(Origin::Timm, Padding::Symmetric, 1000, Some(96));
        assert_eq!((p.resize, p.crop, p.filter), (Resize::ShortSide(109), 96, Filter::Bicubic));
        let p = Preprocessing::for_origin(Origin::Timm, Padding::Same, 1001, None);
        assert_eq!((p.filter, p.mean, p.std, p.background_class), (Filter::Bilinear, [0.5; 3], [0.5; 3], true));
    }
}
