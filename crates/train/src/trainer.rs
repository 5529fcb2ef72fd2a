//! From data and a recipe to a trained network: epochs of steps, evaluation, checkpoints.
//!
//! Everything random follows from the seed and from where training stands, so that going on from a checkpoint gives the
//! same bits as not stopping.

mod begin;
mod resume;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use mobilenet_data::{Batch, Dataset, Epoch, Loader};
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::{self, Spec, Table};
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_net::recognise::Outputs;
use mobilenet_net::{Graph, Params, init};
use mobilenet_run::Program;
use mobilenet_run::program::Options;
use serde::Serialize;

use crate::accumulate::Accumulator;
use crate::arena::TrainArena;
use crate::average::Average;
use crate::checkpoint::{Checkpoint, Network, Position};
use crate::error::Error;
use crate::evaluate::{self, Evaluation};
use crate::folded::{is_folded, unfold};
use crate::memory;
use crate::model_file;
use crate::objective::{Objective, expect_classes};
use crate::optim::Optimizer;
use crate::program::{Forward, Statistics, TrainOptions, TrainProgram};
use crate::recipe::{BnStatistics, LossKind, Recipe};
use crate::reestimate::reestimate;

pub use begin::{Origin, Plan, Start};
pub use resume::Resumed;

/// Photos that give folded weights their statistics.
const UNFOLD_PHOTOS: usize = 256;
/// The trained network's file in a run's folder.
pub const MODEL: &str = "model.safetensors";

/// What the trainer tells whoever watches.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The weights to begin with had their batch norms folded; photos have given them true statistics, and the network
    /// computes what it did. See [`folded`](crate::folded).
    Unfolded {
        /// Photos that the statistics are of.
        photos: usize,
    },
    /// Training begins.
    Start(Box<Plan>),
    /// A step was made.
    Step {
        /// Epochs so far, with a fraction.
        epoch: f64,
        /// Mean loss of the step's photos.
        loss: f64,
        /// The learning rate.
        lr: f64,
        /// Since this run began.
        images_per_second: f64,
        /// Until the last step.
        seconds_left: f64,
    },
    /// An epoch is complete.
    Epoch {
        /// Epochs so far, with a fraction where the last one was cut short.
        epoch: f64,
        /// Mean over the epoch's steps in this run; none where it had no step left.
        training_loss: Option<f64>,
        /// On the validation photos, where there are any.
        validation: Option<Evaluation>,
        /// Seconds of this run.
        seconds: f64,
    },
}

/// What the watcher wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// More steps.
    Continue,
    /// A checkpoint, and an end for now.
    Stop,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After its last epoch.
    Done,
    /// When it was told to; the checkpoint goes on from there.
    Stopped,
}

/// A network in training.
pub struct Trainer {
    recipe: Recipe,
    network: Network,
    classes: Vec<String>,
    folder: PathBuf,
    pool: Arc<Pool>,
    program: TrainProgram,
    arena: Option<([usize; 3], TrainArena)>,
    optimizer: Optimizer,
    /// Where a step has several batches.
    accumulator: Option<Accumulator>,
    /// Batches of the present step so far.
    learned: u64,
    average: Option<Average>,
    loader: Loader,
    validation: Option<Loader>,
    objective: Objective,
    position: Position,
    /// What checkpoints say of the photos.
    extra: BTreeMap<String, String>,
    origin: Origin,
    saved: Instant,
}

/// A step that was made.
struct Made {
    /// Mean over its photos.
    loss: f64,
    photos: usize,
}

impl Trainer {
    /// Begins in `folder`, from `start` where given (weights of the same network, the classifier's aside, whose padding and
    /// epsilon then hold) or from fresh weights.
    ///
    /// # Errors
    /// A recipe that fits no network or not the photos' labels, a teacher that cannot be opened or has other classes, an
    /// input too small.
    pub fn new(
        recipe: Recipe,
        dataset: Arc<Dataset>,
        validation: Option<Arc<Dataset>>,
        folder: &Path,
        pool: &Arc<Pool>,
        start: Option<Start>,
    ) -> Result<Trainer, Error> {
        recipe.check()?;
        let objective = Objective::new(&recipe, &dataset)?;
        if let (Some(photos), LossKind::CrossEntropy) = (&validation, recipe.loss) {
            expect_classes(photos)?;
        }
        let table = match recipe.dropout {
            Some(rate) => Table { dropout: rate as f32, ..arch::find(&recipe.model)? },
            None => arch::find(&recipe.model)?,
        };
        let conventions = start.as_ref().map_or_else(Spec::default, |start| Spec {
            padding: start.spec.padding,
            bn_epsilon: start.spec.bn_epsilon,
            ..Spec::default()
        });
        let spec = Spec {
            width: recipe.width,
            width_rule: recipe.width_rule,
            total_stride: recipe.total_stride,
            classes: dataset.classes().len(),
            ..conventions
        };
        let graph = table.graph(&spec)?;
        let mut params = init::random(&graph, recipe.seed);
        let origin = start.map_or(Origin::Fresh, |start| start.take_over(&mut params, &graph));
        let program = memory::compile(&recipe, &graph, &params, pool.threads())?;
        let mut optimizer =
            Optimizer::new(recipe.optimizer.kind, recipe.settings(), program.parameters(), program.graph());
        optimizer.freeze(|p| recipe.freeze.iter().any(|start| p.name.starts_with(start.as_str())));
        let accumulator = (recipe.accumulate > 1).then(|| Accumulator::new(program.gradients()));
        let average = average(&recipe, &program);
        let loader = Loader::new(dataset.clone(), recipe.training_photos(0));
        let validation = validation.map(|dataset| Loader::new(dataset, recipe.evaluation_photos()));
        let trainer = Trainer {
            position: Position { seed: recipe.seed, ..Position::default() },
            network: Network { table, spec },
            classes: dataset.classes().to_vec(),
            folder: folder.to_owned(),
            pool: pool.clone(),
            saved: Instant::now(),
            extra: resume::describe(&dataset, steps_in_epoch(&loader, &recipe)),
            arena: None,
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
        let Recipe { batch, resolution, resolutions, .. } = &trainer.recipe;
        for side in resolutions.iter().map(|[_, side]| side).chain([resolution]) {
            trainer.program.graph().infer(*batch, *side, *side)?;
        }
        Ok(trainer)
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        self.program.graph()
    }

    /// Where training stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The photos that could not be read so far, those to learn from first.
    pub fn unreadable(&self) -> Vec<String> {
        let loaders = [Some(&self.loader), self.validation.as_ref()].into_iter().flatten();
        loaders.flat_map(|loader| loader.unreadable()).map(|u| u.message).collect()
    }

    /// Trains to the recipe's last epoch, or until `watch` says to stop.
    ///
    /// # Errors
    /// Where a photo's folder or the run's cannot be used any more, or the loss is not a number: then the last good
    /// checkpoint stays.
    pub fn run(&mut self, watch: &mut dyn FnMut(&Event) -> Control) -> Result<Ended, Error> {
        let begin = Instant::now();
        let mut images = 0usize;
        let (steps, epochs) = (self.steps_in_epoch(), self.recipe.epochs);
        let end = (steps as f64 * epochs).ceil() as u64;
        if watch(&Event::Start(Box::new(self.plan()))) == Control::Stop {
            return Ok(Ended::Stopped);
        }
        if let Some(photos) = self.unfold()? {
            watch(&Event::Unfolded { photos });
        }
        // An epoch whose last step is made lacks its evaluation.
        while self.position.steps_of(steps) < end || self.position.step_in_epoch >= steps {
            let epoch = self.position.epoch;
            self.loader.set_options(self.recipe.training_photos(epoch));
            let done = self.position.step_in_epoch as usize * self.recipe.accumulate;
            let mut batches = self.loader.epoch(epoch, done);
            let mut losses = (0.0, 0usize);
            while self.position.steps_of(steps) < end && self.position.step_in_epoch < steps {
                let at = epoch as f64 + self.position.step_in_epoch as f64 / steps as f64;
                let lr = self.recipe.schedule().rate(at, epochs);
                let Some(Made { loss, photos }) = self.step(&mut batches, lr as f32)? else { break };
                losses = (losses.0 + loss, losses.1 + 1);
                images += photos;
                let seconds = begin.elapsed().as_secs_f64();
                let speed = images as f64 / seconds;
                let done = self.position.steps_of(steps);
                let photos_left = (end - done) as usize * self.recipe.batch * self.recipe.accumulate;
                let seconds_left = photos_left as f64 / speed;
                let event = Event::Step { epoch: at, loss, lr, images_per_second: speed, seconds_left };
                if watch(&event) == Control::Stop {
                    self.save()?;
                    return Ok(Ended::Stopped);
                }
                // After these there is a checkpoint all the same.
                if done >= end || self.position.step_in_epoch >= steps {
                    break;
                }
                if self.saved.elapsed().as_secs_f64() >= self.recipe.checkpoint_every {
                    self.save()?;
                }
            }
            if self.position.steps_of(steps) < end || self.position.step_in_epoch >= steps {
                self.position.epoch += 1;
                self.position.step_in_epoch = 0;
            }
            self.expect_numbers()?;
            if self.position.steps_of(steps) >= end {
                self.reestimate()?;
            }
            let validation = self.evaluate()?;
            self.position.best = validation.map(|v| v.score()).into_iter().chain(self.position.best).reduce(f64::max);
            self.save()?;
            let training_loss = (losses.1 > 0).then(|| losses.0 / losses.1 as f64);
            let seconds = begin.elapsed().as_secs_f64();
            let epoch = self.position.steps_of(steps) as f64 / steps as f64;
            let event = Event::Epoch { epoch, training_loss, validation, seconds };
            if watch(&event) == Control::Stop {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Done)
    }

    /// Gives folded weights true statistics before the first step, from photos as training shows them: its batches'
    /// statistics are what the weights must agree with. Running statistics that are used as they are need no change.
    /// Returns the number of photos.
    fn unfold(&mut self) -> Result<Option<usize>, Error> {
        if self.position.step > 0 || self.recipe.bn_statistics == BnStatistics::Frozen {
            return Ok(None);
        }
        let mut params = self.program.params();
        if !is_folded(self.program.graph(), &params) {
            return Ok(None);
        }
        let batches = self.loader.epoch(0, 0).take(UNFOLD_PHOTOS.div_ceil(self.recipe.batch));
        let photos = unfold(self.program.graph(), &mut params, batches, &self.pool)?;
        let names: Vec<String> = self.program.parameters().iter().map(|p| p.name.clone()).collect();
        let (values, _) = self.program.values_mut();
        for (value, name) in values.iter_mut().zip(&names) {
            if let Some(tensor) = params.tensors.remove(name) {
                *value = tensor.into_f32();
            }
        }
        self.average = average(&self.recipe, &self.program);
        Ok(Some(photos))
    }

    /// Estimates batch norm's statistics under the weights that count, where the recipe wants it.
    fn reestimate(&mut self) -> Result<(), Error> {
        let batches = self.recipe.bn_reestimate.div_ceil(self.recipe.batch);
        if batches == 0 {
            return Ok(());
        }
        self.loader.set_options(self.recipe.estimation_photos());
        let photos = self.loader.epoch(self.position.epoch, 0).take(batches);
        let Some(average) = &mut self.average else {
            reestimate(&mut self.program, photos, &self.pool)?;
            return Ok(());
        };
        let mut averaged = TrainProgram::compile(self.program.graph(), &average.params(), TrainOptions::default())?;
        reestimate(&mut averaged, photos, &self.pool)?;
        average.set_statistics(averaged.values());
        Ok(())
    }

    /// Steps of an epoch. The last one may be of fewer batches than the others.
    fn steps_in_epoch(&self) -> u64 {
        steps_in_epoch(&self.loader, &self.recipe)
    }

    /// A step by the next batches; `None` where there are none left.
    fn step(&mut self, batches: &mut Epoch, lr: f32) -> Result<Option<Made>, Error> {
        let mut made = Made { loss: 0.0, photos: 0 };
        for batch in batches.take(self.recipe.accumulate) {
            let batch = batch?;
            let loss = self.learn(&batch)?;
            made.photos += batch.len();
            made.loss += (loss - made.loss) * batch.len() as f64 / made.photos as f64;
            self.loader.recycle(batch);
        }
        if made.photos == 0 {
            return Ok(None);
        }
        self.update(lr);
        Ok(Some(made))
    }

    /// Computes a batch's gradients for the next [`Trainer::update`], as one of at most `accumulate` batches. Returns the
    /// batch's loss.
    ///
    /// # Errors
    /// A size that the network cannot take; a loss that is no number.
    pub fn learn(&mut self, batch: &Batch) -> Result<f64, Error> {
        let n = batch.len();
        let [h, w] = batch.size;
        // An arena of another size gives its memory back first.
        let mut arena = match self.arena.take().filter(|(size, _)| *size == [n, h, w]) {
            Some((_, arena)) => arena,
            None => self.program.arena(n, h, w, &self.pool)?,
        };
        arena.input_mut().copy_from_slice(&batch.images);
        let statistics = match self.recipe.bn_statistics {
            BnStatistics::Batch => Statistics::Batch { momentum: self.recipe.bn_momentum as f32 },
            BnStatistics::Frozen => Statistics::Running,
        };
        let batches = self.position.step * self.recipe.accumulate as u64 + self.learned;
        let dropout = Some(self.recipe.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ batches);
        self.program.forward(&mut arena, Forward { statistics, dropout });

        let (logits, gradient) = arena.result_and_gradient_mut();
        let loss = self.objective.run(batch, logits, gradient, &self.pool)?;
        if !loss.is_finite() {
            return Err(self.not_a_number(self.runaway().unwrap_or_else(|| "the loss".into())));
        }
        self.program.backward(&mut arena);
        if let Some(accumulator) = &mut self.accumulator {
            accumulator.add(self.program.gradients(), n);
        }
        self.learned += 1;
        self.arena = Some(([n, h, w], arena));
        Ok(loss)
    }

    /// Moves the weights by the gradients of the batches that were learned since the last update, every photo counting
    /// the same: the end of a step.
    pub fn update(&mut self, lr: f32) {
        let (values, gradients) = self.program.values_mut();
        let gradients = self.accumulator.as_ref().map_or(gradients, Accumulator::mean);
        self.optimizer.step(values, gradients, lr);
        if let Some(average) = &mut self.average {
            average.update(self.program.values().iter().map(Vec::as_slice));
        }
        self.accumulator.iter_mut().for_each(Accumulator::reset);
        self.learned = 0;
        self.position.step_in_epoch += 1;
        self.position.step += 1;
    }

    /// The first tensor that holds something else than numbers.
    fn runaway(&self) -> Option<String> {
        let is_wrong = |v: &[f32]| v.iter().any(|x| !x.is_finite());
        let mut all = self.program.parameters().iter().zip(self.program.values());
        all.find(|(_, v)| is_wrong(v)).map(|(parameter, _)| parameter.name.clone())
    }

    /// A non-linearity can hide from the loss that weights have run away.
    fn expect_numbers(&self) -> Result<(), Error> {
        self.runaway().map_or(Ok(()), |layer| Err(self.not_a_number(layer)))
    }

    fn not_a_number(&self, layer: String) -> Error {
        let checkpoint = Checkpoint::is_in(&self.folder).then(|| self.folder.clone());
        Error::NotANumber { layer, step: self.position.step, checkpoint }
    }

    /// The weights that count: averaged where an average is kept.
    pub fn params(&self) -> Params {
        self.average.as_ref().map_or_else(|| self.program.params(), Average::params)
    }

    /// Figures of the weights that count on the validation photos, where there are any: by labels where the network learns
    /// from photos of any number of labels.
    ///
    /// # Errors
    /// Where none of them can be read.
    pub fn evaluate(&self) -> Result<Option<Evaluation>, Error> {
        let Some(loader) = &self.validation else { return Ok(None) };
        let options = Options { isa: Isa::detect(), ..Options::default() };
        let program = Program::compile(self.program.graph(), self.params(), &options)?;
        let has_labels = self.loader.dataset().has_labels() || loader.dataset().has_labels();
        let by_labels = has_labels && self.recipe.loss == LossKind::Binary;
        Ok(Some(evaluate::of(&program, loader, by_labels, &self.pool)?))
    }

    /// Writes a checkpoint, and the network as a file that runs.
    ///
    /// # Errors
    /// Where weights are not numbers any more, or the folder cannot be written; what it holds stays.
    pub fn save(&mut self) -> Result<(), Error> {
        self.expect_numbers()?;
        self.position.optimizer_steps = self.optimizer.steps();
        self.position.average_updates = self.average.as_ref().map_or(0, Average::updates);
        let checkpoint = Checkpoint {
            network: self.network.clone(),
            weights: self.program.params().tensors,
            optimizer: self.optimizer.state(),
            average: self.average.as_ref().map(Average::state).unwrap_or_default(),
            position: self.position.clone(),
            recipe: self.recipe.to_toml(),
            classes: self.classes.clone(),
            extra: self.extra.clone(),
        };
        std::fs::create_dir_all(&self.folder).map_err(Error::folder(&self.folder))?;
        // The network first: whoever is stopped between the two goes on from the older checkpoint, and writes both anew.
        let Network { table, spec } = &self.network;
        let path = self.folder.join(MODEL);
        let outputs = match self.recipe.loss {
            LossKind::CrossEntropy => Outputs::Exclusive,
            LossKind::Binary => Outputs::Independent,
        };
        model_file::save(&path, self.params(), table, spec, &self.preprocessing(), &self.classes, outputs)?;
        checkpoint.save(&self.folder)?;
        self.saved = Instant::now();
        Ok(())
    }

    fn preprocessing(&self) -> Preprocessing {
        self.recipe.preprocessing()
    }
}

/// The average that a recipe wants, begun at the program's weights.
fn average(recipe: &Recipe, program: &TrainProgram) -> Option<Average> {
    let values = || program.values().iter().map(Vec::as_slice);
    recipe.average.map(|decay| Average::new(decay, recipe.average_warmup, program.parameters(), values()))
}

/// Steps in which every photo is seen once.
fn steps_in_epoch(loader: &Loader, recipe: &Recipe) -> u64 {
    loader.batches().div_ceil(recipe.accumulate) as u64
}
