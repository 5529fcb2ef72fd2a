//! The `.h5` files of Keras 2: `layer_names` lists the layers' groups, each group's `weight_names` its tensors.

use hdf5_reader::Dataset;
use hdf5_reader::group::Group;

use super::layers::Weight;
use crate::error::Error;
use crate::weights::hdf5::Hdf5;
use crate::weights::source::Source;

/// The group of a whole model's weights; files of weights alone have the layers at their root.
const MODEL_WEIGHTS: &str = "model_weights";

/// The most layers, and the most tensors of one; Keras's V3-Large has 270 layers, and as one layer of a model 300 tensors.
const MAX_NAMES: usize = 1 << 12;

/// The tensors by layer, in the model's order; `None` where the file has another layout.
pub(super) fn weights(source: &Source, file: &Hdf5) -> Result<Option<Vec<Weight<Dataset>>>, Error> {
    let mut root = file.root()?;
    if let Ok(group) = root.group(MODEL_WEIGHTS) {
        root = group;
    }
    let Some(layers) = file.attributes(&root)?.list("layer_names") else { return Ok(None) };
    check_count(source, layers.len(), "layers")?;
    let mut weights = Vec::new();
    for layer in &layers {
        let group = inner(file, &root, layer)?;
        let names = file.attributes(&group)?.list("weight_names").unwrap_or_default();
        check_count(source, names.len(), "tensors in a layer")?;
        let own = names.iter().all(|name| split(name).0 == split(&names[0]).0);
        for name in &names {
            let (scope, parameter) = split(name);
            let place = dataset(file, &group, name)?;
            // A layer of layers lists them all; a plain one may have variables named after an earlier namesake.
            let layer = if own { layer.as_str() } else { scope };
            let shape = file.shape(name, &place)?;
            // Layers may be listed as often as one likes, each with all its tensors.
            check_count(source, weights.len() + 1, "tensors")?;
            weights.push(Weight { layer: layer.to_owned(), parameter: parameter.to_owned(), shape, place });
        }
    }
    Ok(Some(weights))
}

fn check_count(source: &Source, count: usize, of: &str) -> Result<(), Error> {
    if count > MAX_NAMES {
        return Err(source.error(format!("it lists {count} {of}; {MAX_NAMES} are allowed")));
    }
    Ok(())
}

/// Layer and parameter of a variable: `block_1/expand/kernel:0`.
fn split(variable: &str) -> (&str, &str) {
    let variable = variable.strip_suffix(":0").unwrap_or(variable);
    variable.rsplit_once('/').unwrap_or(("", variable))
}

/// The group at a path within `group`.
fn inner(file: &Hdf5, group: &Group, path: &str) -> Result<Group, Error> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    parts.try_fold(group.clone(), |group, part| group.group(part)).map_err(|e| file.damaged(e))
}

fn dataset(file: &Hdf5, group: &Group, path: &str) -> Result<Dataset, Error> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    inner(file, group, folder)?.dataset(name).map_err(|e| file.damaged(e))
}
