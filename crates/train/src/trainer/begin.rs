//! What a run begins with, and what it is about to do.

use std::fmt;
use std::path::{Path, PathBuf};

use mobilenet_net::arch::{Spec, Table};
use mobilenet_net::graph::Parameter;
use mobilenet_net::{Graph, Params};
use mobilenet_run::MemoryUse;
use serde::{Serialize, Serializer};

use super::Trainer;
use crate::checkpoint::{Checkpoint, Found};
use crate::memory;
use crate::recipe::Recipe;

/// Weights to begin with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The file that they are from.
    pub path: PathBuf,
    /// The parameters of their network: whose padding and epsilon they were trained with.
    pub spec: Spec,
    /// The weights by the graph's names.
    pub params: Params,
    /// A checkpoint's network and the name that its recipe had for it, which may be a file that is not there any more.
    pub kept: Option<(String, Table)>,
}

impl Start {
    /// A checkpoint's weights, for a trainer that is to [resume](Trainer::resume) from it.
    pub fn checkpoint(found: Found) -> Start {
        let Found { checkpoint: Checkpoint { network, weights, recipe, .. }, path, .. } = found;
        let params = Params { tensors: weights, ..Params::default() };
        let kept = Recipe::from_toml(&recipe).ok().map(|recipe| (recipe.model, network.table));
        Start { path, spec: network.spec, params, kept }
    }

    /// Puts the tensors that have a name and shape of `params` into it, and tells of both kinds.
    pub(super) fn take_over(mut self, params: &mut Params, graph: &Graph) -> Origin {
        let mut fresh = Vec::new();
        let parameters = graph.parameters();
        for Parameter { name, shape, .. } in &parameters {
            match self.params.tensors.remove(name).filter(|t| t.shape() == shape) {
                Some(tensor) => _ = params.tensors.insert(name.clone(), tensor),
                None => fresh.push(name.clone()),
            }
        }
        let taken = parameters.len() - fresh.len();
        Origin::File { file: text(&self.path), taken, fresh, classes: self.spec.classes }
    }
}

/// Where a run's weights come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Origin {
    /// Random numbers.
    Fresh,
    /// Another network's file.
    File {
        /// Its path.
        file: String,
        /// Tensors that were taken from it.
        taken: usize,
        /// Tensors that it lacks, or has in another shape: they are random numbers.
        fresh: Vec<String>,
        /// The file's classes.
        classes: usize,
    },
    /// The run's own checkpoint.
    Checkpoint {
        /// Its path.
        file: String,
        /// Epochs that lie behind it.
        epoch: f64,
    },
}

/// What a run is about to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The network's name.
    pub model: String,
    /// Its width multiplier.
    pub width: f64,
    /// Its strides together.
    pub total_stride: usize,
    /// Numbers that are learned.
    pub parameters: u64,
    /// Photos to learn from.
    pub photos: usize,
    /// Photos to check with.
    pub validation_photos: usize,
    /// Classes of both.
    pub classes: usize,
    /// Their names.
    pub class_names: Vec<String>,
    /// Height and width of the photos.
    pub resolution: usize,
    /// Photos that are worked on together.
    pub batch: usize,
    /// Times that every photo is seen.
    pub epochs: f64,
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
    /// Threads that compute.
    pub threads: usize,
    /// What is kept of the forward pass.
    #[serde(serialize_with = "name")]
    pub memory: MemoryUse,
    /// Bytes of a step's tensors.
    pub memory_bytes: usize,
    /// The weights of the network that is learned from as well.
    pub teacher: Option<String>,
    /// The run's folder.
    pub folder: String,
    /// Where the weights come from.
    pub weights: Origin,
}

impl Trainer {
    /// What [`run`](Trainer::run) is about to do.
    pub fn plan(&self) -> Plan {
        let learned = self.program.parameters().iter().filter(|p| p.role.is_learned());
        Plan {
            model: self.network.table.name.clone(),
            width: self.recipe.width,
            total_stride: self.recipe.total_stride,
            parameters: learned.map(|p| p.shape.iter().product::<usize>() as u64).sum(),
            photos: self.loader.dataset().len(),
            validation_photos: self.validation.as_ref().map_or(0, |loader| loader.dataset().len()),
            classes: self.classes.len(),
            class_names: self.classes.clone(),
            resolution: self.recipe.resolution,
            batch: self.recipe.batch,
            epochs: self.recipe.epochs,
            steps_per_epoch: self.steps_in_epoch(),
            threads: self.machine.pool.threads(),
            memory: self.program.options.memory,
            memory_bytes: memory::bytes(&self.recipe, &self.program, self.machine.pool.threads()).unwrap_or(0),
            teacher: self.recipe.teacher.as_ref().map(|teacher| teacher.weights.clone()),
            folder: text(&self.folder),
            weights: self.origin.clone(),
        }
    }
}

fn name<S: Serializer>(memory: &MemoryUse, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(memory.name())
}

/// Names of fresh tensors that are printed.
const TENSORS: usize = 4;
/// Names of classes that are printed.
const CLASSES: usize = 10;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { model, width, total_stride, parameters, photos, validation_photos, classes, .. } = self;
        let Plan { resolution, batch, epochs, steps_per_epoch, threads, folder, memory_bytes, .. } = self;
        let memory = match self.memory {
            MemoryUse::Fast => "",
            MemoryUse::Low => " (low: expanded tensors are computed anew)",
        };
        writeln!(
            f,
            "training {model} (width {width}, total stride {total_stride}, {parameters} parameters) on {photos} photos of \
             {classes} classes, validation on {validation_photos}{}",
            if *validation_photos == 0 { " (give --validation, or a folder val beside train)" } else { "" }
        )?;
        writeln!(
            f,
            "{resolution}×{resolution} pixels, batches of {batch}, {epochs} epochs of {steps_per_epoch} steps, threads: \
             {threads}, memory: {} MB{memory}, folder: {folder}",
            memory_bytes.div_ceil(1_000_000),
        )?;
        writeln!(f, "classes: {}", some(&self.class_names, CLASSES))?;
        if let Some(teacher) = &self.teacher {
            writeln!(f, "teacher: {teacher}")?;
        }
        match &self.weights {
            Origin::Fresh => write!(f, "weights: fresh"),
            Origin::Checkpoint { file, epoch } => write!(f, "weights: {file}, at epoch {epoch:.2} of {epochs}"),
            Origin::File { file, taken, fresh, classes: there } => {
                write!(f, "weights: {file}, took {taken} of {} tensors", taken + fresh.len())?;
                if !fresh.is_empty() {
                    write!(f, "; fresh: {}", some(fresh, TENSORS))?;
                }
                if there != classes { write!(f, " ({there} classes there, {classes} here)") } else { Ok(()) }
            }
        }
    }
}

/// The first `most` names.
fn some(names: &[String], most: usize) -> String {
    let more = if names.len() > most { format!(" and {} more", names.len() - most) } else { String::new() };
    names[..names.len().min(most)].join(", ") + &more
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
