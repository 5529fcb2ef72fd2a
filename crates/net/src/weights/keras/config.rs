//! What Keras's description of a model (`model_config`, `config.json`, `modelTopology`) says beside the tensors.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arithmetic;

/// Layers that a MobileNet may have, its own and those that only train, beside arithmetic, which Keras 2 makes of V3's
/// activations.
const KNOWN: &[&str] = &[
    "Activation",
    "ActivityRegularization",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "Functional",
    "GaussianNoise",
    "GlobalAveragePooling2D",
    "InputLayer",
    "Model",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Resizing",
    "Sequential",
    "Softmax",
    "ZeroPadding2D",
];

/// How a Keras model wants its photos, as far as its description says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// Height and width in pixels.
    pub(crate) size: Option<[usize; 2]>,
    /// What the model multiplies values of 0 to 255 by, and adds, before its first layer.
    pub(crate) rescaling: Option<[f64; 2]>,
}

impl Input {
    /// The metadata key under which readers hand it on, as JSON.
    pub(crate) const KEY: &str = "keras_input";
}

/// The metadata key for convolutions' strides and dilations, JSON: `{"conv1": [2, 1]}`.
pub(crate) const WINDOWS: &str = "keras_windows";
/// The metadata key for the limits of ReLUs, JSON: `["6"]`, or `[null]` where they have none.
pub(crate) const LIMITS: &str = "keras_relu_limits";

/// See the module.
#[derive(Default)]
pub(crate) struct Config {
    name: Option<String>,
    input: Input,
    epsilon: Option<f64>,
    /// The activation behind the last layer that has one.
    activation: Option<String>,
    /// Stride and dilation of convolutions by their layers' names.
    windows: BTreeMap<String, [usize; 2]>,
    /// Where ReLUs end; `None` for one that does not.
    limits: BTreeSet<Option<String>>,
    /// Whether the layers so far have a convolution: before it, arithmetic is the photo's.
    has_convolution: bool,
}

impl Config {
    /// Reads a description.
    ///
    /// # Errors
    /// Where it is no description of a model, or of one that computes what no MobileNet classifier does, such as another
    /// pooling: weights alone would not show it.
    pub(crate) fn read(json: &[u8]) -> Result<Config, String> {
        let model = serde_json::from_slice(json).map_err(|e| format!("its model's description: {e}"))?;
        Config::of(&model)
    }

    /// The same from parsed JSON.
    pub(crate) fn of(model: &Value) -> Result<Config, String> {
        let mut config = Config { name: text(&model["config"]["name"]).map(str::to_owned), ..Config::default() };
        config.layer(model)?;
        Ok(config)
    }

    /// What a layer says, and the layers in it, in order.
    fn layer(&mut self, layer: &Value) -> Result<(), String> {
        let (class, config) = (text(&layer["class_name"]).unwrap_or_default(), &layer["config"]);
        let name = text(&config["name"]).or(text(&layer["name"])).unwrap_or("without a name");
        if !KNOWN.contains(&class) && !arithmetic::is(class) {
            let class = if class.is_empty() { "without a class".to_owned() } else { format!("a {class}") };
            return Err(format!("its layer {name} is {class}, which no MobileNet classifier has"));
        }
        // Sequential models of Keras 2.1 are a bare list.
        let inner = config["layers"].as_array().or(config.as_array());
        if let Some(layers) = inner {
            return layers.iter().try_for_each(|layer| self.layer(layer));
        }
        self.input.size = self.input.size.or(input_size(config));
        match class {
            "Rescaling" if self.has_convolution => {
                return Err(format!("its layer {name} rescales what is no photo any more"));
            }
            "Rescaling" => {
                let (Some(scale), Some(offset)) = (config["scale"].as_f64(), config["offset"].as_f64()) else {
                    return Err(format!("its layer {name} rescales by something other than one number"));
                };
                self.rescale([scale, offset]);
            }
            "Resizing" => self.input.size = size(&config["height"], &config["width"]),
            "BatchNormalization" => self.norm(name, config)?,
            "Softmax" => self.activation = Some("softmax".into()),
            "Conv2D" | "DepthwiseConv2D" => {
                self.has_convolution = true;
                self.window(name, config)?;
            }
            "ReLU" => _ = self.limits.insert(config["max_value"].as_f64().map(|limit| limit.to_string())),
            class if arithmetic::is(class) && !self.has_convolution => {
                let scale_and_shift = arithmetic::scale_and_shift(class, layer).ok_or_else(|| {
                    format!(
                        "its layer {name} computes with the photo what is neither a product nor a sum with a number"
                    )
                })?;
                self.rescale(scale_and_shift);
            }
            _ => {}
        }
        if let Some(activation) = text(&config["activation"]) {
            self.activation = Some(activation.to_owned());
        }
        Ok(())
    }

    /// One rescaling after another is one.
    fn rescale(&mut self, [scale, offset]: [f64; 2]) {
        let [before, added] = self.input.rescaling.unwrap_or([1.0, 0.0]);
        self.input.rescaling = Some([before * scale, added * scale + offset]);
    }

    /// A convolution's stride and dilation.
    fn window(&mut self, name: &str, config: &Value) -> Result<(), String> {
        let of = |key: &str| match config[key].as_array().map(Vec::as_slice) {
            None => Some(1),
            Some([a, b]) if a == b => a.as_u64().and_then(|n| usize::try_from(n).ok()),
            Some(_) => None,
        };
        let (Some(stride), Some(dilation)) = (of("strides"), of("dilation_rate")) else {
            return Err(format!("its layer {name} has another stride or dilation for rows than for columns"));
        };
        self.windows.insert(name.to_owned(), [stride, dilation]);
        Ok(())
    }

    /// The windows under the names that Keras 3 gives the layers of Keras 2's V3.
    pub(super) fn rename(&mut self, name: impl Fn(&str) -> String) {
        self.windows = std::mem::take(&mut self.windows).into_iter().map(|(layer, of)| (name(&layer), of)).collect();
    }

    fn norm(&mut self, name: &str, config: &Value) -> Result<(), String> {
        let epsilon = config["epsilon"].as_f64().unwrap_or(1e-3);
        match self.epsilon.replace(epsilon) {
            Some(other) if other != epsilon => Err(format!(
                "its batch norms have different epsilons, {other} and, in layer {name}, {epsilon}; a MobileNet has one"
            )),
            _ => Ok(()),
        }
    }

    /// What there is to say of a file without a description.
    pub(crate) fn called(name: Option<String>) -> Config {
        Config { name, ..Config::default() }
    }

    /// The same as metadata of the tensors.
    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        let input =
            (self.input != Input::default()).then(|| serde_json::to_string(&self.input).expect("plain numbers"));
        let windows =
            (!self.windows.is_empty()).then(|| serde_json::to_string(&self.windows).expect("names and numbers"));
        let limits = (!self.limits.is_empty()).then(|| serde_json::to_string(&self.limits).expect("plain numbers"));
        let outputs = (self.activation.as_deref() == Some("sigmoid")).then(|| "independent".to_owned());
        let entries = [
            ("family", self.name.clone()),
            (Input::KEY, input),
            (WINDOWS, windows),
            (LIMITS, limits),
            ("bn_epsilon", self.epsilon.map(|epsilon| epsilon.to_string())),
            ("outputs", outputs),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

/// Height and width of a layer's input where it gives them: `batch_input_shape` in Keras 2, `batch_shape` in Keras 3.
fn input_size(config: &Value) -> Option<[usize; 2]> {
    let shape = config["batch_shape"].as_array().or(config["batch_input_shape"].as_array())?;
    match &shape[..] {
        [_, height, width, channels] if channels.as_u64().is_some_and(|n| n <= 4) => size(height, width),
        [_, _, height, width] => size(height, width),
        _ => None,
    }
}

fn size(height: &Value, width: &Value) -> Option<[usize; 2]> {
    let pixels = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    Some([pixels(height)?, pixels(width)?])
}
