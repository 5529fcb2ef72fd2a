//! A finished network's scores made honest, and the threshold below which it says that it does not know.

use std::path::Path;
use std::sync::Arc;

use mobilenet_data::{Dataset, Loader};
use mobilenet_net::model_file::Beside;
use mobilenet_net::{Loaded, Params, Tensor, model_file};
use mobilenet_run::program::Options;
use mobilenet_run::{Image, Program, golden};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::assess::{Predictions, predict};
use crate::classes::collect;
use crate::error::Error;
use crate::head::CLASSIFIER;
use crate::trainer::Machine;

/// Photos whose features a file keeps: of V2's 1280 features half a megabyte.
const EXEMPLARS: usize = 256;
/// The key of what is said of it in a file's training record.
const KEY: &str = "calibration";

/// What calibration did, as the file says it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// What all logits were divided by: the classifier has it in its weights.
    pub temperature: f64,
    /// Expected calibration error on the validation photos before.
    pub error_before: f64,
    /// And behind it.
    pub error: f64,
    /// Below this probability of the likeliest class the answer is 'unknown'.
    pub threshold: f64,
    /// Share of the validation photos that it refuses.
    pub refused: f64,
}

/// Divides the classifier of the file at `path` by the temperature at which its probabilities agree best with the photos of
/// `validation` (arXiv 1706.04599, section 4.2), and sets the threshold that refuses a share of `refused` of them. The
/// answers stay what they are. `samples` prove the file anew, and features of some of
/// the photos are kept in it for classes that are added later. A file that says that it was calibrated is left alone; then
/// there is nothing to tell.
///
/// # Errors
/// A file that cannot be read or written; photos of which none can be read.
pub fn calibrate(
    path: &Path,
    validation: &Loader,
    refused: f64,
    samples: &[Image],
    machine: &Machine,
) -> Result<Option<Calibrated>, Error> {
    let Loaded { mut recognised, graph, mut params } = mobilenet_net::load(path, &Default::default())?;
    let record = recognised.about.training.get_or_insert_with(|| json!({}));
    if record.get(KEY).is_some() {
        return Ok(None);
    }
    let compile =
        |params: &Params| Program::compile(&graph, params.clone(), &Options { isa: machine.isa, ..Options::default() });
    let before = predict(&compile(&params)?, validation, recognised.outputs, &machine.pool)?;
    let temperature = before.temperature();
    divide(&mut params, temperature);
    let logits = before.logits().flatten().map(|logit| logit / temperature as f32).collect();
    let after = Predictions::new(before.reading(), before.photos().to_vec(), before.targets().to_vec(), logits);
    // As it is written, and read back.
    let threshold = f64::from(after.threshold(refused) as f32);
    let below = after.sureness().filter(|&sureness| sureness < threshold).count();
    let calibrated = Calibrated {
        temperature,
        error_before: before.calibration(1.0).error,
        error: after.calibration(1.0).error,
        threshold,
        refused: below as f64 / after.len() as f64,
    };
    if let Value::Object(record) = record {
        record.insert(KEY.into(), serde_json::to_value(calibrated).expect("numbers are JSON"));
    }
    recognised.about.threshold = Some(threshold as f32);
    let golden = golden::make(&graph, params.clone(), &recognised, samples, machine.isa)?;
    // Photos that were not learned from are not surer than others will be.
    let exemplary = Arc::new(validation.dataset().only(&exemplary(validation.dataset())));
    let (exemplars, _) = collect(&graph, &params, &recognised, &exemplary, machine)?;
    let beside = Beside { golden, exemplars: Some(exemplars) };
    model_file::save(path, params, &graph, &recognised, beside)?;
    Ok(Some(calibrated))
}

/// Photos whose features a file keeps: a few of each class, from different places among them.
fn exemplary(photos: &Dataset) -> Vec<usize> {
    let classes = photos.classes().len();
    let most = (EXEMPLARS / classes).max(1);
    let mut by_class = vec![Vec::new(); classes];
    for (place, item) in photos.items().iter().enumerate() {
        if let Some(&label) = item.target.labels().first() {
            by_class[label as usize].push(place);
        }
    }
    let spread = |places: Vec<usize>| {
        let n = places.len().min(most);
        (0..n).map(move |i| places[i * places.len() / n])
    };
    by_class.into_iter().flat_map(spread).collect()
}

/// Divides the logits by `temperature`.
fn divide(params: &mut Params, temperature: f64) {
    for (name, tensor) in &mut params.tensors {
        if name.split('.').next() == Some(CLASSIFIER) {
            let shape = tensor.shape().to_vec();
            let values = tensor.clone().into_f32().into_iter().map(|w| (f64::from(w) / temperature) as f32).collect();
            *tensor = Tensor::from_f32(&shape, values);
        }
    }
}
