//! From data and a recipe to a trained network: epochs of steps, evaluation, checkpoints.
//!
//! Everything random follows from the seed and from where training stands, so that going on from a checkpoint gives the
//! same bits as not stopping.

mod begin;
mod event;
mod finish;
mod head;
mod report;
mod resume;
mod save;
mod together;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use mobilenet_data::{Batch, Epoch, Loader};
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::recognise::Outputs;
use mobilenet_net::{Graph, Params};
use mobilenet_run::program::Options;
use mobilenet_run::{Image, Program};

use crate::accumulate::Accumulator;
use crate::arena::TrainArena;
use crate::assess::{Reading, predict};
use crate::average::Average;
use crate::checkpoint::{Checkpoint, Network, Position};
use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::folded::{is_folded, unfold};
use crate::group::Group;
use crate::kept::Kept;
use crate::objective::{Objective, Outcome};
use crate::optim::{Optimizer, named};
use crate::program::{Forward, Statistics, TrainProgram};
use crate::recipe::{BnStatistics, LossKind, Recipe};

pub use begin::{Origin, Plan, Start};
pub use event::{Control, Ended, Event};
pub use resume::Resumed;
pub(crate) use save::SAMPLES;

/// Photos that give folded weights their statistics.
const UNFOLD_PHOTOS: usize = 256;
/// The trained network's file in a run's folder.
pub const MODEL: &str = "model.safetensors";

/// A network in training.
pub struct Trainer {
    recipe: Recipe,
    network: Network,
    classes: Vec<String>,
    folder: PathBuf,
    machine: Machine,
    program: TrainProgram,
    arena: Kept<TrainArena>,
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
    /// Photos that the network's file is proved with.
    samples: Vec<Image>,
    /// What checkpoints say of the photos.
    extra: BTreeMap<String, String>,
    origin: Origin,
    saved: Instant,
}

/// What a network is trained on.
#[derive(Clone)]
pub struct Machine {
    /// The threads.
    pub pool: Arc<Pool>,
    /// The instruction set.
    pub isa: Isa,
    /// Other processes that learn parts of the same batches; none where this one learns alone.
    pub group: Option<Arc<dyn Group>>,
}

impl From<&Arc<Pool>> for Machine {
    /// With the best instruction set that this processor has.
    fn from(pool: &Arc<Pool>) -> Machine {
        Machine { pool: pool.clone(), isa: Isa::detect(), group: None }
    }
}

/// How long a run takes so far.
struct Clock {
    begin: Instant,
    images: usize,
}

/// A step that was made.
struct Made {
    /// Mean over its photos.
    loss: f64,
    photos: usize,
    /// Those whose largest logit is their label.
    right: usize,
}

impl Trainer {
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
    /// checkpoint stays. Where the ranks of a group are not alike.
    pub fn run(&mut self, watch: &mut dyn FnMut(&Event) -> Control) -> Result<Ended, Error> {
        self.expect_alike()?;
        let machine = self.machine.clone();
        match self.learn_all(&mut |event| machine.agree(watch(event)))? {
            Ended::Done => Ok(self.calibrate_together(watch)),
            Ended::Stopped => Ok(Ended::Stopped),
        }
    }

    /// Everything that is learned, with all ranks asked at every event.
    fn learn_all(&mut self, watch: &mut dyn FnMut(&Event) -> Control) -> Result<Ended, Error> {
        let mut clock = Clock { begin: Instant::now(), images: 0 };
        let steps = self.steps_in_epoch();
        let end = (steps as f64 * self.recipe.epochs).ceil() as u64;
        if watch(&Event::Start(Box::new(self.plan()))) == Control::Stop {
            return Ok(Ended::Stopped);
        }
        if self.learn_head(watch)?.is_break() {
            return Ok(Ended::Stopped);
        }
        if let Some(photos) = self.unfold()?
            && watch(&Event::Unfolded { photos }) == Control::Stop
        {
            self.save()?;
            return Ok(Ended::Stopped);
        }
        while (self.position.steps_of(steps) < end || self.position.lacks_evaluation) && !self.is_out_of_patience() {
            let (done, step) = (self.position.steps_of(steps), self.position.step_in_epoch);
            let is_due = self.position.lacks_evaluation && (done >= end || step == 0 || step >= steps);
            let (mut training_loss, mut training_top1) = (None, None);
            if !is_due {
                match self.steps([steps, end], &mut clock, watch)? {
                    ControlFlow::Continue(means) => (training_loss, training_top1) = means.unzip(),
                    ControlFlow::Break(()) => return Ok(Ended::Stopped),
                }
            }
            let (validation, seconds) = (self.finish_epoch([steps, end])?, clock.begin.elapsed().as_secs_f64());
            let epoch = self.position.steps_of(steps) as f64 / steps as f64;
            let event = Event::Epoch { epoch, training_loss, training_top1, validation, seconds };
            if watch(&event) == Control::Stop {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Done)
    }

    /// The steps that are left of an epoch, or up to the run's last one. Their mean loss and top-1, where there
    /// are any; a break where `watch` said to stop.
    fn steps(
        &mut self,
        [steps, end]: [u64; 2],
        clock: &mut Clock,
        watch: &mut dyn FnMut(&Event) -> Control,
    ) -> Result<ControlFlow<(), Option<(f64, f64)>>, Error> {
        let epoch = self.position.epoch;
        let photos = self.recipe.training_photos(epoch, self.machine.pool.threads());
        self.loader.set_options(self.machine.part_of(photos));
        let done = self.position.step_in_epoch as usize * self.recipe.accumulate;
        let mut batches = self.loader.epoch(epoch, done);
        let (mut losses, mut count) = (0.0, 0usize);
        let (mut photos_right, mut photos_seen) = (0, 0);
        while self.position.steps_of(steps) < end && self.position.step_in_epoch < steps {
            let at = epoch as f64 + self.position.step_in_epoch as f64 / steps as f64;
            let lr = self.recipe.schedule().rate(at, self.recipe.epochs);
            let Some(Made { loss, photos, right }) = self.step(&mut batches, lr as f32)? else { break };
            (losses, count) = (losses + loss, count + 1);
            (photos_right, photos_seen) = (photos_right + right, photos_seen + photos);
            clock.images += photos;
            let images_per_second = clock.images as f64 / clock.begin.elapsed().as_secs_f64();
            let left = (end - self.position.steps_of(steps)) as f64;
            let photos_left = left / steps as f64 * self.loader.dataset().len() as f64;
            let seconds_left = photos_left / images_per_second;
            let top1 = right as f64 / photos as f64;
            if watch(&Event::Step { epoch: at, loss, top1, lr, images_per_second, seconds_left }) == Control::Stop {
                self.save()?;
                return Ok(ControlFlow::Break(()));
            }
            if self.saved.elapsed().as_secs_f64() >= self.recipe.checkpoint_every {
                self.save()?;
            }
        }
        let means = || (losses / count as f64, photos_right as f64 / photos_seen as f64);
        Ok(ControlFlow::Continue((count > 0).then(means)))
    }

    /// Gives folded weights true statistics before the first step, from photos as training shows them: its batches'
    /// statistics are what the weights must agree with. Running statistics that are used as they are need no change.
    /// Returns the number of photos.
    fn unfold(&mut self) -> Result<Option<usize>, Error> {
        if self.position.step > 0 || self.recipe.bn_statistics == BnStatistics::Frozen || self.recipe.epochs == 0.0 {
            return Ok(None);
        }
        let mut params = self.program.params();
        if !is_folded(self.program.graph(), &params) {
            return Ok(None);
        }
        self.loader.set_options(self.recipe.training_photos(0, self.machine.pool.threads()));
        let batches = self.loader.epoch(0, 0).take(UNFOLD_PHOTOS.div_ceil(self.recipe.batch));
        let photos = unfold(self.program.graph(), &mut params, batches, &self.machine)?;
        self.program.set_values(named("", &params.tensors, self.program.parameters())?);
        self.average = average(&self.recipe, &self.program);
        Ok(Some(photos))
    }

    /// Steps of an epoch. The last one may be of fewer batches than the others.
    fn steps_in_epoch(&self) -> u64 {
        steps_in_epoch(&self.loader, &self.recipe)
    }

    /// A step by the next batches; `None` where there are none left.
    fn step(&mut self, batches: &mut Epoch, lr: f32) -> Result<Option<Made>, Error> {
        let mut made = Made { loss: 0.0, photos: 0, right: 0 };
        for batch in batches.take(self.recipe.accumulate) {
            let batch = batch?;
            let Outcome { loss, right, photos } = self.learn(&batch)?;
            made.photos += photos;
            made.right += right;
            made.loss += (loss - made.loss) * photos as f64 / made.photos as f64;
            self.loader.recycle(batch);
        }
        if made.photos == 0 {
            return Ok(None);
        }
        self.update(lr);
        Ok(Some(made))
    }

    /// Computes a batch's gradients for the next [`Trainer::update`], as one of at most `accumulate` batches. Returns what
    /// the batch's logits were worth. In a group the batch is this rank's part, and gradients and worth are of the whole.
    ///
    /// # Errors
    /// A size that the network cannot take; a loss that is no number.
    pub fn learn(&mut self, batch: &Batch) -> Result<Outcome, Error> {
        let [h, w] = batch.size;
        let make = |[n, h, w]: [usize; 3]| self.program.arena(n, h, w, &self.machine.pool);
        let mut arena = match batch.len() {
            0 => None,
            n => Some(self.arena.of([n, h, w], make)?),
        };
        let statistics = match self.recipe.bn_statistics {
            BnStatistics::Batch => Statistics::Batch { momentum: self.recipe.bn_momentum as f32 },
            BnStatistics::Frozen => Statistics::Running,
        };
        let batches = self.position.step * self.recipe.accumulate as u64 + self.learned;
        let dropout = Some(self.recipe.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ batches);
        let forward = Forward { statistics, dropout };
        match &mut arena {
            Some(arena) => {
                arena.input_mut().copy_from_slice(&batch.images);
                arena.first_photo = batch.first;
                self.program.forward(arena, forward);
            }
            None => self.program.forward_nothing(forward),
        }

        let nothing: (&[f32], &mut [f32]) = (&[], &mut []);
        let (logits, gradient) = arena.as_mut().map_or(nothing, |arena| arena.result_and_gradient_mut());
        let outcome = self.objective.run(batch, logits, gradient, &self.machine.pool)?;
        if !outcome.loss.is_finite() {
            return Err(self.not_a_number(self.runaway().unwrap_or_else(|| "the loss".into())));
        }
        match arena {
            Some(arena) => self.program.backward(arena),
            None => self.program.backward_nothing(),
        }
        if let Some(accumulator) = &mut self.accumulator {
            accumulator.add(self.program.gradients(), outcome.photos);
        }
        self.learned += 1;
        Ok(outcome)
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
        self.position.lacks_evaluation = true;
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
        let options = Options { isa: self.machine.isa, ..Options::default() };
        let program = Program::compile(self.program.graph(), self.params(), &options)?;
        Ok(Some(predict(&program, loader, self.reading(), &self.machine.pool)?.evaluation()))
    }

    /// How validation is read: by labels where the network learns from photos of any number of labels.
    fn reading(&self) -> Reading {
        let sets = [Some(&self.loader), self.validation.as_ref()].into_iter().flatten();
        let has_labels = sets.map(|loader| loader.dataset()).any(|photos| photos.has_labels());
        let outputs = match self.recipe.loss {
            LossKind::CrossEntropy => Outputs::Exclusive,
            LossKind::Binary => Outputs::Independent,
        };
        Reading { by_labels: has_labels && outputs == Outputs::Independent, outputs, background_class: false }
    }

    /// Writes a checkpoint, and the network as a file that runs; of a group the first rank alone does.
    ///
    /// # Errors
    /// Where weights are not numbers any more, or the folder cannot be written; what it holds stays.
    pub fn save(&mut self) -> Result<(), Error> {
        self.save_with(None, false)
    }

    /// As [`Trainer::save`]; `validation` are the figures of the weights as they are. Where the best epoch's network is
    /// kept, others are not written.
    fn save_with(&mut self, validation: Option<Evaluation>, is_best: bool) -> Result<(), Error> {
        self.expect_numbers()?;
        self.position.optimizer_steps = self.optimizer.steps();
        self.position.average_updates = self.average.as_ref().map_or(0, Average::updates);
        if !self.machine.is_first() {
            return Ok(());
        }
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
        let keeps_best = self.recipe.patience.is_some() && self.validation.is_some() && self.position.best.is_some();
        // A classifier of random numbers is nobody's.
        if !self.position.lacks_classifier && (is_best || !keeps_best) {
            self.save_network(validation)?;
        }
        checkpoint.save(&self.folder)?;
        self.saved = Instant::now();
        Ok(())
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
