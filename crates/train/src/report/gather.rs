//! From a run's folder, its photos and its predictions to a report.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use mobilenet_data::{Dataset, Loader, LoaderOptions};
use mobilenet_kernels::Pool;
use mobilenet_net::Graph;
use mobilenet_net::count::Summary;
use mobilenet_net::recognise::About;
use mobilenet_run::Program;
use mobilenet_run::measure::{latencies_ms, median};

use super::card::{Card, Latency};
use super::{Assessment, Report, pictures};
use crate::assess::Predictions;
use crate::error::Error;
use crate::log::history::History;
use crate::recipe::Recipe;
use crate::trainer::{MODEL, Machine, Plan};

/// Mistakes that are shown.
const MISTAKES: usize = 24;
/// For each latency.
const SECONDS: f64 = 0.2;

/// What a report is made of.
pub struct Sources<'a> {
    /// The run's folder, with the log and the network's file.
    pub folder: &'a Path,
    /// Every setting.
    pub recipe: &'a Recipe,
    /// What the run was about to do.
    pub plan: &'a Plan,
    /// The network of the file.
    pub graph: &'a Graph,
    /// What the file says of itself.
    pub about: &'a About,
    /// The file's network, compiled for its logits.
    pub program: &'a Program,
    /// The photos to learn from.
    pub training: &'a Arc<Dataset>,
    /// The photos to check with, where there are any, and what the program answers.
    pub validation: Option<(&'a Dataset, &'a Predictions)>,
    /// What it answers for photos of classes that it does not know, where there are any.
    pub unknown: Option<&'a Predictions>,
    /// Where latencies are measured.
    pub machine: &'a Machine,
}

impl Report {
    /// Reads the log, measures latencies for less than a second, and makes the pictures.
    ///
    /// # Errors
    /// A log or a network's file that cannot be read; photos to learn from of which none can be read any more.
    pub fn gather(sources: &Sources) -> Result<Report, Error> {
        let Sources { folder, training, validation, unknown, about, .. } = *sources;
        let history = History::read(folder)?;
        let assess = |(photos, predictions): (&Dataset, _)| {
            Assessment::new(predictions, unknown, photos.classes().to_vec(), about)
        };
        let mistakes = match validation {
            Some((photos, predictions)) => pictures::mistakes(predictions, photos, MISTAKES)?,
            None => Vec::new(),
        };
        Ok(Report {
            name: name(folder),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string()[..10].to_owned(),
            card: card(sources, &history)?,
            history,
            assessment: validation.map(assess),
            mistakes,
            first_batch: Some(first_batch(sources.recipe, training)?),
        })
    }
}

/// What people call the run: its folder's own name, even where it is `.`.
fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

fn card(sources: &Sources, history: &History) -> Result<Card, Error> {
    let Sources { folder, recipe, plan, graph, about, program, training, validation, machine, .. } = *sources;
    let path = folder.join(MODEL);
    let side = recipe.resolution;
    let alone = Pool::new(1);
    let mut latencies = vec![latency(program, side, &Arc::new(alone))?];
    if machine.pool.threads() > 1 {
        latencies.push(latency(program, side, &machine.pool)?);
    }
    Ok(Card {
        model: plan.model.clone(),
        width: plan.width,
        total_stride: plan.total_stride,
        resolution: side,
        parameters: plan.parameters,
        multiply_adds: Summary::new(graph, side, side)?.multiply_adds,
        file_bytes: std::fs::metadata(&path).map_err(mobilenet_net::Error::io(&path))?.len(),
        latencies,
        isa: machine.isa.name().to_owned(),
        photos_in: training.path().display().to_string(),
        photos: training.len(),
        validation: validation.map(|(photos, _)| (photos.path().display().to_string(), photos.len())),
        classes: training.classes().len(),
        origin: history.origin.clone().unwrap_or_else(|| plan.weights.clone()),
        teacher: plan.teacher.clone(),
        epochs: history.epochs.last().map_or(0.0, |epoch| epoch.epoch),
        seconds: history.seconds,
        licence: about.licence.clone(),
        recipe: recipe.to_toml(),
    })
}

fn latency(program: &Program, side: usize, pool: &Arc<Pool>) -> Result<Latency, Error> {
    let mut arena = program.arena(1, side, side, pool)?;
    Ok(Latency { threads: pool.threads(), milliseconds: median(&latencies_ms(program, &mut arena, SECONDS)) })
}

/// Made anew: it follows from the recipe's seed.
fn first_batch(recipe: &Recipe, photos: &Arc<Dataset>) -> Result<pictures::Picture, Error> {
    let options = LoaderOptions { workers: 0, cache_bytes: 0, ..recipe.training_photos(0, 1) };
    let loader = Loader::new(photos.clone(), options);
    let batch = loader.epoch(0, 0).next().expect("an epoch has a batch or an error")?;
    pictures::sheet(&batch, &options.preprocessing, photos.classes())
}
