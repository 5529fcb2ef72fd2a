//! A state dict in what a pickle built, and its tensors in the file's storages: the same in all of PyTorch's formats.

use std::collections::BTreeMap;

use super::Wanted;
use super::pickle::{Id, Pickle, Value, View};
use super::source::Source;
use crate::error::Error;
use crate::strided;
use crate::tensor::{Data, Params, Tensor};

/// How often, on average, the tensors of a file may use the same bytes.
const SHARING: u64 = 4;

/// Keys under which training scripts keep the state dict, best first: averaged weights are the ones that a recipe's
/// accuracy is given for.
const WRAPPERS: &[&str] = &["model_ema", "state_dict_ema", "ema", "state_dict", "model"];

/// What `DataParallel` and its descendants put before every name.
const PREFIX: &str = "module.";

/// Where a storage's bytes lie in the file.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Reads the wanted tensors. `storage` says where the storage of a key lies.
///
/// # Errors
/// Where there is no state dict, or a tensor leaves its storage.
pub(super) fn read(
    source: &Source,
    pickle: &Pickle,
    wanted: Wanted,
    storage: impl Fn(&str) -> Result<Place, Error>,
) -> Result<Params, Error> {
    let mut tensors = BTreeMap::new();
    let mut budget = source.len().saturating_mul(SHARING);
    for (name, view) in state_dict(pickle).ok_or_else(|| source.error(no_state_dict(pickle)))? {
        let short = strip(name);
        if !wanted(short) {
            continue;
        }
        let tensor = tensor(source, name, view, &storage, &mut budget)?;
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

/// Reads a tensor. `budget` is how many bytes the tensors still to come may take: storages may be shared, and a hostile
/// file could name one many times.
fn tensor(
    source: &Source,
    name: &str,
    view: &View,
    storage_of: &impl Fn(&str) -> Result<Place, Error>,
    budget: &mut u64,
) -> Result<Tensor, Error> {
    let error = |reason: String| source.error(format!("tensor {name} {reason}"));
    let View { storage, key, elements, offset, shape, strides } = view;
    let Some(dtype) = storage.dtype else {
        return Err(error(format!("lies in a {}, whose type is not read", storage.name)));
    };
    if !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(error(format!("lies in storage {key:?}, which is not a plain name")));
    }
    let place = storage_of(key)?;
    if elements.checked_mul(storage.size).is_none_or(|bytes| bytes > place.size) {
        return Err(error(format!("claims a storage of {elements} elements; it has {} bytes", place.size)));
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
    source.check_size(name, span.max(count) * storage.size)?;
    *budget = budget.checked_sub(span.max(count) * storage.size).ok_or_else(|| {
        error(format!("is one of many that share storages: together they are over {SHARING} times the file"))
    })?;
    let start = place.offset + offset * storage.size;
    let bytes = source.read(start, span * storage.size)?;
    Ok(Tensor::new(sizes, strided::elements(dtype, &bytes, shape, strides)))
}
