//! Keras's files. Their tensors get the names that safetensors and TensorFlow.js files of Keras models have too:
//! `layer/parameter`, as in `conv1/kernel`.
//!
//! - `.h5` of Keras 2, and of Keras 3 where asked: a group a layer, in it tensors by their variables' names (`legacy`).
//! - `.weights.h5`: a group a layer, named by class and number, in it tensors by number (`vars`).
//! - `.keras`: a zip archive of `config.json`, `metadata.json` and the former (`archive`).
//!
//! Sources: keras@3.15.1 saving/saving_lib.py and legacy/saving/legacy_h5_format.py; tf_keras@2.21.0
//! saving/saving_lib.py and saving/legacy/hdf5_format.py.

mod archive;
mod arithmetic;
mod config;
mod layers;
mod legacy;
mod order;
mod vars;

use std::collections::BTreeMap;

use super::hdf5::{self, Hdf5};
use super::source::Source;
use super::{Format, Wanted};
use crate::error::Error;
use crate::tensor::{Params, Tensor};

pub(super) use config::Config;
pub(crate) use config::{Input, LIMITS, WINDOWS};
pub(super) use layers::Weight;

/// Keras's HDF5 files.
pub(super) const H5: Format = Format { name: "Keras (.h5)", is: is_h5, read: read_h5 };

/// Keras's zip archives.
pub(super) const ARCHIVE: Format = Format { name: "Keras (.keras)", is: archive::is, read: archive::read };

fn is_h5(head: &[u8]) -> bool {
    head.starts_with(hdf5::SIGNATURE)
}

fn read_h5(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    let file = Hdf5::in_file(source, 0, source.len())?;
    let config = file.attributes(&file.root()?)?.text("model_config");
    let config = config.map(|json| Config::read(json.as_bytes())).transpose().map_err(|reason| source.error(reason))?;
    params_of(source, &file, config.unwrap_or_default(), wanted)
}

/// The tensors of an HDF5 file in either of Keras's layouts.
fn params_of(source: &Source, file: &Hdf5, config: Config, wanted: Wanted) -> Result<Params, Error> {
    let weights = match legacy::weights(source, file)? {
        Some(weights) => weights,
        None => vars::weights(file)?,
    };
    if weights.is_empty() {
        return Err(source.error("is an HDF5 file without Keras's layers"));
    }
    finish(source, weights, config, wanted, |weight| file.tensor(&weight.name(), &weight.place))
}

/// Reads the wanted tensors of a Keras model, however its file keeps them.
pub(super) fn finish<P>(
    source: &Source,
    weights: Vec<Weight<P>>,
    mut config: Config,
    wanted: Wanted,
    read: impl Fn(&Weight<P>) -> Result<Tensor, Error>,
) -> Result<Params, Error> {
    if layers::are_of_keras_2_v3(&weights) {
        config.rename(layers::keras_3_name);
    }
    let mut tensors = BTreeMap::new();
    for weight in layers::official(weights) {
        let name = weight.name();
        if !wanted(&name) {
            continue;
        }
        let tensor = read(&weight)?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(source.error(format!("it holds tensor {name} twice")));
        }
    }
    Ok(Params { tensors, metadata: config.metadata() })
}
