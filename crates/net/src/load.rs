//! From a file to the parameters of a graph, every one of them checked.

use std::collections::BTreeMap;
use std::path::Path;

use crate::card;
use crate::error::Error;
use crate::graph::Graph;
use crate::layout;
use crate::names::Names;
use crate::recognise::{Overrides, Recognised, recognise};
use crate::tensor::{DType, Data, Params, Tensor};
use crate::weights;

/// A weights file, understood.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file was found to be.
    pub recognised: Recognised,
    /// Its network.
    pub graph: Graph,
    /// The network's parameters under the graph's names.
    pub params: Params,
}

impl Loaded {
    /// Refuses the network of `path` where it has no classifier, for whoever needs its answers.
    ///
    /// # Errors
    /// [`Error::Format`] that says what the network gives instead.
    pub fn expect_classifier(&self, path: &Path) -> Result<(), Error> {
        match self.graph.find("logits") {
            Some(_) => Ok(()),
            None => Err(Error::format(path, format!("{}; use `embed`", self.graph.no_classifier()))),
        }
    }
}

/// Opens a weights file, recognises its network and checks every parameter. A [`Card`](crate::Card) beside the file says
/// what its metadata does not.
///
/// To change the network before (dilation, strides for small photos), go step by step: [`weights::open`],
/// [`recognise`], [`Table::graph`](crate::arch::Table::graph), [`check`].
///
/// # Errors
/// As these steps.
///
/// # Examples
/// ```no_run
/// let loaded = mobilenet_net::load("mobilenet_v2.pth", &Default::default())?;
/// println!("{} at width {}", loaded.recognised.table.name, loaded.recognised.spec.width);
/// # Ok::<(), mobilenet_net::Error>(())
/// ```
pub fn load(path: impl AsRef<Path>, overrides: &Overrides) -> Result<Loaded, Error> {
    let path = path.as_ref();
    let mut params = weights::open(path)?;
    let unused = card::complete(path, &mut params.metadata)?;
    let mut recognised = recognise(path, &params, overrides)?;
    recognised.guesses.extend(unused);
    let graph = recognised.table.graph(&recognised.spec)?;
    let params = check(path, params, &recognised, &graph)?;
    Ok(Loaded { recognised, graph, params })
}

/// The parameters of `graph` under its own names, in its shapes and its order of axes: two shapes that differ only by ones
/// at the end are the same, as libraries have fully connected layers with and without a 1×1 window. Values are finite.
///
/// # Errors
/// [`Error::Tensors`] with the first missing, extra and misshapen tensors by the file's names, and how many there are.
pub fn check(path: &Path, params: Params, recognised: &Recognised, graph: &Graph) -> Result<Params, Error> {
    let names = Names::new(recognised.origin, &recognised.table, graph)?;
    let network = format!("{} (width {:?})", recognised.table.name, recognised.spec.width);
    let file = path.display();
    let Params { mut tensors, metadata } = params;
    let mut checked = BTreeMap::new();
    let (mut missing, mut other) = (Vec::<String>::new(), Vec::new());
    for parameter in graph.parameters() {
        let theirs = names.get(&parameter.name).expect("every parameter of the graph has a name");
        let (origin, op) = (recognised.origin, &graph[parameter.node].op);
        let needs = layout::theirs(origin, op, &parameter.shape);
        match tensors.remove(theirs) {
            None => missing.push(format!("{file}: tensor {theirs} of shape {needs:?} is missing; {network} needs it")),
            Some(tensor) if !same_shape(&layout::shape(origin, op, tensor.shape()), &parameter.shape) => {
                let has = tensor.shape();
                other.push(format!("{file}: tensor {theirs} has shape {has:?}; {network} needs {needs:?}"));
            }
            Some(tensor) if !is_float(&tensor) => {
                other.push(format!("{file}: tensor {theirs} holds integers; {network} needs floats"));
            }
            Some(tensor) if !is_finite(&tensor) => {
                other.push(format!("{file}: tensor {theirs} holds values that are no finite numbers"));
            }
            Some(tensor) => {
                let tensor = layout::arranged(origin, op, tensor).reshaped(&parameter.shape);
                checked.insert(parameter.name, tensor);
            }
        }
    }
    let extra = |(name, extra): (&String, &Tensor)| {
        format!("{file}: tensor {name} of shape {:?} is no part of {network}", extra.shape())
    };
    let mut wrong = Vec::new();
    for (lines, what) in
        [(other, "do not fit"), (missing, "are missing"), (tensors.iter().map(extra).collect(), "are no part of it")]
    {
        let more = lines.len().saturating_sub(NAMED);
        wrong.extend(lines.into_iter().take(NAMED));
        if more > 0 {
            wrong.push(format!("{file}: {more} more tensors {what}"));
        }
    }
    if wrong.is_empty() { Ok(Params { tensors: checked, metadata }) } else { Err(Error::Tensors(wrong)) }
}

/// Tensors of a kind that are named; a file of another network has hundreds.
const NAMED: usize = 8;

/// Whether two shapes are equal up to ones at the end.
pub(crate) fn same_shape(a: &[usize], b: &[usize]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short).is_some_and(|rest| rest.iter().all(|&n| n == 1))
}

/// Whether all elements are numbers: what training that diverged leaves would spread through the network, or be hidden by
/// a limit behind it.
fn is_finite(tensor: &Tensor) -> bool {
    match tensor.data() {
        Data::F32(values) => values.iter().all(|value| value.is_finite()),
        Data::F16(values) => values.iter().all(|value| value.is_finite()),
        Data::Bf16(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    }
}

fn is_float(tensor: &Tensor) -> bool {
    matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::Bf16)
}

#[cfg(test)]
mod tests {
    use super::same_shape;

    #[test]
    fn ones_at_the_end_do_not_matter() {
        assert!(same_shape(&[8, 16, 1, 1], &[8, 16]));
        assert!(same_shape(&[8, 16], &[8, 16, 1, 1]));
        assert!(same_shape(&[], &[1]));
        assert!(!same_shape(&[1, 8], &[8]));
        assert!(!same_shape(&[8, 1, 3, 3], &[8]));
    }
}
