//! What a user may choose about a network beside its table.

use std::fmt;
use std::str::FromStr;

use super::table::Family;
use crate::error::Error;
use crate::graph::{Activation, Padding};

/// How channel counts follow from the width multiplier, wherever the libraries disagree. They agree at width 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum WidthRule {
    /// TensorFlow slim's: V3's expansion is the paper's factor times the already rounded input, and its
    /// hidden layer stays at 1280 or 1024 (research/slim/nets/mobilenet/mobilenet_v3.py).
    #[default]
    TensorFlow,
    /// TensorFlow's, but V3's stem keeps its 16 channels below width 0.75 (timm@1.0.31 mobilenetv3.py, `fix_stem`).
    Timm,
    /// torchvision's: V3's expansions and hidden layer are scaled like any other layer, its last convolution is six
    /// times its input (torchvision@0.29 models/mobilenetv3.py).
    Torchvision,
    /// Keras' own (keras@3.15.1 applications): V1's widths are cut off and not rounded to eights, V2's are cut off before
    /// they are rounded, V3's stem always has 16 channels, its last convolution is six times its input, and its hidden
    /// layer grows above width 1. At the widths that have ImageNet weights this is TensorFlow's rule.
    Keras,
}

impl WidthRule {
    /// All rules.
    pub const ALL: [WidthRule; 4] = [WidthRule::TensorFlow, WidthRule::Timm, WidthRule::Torchvision, WidthRule::Keras];

    /// Its name in flags and metadata.
    pub fn name(self) -> &'static str {
        match self {
            WidthRule::TensorFlow => "tensorflow",
            WidthRule::Timm => "timm",
            WidthRule::Torchvision => "torchvision",
            WidthRule::Keras => "keras",
        }
    }

    /// The stem's channels.
    pub(crate) fn stem(self, family: Family, channels: usize, width: f64) -> usize {
        match (self, family) {
            (WidthRule::Timm, Family::V3) if width < 0.75 => channels,
            (WidthRule::Keras, Family::V3) => channels,
            (WidthRule::Keras, Family::V1) => self.scale(family, channels, width),
            _ => scale(channels, width),
        }
    }

    /// Whether depthwise convolutions of stride 2 pad at the end alone where the rest pads as TensorFlow's SAME (keras@3.15.1
    /// applications/mobilenet.py, `_depthwise_conv_block`: ZeroPadding2D(((0, 1), (0, 1))), then VALID).
    pub(crate) fn pads_end(self, family: Family) -> bool {
        (self, family) == (WidthRule::Keras, Family::V1)
    }

    /// A block's output channels.
    pub(super) fn scale(self, family: Family, channels: usize, width: f64) -> usize {
        match (self, family) {
            (WidthRule::Keras, Family::V1) => ((channels as f64 * width) as usize).max(1),
            (WidthRule::Keras, Family::V2) if width != 1.0 => make_divisible((channels as f64 * width).floor()),
            _ => scale(channels, width),
        }
    }
}

impl fmt::Display for WidthRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for WidthRule {
    type Err = Error;

    fn from_str(name: &str) -> Result<WidthRule, Error> {
        WidthRule::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| {
            Error::Config(format!("there is no width rule {name:?}; there are tensorflow, timm, torchvision, keras"))
        })
    }
}

/// The nearest multiple of 8, at least 8, that does not lose more than a tenth of `channels`.
///
/// The same function in TensorFlow slim, Keras, torchvision and timm: 18 becomes 24, since 16 would lose 11 %.
pub fn make_divisible(channels: f64) -> usize {
    let rounded = (((channels + 4.0) / 8.0).floor() * 8.0).max(8.0);
    let rounded = if rounded < 0.9 * channels { rounded + 8.0 } else { rounded };
    rounded as usize
}

/// `channels` of the table at a width multiplier. At width 1 the table's numbers hold as they are.
pub(super) fn scale(channels: usize, width: f64) -> usize {
    if width == 1.0 { channels } else { make_divisible(channels as f64 * width) }
}

/// The parameters of a network beside its table.
///
/// Resolution is not among them: [`Graph::infer`](crate::Graph::infer) takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Width multiplier (V1 §3.3), above 0 and at most 16.
    pub width: f64,
    /// Outputs of the classifier. 0 leaves it out: the network ends with the features that it would read (`pooled`, in V3
    /// `hidden`), and has no `logits`, as timm's networks with `num_classes=0`.
    pub classes: usize,
    /// Channels of the input.
    pub input_channels: usize,
    /// Whose rounding of channels.
    pub width_rule: WidthRule,
    /// Where convolutions pad.
    pub padding: Padding,
    /// Batch norm's ε.
    pub bn_epsilon: f32,
    /// 32, 16 or 8: from there on dilation replaces strides, so that the features stay at 1/16 or 1/8 of the photo.
    ///
    /// TensorFlow leaves the first layer that lost its stride at its former dilation; torchvision's `dilated` dilates
    /// it too (models/mobilenetv3.py:83), and so does [`WidthRule::Torchvision`].
    pub output_stride: usize,
    /// 32, 16 or 8: for small photos the first one or two stride-2 layers get stride 1, without dilation.
    pub total_stride: usize,
    /// Replaces the non-linearity of a network that uses a single one, such as V1's ReLU6 by the paper's ReLU.
    pub activation: Option<Activation>,
}

impl Default for Spec {
    /// Full width, ImageNet's 1000 classes, RGB, TensorFlow's widths and ε, PyTorch's padding.
    fn default() -> Spec {
        Spec {
            width: 1.0,
            classes: 1000,
            input_channels: 3,
            width_rule: WidthRule::TensorFlow,
            padding: Padding::Symmetric,
            bn_epsilon: 1e-3,
            output_stride: 32,
            total_stride: 32,
            activation: None,
        }
    }
}

/// Largest number of classes.
const MAX_CLASSES: usize = 1_000_000;
/// Largest number of input channels: hyperspectral cameras have hundreds.
const MAX_INPUT_CHANNELS: usize = 4096;
/// Largest width multiplier; the papers use 0.25 to 1.4.
const MAX_WIDTH: f64 = 16.0;

impl Spec {
    /// Refuses what no network can be built from.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Config(text));
        if !(self.width > 0.0 && self.width <= MAX_WIDTH) {
            return refuse(format!("width is {}; give a number above 0, at most {MAX_WIDTH}", self.width));
        }
        if self.classes > MAX_CLASSES {
            return refuse(format!(
                "{} classes; give at most {MAX_CLASSES}, 0 for a network without a classifier",
                self.classes
            ));
        }
        if !(1..=MAX_INPUT_CHANNELS).contains(&self.input_channels) {
            return refuse(format!("{} input channels; give 1 to {MAX_INPUT_CHANNELS}", self.input_channels));
        }
        if !(self.bn_epsilon > 0.0 && self.bn_epsilon <= 1.0) {
            return refuse(format!("batch-norm epsilon is {}; give a number above 0, at most 1", self.bn_epsilon));
        }
        for (name, stride) in [("output", self.output_stride), ("total", self.total_stride)] {
            if ![32, 16, 8].contains(&stride) {
                return refuse(format!("{name} stride is {stride}; give 32, 16 or 8"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    #[test]
    fn make_divisible_never_loses_more_than_a_tenth() {
        for (v, rounded) in
            [(1.0, 8), (8.0, 8), (11.2, 16), (12.0, 16), (18.0, 24), (20.0, 24), (44.8, 48), (1792.0, 1792)]
        {
            assert_eq!(make_divisible(v), rounded, "{v}");
        }
        for tenths in 1..20_000 {
            let v = f64::from(tenths) / 10.0;
            let rounded = make_divisible(v);
            assert!(rounded.is_multiple_of(8) && rounded as f64 >= 0.9 * v, "{v} became {rounded}");
        }
    }

    #[test]
    fn bad_choices_are_refused_with_what_to_do() {
        let ok = Spec::default();
        let cases = [
            (Spec { width: 0.0, ..ok.clone() }, "width is 0; give a number above 0, at most 16"),
            (Spec { width: f64::NAN, ..ok.clone() }, "width is NaN; give a number above 0, at most 16"),
            (Spec { width: f64::INFINITY, ..ok.clone() }, "width is inf; give a number above 0, at most 16"),
            (
                Spec { classes: 1_000_001, ..ok.clone() },
                "1000001 classes; give at most 1000000, 0 for a network without a classifier",
            ),
            (Spec { input_channels: 0, ..ok.clone() }, "0 input channels; give 1 to 4096"),
            (Spec { bn_epsilon: -1.0, ..ok.clone() }, "batch-norm epsilon is -1; give a number above 0, at most 1"),
            (Spec { output_stride: 4, ..ok.clone() }, "output stride is 4; give 32, 16 or 8"),
            (Spec { total_stride: 0, ..ok.clone() }, "total stride is 0; give 32, 16 or 8"),
        ];
        for (spec, text) in cases {
            assert_eq!(arch::v2::table().graph(&spec).unwrap_err().to_string(), text);
        }
    }

    /// By keras@3.15.1 with alpha=…: the output channels of these layers.
    #[test]
    fn keras_rounds_in_its_own_way() {
        for (model, width, stem, block3, head) in [
            (arch::v1::table(), 0.3, 9, 38, None),
            (arch::v2::table(), 0.35, 16, 8, Some(1280)),
            (arch::v2::table(), 1.3, 40, 32, Some(1664)),
            (arch::v3::large(), 0.1, 16, 8, Some(96)),
            (arch::v3::large(), 1.3, 16, 32, Some(1248)),
        ] {
            let graph = model.graph(&Spec { width, width_rule: WidthRule::Keras, ..Spec::default() }).unwrap();
            let channels = |node: &str| graph.find(node).map(|id| graph[id].channels);
            let found = (channels("stem"), channels("block3"), channels("head"));
            assert_eq!(found, (Some(stem), Some(block3), head), "{} {width}", model.name);
        }
    }

    #[test]
    fn width_rules_are_read_by_the_names_that_they_print() {
        for rule in WidthRule::ALL {
            assert_eq!(rule.to_string().parse::<WidthRule>().unwrap(), rule);
        }
        let text = "slim".parse::<WidthRule>().unwrap_err().to_string();
        assert_eq!(text, "there is no width rule \"slim\"; there are tensorflow, timm, torchvision, keras");
    }
}
