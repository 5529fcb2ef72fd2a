//! From any weights file to a self-describing one, under another library's names or in half the bytes.

use std::path::{Path, PathBuf};

use mobilenet_kernels::Isa;
use mobilenet_net::graph::{Parameter, Role};
use mobilenet_net::{DType, Golden, Graph, Loaded, Origin, Overrides, Params, Recognised, model_file};

use crate::classifier::PreprocessingOverrides;
use crate::error::Error;
use crate::golden::{self, relative_error};
use crate::image::Image;
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
    /// What had to be guessed of the old file.
    pub guesses: Vec<String>,
}

/// Reads the weights at `from` and writes `to`, with checked pairs of the weights as they are stored: on the photos of the
/// old file's pairs, or on patterns.
///
/// # Errors
/// Where `from` cannot be opened, the names are of a library that has no such network, a weight is beyond the range of the
/// type, or `to` cannot be written.
pub fn convert(from: &Path, to: &Path, conversion: &Conversion) -> Result<Converted, Error> {
    let Loaded { recognised, graph, params } = mobilenet_net::load(from, &conversion.network)?;
    let preprocessing =
        conversion.preprocessing.over(recognised.preprocessing).checked().ok_or(Error::Preprocessing)?;
    let mut what = Recognised { preprocessing, ..recognised };
    let guesses = std::mem::take(&mut what.guesses);
    what.labels = match &conversion.labels {
        Some(file) => Some(names(&Labels::of(&what, Some(file))?)),
        None => what.labels.take().or_else(|| Labels::of_library(&what).as_ref().map(names)),
    };
    if let Some(background) = what.labels.as_mut().filter(|names| names.len() + 1 == what.spec.classes) {
        background.insert(0, "background".into());
    }
    what.origin = conversion.names;
    what.about.source = conversion.source.clone().or(what.about.source);
    what.about.licence = conversion.licence.clone().or(what.about.licence);

    let photos = photos(from)?;
    let isa = Isa::from_env()?;
    let stored = stored(&graph, params.clone(), conversion.dtype)?;
    let before = golden::make(&graph, params, &what, &photos, isa)?;
    let after = golden::make(&graph, stored.clone(), &what, &photos, isa)?;
    let error = before.zip(after.as_ref()).map(|(before, after)| {
        let pairs = before.pairs.iter().zip(&after.pairs);
        pairs.map(|(a, b)| relative_error(&b.logits, &a.logits)).fold(0.0, f64::max)
    });
    model_file::save(to, stored, &graph, &what, after)?;
    Ok(Converted { recognised: what, error, guesses })
}

fn names(labels: &Labels) -> Vec<String> {
    labels.iter().map(str::to_owned).collect()
}

/// The photos of the file's own pairs, or patterns.
fn photos(from: &Path) -> Result<Vec<Image>, Error> {
    let Some(Golden { pairs, .. }) = Golden::read(from)? else { return Ok(golden::patterns()) };
    let photo = |pair: mobilenet_net::golden::Pair| Image::from_rgb(pair.size[1], pair.size[0], pair.rgb);
    Ok(pairs.into_iter().map(photo).collect::<Result<_, _>>()?)
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
