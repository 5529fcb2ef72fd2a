//! What a run begins with, and what it is about to do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use mobilenet_data::{Dataset, Loader};
use mobilenet_net::arch::{self, Spec, Table};
use mobilenet_net::graph::Parameter;
use mobilenet_net::preprocessing::ChannelOrder;
use mobilenet_net::{About, Graph, Loaded, Params, Recognised, Tensor, init};
use mobilenet_run::MemoryUse;
use serde::{Deserialize, Serialize, Serializer};

use super::{Machine, Trainer, average, resume, save, steps_in_epoch};
use crate::accumulate::Accumulator;
use crate::checkpoint::{Checkpoint, Found, Network, Position};
use crate::error::Error;
use crate::head::{Head, is_classifier};
use crate::kept::Kept;
use crate::memory;
use crate::objective::{Objective, expect_one_label};
use crate::optim::Optimizer;
use crate::recipe::{LossKind, Recipe};

/// The tensor that reads the photo.
const STEM: &str = "stem.conv.weight";

/// Weights to begin with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The file that they are from.
    pub path: PathBuf,
    /// The parameters of their network: whose padding and epsilon they were trained with.
    pub spec: Spec,
    /// The weights by the graph's names.
    pub params: Params,
    /// The names of their classes, where they are known.
    pub labels: Option<Vec<String>>,
    /// Under which terms the file says that they may be used.
    pub licence: Option<String>,
    /// A checkpoint's network and the name that its recipe had for it, which may be a file that is not there any more.
    pub kept: Option<(String, Table)>,
}

impl Start {
    /// The weights of a file. Photos are learned from in the order red, green, blue: a stem that reads blue first gets its
    /// input channels the other way round.
    ///
    /// # Errors
    /// As [`mobilenet_net::load()`].
    pub fn of(path: &Path, loaded: Loaded) -> Start {
        let Loaded { recognised, mut params, .. } = loaded;
        if recognised.preprocessing.channel_order == ChannelOrder::Bgr
            && let Some(stem) = params.tensors.get_mut(STEM)
        {
            let shape = stem.shape().to_vec();
            let (channels, plane) = (shape[1], shape[2] * shape[3]);
            let filter = |filter: &[f32]| filter.chunks_exact(plane).rev().flatten().copied().collect::<Vec<f32>>();
            let values = stem.clone().into_f32().chunks_exact(channels * plane).flat_map(filter).collect();
            *stem = Tensor::from_f32(&shape, values);
        }
        let Recognised { spec, labels, about: About { licence, .. }, .. } = recognised;
        Start { path: path.to_owned(), spec, params, labels, licence, kept: None }
    }

    /// A checkpoint's weights, for a trainer that is to [resume](Trainer::resume) from it.
    pub fn checkpoint(found: Found) -> Start {
        let Found { checkpoint: Checkpoint { network, weights, recipe, .. }, path, .. } = found;
        let params = Params { tensors: weights, ..Params::default() };
        let kept = Recipe::from_toml(&recipe).ok().map(|recipe| (recipe.model, network.table));
        Start { path, spec: network.spec, params, labels: None, licence: None, kept }
    }

    /// What the trained network's file says of its source.
    fn said(&self) -> String {
        let file = self.path.file_name().unwrap_or_default().display();
        let terms = self.licence.as_ref().map_or(String::new(), |licence| format!(", which is under: {licence}"));
        format!("trained by mobilenet, begun with {file}{terms}")
    }

    /// Puts the tensors that have a name and shape of `params` into it, and tells of both kinds.
    /// A classifier of other classes is none.
    pub(super) fn take_over(mut self, params: &mut Params, graph: &Graph, classes: &[String]) -> Origin {
        self.arrange_classes(classes);
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

impl Start {
    /// Brings the classifier's rows into the order of `classes`, and drops one of other names.
    fn arrange_classes(&mut self, classes: &[String]) {
        let Some(labels) = self.labels.as_ref().filter(|labels| *labels != classes) else { return };
        let place = |class: &String| labels.iter().position(|label| label == class);
        let places: Option<Vec<usize>> = classes.iter().map(place).collect();
        let places = places.filter(|places| places.len() == labels.len());
        match (Head::of(&self.params), places) {
            (Some(head), Some(places)) => self.params.tensors.extend(head.arranged(&places).tensors()),
            _ => self.params.tensors.retain(|name, _| !is_classifier(name)),
        }
    }
}

/// Where a run's weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Processes that learn together, each a part of every batch.
    pub ranks: usize,
    /// Threads that compute in each.
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
    /// Begins in `folder`, from `start` where given (weights of the same network, the classifier's aside, whose padding and
    /// epsilon then hold) or from fresh weights.
    ///
    /// # Errors
    /// A recipe that fits no network or not the photos' labels, a teacher that cannot be opened or has other classes, an
    /// input too small, what a group cannot do.
    pub fn new(
        recipe: Recipe,
        dataset: Arc<Dataset>,
        validation: Option<Arc<Dataset>>,
        folder: &Path,
        machine: impl Into<Machine>,
        start: Option<Start>,
    ) -> Result<Trainer, Error> {
        recipe.check()?;
        let machine = machine.into();
        machine.expect_possible(&recipe)?;
        let objective = Objective::new(&recipe, &dataset, &machine)?;
        if let Some(photos) = &validation {
            if recipe.loss == LossKind::CrossEntropy {
                expect_one_label(photos)?;
            }
            expect_same_classes(&dataset, photos)?;
        }
        let network = network(&recipe, dataset.classes().len(), start.as_ref())?;
        let graph = network.table.graph(&network.spec)?;
        let mut params = init::for_training(&graph, recipe.seed);
        let source = start.as_ref().map(Start::said);
        let origin = start.map_or(Origin::Fresh, |start| start.take_over(&mut params, &graph, dataset.classes()));
        let mut program = memory::compile(&recipe, &graph, &params, &machine)?;
        if let Some(group) = &machine.group {
            program.join(Arc::clone(group));
        }
        let mut optimizer =
            Optimizer::new(recipe.optimizer.kind, recipe.settings(), program.parameters(), program.graph());
        expect_frozen(&recipe, program.parameters())?;
        optimizer.freeze(|p| recipe.freeze.iter().any(|start| p.name.starts_with(start.as_str())));
        let accumulator = (recipe.accumulate > 1).then(|| Accumulator::new(program.gradients()));
        let average = average(&recipe, &program);
        let loader = Loader::new(dataset.clone(), recipe.training_photos(0, machine.pool.threads()));
        let validation =
            validation.map(|dataset| Loader::new(dataset, recipe.evaluation_photos(machine.pool.threads())));
        let trainer = Trainer {
            position: Position {
                lacks_classifier: recipe.head_first && lacks_classifier(&origin),
                ..Position::default()
            },
            network,
            classes: dataset.classes().to_vec(),
            folder: folder.to_owned(),
            saved: Instant::now(),
            samples: save::samples(validation.as_ref().map_or(loader.dataset(), |loader| loader.dataset())),
            extra: resume::describe(
                &dataset,
                validation.as_ref().map(|loader: &Loader| &**loader.dataset()),
                steps_in_epoch(&loader, &recipe),
                machine.isa,
                source,
            ),
            machine,
            arena: Kept::none(),
            origin,
            recipe,
            program,
            optimizer,
            accumulator,
            learned: 0,
            average,
            loader,
            validation,
            objective,
        };
        // What does not fit fails before anything is done.
        for side in trainer.recipe.sides() {
            trainer.program.graph().infer(trainer.recipe.batch, side, side)?;
        }
        Ok(trainer)
    }

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
            ranks: self.machine.ranks(),
            threads: self.machine.pool.threads(),
            memory: self.program.options.memory,
            memory_bytes: memory::bytes(&self.recipe, &self.program, &self.machine).unwrap_or(0),
            teacher: self.recipe.teacher.as_ref().map(|teacher| teacher.weights.clone()),
            folder: text(&self.folder),
            weights: self.origin.clone(),
        }
    }
}

/// Whether the weights to begin with have all of the network but its classifier.
fn lacks_classifier(origin: &Origin) -> bool {
    match origin {
        Origin::File { fresh, .. } => !fresh.is_empty() && fresh.iter().all(|name| is_classifier(name)),
        Origin::Fresh | Origin::Checkpoint { .. } => false,
    }
}

/// The network of a recipe for so many classes, with the conventions of the weights that it begins with.
fn network(recipe: &Recipe, classes: usize, start: Option<&Start>) -> Result<Network, Error> {
    let kept = start.and_then(|start| start.kept.as_ref()).filter(|(model, _)| *model == recipe.model);
    let found = arch::find(&recipe.model);
    let mut table = found.or_else(|error| kept.map(|(_, table)| table.clone()).ok_or(error))?;
    table.dropout = recipe.dropout.map_or(table.dropout, |rate| rate as f32);
    let conventions = start.map_or_else(Spec::default, |start| Spec {
        padding: start.spec.padding,
        bn_epsilon: start.spec.bn_epsilon,
        ..Spec::default()
    });
    let Recipe { width, width_rule, total_stride, .. } = *recipe;
    Ok(Network { table, spec: Spec { width, width_rule, total_stride, classes, ..conventions } })
}

/// Refuses names to be frozen that no parameter starts with.
fn expect_frozen(recipe: &Recipe, parameters: &[Parameter]) -> Result<(), Error> {
    let is_unknown = |start: &&String| !parameters.iter().any(|p| p.name.starts_with(start.as_str()));
    let Some(unknown) = recipe.freeze.iter().find(is_unknown) else { return Ok(()) };
    let text =
        format!("freeze has {unknown:?}, which no parameter's name begins with; they begin with stem, block1. …");
    Err(mobilenet_net::Error::Config(text).into())
}

/// Refuses photos to check with whose classes are others.
fn expect_same_classes(dataset: &Dataset, validation: &Dataset) -> Result<(), Error> {
    if dataset.classes() == validation.classes() {
        return Ok(());
    }
    let text = format!("{}: its classes are not those of {}", validation.path().display(), dataset.path().display());
    Err(mobilenet_net::Error::Config(text).into())
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
        let Plan { resolution, batch, epochs, steps_per_epoch, ranks, threads, folder, memory_bytes, .. } = self;
        let ranks = if *ranks > 1 { format!("processes: {ranks}, each with ") } else { String::new() };
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
            "{resolution}×{resolution} pixels, batches of {batch}, {epochs} epochs of {steps_per_epoch} steps, \
             {ranks}threads: {threads}, memory: {} MB{memory}, folder: {folder}",
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
