//! The `.weights.h5` files of Keras 3, and those within `.keras`: `layers/conv2d_5/vars/0`. Groups are named by the
//! layer's class and how many of its kind came before it; since Keras 3.6 their attribute `name` has the layer's name.

use std::collections::BTreeMap;

use hdf5_reader::Dataset;

use super::layers::{self, Weight};
use super::order;
use crate::error::Error;
use crate::weights::hdf5::{GroupOfTensors, Hdf5};

/// Groups that hold what is no weight of the network.
const ASIDE: &[&str] = &["optimizer", "seed_generator", "metrics", "_metrics", "compile_metrics", "_compile_metrics"];

/// A layer's group, apart into what its path says.
struct Layer {
    /// The groups that it is in, for layers within layers.
    container: Vec<String>,
    class: String,
    number: usize,
    name: Option<String>,
    tensors: Vec<(usize, Dataset)>,
}

/// The tensors by layer: by the layers' names where the file has them all, otherwise by the names that Keras gives the
/// layers of the MobileNet that has as many of each class.
pub(super) fn weights(file: &Hdf5) -> Result<Vec<Weight<Dataset>>, Error> {
    let mut found = Vec::new();
    for GroupOfTensors { mut path, group, datasets } in file.groups_of_tensors()? {
        if path.pop().as_deref() != Some("vars") || path.iter().any(|part| ASIDE.contains(&part.as_str())) {
            continue;
        }
        let Some(group_name) = path.pop() else { continue };
        let (class, number) = split(&group_name);
        let tensors = datasets.into_iter().filter_map(|dataset| Some((dataset.name().parse().ok()?, dataset)));
        let name = file.attributes(&group)?.text("name");
        found.push(Layer { container: path, class: class.to_owned(), number, name, tensors: tensors.collect() });
    }
    let named = found.iter().all(|layer| layer.name.is_some());
    // By number, not by spelling: conv2d_10 comes after conv2d_9.
    found.sort_by(|a, b| (&a.container, &a.class, a.number).cmp(&(&b.container, &b.class, b.number)));
    let mut counts = BTreeMap::new();
    let mut weights = Vec::new();
    for mut layer in found {
        let rank = counts.entry(layer.class.clone()).or_insert(0usize);
        let by_order = order::name(&layer.class, *rank);
        *rank += 1;
        layer.tensors.sort_by_key(|(index, _)| *index);
        let name = layer.name.filter(|_| named).unwrap_or(by_order);
        for (index, place) in layer.tensors {
            let parameter = layers::parameter(&layer.class, index);
            let shape = file.shape(&name, &place)?;
            weights.push(Weight { layer: name.clone(), parameter, shape, place });
        }
    }
    if !named {
        order::rename(&mut weights);
    }
    Ok(weights)
}

/// Class and number of a group: `conv2d_5`.
fn split(group: &str) -> (&str, usize) {
    let parts = group.rsplit_once('_').and_then(|(class, number)| Some((class, number.parse().ok()?)));
    parts.unwrap_or((group, 0))
}
