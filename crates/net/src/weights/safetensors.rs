//! [safetensors](https://github.com/huggingface/safetensors): eight bytes of header length, a JSON header that gives
//! every tensor's type, shape and place, then the bytes.
//!
//! Entries are parsed by the `safetensors` crate; the header around them is walked here, because the crate wants the
//! whole file in memory and lets a repeated name pass.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorInfo};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::source::Source;
use super::{Format, Wanted};
use crate::error::Error;
use crate::file;
use crate::tensor::{DType, Data, Params, Tensor};

/// See the module.
pub(super) const FORMAT: Format = Format { name: "safetensors", is, read };

/// Bytes before the header: its length.
const PREFIX: u64 = 8;

/// The longest header, as the format's specification has it.
const MAX_HEADER: u64 = 100_000_000;

/// The header's key that is no tensor.
const METADATA: &str = "__metadata__";

fn is(head: &[u8]) -> bool {
    head.get(PREFIX as usize) == Some(&b'{')
}

/// A tensor's place in the file.
struct Place {
    name: String,
    info: TensorInfo,
}

fn read(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    let length = source.read(0, PREFIX)?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes were read"));
    if length > MAX_HEADER {
        return Err(source.error(format!("its header claims {length} bytes; the format allows {MAX_HEADER}")));
    }
    if length > source.len() - PREFIX {
        return Err(source.error(format!(
            "its header claims {length} bytes, and the file has {} after the length: it is cut short or damaged",
            source.len() - PREFIX
        )));
    }
    let bytes = source.read(PREFIX, length)?;
    let header: Header = serde_json::from_slice(&bytes).map_err(|e| source.error(format!("its header: {e}")))?;
    let (places, metadata) = parse(source, header)?;
    let start = PREFIX + length;
    check_places(source, &places, source.len() - start)?;

    let mut params = Params { tensors: BTreeMap::new(), metadata };
    for Place { name, info } in places {
        if !wanted(&name) {
            continue;
        }
        let Some(dtype) = dtype(info.dtype) else {
            return Err(source.error(format!(
                "tensor {name} has type {}; F32, F16, BF16, I8, U8, I32 and I64 are read",
                info.dtype
            )));
        };
        let (from, to) = info.data_offsets;
        let needs = bytes_of(&info.shape, dtype.size());
        if needs != Some(to - from) {
            return Err(source.error(format!(
                "tensor {name} of shape {:?} and type {} lies on {} bytes",
                info.shape,
                info.dtype,
                to - from
            )));
        }
        source.check_size(&name, (to - from) as u64)?;
        let data = source.elements(dtype, start + from as u64, (to - from) as u64)?;
        params.tensors.insert(name, Tensor::new(info.shape, data));
    }
    Ok(params)
}

/// Bytes of a tensor; `None` where they overflow.
fn bytes_of(shape: &[usize], size: usize) -> Option<usize> {
    shape.iter().try_fold(size, |bytes, &n| bytes.checked_mul(n))
}

/// The header's entries, not yet understood.
struct Header<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    entries.push((name, map.next_value()?));
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A string that borrows from the header where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Understands the header's entries; tensors come in the order of their places.
fn parse(source: &Source, header: Header) -> Result<(Vec<Place>, BTreeMap<String, String>), Error> {
    let mut places = Vec::with_capacity(header.0.len());
    let mut metadata = BTreeMap::new();
    let mut seen = HashSet::with_capacity(header.0.len());
    for (name, raw) in header.0 {
        if !seen.insert(name.clone()) {
            return Err(source.error(format!("its header names {name} twice")));
        }
        if name == METADATA {
            metadata = serde_json::from_str(raw.get())
                .map_err(|e| source.error(format!("its metadata must map strings to strings: {e}")))?;
        } else {
            let info = serde_json::from_str(raw.get()).map_err(|e| source.error(format!("tensor {name}: {e}")))?;
            places.push(Place { name: name.into_owned(), info });
        }
    }
    places.sort_by_key(|place| place.info.data_offsets);
    Ok((places, metadata))
}

/// As the specification demands, the tensors cover the data without holes or overlaps.
fn check_places(source: &Source, places: &[Place], data: u64) -> Result<(), Error> {
    let mut covered = 0;
    for Place { name, info } in places {
        let (from, to) = info.data_offsets;
        if to < from {
            return Err(source.error(format!("tensor {name} ends at {to}, before its start at {from}")));
        }
        if to as u64 > data {
            return Err(source.error(format!(
                "tensor {name} lies at {from}..{to}, and the file holds {data} bytes of data: it is cut short or damaged"
            )));
        }
        if from < covered {
            return Err(source.error(format!("tensor {name} at {from}..{to} overlaps the one before, up to {covered}")));
        }
        if from > covered {
            return Err(source.error(format!("bytes {covered}..{from} of its data belong to no tensor")));
        }
        covered = to;
    }
    if covered as u64 != data {
        return Err(source.error(format!("bytes {covered}..{data} of its data belong to no tensor")));
    }
    Ok(())
}

/// Our name of a type; `None` where we have none.
fn dtype(theirs: Dtype) -> Option<DType> {
    Some(match theirs {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        _ => return None,
    })
}

/// The format's name of a type.
fn theirs(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        DType::I8 => Dtype::I8,
        DType::U8 => Dtype::U8,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
    }
}

/// Writes `params` as a safetensors file, whole or not at all: see [`file::replace`]. Equal parameters give equal bytes.
///
/// # Errors
/// [`Error::Write`] where the file cannot be written.
pub fn save(path: impl AsRef<Path>, params: &Params) -> Result<(), Error> {
    file::replace(path, |file| write(file, params))
}

fn write(file: &mut File, params: &Params) -> std::io::Result<()> {
    #[derive(Serialize)]
    struct Whole<'a> {
        #[serde(rename = "__metadata__", skip_serializing_if = "BTreeMap::is_empty")]
        metadata: &'a BTreeMap<String, String>,
        #[serde(flatten)]
        tensors: BTreeMap<&'a str, TensorInfo>,
    }
    // Widest elements first, as the format's own writer does: every tensor is then aligned to its elements.
    let mut order: Vec<_> = params.tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size()));
    let mut end = 0;
    let tensors = order.iter().map(|(name, tensor)| {
        let start = end;
        end += tensor.data().len() * tensor.dtype().size();
        let shape = tensor.shape().to_vec();
        (name.as_str(), TensorInfo { dtype: theirs(tensor.dtype()), shape, data_offsets: (start, end) })
    });
    let whole = Whole { metadata: &params.metadata, tensors: tensors.collect() };
    let mut header = serde_json::to_vec(&whole)?;
    header.resize(header.len().next_multiple_of(PREFIX as usize), b' ');

    let mut out = BufWriter::new(file);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, tensor) in order {
        write_data(&mut out, tensor.data())?;
    }
    out.flush()
}

fn write_data(out: &mut impl Write, data: &Data) -> std::io::Result<()> {
    fn each<const N: usize, T: Copy>(out: &mut impl Write, v: &[T], f: impl Fn(T) -> [u8; N]) -> std::io::Result<()> {
        v.iter().try_for_each(|&x| out.write_all(&f(x)))
    }
    match data {
        Data::F32(v) => each(out, v, f32::to_le_bytes),
        Data::F16(v) => each(out, v, half::f16::to_le_bytes),
        Data::Bf16(v) => each(out, v, half::bf16::to_le_bytes),
        Data::I8(v) => each(out, v, i8::to_le_bytes),
        Data::U8(v) => out.write_all(v),
        Data::I32(v) => each(out, v, i32::to_le_bytes),
        Data::I64(v) => each(out, v, i64::to_le_bytes),
    }
}
