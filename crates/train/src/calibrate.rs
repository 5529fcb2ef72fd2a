//! A finished network's scores made honest, and the threshold below which it says that it does not know.

use std::path::Path;
use std::sync::Arc;

use mobilenet_data::{Dataset, Loader};
use mobilenet_net::exemplars::Exemplars;
use mobilenet_net::model_file::Beside;
use mobilenet_net::{Graph, Loaded, Params, Recognised, Tensor, model_file};
use mobilenet_run::familiar::Familiar;
use mobilenet_run::program::Options;
use mobilenet_run::{Image, Program, golden};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::assess::{Predictions, Reading, least_but, predict};
use crate::classes::collect;
use crate::error::Error;
use crate::head::is_classifier;
use crate::trainer::Machine;

/// Photos of validation, and of training, whose features a file keeps: V2's 1280 features of both take 2 MB. Of training
/// photos, more find more of what is strange.
const EXEMPLARS: [usize; 2] = [256, 512];
/// Share of the refused photos that the probability refuses. Of photos of other things, dissimilarity finds far more.
const BY_PROBABILITY: f64 = 0.25;
/// Validation photos that tell a threshold: with fewer, a share of some hundredths is no photo at all.
pub const LEAST: usize = 30;
/// The key of what is said of it in a file's training record.
const KEY: &str = "calibration";

/// What calibration did, as the file says it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// What all logits were divided by: the classifier has it in its weights.
    pub temperature: f64,
    /// Expected calibration error on the validation photos before.
    pub error_before: f64,
    /// The same after it.
    pub error: f64,
    /// Below this probability of the likeliest class the answer is 'unknown'.
    pub threshold: f64,
    /// And below this similarity to the nearest of the photos whose features the file keeps.
    pub familiarity: f64,
    /// Share of the validation photos that the one refuses, and the other; few are both.
    pub refused: [f64; 2],
}

/// What a network is calibrated with.
pub struct Photos<'a> {
    /// What it has learned from.
    pub train: &'a Dataset,
    /// What decides.
    pub validation: &'a Loader,
    /// How these are read.
    pub reading: Reading,
}

/// Divides the classifier of the file at `path` by the temperature at which its probabilities agree best with the
/// validation photos (arXiv 1706.04599, section 4.2), and sets the thresholds of probability and similarity that together
/// refuse about a share of `refused` of them. The answers stay what they are. `samples` prove the file anew. Features of
/// some photos are kept in it: what is strange is told by them, and classes that are added later.
///
/// Fewer than [`LEAST`] validation photos tell no temperature and no threshold: then, and where the file says that it was
/// calibrated, there is nothing to tell.
///
/// # Errors
/// A file that cannot be read or written; photos of which none can be read.
pub fn calibrate(
    path: &Path,
    photos: &Photos,
    refused: f64,
    samples: &[Image],
    machine: &Machine,
) -> Result<Option<Calibrated>, Error> {
    let Loaded { mut recognised, graph, mut params } = mobilenet_net::load(path, &Default::default())?;
    if recognised.about.training.as_ref().is_some_and(|record| record.get(KEY).is_some()) {
        return Ok(None);
    }
    let compiled_for = Options { isa: machine.isa, ..Options::default() };
    let program = Program::compile(&graph, params.clone(), &compiled_for)?;
    let before = predict(&program, photos.validation, photos.reading, &machine.pool)?;
    let is_enough = before.len() >= LEAST;
    let temperature = if is_enough { before.temperature() } else { 1.0 };
    divide(&mut params, temperature);
    let (exemplars, of_validation) = exemplars(&graph, &params, &recognised, photos, machine)?;
    let calibrated = is_enough.then(|| {
        let similarities = similarities(&exemplars, of_validation);
        let after = divided(&before, temperature);
        // As they are written, and read back.
        let threshold = after.threshold(refused * BY_PROBABILITY) as f32;
        let of_all = similarities.iter().copied().map(f64::from);
        let familiarity = least_but(of_all, refused * (1.0 - BY_PROBABILITY)).map_or(-1.0, |least| least as f32);
        let strange = similarities.iter().filter(|similarity| **similarity < familiarity).count();
        let unsure = after.sureness().filter(|&sureness| sureness < f64::from(threshold)).count();
        recognised.about.threshold = Some(threshold);
        recognised.about.familiarity = Some(familiarity);
        Calibrated {
            temperature,
            error_before: before.calibration(1.0).error,
            error: after.calibration(1.0).error,
            threshold: threshold.into(),
            familiarity: familiarity.into(),
            refused: [unsure as f64 / after.len() as f64, strange as f64 / similarities.len().max(1) as f64],
        }
    });
    if let (Some(calibrated), Value::Object(record)) =
        (calibrated, recognised.about.training.get_or_insert_with(|| json!({})))
    {
        record.insert(KEY.into(), serde_json::to_value(calibrated).expect("numbers are JSON"));
    }
    let golden = golden::make(&graph, params.clone(), &recognised, samples, machine.isa)?;
    let beside = Beside { golden, exemplars: Some(exemplars).filter(|exemplars| !exemplars.classes.is_empty()) };
    model_file::save(path, params, &graph, &recognised, beside)?;
    Ok(calibrated)
}

/// The same answers with logits divided by `temperature`.
fn divided(predictions: &Predictions, temperature: f64) -> Predictions {
    let logits = predictions.logits().flatten().map(|logit| logit / temperature as f32).collect();
    let (photos, targets) = (predictions.photos().to_vec(), predictions.targets().to_vec());
    Predictions::new(predictions.reading(), photos, targets, logits)
}

/// Features of photos of the two sets, the validation photos' first, and how many these are.
fn exemplars(
    graph: &Graph,
    params: &Params,
    recognised: &Recognised,
    photos: &Photos,
    machine: &Machine,
) -> Result<(Exemplars, usize), Error> {
    let of = |set: &Dataset, n| {
        collect(graph, params, recognised, &Arc::new(set.only(&exemplary(set, n))), machine, &mut |_, _| ())
    };
    let mut exemplars = of(photos.validation.dataset(), EXEMPLARS[0])?;
    let of_validation = exemplars.classes.len();
    of(photos.train, EXEMPLARS[1])?.iter().for_each(|(row, class)| exemplars.push(row, class));
    Ok((exemplars, of_validation))
}

/// How similar each of the first `photos` exemplars is to the nearest other one.
fn similarities(exemplars: &Exemplars, photos: usize) -> Vec<f32> {
    let familiar = Familiar::of(exemplars.len, exemplars.rows.clone());
    (0..photos).map(|photo| familiar.similarity_of(photo)).collect()
}

/// About `n` of the photos, at least one of each class: those whose features a file keeps. From different places among them.
pub(crate) fn exemplary(photos: &Dataset, n: usize) -> Vec<usize> {
    let classes = photos.classes().len();
    let most = (n / classes).max(1);
    let mut by_class = vec![Vec::new(); classes];
    for (place, item) in photos.items().iter().enumerate() {
        if let Some(&label) = item.target.labels().first() {
            by_class[label as usize].push(place);
        }
    }
    by_class.iter().flat_map(|places| spread(places.len(), most).map(|i| places[i])).collect()
}

/// At most `most` places among `n`, from everywhere among them.
pub(crate) fn spread(n: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = n.min(most);
    (0..taken).map(move |i| i * n / taken)
}

/// Divides the logits by `temperature`.
fn divide(params: &mut Params, temperature: f64) {
    for (name, tensor) in &mut params.tensors {
        if is_classifier(name) {
            let shape = tensor.shape().to_vec();
            let values = tensor.clone().into_f32().into_iter().map(|w| (f64::from(w) / temperature) as f32).collect();
            *tensor = Tensor::from_f32(&shape, values);
        }
    }
}
