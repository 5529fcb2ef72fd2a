//! Plain tensors and named parameters, as files hold them.

use std::collections::BTreeMap;

use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Signed byte.
    I8,
    /// Unsigned byte.
    U8,
    /// 32-bit integer.
    I32,
    /// 64-bit integer: counters and class indices.
    I64,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 => 1,
            DType::F16 | DType::Bf16 => 2,
            DType::F32 | DType::I32 => 4,
            DType::I64 => 8,
        }
    }
}

/// The elements of a [`Tensor`], in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// See [`DType::F32`].
    F32(Vec<f32>),
    /// See [`DType::F16`].
    F16(Vec<f16>),
    /// See [`DType::Bf16`].
    Bf16(Vec<bf16>),
    /// See [`DType::I8`].
    I8(Vec<i8>),
    /// See [`DType::U8`].
    U8(Vec<u8>),
    /// See [`DType::I32`].
    I32(Vec<i32>),
    /// See [`DType::I64`].
    I64(Vec<i64>),
}

impl Data {
    /// The elements that `bytes` hold in little-endian order; a remainder shorter than an element is dropped.
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> Data {
        let mut data = Data::with_capacity(dtype, bytes.len() / dtype.size()).expect("memory for as many bytes again");
        data.extend_from_le_bytes(bytes);
        data
    }

    /// No elements, with room for so many; `None` where the system has no memory for them.
    pub fn with_capacity(dtype: DType, elements: usize) -> Option<Data> {
        fn room<T>(elements: usize) -> Option<Vec<T>> {
            let mut values = Vec::new();
            values.try_reserve_exact(elements).ok().map(|()| values)
        }
        Some(match dtype {
            DType::F32 => Data::F32(room(elements)?),
            DType::F16 => Data::F16(room(elements)?),
            DType::Bf16 => Data::Bf16(room(elements)?),
            DType::I8 => Data::I8(room(elements)?),
            DType::U8 => Data::U8(room(elements)?),
            DType::I32 => Data::I32(room(elements)?),
            DType::I64 => Data::I64(room(elements)?),
        })
    }

    /// Appends the elements that `bytes` hold, as [`from_le_bytes`](Data::from_le_bytes) reads them.
    pub fn extend_from_le_bytes(&mut self, bytes: &[u8]) {
        fn each<const N: usize, T>(values: &mut Vec<T>, bytes: &[u8], f: impl Fn([u8; N]) -> T) {
            values.extend(bytes.as_chunks::<N>().0.iter().map(|&b| f(b)));
        }
        match self {
            Data::F32(v) => each(v, bytes, f32::from_le_bytes),
            Data::F16(v) => each(v, bytes, f16::from_le_bytes),
            Data::Bf16(v) => each(v, bytes, bf16::from_le_bytes),
            Data::I8(v) => each(v, bytes, i8::from_le_bytes),
            Data::U8(v) => v.extend_from_slice(bytes),
            Data::I32(v) => each(v, bytes, i32::from_le_bytes),
            Data::I64(v) => each(v, bytes, i64::from_le_bytes),
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::F16(v) => v.len(),
            Data::Bf16(v) => v.len(),
            Data::I8(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
        }
    }

    /// True where there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F16(_) => DType::F16,
            Data::Bf16(_) => DType::Bf16,
            Data::I8(_) => DType::I8,
            Data::U8(_) => DType::U8,
            Data::I32(_) => DType::I32,
            Data::I64(_) => DType::I64,
        }
    }
}

/// A dense tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Panics
    /// Where the product of `shape` is not the number of elements.
    pub fn new(shape: Vec<usize>, data: Data) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?} against {} elements", data.len());
        Tensor { shape, data }
    }

    /// An `f32` tensor; panics as [`Tensor::new`] does.
    pub fn from_f32(shape: &[usize], data: Vec<f32>) -> Tensor {
        Tensor::new(shape.to_vec(), Data::F32(data))
    }

    /// Sizes, outermost first. A scalar has none.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The same elements under another shape; panics as [`Tensor::new`] does.
    pub fn reshaped(self, shape: &[usize]) -> Tensor {
        Tensor::new(shape.to_vec(), self.data)
    }

    /// The elements rounded to a type of floats, to the nearest, ties to even; `None` where a finite one is beyond the type's
    /// range, or the type holds integers.
    pub fn into_float(self, dtype: DType) -> Option<Tensor> {
        if self.dtype() == dtype {
            return Some(self);
        }
        let shape = self.shape.clone();
        let values = self.into_f32();
        let data = match dtype {
            DType::F32 => Data::F32(values),
            DType::F16 => Data::F16(values.iter().map(|&v| f16::from_f32(v)).collect()),
            DType::Bf16 => Data::Bf16(values.iter().map(|&v| bf16::from_f32(v)).collect()),
            DType::I8 | DType::U8 | DType::I32 | DType::I64 => return None,
        };
        let tensor = Tensor::new(shape, data);
        let is_beyond = |value: f32| value.is_infinite();
        let overflows = match &tensor.data {
            Data::F16(rounded) => rounded.iter().any(|&v| is_beyond(v.into())),
            Data::Bf16(rounded) => rounded.iter().any(|&v| is_beyond(v.into())),
            _ => false,
        };
        (!overflows).then_some(tensor)
    }

    /// The elements as `f32`, converted where they are stored otherwise.
    pub fn into_f32(self) -> Vec<f32> {
        match self.data {
            Data::F32(v) => v,
            Data::F16(v) => v.into_iter().map(f32::from).collect(),
            Data::Bf16(v) => v.into_iter().map(f32::from).collect(),
            Data::I8(v) => v.into_iter().map(f32::from).collect(),
            Data::U8(v) => v.into_iter().map(f32::from).collect(),
            Data::I32(v) => v.into_iter().map(|x| x as f32).collect(),
            Data::I64(v) => v.into_iter().map(|x| x as f32).collect(),
        }
    }
}

/// Named tensors of a network, with the text that travels beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the file says of itself; empty where its format has no place for it.
    pub metadata: BTreeMap<String, String>,
}
