//! TensorFlow Lite models of the family's networks, with weights in single or half precision: a FlatBuffer that holds a
//! list of operators and their constants.
//!
//! The operators must be exactly those of a registered network (`fit`): strides, non-linearities, shortcuts and gates are
//! compared, not only shapes. Layers then get our names. Converters fold batch norms into the weights before them, so that
//! ours get the identity: weight 1, mean 0, variance 1 − ε, and the layer's bias.

mod fit;
mod metadata;
mod model;
mod steps;

use std::collections::BTreeMap;

use super::source::Source;
use super::{Format, Wanted};
use crate::error::Error;
use crate::graph::{Activation, Op, Role};
use crate::names::Origin;
use crate::strided;
use crate::tensor::{DType, Data, Params, Tensor};
use fit::Fit;
use model::{Model, code, kind, kind_name, short};
use steps::{Convolution, Kind, Steps};

/// See the module.
pub(super) const FORMAT: Format = Format { name: "TensorFlow Lite", is, read };

/// The largest file: offsets have 32 bits, and flatc's own verifier takes no more.
const MAX_FILE: u64 = 1 << 31;

/// How often, on average, the layers of a file may use the same bytes.
const SHARING: usize = 4;

fn is(head: &[u8]) -> bool {
    head.get(4..8) == Some(b"TFL3")
}

fn read(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    if source.len() > MAX_FILE {
        return Err(source.error(format!("has {} bytes; a TensorFlow Lite model has at most {MAX_FILE}", source.len())));
    }
    let file = source.read(0, source.len())?;
    understand(&file, wanted).map_err(|reason| source.error(reason))
}

fn understand(file: &[u8], wanted: Wanted) -> Result<Params, String> {
    let model = Model::read(file)?;
    if let Some(other) = other_kind(&model) {
        return Err(format!("{other}; classifiers of the MobileNet family are read, in float32 and float16"));
    }
    let steps = Steps::walk(&model)?;
    let fit = fit::fit(&model, &steps)?;
    let mut layers = Layers { model: &model, budget: file.len().saturating_mul(SHARING), tensors: BTreeMap::new() };
    layers.read(&fit, wanted)?;
    let tensors = layers.tensors;
    Ok(Params { tensors, metadata: describe(file, &model, &steps, &fit)? })
}

/// What a model is that is none of ours: a detector, a segmentation network, or one whose weights are no floats.
fn other_kind(model: &Model) -> Option<String> {
    let resizes = [code::RESIZE_BILINEAR, code::RESIZE_NEAREST_NEIGHBOR, code::TRANSPOSE_CONV];
    let is_resize = |name: &str| name.starts_with("Convolution2DTransposeBias");
    let what = model.operators.iter().find_map(|operator| match operator.name() {
        name if name == "TFLite_Detection_PostProcess" => Some(("a detector", name)),
        name if resizes.contains(&operator.code) || is_resize(&name) => Some(("a segmentation network", name)),
        _ => None,
    });
    let is_layer = |code: i32| [code::CONV_2D, code::DEPTHWISE_CONV_2D, code::FULLY_CONNECTED].contains(&code);
    let layers = model.operators.iter().filter(|operator| is_layer(operator.code));
    let weights = layers.filter_map(|operator| Some(&model.tensors[operator.inputs.get(1).copied()??]));
    let integers = weights.map(|weights| weights.kind).find(|kind| ![kind::FLOAT32, kind::FLOAT16].contains(kind));
    let quantized = integers.map(|kind| format!("quantized weights ({})", kind_name(kind)));
    match (what, quantized) {
        (Some((what, operator)), Some(quantized)) => Some(format!("is {what} (operator {operator}) with {quantized}")),
        (Some((what, operator)), None) => Some(format!("is {what} (operator {operator})")),
        (None, Some(quantized)) => Some(format!("has {quantized}")),
        (None, None) => None,
    }
}

/// A network's parameters from the constants of a model.
struct Layers<'a> {
    model: &'a Model<'a>,
    /// Bytes that the parameters still to come may take: layers may share constants, and a hostile file could name one
    /// many times.
    budget: usize,
    tensors: BTreeMap<String, Tensor>,
}

impl Layers<'_> {
    fn read(&mut self, fit: &Fit, wanted: Wanted) -> Result<(), String> {
        let epsilon = fit.spec.bn_epsilon;
        for &(id, convolution) in &fit.layers {
            let name = &fit.graph[id].name;
            let channels = convolution.shape[0];
            let norm = fit
                .graph
                .ids()
                .find(|&n| matches!(fit.graph[n].op, Op::BatchNorm { .. }) && fit.graph[n].inputs.first() == Some(&id));
            let mut put = |node: &str, role: Role, tensor: Tensor| {
                let name = format!("{node}.{}", role.suffix());
                if wanted(&name) {
                    self.tensors.insert(name, tensor);
                }
            };
            let (weight, bias) = (weight(self.model, &mut self.budget, convolution)?, bias(self.model, convolution)?);
            put(name, Role::Weight, weight);
            let Some(norm) = norm else {
                put(name, Role::Bias, bias);
                continue;
            };
            let norm = &fit.graph[norm].name;
            let all = |value| Tensor::from_f32(&[channels], vec![value; channels]);
            put(norm, Role::Beta, bias);
            put(norm, Role::Gamma, all(1.0));
            put(norm, Role::Mean, all(0.0));
            put(norm, Role::Variance, all(1.0 - epsilon));
        }
        Ok(())
    }
}

/// Weights in PyTorch's order.
fn weight(model: &Model, budget: &mut usize, layer: &Convolution) -> Result<Tensor, String> {
    let [out, inputs, kh, kw] = layer.shape;
    let (dtype, bytes) = constant(model, layer.weight, &[out, inputs, kh, kw])?;
    *budget = budget.checked_sub(bytes.len()).ok_or_else(|| {
        let name = short(model.tensors[layer.weight].name);
        format!("tensor {name:?} is one of many that share bytes: together they are over {SHARING} times the file")
    })?;
    let shape = layer.shape.map(|n| n as u64);
    let [_, i, h, w] = shape;
    let strides = if layer.is_depthwise { [1, 1, w * shape[0], shape[0]] } else { [h * w * i, 1, w * i, i] };
    let tensor = Tensor::new(layer.shape.to_vec(), strided::elements(dtype, bytes, &shape, &strides));
    if layer.weight_scale == 1.0 {
        return Ok(tensor);
    }
    let scaled = tensor.into_f32().into_iter().map(|weight| weight * layer.weight_scale).collect();
    Ok(Tensor::from_f32(&layer.shape, scaled))
}

/// The bias, zeros where there is none.
fn bias(model: &Model, layer: &Convolution) -> Result<Tensor, String> {
    let channels = layer.shape[0];
    let mut values = match layer.bias {
        Some(bias) => {
            let (dtype, bytes) = constant(model, bias, &[channels])?;
            Tensor::new(vec![channels], Data::from_le_bytes(dtype, bytes)).into_f32()
        }
        None => vec![0.0; channels],
    };
    values.iter_mut().for_each(|value| *value += layer.bias_shift);
    Ok(Tensor::from_f32(&[channels], values))
}

/// Type and bytes of a constant of floats that has as many elements as `sizes` say.
fn constant<'a>(model: &Model<'a>, tensor: usize, sizes: &[usize]) -> Result<(DType, &'a [u8]), String> {
    let tensor = &model.tensors[tensor];
    let dtype = match tensor.kind {
        kind::FLOAT32 => DType::F32,
        kind::FLOAT16 => DType::F16,
        other => return Err(format!("tensor {:?} holds {}; floats are needed", short(tensor.name), kind_name(other))),
    };
    let bytes = sizes.iter().try_fold(dtype.size(), |bytes, &n| bytes.checked_mul(n));
    if bytes != Some(tensor.data.len()) {
        let (name, has) = (short(tensor.name), tensor.data.len());
        return Err(format!("tensor {name:?} has {has} bytes, which is not what shape {sizes:?} takes"));
    }
    Ok((dtype, tensor.data))
}

/// What recognition needs to know beside the tensors, under the keys of our own files' metadata.
fn describe(file: &[u8], model: &Model, steps: &Steps, fit: &Fit) -> Result<BTreeMap<String, String>, String> {
    let mut says = BTreeMap::new();
    let mut say = |key: &str, value: String| _ = says.insert(key.to_owned(), value);
    say("library", Origin::TensorFlowLite.name().into());
    say("table", fit.table.to_toml());
    say("width", fit.spec.width.to_string());
    say("width_rule", fit.spec.width_rule.to_string());
    say("padding", fit.spec.padding.to_string());
    say("bn_epsilon", fit.spec.bn_epsilon.to_string());
    let is_relu = fit.table.rows.iter().all(|row| !row.has_activation() || row.activation == Activation::Relu);
    let (preprocessing, guesses) = metadata::preprocessing(model, steps, fit.spec.classes, fit.table.family, is_relu)?;
    say("preprocessing", serde_json::to_string(&preprocessing).expect("numbers are JSON"));
    say("guesses", serde_json::to_string(&guesses).expect("strings are JSON"));
    if steps.steps.last().is_some_and(|step| step.kind == Kind::Sigmoid) {
        say("outputs", crate::recognise::Outputs::Independent.to_string());
    }
    if let Some(labels) = metadata::labels(file, fit.spec.classes) {
        say("labels", serde_json::to_string(&labels).expect("strings are JSON"));
    }
    Ok(says)
}
