//! TensorFlow.js: `model.json`, whose manifest lists tensors, and beside it files, the shards, that hold their bytes one
//! after another. Layers models have Keras's names and description; graph models have names of their own.
//!
//! Source: tensorflowjs@4.22.0 core/src/io/types.ts and io_utils.ts (`decodeWeights`).

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::keras::{self, Config, Weight};
use super::source::Source;
use super::{Format, Wanted};
use crate::error::Error;
use crate::tensor::{DType, Data, Params, Tensor};

/// See the module.
pub(super) const FORMAT: Format = Format { name: "TensorFlow.js (model.json)", is, read };

/// The longest `model.json`; the format allows any.
const MAX_JSON: u64 = 64 << 20;

/// The most shards.
const MAX_SHARDS: usize = 1 << 14;

fn is(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    text.starts_with(b"{") && text[1..].trim_ascii_start().starts_with(b"\"")
}

/// `model.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    format: Option<String>,
    #[serde(default)]
    model_topology: Value,
    weights_manifest: Vec<Group>,
}

/// Tensors, and the shards that hold them.
#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
    weights: Vec<Entry>,
}

/// A tensor.
#[derive(Deserialize)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

/// How a tensor is stored where not by its own type: a half, or a level that stands for `level · scale + min`.
#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    scale: Option<f64>,
    min: Option<f64>,
}

/// Where and how a tensor's bytes lie in its group.
struct Place {
    group: usize,
    offset: u64,
    length: u64,
    stored: Stored,
}

#[derive(Clone, Copy)]
enum Stored {
    Plain(DType),
    U8 { scale: f64, min: f64 },
    U16 { scale: f64, min: f64 },
}

impl Stored {
    fn size(self) -> usize {
        match self {
            Stored::Plain(dtype) => dtype.size(),
            Stored::U8 { .. } => 1,
            Stored::U16 { .. } => 2,
        }
    }
}

fn read(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    let length = source.len();
    if length > MAX_JSON {
        return Err(source.error(format!("is JSON of {length} bytes; a model.json may have {MAX_JSON}")));
    }
    let json = source.read(0, length)?;
    let model: Model = serde_json::from_slice(&json)
        .map_err(|e| source.error(format!("is JSON, but not a model.json of TensorFlow.js: {e}")))?;
    let alone = model.weights_manifest.iter().map(|group| group.paths.len()).sum::<usize>() == 1;
    // Read twice, a small file would fill any memory.
    let mut seen = HashSet::new();
    let paths = model.weights_manifest.iter().flat_map(|group| &group.paths);
    if let Some(twice) = paths.into_iter().find(|path| !seen.insert(path.as_str())) {
        return Err(source.error(format!("it lists the file {twice:?} twice")));
    }
    let mut groups = Vec::new();
    let mut weights = Vec::new();
    for group in &model.weights_manifest {
        let shards = Shards::open(source, group, alone)?;
        let used = places(source, group, groups.len(), &mut weights)?;
        if used != shards.length() {
            return Err(source.error(format!(
                "its tensors take {used} bytes, and the files {} have {}",
                name_some(&group.paths),
                shards.length()
            )));
        }
        groups.push(shards);
    }
    // The converter describes the model one level deeper than TensorFlow.js itself does.
    let topology = &model.model_topology;
    let described = [&topology["model_config"], topology].into_iter().find(|config| config["class_name"].is_string());
    let config = match described {
        None => Config::called(model.format),
        Some(config) => Config::of(config).map_err(|reason| source.error(reason))?,
    };
    keras::finish(source, weights, config, wanted, |weight| tensor(source, &groups[weight.place.group], weight))
}

/// Where the tensors of a group lie, appended to `weights`; how many bytes they take together.
fn places(source: &Source, group: &Group, index: usize, weights: &mut Vec<Weight<Place>>) -> Result<u64, Error> {
    let mut offset = 0u64;
    for entry in &group.weights {
        let error = |reason: String| source.error(format!("tensor {} {reason}", entry.name));
        let stored = stored(entry).map_err(error)?;
        let elements = entry.shape.iter().try_fold(1u64, |n, &axis| n.checked_mul(axis as u64));
        let length = elements.and_then(|n| n.checked_mul(stored.size() as u64));
        let end = length.and_then(|length| offset.checked_add(length));
        let (Some(length), Some(end)) = (length, end) else {
            return Err(error(format!("has an enormous shape, {:?}", entry.shape)));
        };
        let (layer, parameter) = entry.name.rsplit_once('/').unwrap_or((&entry.name, ""));
        let place = Place { group: index, offset, length, stored };
        let (layer, parameter) = (layer.to_owned(), parameter.to_owned());
        weights.push(Weight { layer, parameter, shape: entry.shape.clone(), place });
        offset = end;
    }
    Ok(offset)
}

/// How an entry's bytes are to be read.
fn stored(entry: &Entry) -> Result<Stored, String> {
    let Some(quantization) = &entry.quantization else {
        return match entry.dtype.as_str() {
            "float32" => Ok(Stored::Plain(DType::F32)),
            "float16" => Ok(Stored::Plain(DType::F16)),
            "int32" => Ok(Stored::Plain(DType::I32)),
            "uint8" | "bool" => Ok(Stored::Plain(DType::U8)),
            other => Err(format!("has type {other:?}; float32, float16, int32, uint8 and bool are read")),
        };
    };
    let dtype = quantization.dtype.as_str();
    match (dtype, quantization.scale, quantization.min) {
        ("float16", ..) => Ok(Stored::Plain(DType::F16)),
        ("uint8", Some(scale), Some(min)) => Ok(Stored::U8 { scale, min }),
        ("uint16", Some(scale), Some(min)) => Ok(Stored::U16 { scale, min }),
        ("uint8" | "uint16", ..) => Err("is quantized without scale and min".into()),
        _ => Err(format!("is quantized to {dtype:?}; float16, uint8 and uint16 are read")),
    }
}

/// Reads a tensor.
fn tensor(source: &Source, shards: &Shards, weight: &Weight<Place>) -> Result<Tensor, Error> {
    let place = &weight.place;
    source.check_size(&weight.name(), place.length)?;
    let bytes = shards.read(source, place.offset, place.length)?;
    let value = |level: u16, scale: f64, min: f64| (f64::from(level) * scale + min) as f32;
    let data = match place.stored {
        Stored::Plain(dtype) => Data::from_le_bytes(dtype, &bytes),
        Stored::U8 { scale, min } => Data::F32(bytes.iter().map(|&b| value(b.into(), scale, min)).collect()),
        Stored::U16 { scale, min } => {
            let levels = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
            Data::F32(levels.map(|level| value(level, scale, min)).collect())
        }
    };
    Ok(Tensor::new(weight.shape.clone(), data))
}

/// The files of a group, with their sizes.
struct Shards(Vec<(PathBuf, u64)>);

impl Shards {
    /// Finds the files. `alone`: whether the manifest names a single one, which may then also be called as `model.json`
    /// is: who renames such a pair leaves the old name in the manifest.
    fn open(source: &Source, group: &Group, alone: bool) -> Result<Shards, Error> {
        if group.paths.len() > MAX_SHARDS {
            return Err(source.error(format!("it lists {} files; {MAX_SHARDS} are allowed", group.paths.len())));
        }
        let folder = source.path().parent().unwrap_or(Path::new(""));
        let mut shards = Vec::new();
        for path in &group.paths {
            // Above all no way out of the folder.
            let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if path.is_empty() || !Path::new(path).components().all(is_plain) {
                return Err(
                    source.error(format!("its weights are in {path:?}, which is no plain name of a file beside it"))
                );
            }
            let renamed = source.path().with_extension("bin");
            let beside = folder.join(path);
            let file = if alone && !beside.exists() && renamed.exists() { renamed } else { beside };
            if !file.exists() {
                return Err(source.error(format!("its weights are in {path}, which is not beside it")));
            }
            let length = Source::open(&file)?.len();
            shards.push((file, length));
        }
        Ok(Shards(shards))
    }

    /// Bytes of all files.
    fn length(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length))
    }

    /// The `length` bytes at `offset`, which lie within [`Shards::length`].
    fn read(&self, source: &Source, mut offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let room = usize::try_from(length).ok().and_then(|length| bytes.try_reserve_exact(length).ok());
        room.ok_or_else(|| source.error(format!("{length} bytes need more memory than the system gives")))?;
        let mut left = length;
        for (path, size) in &self.0 {
            if offset < *size && left > 0 {
                let here = left.min(size - offset);
                bytes.extend(Source::open(path)?.read(offset, here)?);
                (offset, left) = (0, left - here);
            } else {
                offset = offset.saturating_sub(*size);
            }
        }
        Ok(bytes)
    }
}

/// The first few names.
fn name_some(names: &[String]) -> String {
    let mut text = names[..names.len().min(3)].join(", ");
    if names.len() > 3 {
        text += &format!(" and {} more", names.len() - 3);
    }
    text
}
