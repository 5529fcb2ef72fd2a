//! What is read of a TensorFlow Lite model: the tables and fields of its schema, version 3
//! (tensorflow@2.18 `lite/schema/schema.fbs`), by their numbers there.

use super::super::flatbuffer::{Damaged, Table};

/// Most tensors; MobileNets have some 300, detectors 1000.
const MAX_TENSORS: usize = 1 << 14;
/// Most operators, and kinds of operators.
const MAX_OPERATORS: usize = 1 << 12;
/// Most buffers.
const MAX_BUFFERS: usize = 1 << 15;
/// Most inputs or outputs of an operator.
const MAX_INPUTS: usize = 64;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;
/// Most pieces of metadata.
const MAX_METADATA: usize = 64;

/// Operators that are understood, by their numbers in the schema.
pub(super) mod code {
    pub const ADD: i32 = 0;
    pub const AVERAGE_POOL_2D: i32 = 1;
    pub const CONV_2D: i32 = 3;
    pub const DEPTHWISE_CONV_2D: i32 = 4;
    pub const DEQUANTIZE: i32 = 6;
    pub const FULLY_CONNECTED: i32 = 9;
    pub const LOGISTIC: i32 = 14;
    pub const MUL: i32 = 18;
    pub const RELU: i32 = 19;
    pub const RELU6: i32 = 21;
    pub const RESHAPE: i32 = 22;
    pub const RESIZE_BILINEAR: i32 = 23;
    pub const SOFTMAX: i32 = 25;
    pub const CUSTOM: i32 = 32;
    pub const PAD: i32 = 34;
    pub const MEAN: i32 = 40;
    pub const SUB: i32 = 41;
    pub const DIV: i32 = 42;
    pub const SQUEEZE: i32 = 43;
    pub const STRIDED_SLICE: i32 = 45;
    pub const TRANSPOSE_CONV: i32 = 67;
    pub const SHAPE: i32 = 77;
    pub const PACK: i32 = 83;
    pub const RESIZE_NEAREST_NEIGHBOR: i32 = 97;
    pub const HARD_SWISH: i32 = 117;
}

/// The names of operators that may stand in a message.
const NAMES: &[(i32, &str)] = &[
    (code::ADD, "ADD"),
    (code::AVERAGE_POOL_2D, "AVERAGE_POOL_2D"),
    (2, "CONCATENATION"),
    (code::CONV_2D, "CONV_2D"),
    (code::DEPTHWISE_CONV_2D, "DEPTHWISE_CONV_2D"),
    (code::DEQUANTIZE, "DEQUANTIZE"),
    (code::FULLY_CONNECTED, "FULLY_CONNECTED"),
    (code::LOGISTIC, "LOGISTIC"),
    (17, "MAX_POOL_2D"),
    (code::MUL, "MUL"),
    (code::RELU, "RELU"),
    (code::RELU6, "RELU6"),
    (code::RESHAPE, "RESHAPE"),
    (code::RESIZE_BILINEAR, "RESIZE_BILINEAR"),
    (code::SOFTMAX, "SOFTMAX"),
    (code::PAD, "PAD"),
    (39, "TRANSPOSE"),
    (code::MEAN, "MEAN"),
    (code::SUB, "SUB"),
    (code::DIV, "DIV"),
    (code::SQUEEZE, "SQUEEZE"),
    (code::STRIDED_SLICE, "STRIDED_SLICE"),
    (54, "PRELU"),
    (code::TRANSPOSE_CONV, "TRANSPOSE_CONV"),
    (code::SHAPE, "SHAPE"),
    (code::PACK, "PACK"),
    (code::RESIZE_NEAREST_NEIGHBOR, "RESIZE_NEAREST_NEIGHBOR"),
    (98, "LEAKY_RELU"),
    (114, "QUANTIZE"),
    (code::HARD_SWISH, "HARD_SWISH"),
];

/// Types of tensors, by their numbers in the schema.
pub(super) mod kind {
    pub const FLOAT32: u8 = 0;
    pub const FLOAT16: u8 = 1;
    pub const INT32: u8 = 2;
}

/// The name of a tensor's type.
pub(super) fn kind_name(kind: u8) -> String {
    let names = ["float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8"];
    names.get(usize::from(kind)).map_or_else(|| format!("type {kind}"), |name| (*name).into())
}

/// A tensor: a constant where it has data.
pub(super) struct Tensor<'a> {
    pub name: &'a str,
    pub kind: u8,
    pub shape: Vec<usize>,
    pub data: &'a [u8],
}

/// An operator.
pub(super) struct Operator<'a> {
    pub code: i32,
    /// The name of a custom operator.
    custom: &'a str,
    /// Indices of tensors; `None` for an optional one that is left out.
    pub inputs: Vec<Option<usize>>,
    pub outputs: Vec<usize>,
    options: Option<Table<'a>>,
}

/// How an operator with a window slides. Pairs are height, width.
pub(super) struct Sliding {
    pub is_same: bool,
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// The window of a pool.
    pub filter: [usize; 2],
    /// The number of a fused activation.
    pub fused: u8,
}

/// Where the fields of an operator's options are: padding is always 0, and the strides of width and height 1 and 2.
struct Fields {
    fused: usize,
    /// Of width; that of height follows.
    dilation: Option<usize>,
    /// Of width; that of height follows.
    filter: Option<usize>,
}

impl Operator<'_> {
    /// Its name in the schema.
    pub(super) fn name(&self) -> String {
        if self.code == code::CUSTOM {
            return short(self.custom);
        }
        let found = NAMES.iter().find(|(code, _)| *code == self.code);
        found.map_or_else(|| format!("kind {}", self.code), |(_, name)| (*name).into())
    }

    /// The number of the activation that a layer without a window fuses.
    pub(super) fn fused(&self) -> Result<u8, Damaged> {
        self.options.map_or(Ok(0), |options| options.byte(0))
    }

    /// Whether a fully connected layer's weights lie shuffled.
    pub(super) fn is_shuffled(&self) -> Result<bool, Damaged> {
        Ok(self.options.map_or(Ok(0), |options| options.byte(1))? != 0)
    }

    /// The options of a convolution or a pool.
    pub(super) fn sliding(&self) -> Result<Sliding, Damaged> {
        let fields = match self.code {
            code::CONV_2D => Fields { fused: 3, dilation: Some(4), filter: None },
            code::DEPTHWISE_CONV_2D => Fields { fused: 4, dilation: Some(5), filter: None },
            _ => Fields { fused: 5, dilation: None, filter: Some(3) },
        };
        let byte = |index| self.options.map_or(Ok(0), |options| options.byte(index));
        let pair = |width: Option<usize>, default| {
            let axis = |index: usize| {
                let value = width.zip(self.options).map(|(width, options)| options.int(width + index, default));
                Ok(usize::try_from(value.unwrap_or(Ok(default))?).unwrap_or(0))
            };
            Ok([axis(1)?, axis(0)?])
        };
        Ok(Sliding {
            is_same: byte(0)? == 0,
            stride: pair(Some(1), 0)?,
            dilation: pair(fields.dilation, 1)?,
            filter: pair(fields.filter, 0)?,
            fused: byte(fields.fused)?,
        })
    }
}

/// A model of one graph.
pub(super) struct Model<'a> {
    pub tensors: Vec<Tensor<'a>>,
    pub operators: Vec<Operator<'a>>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// What the model says of itself, a FlatBuffer of its own.
    pub metadata: Option<&'a [u8]>,
}

impl<'a> Model<'a> {
    /// Reads a model; all tensors that operators and graph name are there.
    pub(super) fn read(file: &'a [u8]) -> Result<Model<'a>, String> {
        let model = Table::root(file).map_err(damaged)?;
        let version = model.natural(0).map_err(damaged)?;
        if version != 3 {
            return Err(format!("is a TensorFlow Lite model of schema version {version}; version 3 is read"));
        }
        let buffers = buffers(&model).map_err(damaged)?;
        let graphs = model.tables(2, "graphs", MAX_METADATA).map_err(damaged)?;
        let [graph] = graphs.as_slice() else {
            return Err(format!("has {} graphs; a network has one", graphs.len()));
        };
        let tensors = tensors(graph, &buffers).map_err(damaged)??;
        let operators = operators(&model, graph).map_err(damaged)??;
        let ends = |index, what| {
            let found = graph.ints(index, what, MAX_INPUTS).map_err(damaged)?;
            Ok::<_, String>(found.into_iter().map(|tensor| usize::try_from(tensor).unwrap_or(usize::MAX)).collect())
        };
        let (inputs, outputs): (Vec<usize>, Vec<usize>) = (ends(1, "inputs")?, ends(2, "outputs")?);
        let used = operators.iter().flat_map(|o| o.inputs.iter().flatten().chain(&o.outputs));
        if let Some(tensor) = used.chain(&inputs).chain(&outputs).find(|&&tensor| tensor >= tensors.len()) {
            return Err(format!("names tensor {tensor}, and has {}", tensors.len()));
        }
        let metadata = metadata(&model, &buffers).map_err(damaged)?;
        Ok(Model { tensors, operators, inputs, outputs, metadata })
    }
}

fn damaged(damaged: Damaged) -> String {
    format!("its FlatBuffer: {damaged}")
}

/// The data of every buffer; `None` where they lie outside the FlatBuffer, as only models above 2 GB have it.
fn buffers<'a>(model: &Table<'a>) -> Result<Vec<Option<&'a [u8]>>, Damaged> {
    let one = |buffer: Table<'a>| Ok(if buffer.long(1)? > 1 { None } else { Some(buffer.bytes(0)?) });
    model.tables(4, "buffers", MAX_BUFFERS)?.into_iter().map(one).collect()
}

type Checked<T> = Result<Result<T, String>, Damaged>;

fn tensors<'a>(graph: &Table<'a>, buffers: &[Option<&'a [u8]>]) -> Checked<Vec<Tensor<'a>>> {
    let mut tensors = Vec::new();
    for tensor in graph.tables(0, "tensors", MAX_TENSORS)? {
        let (name, buffer) = (tensor.text(3)?, tensor.natural(2)?);
        let Some(data) = buffers.get(buffer).copied().flatten() else {
            return Ok(Err(format!("tensor {} lies in buffer {buffer}, which the file does not hold", short(name))));
        };
        let shape = tensor.ints(0, "dimensions of a tensor", MAX_DIMENSIONS)?;
        let shape = shape.into_iter().map(|size| usize::try_from(size).unwrap_or(0)).collect();
        tensors.push(Tensor { name, kind: tensor.byte(1)?, shape, data });
    }
    Ok(Ok(tensors))
}

fn operators<'a>(model: &Table<'a>, graph: &Table<'a>) -> Checked<Vec<Operator<'a>>> {
    let codes = model.tables(1, "kinds of operators", MAX_OPERATORS)?;
    let mut operators = Vec::new();
    for operator in graph.tables(3, "operators", MAX_OPERATORS)? {
        let index = operator.natural(0)?;
        let Some(kind) = codes.get(index) else {
            return Ok(Err(format!("operator {} is of kind {index}, and there are {}", operators.len(), codes.len())));
        };
        // The byte was all there was before the schema's version 3a; newer writers fill in both.
        let code = kind.int(3, 0)?.max(i32::from(kind.byte(0)? as i8));
        let natural = |tensor: i32| usize::try_from(tensor);
        let inputs = operator.ints(1, "inputs of an operator", MAX_INPUTS)?;
        let outputs = operator.ints(2, "outputs of an operator", MAX_INPUTS)?;
        operators.push(Operator {
            code,
            custom: kind.text(1)?,
            inputs: inputs.into_iter().map(|tensor| natural(tensor).ok()).collect(),
            outputs: outputs.into_iter().map(|tensor| natural(tensor).unwrap_or(usize::MAX)).collect(),
            options: operator.table(4)?,
        });
    }
    Ok(Ok(operators))
}

fn metadata<'a>(model: &Table<'a>, buffers: &[Option<&'a [u8]>]) -> Result<Option<&'a [u8]>, Damaged> {
    for entry in model.tables(6, "pieces of metadata", MAX_METADATA)? {
        if entry.text(0)? == "TFLITE_METADATA" {
            return Ok(buffers.get(entry.natural(1)?).copied().flatten());
        }
    }
    Ok(None)
}

/// A name for a message: some have thousands of letters.
pub(super) fn short(name: &str) -> String {
    const LETTERS: usize = 60;
    if name.chars().count() <= LETTERS {
        return name.into();
    }
    name.chars().take(LETTERS).chain(['…']).collect()
}
