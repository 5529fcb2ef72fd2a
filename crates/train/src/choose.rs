//! Settings for photos and a machine, where nobody gave a recipe.
//!
//! Numbers of epochs and rates are ours, measured on sets of some hundred to some thousand photos; what depends on the
//! machine is measured on it: a step's time and a photo's.

use std::time::Instant;

use mobilenet_data::Dataset;
use mobilenet_net::arch::{self, Spec, WidthRule};
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_run::MemoryUse;
use mobilenet_run::measure::median;

use crate::error::Error;
use crate::measure::Bench;
use crate::optim::OptimizerKind;
use crate::program::TrainOptions;
use crate::recipe::{ClassWeights, LossKind, MemoryChoice, OptimizerRecipe, Pixels, Recipe, Sampling, ScheduleRecipe};
use crate::trainer::Machine;

/// Minutes that chosen epochs and resolution should fit.
pub const MINUTES: f64 = 8.0;

/// Sizes of photos that are tried, largest first: the largest that fits the time is taken.
const SIDES: [usize; 5] = [224, 192, 160, 128, 96];
/// Photos of all epochs together for weights that know photos already, up to 30 epochs and from five.
const PHOTOS: f64 = 14_000.0;
const EPOCHS: [f64; 2] = [5.0, 30.0];
/// The same for random weights, which need many more.
const PHOTOS_FRESH: f64 = 100_000.0;
const EPOCHS_FRESH: [f64; 2] = [15.0, 120.0];
/// Epochs without a better one, at least, after which training ends.
const PATIENCE: f64 = 8.0;
/// Photos of the largest class for each of the smallest, from which on rare classes are made to count more.
const IMBALANCE: usize = 4;
/// What rates for optimizers that divide by the gradients' size are, in parts of those for SGD.
const ADAPTIVE: f64 = 0.1;
/// Photos of a step that is timed, at most, and photos that are read to time that.
const TIMED: usize = 16;
/// How long steps are timed.
const SECONDS: f64 = 2.0;
/// Time of training for that of its steps alone: photos are prepared, gradients clipped, weights averaged beside them. With
/// 1.1 two runs of V2 at 224 pixels took 0.84 and 1.18 times what was promised, on a machine whose pace itself varies so.
const BESIDE: f64 = 1.2;

/// The network that a run is to begin with.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The network's registered name; a table of one's own has none.
    pub model: Option<String>,
    /// Its width multiplier.
    pub width: f64,
    /// Whose rounding of channels.
    pub width_rule: WidthRule,
    /// Its strides together.
    pub total_stride: usize,
    /// What its weights expect of photos.
    pub preprocessing: Preprocessing,
}

/// A recipe, and how long it should take here.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The settings.
    pub recipe: Recipe,
    /// From the first step to the last evaluation.
    pub seconds: f64,
}

/// Chooses all settings for `photos`, beginning with weights where there are some, so that training takes about `minutes`
/// on this machine where that can be; `validation` photos are there beside them, if any. `settle` puts what the user wants
/// into a recipe.
///
/// # Errors
/// Of `settle`; a recipe that fits no network, or a size that the network cannot take.
pub fn choose<E: From<Error>>(
    photos: &Dataset,
    validation: Option<usize>,
    beginning: Option<&Beginning>,
    minutes: f64,
    settle: impl Fn(&mut Recipe) -> Result<(), E>,
    machine: &Machine,
) -> Result<Choice, E> {
    let settled = |side: usize, epochs: Option<f64>| -> Result<Recipe, E> {
        let mut recipe = match beginning {
            Some(beginning) => fine_tuning(photos, beginning, side),
            None => from_scratch(photos, side),
        };
        recipe.epochs = epochs.unwrap_or(recipe.epochs);
        recipe.schedule.warmup = recipe.schedule.warmup.min(recipe.epochs / 4.0);
        // Random weights get better in spurts: of 120 epochs on clothes, 8 without a better one came after 16.
        recipe.patience = Some((recipe.epochs / 4.0).floor().max(PATIENCE));
        settle(&mut recipe)?;
        Ok(recipe)
    };
    let sides = sides(beginning);
    let pace = Pace::measure(photos, &settled(sides[0], None)?, machine)?;
    let seconds = |recipe: &Recipe| pace.seconds(recipe, photos.len(), validation);
    let limit = minutes * 60.0;
    // Where none fits, one in the middle: the smallest ones lose more than epochs do.
    let mut side = sides[sides.len() / 2];
    for &larger in &sides {
        if seconds(&settled(larger, None)?) <= limit {
            side = larger;
            break;
        }
    }
    // What time there is goes into epochs.
    let [least, most] = if beginning.is_some() { EPOCHS } else { EPOCHS_FRESH };
    let [none, one] = [0.0, 1.0].map(|epochs| settled(side, Some(epochs)).map(|recipe| seconds(&recipe)));
    let (none, one) = (none?, one?);
    let epochs = if one > none { ((limit - none) / (one - none)).floor().clamp(least, most) } else { least };
    let recipe = settled(side, Some(epochs))?;
    let seconds = seconds(&recipe);
    Ok(Choice { recipe, seconds })
}

/// Sizes of photos that are tried for weights, largest first.
fn sides(beginning: Option<&Beginning>) -> Vec<usize> {
    let own = beginning.and_then(|beginning| beginning.preprocessing.size.into_iter().min()).unwrap_or(SIDES[0]);
    if own < SIDES[SIDES.len() - 1] {
        // Weights of tiny photos learn somewhat larger ones: on clothes the built-in network, made for 64 pixels, is as good
        // after 10 epochs at 96 as after 15 at 64, and worse after 5 at 128.
        return vec![own * 3 / 2, own];
    }
    [own].into_iter().chain(SIDES.into_iter().filter(|side| *side < own)).collect()
}

/// Takes back what was chosen and contradicts what the user has set: `is_set` says which keys that are.
pub fn reconcile(recipe: &mut Recipe, is_set: impl Fn(&str) -> bool) {
    if !is_set("schedule.warmup") {
        recipe.schedule.warmup = recipe.schedule.warmup.min(recipe.epochs / 4.0);
    }
    let counts_alike = recipe.sampling == Sampling::Balanced || recipe.loss == LossKind::Binary;
    if !is_set("class_weights") && counts_alike {
        recipe.class_weights = ClassWeights::None;
    }
    if !is_set("patience") && recipe.bn_reestimate > 0 {
        recipe.patience = None;
    }
    if !is_set("optimizer.nesterov")
        && (recipe.optimizer.kind != OptimizerKind::Sgd || recipe.optimizer.momentum == 0.0)
    {
        recipe.optimizer.nesterov = false;
    }
    if !is_set("lr") && is_set("optimizer.kind") && recipe.optimizer.kind != OptimizerKind::Sgd {
        recipe.lr *= ADAPTIVE;
    }
}

/// For weights that know photos already.
fn fine_tuning(photos: &Dataset, beginning: &Beginning, resolution: usize) -> Recipe {
    let Beginning { model, width, width_rule, total_stride, preprocessing } = beginning.clone();
    let epochs = (PHOTOS / photos.len() as f64).round().clamp(EPOCHS[0], EPOCHS[1]);
    let mut recipe = Recipe {
        model: model.unwrap_or_else(|| Recipe::default().model),
        width,
        width_rule,
        total_stride,
        resolution,
        epochs,
        lr: 0.01,
        weight_decay: 1e-4,
        label_smoothing: 0.1,
        average: Some(0.99),
        head_first: true,
        bn_momentum: 0.05,
        preprocessing: Pixels { mean: preprocessing.mean.map(f64::from), std: preprocessing.std.map(f64::from) },
        ..common(photos)
    };
    recipe.augmentation.scale = [0.35, 1.0];
    recipe.augmentation.color_jitter = 0.2;
    recipe
}

/// For random weights.
fn from_scratch(photos: &Dataset, resolution: usize) -> Recipe {
    let epochs = (PHOTOS_FRESH / photos.len() as f64).round().clamp(EPOCHS_FRESH[0], EPOCHS_FRESH[1]);
    let mut recipe = Recipe {
        model: "mobilenet_v3_small".into(),
        resolution,
        epochs,
        lr: 0.1,
        weight_decay: 1e-4,
        label_smoothing: 0.1,
        average: Some(0.99),
        ..common(photos)
    };
    recipe.augmentation.scale = [0.25, 1.0];
    recipe
}

/// What does not depend on where weights come from.
fn common(photos: &Dataset) -> Recipe {
    let counts = photos.photos_by_class();
    let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
    let is_uneven = !photos.has_labels() && most > IMBALANCE * least;
    Recipe {
        // A small set needs steps more than it needs large ones.
        batch: [8, 16, 32][usize::from(photos.len() >= 64) + usize::from(photos.len() >= 256)],
        loss: if photos.has_labels() { LossKind::Binary } else { LossKind::CrossEntropy },
        class_weights: if is_uneven { ClassWeights::Balanced } else { ClassWeights::None },
        clip_norm: Some(5.0),
        validation_share: 0.15,
        refused: Some(0.07),
        optimizer: OptimizerRecipe { kind: OptimizerKind::Sgd, nesterov: true, ..OptimizerRecipe::default() },
        schedule: ScheduleRecipe { warmup: 1.0, floor: 0.01, ..ScheduleRecipe::default() },
        ..Recipe::default()
    }
}

/// How fast this machine is.
struct Pace {
    /// Seconds of a step, for a photo and a pixel of its resolution.
    pixel: f64,
    /// Seconds of reading and decoding a photo on one thread.
    photo: f64,
    threads: f64,
}

/// A pass that only classifies takes about a third of a training step.
const FORWARD: f64 = 1.0 / 3.0;

impl Pace {
    fn measure(photos: &Dataset, recipe: &Recipe, machine: &Machine) -> Result<Pace, Error> {
        let spec = Spec {
            width: recipe.width,
            width_rule: recipe.width_rule,
            total_stride: recipe.total_stride,
            classes: photos.classes().len(),
            ..Spec::default()
        };
        let graph = arch::find(&recipe.model)?.graph(&spec)?;
        let side = recipe.resolution;
        let memory = if recipe.memory == MemoryChoice::Low { MemoryUse::Low } else { MemoryUse::Fast };
        let options = TrainOptions { isa: machine.isa, memory, ..TrainOptions::default() };
        let batch = recipe.batch.min(TIMED);
        let mut bench = Bench::new(&graph, options, [batch, side, side], &machine.pool)?;
        let seconds = if recipe.epochs > 0.0 { SECONDS } else { 0.0 };
        let step = median(&bench.latencies_ms(seconds)) / 1e3;
        let begin = Instant::now();
        let places = (0..TIMED).map(|i| i * photos.len() / TIMED);
        let read = places.filter(|&place| photos.read(place).is_ok()).count();
        let photo = begin.elapsed().as_secs_f64() / read.max(1) as f64;
        let threads = machine.pool.threads() as f64;
        Ok(Pace { pixel: step / (batch * side * side) as f64, photo, threads })
    }

    /// Seconds for a recipe on so many photos, with those of validation beside or among them.
    fn seconds(&self, recipe: &Recipe, photos: usize, validation: Option<usize>) -> f64 {
        let aside = photos as f64 * recipe.validation_share;
        let (train, validation) = validation.map_or((photos as f64 - aside, aside), |own| (photos as f64, own as f64));
        let step = self.pixel * (recipe.resolution * recipe.resolution) as f64;
        let decode = self.photo / self.threads;
        let epoch = train * step * BESIDE + validation * (step * FORWARD + decode);
        let head = if recipe.head_first { photos as f64 * step * FORWARD } else { 0.0 };
        // Decoded once, then kept.
        train * decode + head + recipe.epochs * epoch
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mobilenet_kernels::Pool;
    use mobilenet_testing::photos::write_classes;

    use super::*;

    #[test]
    fn sizes_are_those_that_weights_know_and_larger_ones_for_weights_of_tiny_photos() {
        let sides_of = |size| {
            sides(Some(&Beginning {
                model: None,
                width: 1.0,
                width_rule: WidthRule::TensorFlow,
                total_stride: 32,
                preprocessing: Preprocessing { size: [size; 2], ..Recipe::default().preprocessing() },
            }))
        };
        assert_eq!(sides_of(224), sides(None));
        assert_eq!((sides_of(160), sides_of(96), sides_of(64)), (vec![160, 128, 96], vec![96], vec![96, 64]));
    }

    #[test]
    fn resolution_and_epochs_fit_the_time_and_the_users_word_counts() {
        let folder = tempfile::tempdir().unwrap();
        write_classes(folder.path(), 3);
        let photos = Dataset::open(folder.path()).unwrap();
        let machine = Machine::from(&Arc::new(Pool::new(1)));
        let small = |recipe: &mut Recipe| -> Result<(), Error> {
            recipe.width = 0.35;
            Ok(())
        };
        let much = choose(&photos, None, None, 600.0, small, &machine).unwrap();
        assert_eq!((much.recipe.resolution, much.recipe.epochs), (224, 120.0));
        much.recipe.check().unwrap();
        let little = choose(&photos, None, None, 1e-4, small, &machine).unwrap();
        assert_eq!(little.recipe.epochs, 15.0);
        assert!(little.recipe.resolution < 224 && little.seconds < much.seconds, "{little:?}");
        let own = |recipe: &mut Recipe| -> Result<(), Error> {
            (recipe.width, recipe.resolution, recipe.epochs) = (0.35, 64, 1.0);
            Ok(())
        };
        let own = choose(&photos, None, None, 1e-4, own, &machine).unwrap();
        assert_eq!((own.recipe.resolution, own.recipe.epochs), (64, 1.0));
    }
}
