//! From any weights file to a self-describing one, under another library's names or in half the bytes.

use std::path::{Path, PathBuf};

use mobilenet_kernels::Isa;
use mobilenet_net::arch::{Family, Spec};
use mobilenet_net::exemplars::Exemplars;
use mobilenet_net::graph::{Node, Parameter, Role};
use mobilenet_net::model_file::Beside;
use mobilenet_net::{DType, Golden, Graph, Loaded, Origin, Overrides, Padding, Params, Recognised, model_file};

use crate::classifier::{ClassifierOptions, PreprocessingOverrides};
use crate::differences;
use crate::error::Error;
use crate::golden::{self, Verdict, relative_error};
use crate::labels::Labels;

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// Whose names the tensors get.
    pub names: Origin,
    /// How the weights of layers are stored: [`DType::F32`], [`DType::F16`] or [`DType::Bf16`]. Biases and batch norms stay
    /// in `f32`: they are few, and variances may exceed half precision's range.
    pub dtype: DType,
    /// What the user knows better than the file.
    pub network: Overrides,
    /// The same of the way from photo to tensor.
    pub preprocessing: PreprocessingOverrides,
    /// A file with one class name a line, in place of the file's names.
    pub labels: Option<PathBuf>,
    /// Where the weights are from, in place of the file's word.
    pub source: Option<String>,
    /// Under which terms they may be used, in place of the file's word.
    pub licence: Option<String>,
    /// The probability of the likeliest class below which the answer is that the network does not know, in place of the
    /// file's.
    pub threshold: Option<f32>,
    /// Whether the features of photos are left out, by which strange photos, and classes that are added, are told.
    pub without_exemplars: bool,
    /// Whether a file is taken whose own pairs do not hold.
    pub despite_pairs: bool,
}

impl Default for Conversion {
    /// Our names, every bit kept.
    fn default() -> Conversion {
        Conversion {
            names: Origin::Ours,
            dtype: DType::F32,
            network: Overrides::default(),
            preprocessing: PreprocessingOverrides::default(),
            labels: None,
            source: None,
            licence: None,
            threshold: None,
            without_exemplars: false,
            despite_pairs: false,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Converted {
    /// What the new file says.
    pub recognised: Recognised,
    /// The largest difference between the logits of the new weights and of the old ones, relative to the largest of them,
    /// over the file's pairs; 0 where no bit was lost, none without pairs: they need a classifier of photos.
    pub error: Option<f64>,
    /// What the new file says otherwise than the old one, so that their answers differ.
    pub changes: Vec<String>,
    /// What had to be guessed of the old file.
    pub guesses: Vec<String>,
    /// What a library would do otherwise with the new file.
    pub warnings: Vec<String>,
}

/// Reads the weights at `from` and writes `to`, with checked pairs of the weights as they are stored: on the photos of the
/// old file's pairs, or on patterns.
///
/// # Errors
/// Where `from` cannot be opened, or is not what its own pairs prove; the names are of a library that has no such network,
/// a weight is beyond the range of the type, or `to` cannot be written.
pub fn convert(from: &Path, to: &Path, conversion: &Conversion) -> Result<Converted, Error> {
    if matches!(conversion.names, Origin::Keras | Origin::TensorFlowLite) {
        let text = format!("weights are not written under {}'s names", conversion.names);
        return Err(mobilenet_net::Error::Config(text).into());
    }
    let pairs = Golden::read(from)?;
    if let Some(pairs) = pairs.as_ref().filter(|_| !conversion.despite_pairs) {
        let Verdict { faults, .. } = golden::check_photos(from, pairs, &ClassifierOptions::default())?;
        if !faults.is_empty() {
            return Err(Error::Pairs { path: from.to_owned(), faults: faults.join("; ") });
        }
    }
    let Loaded { recognised, graph, params } = mobilenet_net::load(from, &conversion.network)?;
    let preprocessing =
        conversion.preprocessing.over(recognised.preprocessing).checked().ok_or(Error::Preprocessing)?;
    // It may be that the file cannot be opened without what the user knows.
    let own = match conversion.network == Overrides::default() {
        true => Some(recognised.clone()),
        false => mobilenet_net::load(from, &Overrides::default()).ok().map(|own| own.recognised),
    };
    let mut what = Recognised { preprocessing, ..recognised };
    let changes = own.map_or_else(Vec::new, |own| differences::between(&own, &what));
    let changes = changes.iter().map(ToString::to_string).collect();
    let mut guesses = std::mem::take(&mut what.guesses);
    guesses.extend(Labels::guess(&what).filter(|_| conversion.labels.is_none()));
    if what.spec.classes > 0 {
        what.labels = Labels::of_outputs(&what, conversion.labels.as_deref())?;
    }
    let warnings = departs(conversion.names, &what).into_iter().collect();
    what.origin = conversion.names;
    what.about.source = conversion.source.clone().or(what.about.source);
    what.about.threshold = conversion.threshold.or(what.about.threshold);
    what.about.licence = conversion.licence.clone().or(what.about.licence);

    let photos = golden::photos(pairs)?;
    let isa = Isa::from_env()?;
    let stored = stored(&graph, params.clone(), conversion.dtype)?;
    let before = golden::make(&graph, params, &what, &photos, isa)?;
    let after = golden::make(&graph, stored.clone(), &what, &photos, isa)?;
    let error = before.zip(after.as_ref()).map(|(before, after)| {
        let pairs = before.pairs.iter().zip(&after.pairs);
        pairs.map(|(a, b)| relative_error(&b.logits, &a.logits)).fold(0.0, f64::max)
    });
    let exemplars = if conversion.without_exemplars { None } else { exemplars(from, &graph)? };
    what.about.familiarity = what.about.familiarity.filter(|_| exemplars.is_some());
    model_file::save(to, stored, &graph, &what, Beside { golden: after, exemplars })?;
    Ok(Converted { recognised: what, error, changes, guesses, warnings })
}

/// The features of photos in the file at `from`.
fn exemplars(from: &Path, graph: &Graph) -> Result<Option<Exemplars>, Error> {
    let Some(classifier) = graph.find("logits") else { return Ok(None) };
    let Node { channels, inputs, .. } = &graph[classifier];
    Ok(Exemplars::read(from, *channels, graph[inputs[0]].channels)?)
}

/// What a library's own network would do otherwise with weights under its names, and no file can tell it.
fn departs(names: Origin, what: &Recognised) -> Option<String> {
    let Spec { padding, bn_epsilon, .. } = what.spec;
    let (network, is_same) = match (names, what.table.family) {
        (Origin::Torchvision, Family::V3) => ("torchvision's", padding == Padding::Symmetric && bn_epsilon == 1e-3),
        (Origin::Torchvision, _) => ("torchvision's", padding == Padding::Symmetric && bn_epsilon == 1e-5),
        (Origin::Timm, _) => {
            let is_tf = padding == Padding::Same && bn_epsilon == 1e-3;
            ("timm's", is_tf || padding == Padding::Symmetric && bn_epsilon == 1e-5)
        }
        _ => return None,
    };
    let text = format!(
        "{network} networks pad or normalise otherwise than this one (padding {padding}, epsilon {bn_epsilon}): they would \
         compute something else with the new file"
    );
    (!is_same).then_some(text)
}

/// The parameters as they are to be stored.
fn stored(graph: &Graph, mut params: Params, dtype: DType) -> Result<Params, Error> {
    for Parameter { name, role, .. } in graph.parameters() {
        let Some(tensor) = params.tensors.remove(&name) else { continue };
        let dtype = if role == Role::Weight { dtype } else { DType::F32 };
        let tensor = tensor.into_float(dtype).ok_or_else(|| {
            let text = format!("a weight of {name} is beyond the range of half precision; bf16 has the range of f32");
            mobilenet_net::Error::Config(text)
        })?;
        params.tensors.insert(name, tensor);
    }
    Ok(params)
}
