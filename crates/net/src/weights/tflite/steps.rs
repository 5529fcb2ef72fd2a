//! A model's operators as the steps of one chain, which the family's networks are but for shortcuts and gates: constants
//! resolved, fused activations and padding taken apart, spelled-out non-linearities put together.

use std::collections::HashMap;

use super::model::{Model, Operator, Sliding, Tensor, code, kind, kind_name, short};
use crate::graph::{Activation, Padding};

/// What a step computes from the result of the one before it.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// A product with one constant, or one a channel.
    Scale(Vec<f32>),
    /// A sum with one constant, or one a channel.
    Shift(Vec<f32>),
    Convolution(Convolution),
    Activation(Activation),
    /// The mean over height and width.
    Pool,
    /// A sum with this tensor.
    Add(usize),
    /// A product with this tensor.
    Multiply(usize),
    Softmax,
    Sigmoid,
}

/// A convolution of any kind, or a fully connected layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Convolution {
    pub is_depthwise: bool,
    /// PyTorch's order: out×in×kh×kw, depthwise c×1×kh×kw.
    pub shape: [usize; 4],
    pub stride: [usize; 2],
    /// The tensor of the weights, out×kh×kw×in, depthwise 1×kh×kw×c.
    pub weight: usize,
    pub bias: Option<usize>,
    /// To be multiplied into the weights, and not into the bias.
    pub weight_scale: f32,
    /// To be added to the bias.
    pub bias_shift: f32,
}

/// A step.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    /// The operator that it comes from.
    pub operator: usize,
    pub kind: Kind,
    /// The tensor that it makes; `None` where the operator goes on.
    pub output: Option<usize>,
}

/// A model's steps.
pub(super) struct Steps {
    pub steps: Vec<Step>,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Whether the model leaves them open.
    pub is_open: bool,
    /// Where its convolutions pad.
    pub padding: Padding,
    /// Whether depthwise convolutions of stride 2 pad at the end alone, as Keras's V1 does; `None` where that is the same.
    pub pads_end: Option<bool>,
}

/// Height and width where the model leaves them open.
const OPEN_SIZE: usize = 224;

/// Most constants of a scale or shift: one a channel of a photo.
const MAX_CONSTANTS: usize = 3;

impl Steps {
    /// Walks the model from its input to its output.
    pub(super) fn walk(model: &Model) -> Result<Steps, String> {
        let (&[input], &[output]) = (model.inputs.as_slice(), model.outputs.as_slice()) else {
            let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
            return Err(format!("has {inputs} inputs and {outputs} outputs; a classifier has one each"));
        };
        let Tensor { kind, ref shape, .. } = model.tensors[input];
        let &[1, h, w, _] = shape.as_slice() else {
            return Err(format!("its input has shape {shape:?}; a photo's is [1, height, width, channels]"));
        };
        if kind != kind::FLOAT32 {
            return Err(format!("its input is {}; networks that take float32 are read", kind_name(kind)));
        }
        let size = [h, w].map(|pixels| if pixels > 1 { pixels } else { OPEN_SIZE });
        let mut walk = Walk {
            model,
            constants: HashMap::new(),
            at: input,
            sizes: HashMap::from([(input, size)]),
            size,
            pad: None,
            padding: None,
            pads_end: None,
            steps: Vec::new(),
        };
        for (index, operator) in model.operators.iter().enumerate() {
            walk.operator(index, operator).map_err(|reason| format!("{} {reason}", label(model, index)))?;
        }
        if walk.at != output {
            return Err("its last operator does not make its output".into());
        }
        let padding = walk.padding.unwrap_or(Padding::Same);
        let is_open = size != [h, w];
        Ok(Steps { steps: put_together(walk.steps), size, is_open, padding, pads_end: walk.pads_end })
    }
}

struct Walk<'a> {
    model: &'a Model<'a>,
    /// Tensors that are another, constant one: half-precision weights, dequantized.
    constants: HashMap<usize, usize>,
    /// The tensor that the chain has come to.
    at: usize,
    /// Height and width of the chain's tensors.
    sizes: HashMap<usize, [usize; 2]>,
    /// Those of `at`.
    size: [usize; 2],
    /// Zeros before and after height and width, put there by the operator before.
    pad: Option<[(usize, usize); 2]>,
    padding: Option<Padding>,
    pads_end: Option<bool>,
    steps: Vec<Step>,
}

/// An operator's name for a message.
pub(super) fn label(model: &Model, index: usize) -> String {
    let operator = &model.operators[index];
    let output = operator.outputs.first().map_or("", |&tensor| model.tensors[tensor].name);
    format!("operator {index} ({}, which makes {:?})", operator.name(), short(output))
}

impl Walk<'_> {
    fn operator(&mut self, index: usize, operator: &Operator) -> Result<(), String> {
        let input = |i: usize| operator.inputs.get(i).copied().flatten().ok_or("lacks an input");
        let &[output] = operator.outputs.as_slice() else { return Err("makes more or less than one tensor".into()) };
        match operator.code {
            // Sizes computed from sizes: they only say where a reshaping leads.
            code::SHAPE | code::STRIDED_SLICE | code::PACK => return Ok(()),
            code::DEQUANTIZE if self.constant(input(0)?).is_some() => {
                let constant = input(0)?;
                self.constants.insert(output, constant);
                return Ok(());
            }
            code::ADD | code::SUB | code::MUL | code::DIV => self.arithmetic(index, operator)?,
            _ if input(0)? != self.at => return Err(self.strays(input(0)?)),
            code::CONV_2D | code::DEPTHWISE_CONV_2D | code::FULLY_CONNECTED => self.convolution(index, operator)?,
            code::RELU => self.push(index, Kind::Activation(Activation::Relu)),
            code::RELU6 => self.push(index, Kind::Activation(Activation::Relu6)),
            code::HARD_SWISH => self.push(index, Kind::Activation(Activation::HSwish)),
            code::SOFTMAX => self.push(index, Kind::Softmax),
            code::LOGISTIC => self.push(index, Kind::Sigmoid),
            code::PAD => self.pad(input(1)?)?,
            code::AVERAGE_POOL_2D => self.average(index, operator)?,
            code::MEAN => {
                let mut axes = self.ints(input(1)?)?;
                axes.sort_unstable();
                if axes != [1, 2] {
                    return Err(format!(
                        "is the mean over axes {axes:?}; the family's is over height and width, 1 and 2"
                    ));
                }
                self.pool(index);
            }
            code::RESHAPE | code::SQUEEZE if self.size == [1, 1] => {}
            code::RESHAPE | code::SQUEEZE => {
                let [h, w] = self.size;
                return Err(format!("flattens a map of {h}×{w}; the family pools before that"));
            }
            _ => return Err("is no part of a MobileNet classifier".into()),
        }
        if operator.code != code::PAD && self.pad.is_some() {
            return Err("follows a PAD, and is no convolution".into());
        }
        if let Some(last) = self.steps.last_mut().filter(|step| step.operator == index) {
            last.output = Some(output);
        }
        self.at = output;
        self.sizes.insert(output, self.size);
        Ok(())
    }

    fn push(&mut self, operator: usize, kind: Kind) {
        self.steps.push(Step { operator, kind, output: None });
    }

    fn strays(&self, tensor: usize) -> String {
        let [reads, made] = [tensor, self.at].map(|tensor| short(self.model.tensors[tensor].name));
        format!("reads {reads:?}; in this family it would go on from {made:?}, which the operator before it makes")
    }

    /// The constant that a tensor is.
    fn constant(&self, tensor: usize) -> Option<&Tensor<'_>> {
        let tensor = self.constants.get(&tensor).unwrap_or(&tensor);
        Some(&self.model.tensors[*tensor]).filter(|tensor| !tensor.data.is_empty())
    }

    /// A constant of integers: axes or amounts of padding.
    fn ints(&self, tensor: usize) -> Result<Vec<i32>, String> {
        let constant = self.constant(tensor).filter(|t| t.kind == kind::INT32 && t.data.len() <= 32);
        let constant = constant.ok_or("needs a constant of integers")?;
        Ok(constant.data.as_chunks().0.iter().map(|&word| i32::from_le_bytes(word)).collect())
    }

    /// The activation that an operator fuses.
    fn fused(&mut self, index: usize, fused: u8) -> Result<(), String> {
        match fused {
            0 => {}
            1 => self.push(index, Kind::Activation(Activation::Relu)),
            3 => self.push(index, Kind::Activation(Activation::Relu6)),
            other => return Err(format!("fuses activation {other}; the family uses ReLU and ReLU6")),
        }
        Ok(())
    }

    /// Sums and products of the chain with a constant or with an earlier tensor.
    fn arithmetic(&mut self, index: usize, operator: &Operator) -> Result<(), String> {
        let &[Some(a), Some(b)] = operator.inputs.as_slice() else { return Err("needs two inputs".into()) };
        // A constant may stand first in sums and products only.
        let is_symmetric = matches!(operator.code, code::ADD | code::MUL);
        let other = match (a == self.at, b == self.at) {
            (true, _) => b,
            (false, true) if is_symmetric => a,
            _ => return Err(self.strays(a)),
        };
        let kind = match (self.constant(other), operator.code) {
            (Some(constant), op) => {
                let values = floats(constant)?;
                match op {
                    code::ADD => Kind::Shift(values),
                    code::SUB => Kind::Shift(values.into_iter().map(|v| -v).collect()),
                    code::MUL => Kind::Scale(values),
                    _ => Kind::Scale(values.into_iter().map(|v| 1.0 / v).collect()),
                }
            }
            (None, code::ADD) => Kind::Add(other),
            (None, code::MUL) => Kind::Multiply(other),
            (None, _) => return Err("combines two tensors; the family only adds and multiplies them".into()),
        };
        if let Kind::Add(other) | Kind::Multiply(other) = kind {
            let [there, here] = [self.sizes.get(&other).copied().unwrap_or([1, 1]), self.size];
            self.size = [there[0].max(here[0]), there[1].max(here[1])];
        }
        self.push(index, kind);
        self.fused(index, operator.fused().map_err(|e| e.to_string())?)
    }

    fn convolution(&mut self, index: usize, operator: &Operator) -> Result<(), String> {
        let weight = operator.inputs.get(1).copied().flatten().ok_or("has no weights")?;
        let constant = self.constant(weight).ok_or("has weights that are no constant")?;
        let resolved = |tensor: usize| *self.constants.get(&tensor).unwrap_or(&tensor);
        let (weight, bias) = (resolved(weight), operator.inputs.get(2).copied().flatten().map(resolved));
        let is_depthwise = operator.code == code::DEPTHWISE_CONV_2D;
        let shape = match (constant.shape.as_slice(), operator.code) {
            (&[out, inputs], code::FULLY_CONNECTED) => [out, inputs, 1, 1],
            (&[out, kh, kw, inputs], code::CONV_2D) => [out, inputs, kh, kw],
            (&[1, kh, kw, channels], code::DEPTHWISE_CONV_2D) => [channels, 1, kh, kw],
            (shape, _) => return Err(format!("has weights of shape {shape:?}")),
        };
        let (stride, fused) = if operator.code == code::FULLY_CONNECTED {
            if self.size != [1, 1] || operator.is_shuffled().map_err(|e| e.to_string())? {
                return Err("is a fully connected layer of a whole map, or its weights lie shuffled".into());
            }
            ([1, 1], operator.fused().map_err(|e| e.to_string())?)
        } else {
            let sliding = operator.sliding().map_err(|e| e.to_string())?;
            self.window([shape[2], shape[3]], &sliding, is_depthwise)?;
            (sliding.stride, sliding.fused)
        };
        let convolution = Convolution { is_depthwise, shape, stride, weight, bias, weight_scale: 1.0, bias_shift: 0.0 };
        self.push(index, Kind::Convolution(convolution));
        self.fused(index, fused)
    }

    /// Follows a window's padding and the map's size.
    fn window(&mut self, kernel: [usize; 2], sliding: &Sliding, is_depthwise: bool) -> Result<(), String> {
        let Sliding { is_same, stride, dilation, .. } = *sliding;
        if kernel.contains(&0) || stride.contains(&0) || dilation != [1, 1] {
            return Err(format!("has a window of {kernel:?}, stride {stride:?} and dilation {dilation:?}"));
        }
        let amounts = |padding: Padding| [0, 1].map(|i| padding.amount(self.size[i], kernel[i], stride[i], 1));
        let given = match (self.pad.take(), is_same) {
            (None, true) => amounts(Padding::Same),
            (given, false) => given.unwrap_or_default(),
            (Some(_), true) => return Err("pads what a PAD has padded".into()),
        };
        let fits = |padding: &Padding| amounts(*padding) == given;
        let [ends, is_same] = [Padding::End, Padding::Same].map(|padding| fits(&padding));
        let is_strided = is_depthwise && stride != [1, 1];
        if is_strided && ends != is_same && self.pads_end.replace(ends).is_some_and(|before| before != ends) {
            return Err("pads in another way than the convolutions before it".into());
        }
        let ways = [Padding::Same, Padding::Symmetric];
        // Who pads so pads the rest as TensorFlow does.
        let found: Vec<Padding> =
            if is_strided && ends { vec![Padding::Same] } else { ways.into_iter().filter(fits).collect() };
        match found.as_slice() {
            [] => {
                let [h, w] = self.size;
                return Err(format!(
                    "pads a map of {h}×{w} by {given:?}; the family pads as TensorFlow or PyTorch does"
                ));
            }
            &[one] if self.padding.is_some_and(|padding| padding != one) => {
                return Err("pads in another way than the convolutions before it".into());
            }
            &[one] => self.padding = Some(one),
            // Where both ways are the same, either holds.
            _ => {}
        }
        let output =
            |i: usize| (self.size[i] + given[i].0 + given[i].1).checked_sub(kernel[i]).map(|n| n / stride[i] + 1);
        let (Some(h), Some(w)) = (output(0), output(1)) else { return Err("has a window larger than its map".into()) };
        self.size = [h, w];
        Ok(())
    }

    fn pad(&mut self, amounts: usize) -> Result<(), String> {
        let amounts = self.ints(amounts)?;
        let &[0, 0, top, bottom, left, right, 0, 0] = amounts.as_slice() else {
            return Err(format!("pads by {amounts:?}; the family pads height and width"));
        };
        let small = |zeros: i32| usize::try_from(zeros).ok().filter(|&zeros| zeros < 16).ok_or("pads by too much");
        self.pad = Some([(small(top)?, small(bottom)?), (small(left)?, small(right)?)]);
        Ok(())
    }

    fn average(&mut self, index: usize, operator: &Operator) -> Result<(), String> {
        let Sliding { filter, is_same, fused, .. } = operator.sliding().map_err(|e| e.to_string())?;
        // The mean of one pixel.
        if filter == [1, 1] && self.size == [1, 1] {
            return self.fused(index, fused);
        }
        if filter != self.size || is_same {
            let [[kh, kw], [h, w]] = [filter, self.size];
            return Err(format!("averages {kh}×{kw} pixels of a map of {h}×{w}; the family averages all of them"));
        }
        self.pool(index);
        self.fused(index, fused)
    }

    fn pool(&mut self, index: usize) {
        self.size = [1, 1];
        self.push(index, Kind::Pool);
    }
}

/// A constant of one float, or one a channel of a photo.
fn floats(constant: &Tensor) -> Result<Vec<f32>, String> {
    let words: Vec<f32> = match constant.kind {
        kind::FLOAT32 => constant.data.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect(),
        kind::FLOAT16 => {
            constant.data.as_chunks().0.iter().map(|&word| half::f16::from_le_bytes(word).into()).collect()
        }
        other => return Err(format!("has a constant of type {}", kind_name(other))),
    };
    if words.is_empty() || words.len() > MAX_CONSTANTS {
        return Err(format!("has a constant of {} values; at most {MAX_CONSTANTS} are understood", words.len()));
    }
    Ok(words)
}

/// Whether a step's constant is `value`, but for the rounding of converters.
fn is(values: &[f32], value: f32) -> bool {
    matches!(values, &[one] if (one / value - 1.0).abs() < 1e-3)
}

/// Puts hard sigmoid and h-swish together: relu6(x + 3) / 6 and x · relu6(x + 3) / 6. Converters add the 3 to the bias of
/// the layer before where nothing else reads its result. Some files have 0.16667 for the sixth: what it differs by goes
/// into the weights of the convolution behind the gate.
fn put_together(steps: Vec<Step>) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::with_capacity(steps.len());
    // What a gate has to be multiplied by to be the file's.
    let mut correction = 1.0;
    // Whether the 3 of the last gate was a step: in a bias it is part of whatever else reads the layer's result.
    let mut is_shift = false;
    for mut step in steps {
        match (&mut step.kind, out.as_mut_slice()) {
            (
                Kind::Scale(sixth),
                [.., Step { kind: before, .. }, Step { kind: Kind::Activation(Activation::Relu6), .. }],
            ) if is(sixth, 1.0 / 6.0) && is_centred(before) => {
                correction = sixth[0] * 6.0;
                is_shift = matches!(before, Kind::Shift(_));
                if let Kind::Convolution(convolution) = before {
                    convolution.bias_shift -= 3.0;
                }
                out.truncate(out.len() - 1 - usize::from(is_shift));
                out.push(Step { kind: Kind::Activation(Activation::HardSigmoid), ..step });
                continue;
            }
            (&mut Kind::Multiply(x), [.., before, Step { kind: Kind::Activation(Activation::HardSigmoid), .. }])
                if is_shift && before.output == Some(x) && (correction - 1.0).abs() < 1e-6 =>
            {
                out.truncate(out.len() - 1);
                out.push(Step { kind: Kind::Activation(Activation::HSwish), ..step });
                continue;
            }
            // The gate itself: the correction is for what follows.
            (Kind::Multiply(_), _) => {}
            (Kind::Convolution(convolution), _) => convolution.weight_scale = std::mem::replace(&mut correction, 1.0),
            _ => correction = 1.0,
        }
        out.push(step);
    }
    out
}

/// Whether 3 is added before a hard sigmoid's ReLU6: by a step of its own, or in a bias.
fn is_centred(before: &Kind) -> bool {
    match before {
        Kind::Shift(three) => is(three, 3.0),
        other => matches!(other, Kind::Convolution(_)),
    }
}
