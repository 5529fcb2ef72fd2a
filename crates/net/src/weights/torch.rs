//! PyTorch's `.pth`: a zip archive of stored (never compressed) entries. `data.pkl` describes the state dict, and each
//! storage lies in an entry of its own.

use std::collections::{BTreeMap, HashMap};
use std::io::BufReader;

use super::pickle::{Id, Pickle, Value, View};
use super::source::Source;
use super::{Format, Wanted};
use crate::error::Error;
use crate::tensor::{Data, Params, Tensor};

/// See the module.
pub(super) const FORMAT: Format = Format { name: "PyTorch (.pth)", is, read };

/// The longest `data.pkl`; that of a MobileNet takes 50 kB.
const MAX_PICKLE: u64 = 16 << 20;

/// How often, on average, the tensors of a file may use the same bytes.
const SHARING: u64 = 4;

/// Keys under which training scripts keep the state dict, best first: averaged weights are the ones that a recipe's
/// accuracy is given for.
const WRAPPERS: &[&str] = &["model_ema", "state_dict_ema", "ema", "state_dict", "model"];

/// What `DataParallel` and its descendants put before every name.
const PREFIX: &str = "module.";

/// The magic number that starts files older than torch 1.6: a pickled integer of ten bytes.
const OLD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

fn is(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") || head.starts_with(&[0x80])
}

fn read(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    if source.read(0, source.len().min(OLD.len() as u64))? == OLD {
        return Err(source.error(
            "has PyTorch's old format, from before version 1.6. Save it again: \
             python -c \"import torch; torch.save(torch.load('old.pth', weights_only=True), 'new.pth')\"",
        ));
    }
    if source.read(0, 1)? == [0x80] {
        return Err(source.error("is a bare pickle; PyTorch's files are zip archives. Save it with torch.save"));
    }
    let archive = Archive::open(source)?;
    archive.check_byte_order()?;
    let pickle = archive.read("data.pkl", MAX_PICKLE)?;
    let pickle = Pickle::run(&pickle).map_err(|refused| source.error(refused.to_string()))?;

    let mut tensors = BTreeMap::new();
    let mut budget = source.len().saturating_mul(SHARING);
    for (name, view) in state_dict(&pickle).ok_or_else(|| source.error(no_state_dict(&pickle)))? {
        let short = strip(name);
        if !wanted(short) {
            continue;
        }
        let tensor = archive.tensor(name, view, &mut budget)?;
        if tensors.insert(short.to_owned(), tensor).is_some() {
            return Err(source.error(format!("it holds tensor {short} twice")));
        }
    }
    Ok(Params { tensors, metadata: BTreeMap::new() })
}

fn strip(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix(PREFIX) {
        name = rest;
    }
    name
}

/// The tensors of the state dict: the root or what the root holds under one of [`WRAPPERS`].
fn state_dict(pickle: &Pickle) -> Option<Vec<(&str, &View)>> {
    let tensors = |id: Id| {
        let tensors = pickle.entries(id).filter_map(|(name, value)| match &pickle[value] {
            Value::Tensor(view) => Some((name, view)),
            _ => None,
        });
        Some(tensors.collect::<Vec<_>>()).filter(|tensors| !tensors.is_empty())
    };
    let wrapped = |wrapper: &&str| {
        pickle.entries(pickle.root()).find(|(name, _)| name == wrapper).and_then(|(_, inner)| tensors(inner))
    };
    WRAPPERS.iter().find_map(wrapped).or_else(|| tensors(pickle.root()))
}

fn no_state_dict(pickle: &Pickle) -> String {
    let keys: Vec<_> = pickle.entries(pickle.root()).map(|(name, _)| name).take(10).collect();
    let found = match &pickle[pickle.root()] {
        Value::Dict(_) if keys.is_empty() => "an empty dictionary".to_owned(),
        Value::Dict(_) => format!("a dictionary of {}", keys.join(", ")),
        _ => "no dictionary".to_owned(),
    };
    format!("holds no state dict: it is {found}; tensors are sought there or under {}", WRAPPERS.join(", "))
}

/// Where an entry's bytes lie.
struct Entry {
    offset: u64,
    size: u64,
}

/// The entries of the zip archive, by their names within its one folder.
struct Archive<'a> {
    source: &'a Source,
    entries: HashMap<String, Entry>,
}

impl<'a> Archive<'a> {
    fn open(source: &'a Source) -> Result<Archive<'a>, Error> {
        let damaged = |e: zip::result::ZipError| source.error(format!("is a damaged or truncated zip archive: {e}"));
        // torch.save starts its archives at byte 0. zip@9.8.1, left to detect the start, ignores the 76 bytes of zip64
        // records that torch writes, and takes the second entry for the first where an entry's header has that size:
        // where the archive's folder has a name of 21 letters.
        let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
        let reader = BufReader::with_capacity(1 << 10, source.file());
        let mut zip = zip::ZipArchive::with_config(config, reader).map_err(damaged)?;
        let names = (0..zip.len()).filter_map(|i| Some(zip.name_for_index(i)?.ok()?.into_owned()));
        let names: Vec<String> = names.collect();
        let Some(folder) = names.iter().find_map(|name| name.strip_suffix("data.pkl")) else {
            return Err(source.error("is a zip archive without data.pkl, so it was not written by torch.save"));
        };
        if names.iter().any(|name| name.strip_prefix(folder) == Some("constants.pkl")) {
            return Err(source.error("is a TorchScript program; save its state_dict() instead"));
        }
        let mut entries = HashMap::new();
        for i in 0..zip.len() {
            let file = zip.by_index_raw(i).map_err(damaged)?;
            let name = file.name().map_err(damaged)?.into_owned();
            let Some(short) = name.strip_prefix(folder) else { continue };
            if file.compression() != zip::CompressionMethod::Stored || file.encrypted() {
                return Err(
                    source.error(format!("its entry {name} is compressed or encrypted; torch.save does neither"))
                );
            }
            let offset = file.data_start().ok_or_else(|| source.error(format!("its entry {name} has no place")))?;
            let size = file.size();
            if size != file.compressed_size() || offset.checked_add(size).is_none_or(|end| end > source.len()) {
                return Err(source.error(format!("its entry {name} of {size} bytes does not fit into the file")));
            }
            entries.insert(short.to_owned(), Entry { offset, size });
        }
        Ok(Archive { source, entries })
    }

    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.entries.get(name).ok_or_else(|| self.source.error(format!("its archive has no entry {name}")))
    }

    /// The bytes of an entry, of at most `limit` bytes.
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let entry = self.entry(name)?;
        if entry.size > limit {
            let reason = format!("its entry {name} has {} bytes; the limit is {limit}", entry.size);
            return Err(self.source.error(reason));
        }
        self.source.read(entry.offset, entry.size)
    }

    /// Archives without the entry are older than it, and little-endian.
    fn check_byte_order(&self) -> Result<(), Error> {
        if self.entries.contains_key("byteorder") && self.read("byteorder", 16)? != b"little" {
            return Err(self.source.error("was written on a big-endian machine; only little-endian files are read"));
        }
        Ok(())
    }

    /// Reads a tensor. `budget` is how many bytes the tensors still to come may take: storages may be shared, and a
    /// hostile file could name one many times.
    fn tensor(&self, name: &str, view: &View, budget: &mut u64) -> Result<Tensor, Error> {
        let error = |reason: String| self.source.error(format!("tensor {name} {reason}"));
        let View { storage, key, elements, offset, shape, strides } = view;
        let Some(dtype) = storage.dtype else {
            return Err(error(format!("lies in a {}, whose type is not read", storage.name)));
        };
        if !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(error(format!("lies in storage {key:?}, which is not a plain name")));
        }
        let entry = self.entry(&format!("data/{key}"))?;
        if elements.checked_mul(storage.size).is_none_or(|bytes| bytes > entry.size) {
            return Err(error(format!("claims a storage of {elements} elements; it has {} bytes", entry.size)));
        }
        let outside = || error(format!("of shape {shape:?} and strides {strides:?} leaves its storage of {elements}"));
        // A view that repeats elements (stride 0) would take more memory than the file: none is larger than its storage.
        let count = shape.iter().try_fold(1u64, |n, &axis| n.checked_mul(axis)).filter(|n| n <= elements);
        let count = count.ok_or_else(outside)?;
        let sizes = shape.iter().map(|&n| n as usize).collect();
        if count == 0 {
            return Ok(Tensor::new(sizes, Data::from_le_bytes(dtype, &[])));
        }
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |at, (&n, &step)| at.checked_add((n - 1).checked_mul(step)?))
            .filter(|last| last < elements)
            .ok_or_else(outside)?;
        let span = last - offset + 1;
        self.source.check_size(name, span.max(count) * storage.size)?;
        *budget = budget.checked_sub(span.max(count) * storage.size).ok_or_else(|| {
            error(format!("is one of many that share storages: together they are over {SHARING} times the file"))
        })?;
        let start = entry.offset + offset * storage.size;
        let mut bytes = self.source.read(start, span * storage.size)?;
        if !is_contiguous(shape, strides) {
            bytes = gather(&bytes, storage.size as usize, shape, strides, count as usize);
        }
        Ok(Tensor::new(sizes, Data::from_le_bytes(dtype, &bytes)))
    }
}

/// Whether the elements follow each other in row-major order. The stride of an axis of one element means nothing.
fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected *= n;
        fits
    })
}

/// Copies the `count` elements of a strided view, which were checked to lie within `bytes`, into row-major order.
fn gather(bytes: &[u8], size: usize, shape: &[u64], strides: &[u64], count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(count * size);
    for index in 0..count as u64 {
        let (mut rest, mut at) = (index, 0);
        for (&n, &stride) in shape.iter().zip(strides).rev() {
            at += rest % n * stride;
            rest /= n;
        }
        let at = at as usize * size;
        out.extend_from_slice(&bytes[at..at + size]);
    }
    out
}
