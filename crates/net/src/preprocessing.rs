//! How a photo becomes the tensor that a set of weights was trained on. It belongs to the weights, not to the graph.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::graph::Padding;
use crate::names::Origin;

/// From a photo of any size to a normalised tensor, as data. `mobilenet_run::preprocess` carries it out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// How the photo is brought near the network's size.
    pub resize: Resize,
    /// The network's input, height and width in pixels: what is cut from the middle after resizing.
    pub size: [usize; 2],
    /// The filter that resizes.
    pub filter: Filter,
    /// Subtracted from red, green and blue, which lie in 0..=1.
    pub mean: [f32; 3],
    /// Divides red, green and blue after [`mean`](Self::mean) is subtracted.
    pub std: [f32; 3],
    /// Which colour is the input's first channel. [`mean`](Self::mean) and [`std`](Self::std) stay red, green, blue.
    #[serde(default)]
    pub channel_order: ChannelOrder,
    /// Whether output 0 is a background class, as in TensorFlow's 1001 outputs.
    pub background_class: bool,
}

/// The order of the colours in the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red first: all the libraries that train MobileNets.
    #[default]
    Rgb,
    /// Blue first: networks trained on what OpenCV reads, such as Caffe's.
    Bgr,
}

impl fmt::Display for ChannelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ChannelOrder::Rgb => "rgb",
            ChannelOrder::Bgr => "bgr",
        })
    }
}

impl ChannelOrder {
    /// The colour, of red, green and blue, that lies in each channel of the input.
    pub fn colors(self) -> [usize; 3] {
        match self {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        }
    }
}

/// How a photo is brought near the network's size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The short side to so many pixels, the long one in proportion; then the middle is cut out. torchvision, timm.
    ShortSide(usize),
    /// The whole photo to the network's size, out of proportion.
    Squash,
    /// The middle of the photo, this fraction of either side, to the network's size, out of proportion. TensorFlow slim
    /// (0.875).
    CentralFraction(f32),
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resize::ShortSide(pixels) => write!(f, "short side to {pixels}"),
            Resize::Squash => write!(f, "whole photo to the input's size"),
            Resize::CentralFraction(fraction) => write!(f, "central {fraction} of either side to the input's size"),
        }
    }
}

/// A filter that resizes as Pillow does: widened by the factor when shrinking, so that nothing aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle, one pixel to either side.
    #[default]
    Bilinear,
    /// Keys' cubic with a = −0.5, two pixels to either side.
    Bicubic,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
        })
    }
}

/// ImageNet's mean, which torchvision and timm subtract (timm@1.0.31 data/constants.py).
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// ImageNet's standard deviation (the same file).
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// ImageNet's 1000 classes and TensorFlow's background. Files that we write say themselves whether there is one.
const CLASSES_WITH_BACKGROUND: usize = 1001;

/// The papers' input size.
const RESOLUTION: usize = 224;

/// Most pixels of a side.
const MAX_PIXELS: usize = 8192;

impl Preprocessing {
    /// What came from a file, unless a size is zero or enormous or a deviation divides by zero.
    pub fn checked(self) -> Option<Preprocessing> {
        let is_size = |pixels: &usize| (1..=MAX_PIXELS).contains(pixels);
        let resize = match self.resize {
            Resize::ShortSide(pixels) => is_size(&pixels),
            Resize::Squash => true,
            Resize::CentralFraction(fraction) => fraction > 0.0 && fraction <= 1.0,
        };
        let finite = self.mean.iter().chain(&self.std).all(|v| v.is_finite());
        let fits = resize && finite && self.size.iter().all(is_size) && self.std.iter().all(|&v| v > 0.0);
        fits.then_some(self)
    }

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
            size: [crop; 2],
            mean,
            std,
            channel_order: ChannelOrder::Rgb,
            background_class: classes == CLASSES_WITH_BACKGROUND,
        }
    }

    /// How photos are probably resized for a file of Keras or TensorFlow Lite, which never says it: a guess, and its words.
    ///
    /// ImageNet's weights are evaluated on the middle seven eighths, and features without a classifier are mostly theirs;
    /// who trains on photos of their own gets them squashed (keras@3.15.1 utils/image_dataset_utils.py,
    /// `crop_to_aspect_ratio=False`).
    pub(crate) fn resize_of_tensorflow(&self, [h, w]: [usize; 2], classes: usize) -> (Resize, String) {
        let middle = h.max(w).saturating_mul(8) / 7;
        if h == w && (matches!(classes, 0 | 1000) || self.background_class) && middle <= MAX_PIXELS {
            return (
                Resize::ShortSide(middle),
                format!("resize: {middle} (the file does not say; --resize squash otherwise)"),
            );
        }
        (Resize::Squash, format!("resize: squash, as Keras's loaders do (--resize {middle} for the middle)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvision_resizes_to_256_and_crops_224() {
        let p = Preprocessing::for_origin(Origin::Torchvision, Padding::Symmetric, 1000, None);
        assert_eq!((p.resize, p.size, p.filter), (Resize::ShortSide(256), [224; 2], Filter::Bilinear));
        assert_eq!((p.mean, p.background_class), (IMAGENET_MEAN, false));
    }

    #[test]
    fn timms_crop_is_seven_eighths_and_tf_weights_want_minus_one_to_one() {
        let p = Preprocessing::for_origin(Origin::Timm, Padding::Symmetric, 1000, Some(96));
        assert_eq!((p.resize, p.size, p.filter), (Resize::ShortSide(109), [96; 2], Filter::Bicubic));
        let p = Preprocessing::for_origin(Origin::Timm, Padding::Same, 1001, None);
        assert_eq!((p.filter, p.mean, p.std, p.background_class), (Filter::Bilinear, [0.5; 3], [0.5; 3], true));
    }
}
