//! An interpreter of pickles that can build tensors, dictionaries, lists, tuples, numbers and strings, and nothing else.
//!
//! A pickle is a program for a stack machine whose instructions import and call any Python function. Here a function is
//! one of the few in [`CALLABLES`] and [`STORAGES`], each a line of this file; every other is refused by name. Values
//! live in one list and refer to each other by index: a value that contains itself costs no recursion and leaks nothing.
//! Each instruction makes at most one value. The few instructions that copy what an earlier one read (a storage's key, a
//! tensor's shape, a dictionary's pairs) copy a bounded amount, so that memory is bounded by the pickle's length.
//!
//! Instructions: CPython's `Lib/pickletools.py`, protocols 2 to 5.

mod machine;

use crate::tensor::DType;

/// The most values that a pickle may make; a state dict of MobileNet makes 6000.
const MAX_VALUES: usize = 1 << 20;

/// The deepest stack.
const MAX_STACK: usize = 1 << 16;

/// The most nested marks.
const MAX_MARKS: usize = 1 << 10;

/// The longest key of a storage; torch counts them up from 0.
const MAX_KEY: usize = 64;

/// The most dimensions of a tensor, and more than any layer has.
const MAX_DIMENSIONS: usize = 8;

/// Why a pickle was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "the pickle asks for {0}; only tensors, dictionaries, lists, numbers and strings are read. Nothing was executed."
    )]
    Global(String),
    #[error("the pickle uses the instruction {0:#04x}, which plain state dicts do not need. Nothing was executed.")]
    Instruction(u8),
    #[error("the pickle ends in the middle of an instruction")]
    CutShort,
    #[error("the pickle has protocol {0}; 2 to 5 are read")]
    Protocol(u8),
    #[error("the pickle takes a value from an empty stack")]
    Underflow,
    #[error("the pickle fetches memo {0}, which it never stored")]
    Memo(u32),
    #[error("the pickle stores memo {0}; the limit is {MAX_VALUES}")]
    MemoIndex(u32),
    #[error("the pickle makes more than {MAX_VALUES} values")]
    Values,
    #[error("the pickle nests deeper than {MAX_MARKS} levels")]
    Marks,
    #[error("the pickle's stack grows beyond {MAX_STACK} values")]
    Stack,
    #[error("the pickle names a storage by {0} bytes; {MAX_KEY} are allowed")]
    Key(usize),
    #[error("the pickle describes a tensor of {0} dimensions; {MAX_DIMENSIONS} are allowed")]
    Dimensions(usize),
    #[error("the pickle holds an integer of more than 64 bits")]
    Integer,
    #[error("the pickle holds text that is not UTF-8")]
    Text,
    #[error("the pickle {0}")]
    Shape(&'static str),
}

/// Index of a value in [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Id(u32);

/// The few functions that a pickle may call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
}

/// A type of storage: its name in `torch`, bytes of an element, and our type for it, where there is one.
#[derive(Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) name: &'static str,
    pub(super) size: u64,
    pub(super) dtype: Option<DType>,
}

/// Functions by module and name, as torch writes them.
const CALLABLES: &[(&str, &str, Callable)] = &[
    ("collections", "OrderedDict", Callable::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Callable::RebuildTensor),
    ("torch._utils", "_rebuild_tensor", Callable::RebuildTensor), // torch before 0.4
    ("torch._utils", "_rebuild_parameter", Callable::RebuildParameter),
    ("torch", "Size", Callable::Size),
];

/// Storages in module `torch`.
const STORAGES: &[Storage] = &[
    Storage { name: "FloatStorage", size: 4, dtype: Some(DType::F32) },
    Storage { name: "HalfStorage", size: 2, dtype: Some(DType::F16) },
    Storage { name: "BFloat16Storage", size: 2, dtype: Some(DType::Bf16) },
    Storage { name: "LongStorage", size: 8, dtype: Some(DType::I64) },
    Storage { name: "IntStorage", size: 4, dtype: Some(DType::I32) },
    Storage { name: "CharStorage", size: 1, dtype: Some(DType::I8) },
    Storage { name: "ByteStorage", size: 1, dtype: Some(DType::U8) },
    Storage { name: "DoubleStorage", size: 8, dtype: None },
    Storage { name: "ShortStorage", size: 2, dtype: None },
    Storage { name: "BoolStorage", size: 1, dtype: None },
];

/// A tensor that the pickle describes; its bytes lie elsewhere in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// The storage's type.
    pub(super) storage: &'static Storage,
    /// The storage's name in the archive.
    pub(super) key: String,
    /// Elements that the storage is said to have.
    pub(super) elements: u64,
    /// First element.
    pub(super) offset: u64,
    /// Sizes.
    pub(super) shape: Vec<u64>,
    /// Elements from one index to the next.
    pub(super) strides: Vec<u64>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Callable(Callable),
    StorageType(&'static Storage),
    Stored { storage: &'static Storage, key: String, elements: u64, start: u64 },
    Tensor(View),
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl std::ops::Index<Id> for Pickle {
    type Output = Value;
    fn index(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }
}

impl Pickle {
    /// Runs the pickle.
    pub(super) fn run(bytes: &[u8]) -> Result<Pickle, Refused> {
        machine::run(bytes).map(|(pickle, _)| pickle)
    }

    /// Runs the first of several pickles; returns what lies behind it, too.
    pub(super) fn run_first(bytes: &[u8]) -> Result<(Pickle, &[u8]), Refused> {
        machine::run(bytes)
    }

    /// Key and type of every reference to a storage.
    pub(super) fn storages(&self) -> impl Iterator<Item = (&str, &'static Storage)> {
        self.values.iter().filter_map(|value| match value {
            Value::Stored { storage, key, .. } => Some((key.as_str(), *storage)),
            _ => None,
        })
    }

    /// The value that the pickle stands for.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// The entries of a dictionary whose keys are strings, in order; empty where `id` is no dictionary.
    pub(super) fn entries(&self, id: Id) -> impl Iterator<Item = (&str, Id)> {
        let entries = if let Value::Dict(entries) = &self[id] { entries.as_slice() } else { &[] };
        entries.iter().filter_map(|&(key, value)| match &self[key] {
            Value::Text(key) => Some((key.as_str(), value)),
            _ => None,
        })
    }
}
