//! Every setting of a training run, as a TOML file and as flags. `recipes/` in the repository holds the three papers',
//! two for CIFAR-10 and one for few photos.
//!
//! Keys that a file leaves out have the values of [`Recipe::default`].

mod cache;
mod check;
mod default;
mod set;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use mobilenet_net::Error;
use mobilenet_net::arch::WidthRule;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::optim::{OptimizerKind, Settings};
use crate::schedule::{Fall, Schedule};
pub use cache::Cache;

/// Largest recipe file; ours have 2 kB.
const MAX_FILE: u64 = 1 << 20;

/// All settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The network: a name that `models` lists, or a table's file.
    pub model: String,
    /// Width multiplier.
    pub width: f64,
    /// Whose rounding of channels.
    #[serde(with = "by_name")]
    pub width_rule: WidthRule,
    /// 32, 16 or 8: for small photos, early layers keep their size.
    pub total_stride: usize,
    /// Height and width of the photos, in pixels.
    pub resolution: usize,
    /// Other sizes in training, pairs of an epoch and the pixels from there on, as in `[[0, 128], [20, 160]]`: small photos
    /// first are faster (progressive resizing, arXiv 2104.00298 §4.2), smaller ones throughout fit random crops better
    /// (arXiv 1906.06423). Evaluation is at `resolution`.
    pub resolutions: Vec<[usize; 2]>,
    /// Photos of a step that are worked on together.
    pub batch: usize,
    /// Batches whose gradients are averaged before the weights move, every photo counting the same. Batch norm's running
    /// statistics move at every batch.
    pub accumulate: usize,
    /// Times that every photo is seen.
    pub epochs: f64,
    /// Highest learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether depthwise filters are decayed too.
    pub decay_depthwise: bool,
    /// Whether batch norm and biases are decayed too.
    pub decay_all: bool,
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// What is minimised.
    pub loss: LossKind,
    /// Share of the target that is spread over all classes; in `binary` as timm has it, y · (1 − share) + share / classes.
    pub label_smoothing: f64,
    /// Whether rare classes count more.
    pub class_weights: ClassWeights,
    /// Whether photos of rare classes are drawn more often.
    pub sampling: Sampling,
    /// Decay of the weights' moving average, which is then what is evaluated and kept.
    pub average: Option<f64>,
    /// Whether the average's decay grows as min(decay, (1 + t) / (10 + t)).
    pub average_warmup: bool,
    /// Share of zeros before the classifier, in place of the network's own.
    pub dropout: Option<f64>,
    /// Share of a new batch in batch norm's running statistics, PyTorch's sense: 1 − TensorFlow's decay.
    pub bn_momentum: f64,
    /// Which statistics batch norm normalises by.
    pub bn_statistics: BnStatistics,
    /// Photos that batch norm's statistics are estimated from anew after the last epoch, as evaluation sees them, under the
    /// weights that count; 0 keeps the running ones. See [`reestimate`](crate::reestimate).
    pub bn_reestimate: usize,
    /// Whether the classifier is learned first, on features that one pass over the photos gives, where the weights to begin
    /// with have the whole network but the classifier. See [`head`](crate::head).
    pub head_first: bool,
    /// Epochs without a better figure on the validation photos after which training ends; the best epoch's network is kept.
    pub patience: Option<f64>,
    /// Share of the photos that validation takes where the data have no photos of its own for it, by their content.
    pub validation_share: f64,
    /// Share of the validation photos that the finished network may refuse: its scores are calibrated, and the threshold
    /// below which the answer is 'unknown' follows. See [`calibrate`](crate::calibrate).
    pub refused: Option<f64>,
    /// Parameters that are not trained, by the starts of their names, e.g. `stem`, `block1.`.
    pub freeze: Vec<String>,
    /// What is kept of the forward pass for the way back.
    pub memory: MemoryChoice,
    /// How many decoded photos are kept for later epochs.
    pub cache: Cache,
    /// What every random choice follows from.
    pub seed: u64,
    /// Seconds between two checkpoints within an epoch; 0 writes one after every step. Every epoch ends with one.
    pub checkpoint_every: f64,
    /// How gradients become steps.
    pub optimizer: OptimizerRecipe,
    /// How the learning rate changes.
    pub schedule: ScheduleRecipe,
    /// What photos go through.
    pub augmentation: Augmentation,
    /// What pixels become.
    pub preprocessing: Pixels,
    /// A network to learn from.
    pub teacher: Option<Teacher>,
}

/// Names of alternatives, as recipes spell them.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $variant),+ }
    };
}

choice!(
    /// What is minimised.
    LossKind {
        /// The class of a photo against all others: the softmax's cross-entropy.
        #[default]
        CrossEntropy,
        /// Each label of a photo by itself, of which it may have any number: the sigmoids' cross-entropy.
        Binary,
    }
);

choice!(
    /// Whether rare classes count more.
    ClassWeights {
        /// Every photo counts the same.
        #[default]
        None,
        /// Every class counts the same.
        Balanced,
    }
);

choice!(
    /// Whether photos of rare classes are drawn more often; an epoch has as many photos either way.
    Sampling {
        /// Every photo once an epoch.
        #[default]
        Natural,
        /// Every class equally often.
        Balanced,
    }
);

choice!(
    /// What is kept of the forward pass for the way back. All give the same bits.
    MemoryChoice {
        /// `fast`, unless that would take more than half of the memory that is free.
        #[default]
        Auto,
        /// Every layer's output.
        Fast,
        /// Thin tensors; expanded ones are computed anew.
        Low,
    }
);

choice!(
    /// Which statistics batch norm normalises by in training.
    BnStatistics {
        /// The batch's; running ones follow.
        #[default]
        Batch,
        /// The running ones, which stay as they are.
        Frozen,
    }
);

choice!(
    /// How the learning rate falls after the warm-up.
    ScheduleKind {
        /// Not at all.
        Constant,
        /// × `factor` after every `every` epochs.
        Step,
        /// × `factor` over every `every` epochs, a little at each step.
        Exponential,
        /// Half a cosine to `floor`.
        #[default]
        Cosine,
    }
);

choice!(
    /// Which part of a photo is seen.
    Crop {
        /// A part of random area (`scale`) and shape (`ratio`), resized.
        #[default]
        RandomResized,
        /// A square of the photo's size from within the photo with `padding` pixels of a `border` around it.
        Padded,
        /// As in evaluation.
        None,
    }
);

choice!(
    /// What a padded photo has around it.
    Border {
        /// Black.
        #[default]
        Zero,
        /// The photo, mirrored at its outermost pixels.
        Reflect,
    }
);

choice!(
    /// A learned or random series of changes of colour and geometry.
    Auto {
        /// No change.
        #[default]
        None,
        /// ImageNet's policies (arXiv 1805.09501).
        Autoaugment,
        /// CIFAR-10's policies, of the same paper.
        AutoaugmentCifar10,
        /// `randaugment.n` operations of strength `randaugment.m` (arXiv 1909.13719).
        Randaugment,
    }
);

/// How gradients become steps. Keys of another kind have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// The rule.
    pub kind: OptimizerKind,
    /// See [`Settings::momentum`].
    pub momentum: f64,
    /// See [`Settings::nesterov`].
    pub nesterov: bool,
    /// See [`Settings::alpha`]; the library's default where absent.
    pub alpha: Option<f64>,
    /// See [`Settings::beta2`]; the library's default where absent.
    pub beta2: Option<f64>,
    /// See [`Settings::eps`]; the library's default where absent.
    pub eps: Option<f64>,
}

/// How the learning rate changes. Keys of another kind have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleRecipe {
    /// How it falls.
    pub kind: ScheduleKind,
    /// Epochs of linear rise.
    pub warmup: f64,
    /// Where the rise starts, as a share of `lr`.
    pub warmup_from: f64,
    /// Epochs between falls of `step` and `exponential`.
    pub every: f64,
    /// What they multiply by.
    pub factor: f64,
    /// Where `cosine` ends, as a share of `lr`.
    pub floor: f64,
}

/// What photos go through in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Which part is seen.
    pub crop: Crop,
    /// Smallest and largest share of the area for `random_resized`.
    pub scale: [f64; 2],
    /// Smallest and largest width over height for `random_resized`.
    pub ratio: [f64; 2],
    /// Pixels on every side for `padded`.
    pub padding: usize,
    /// What those pixels are.
    pub border: Border,
    /// Probability of a mirror image.
    pub flip: f64,
    /// Strength of random brightness, contrast and saturation: factors from 1 − it to 1 + it.
    pub color_jitter: f64,
    /// A series of changes.
    pub auto: Auto,
    /// What `auto = "randaugment"` does.
    pub randaugment: RandAugment,
    /// Probability that a random rectangle is erased (arXiv 1708.04896).
    pub erasing: f64,
    /// α of mixup's beta distribution (arXiv 1710.09412); 0 is off.
    pub mixup: f64,
    /// α of CutMix's beta distribution (arXiv 1905.04899); 0 is off. With both, each batch gets one of them.
    pub cutmix: f64,
}

/// The two numbers of RandAugment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// Operations for each photo.
    pub n: usize,
    /// Their strength, 0 to 30.
    pub m: f64,
}

/// What red, green and blue in 0..=1 become: (value − mean) / std.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pixels {
    /// Subtracted.
    pub mean: [f64; 3],
    /// Divided by.
    pub std: [f64; 3],
}

/// A network to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Teacher {
    /// Its weights file.
    pub weights: String,
    /// See [`Distillation::temperature`](crate::loss::Distillation::temperature).
    pub temperature: f64,
    /// See [`Distillation::mix`](crate::loss::Distillation::mix).
    pub mix: f64,
}

impl Recipe {
    /// Reads a recipe from TOML text and [checks](Recipe::check) it.
    ///
    /// # Errors
    /// [`Error::Config`], naming the line or the key.
    pub fn from_toml(text: &str) -> Result<Recipe, Error> {
        let recipe: Recipe = toml::from_str(text).map_err(|e| Error::Config(set::explain(text, &e)))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Reads a recipe from a TOML file of at most 1 MiB and [checks](Recipe::check) it.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] naming the file and the line or key.
    pub fn from_file(path: &Path) -> Result<Recipe, Error> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::format(path, "larger than 1 MiB, which no recipe is"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Error::format(path, "not a text file (UTF-8)"))?;
        Recipe::from_toml(text).map_err(|e| Error::format(path, e.to_string()))
    }

    /// Every key with its value, as [`Recipe::from_toml`] reads it back.
    ///
    /// # Panics
    /// Where the seed is larger than TOML's integers, which [`Recipe::check`] refuses.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is made of what TOML has")
    }

    /// Every height and width of photos in training.
    pub fn sides(&self) -> impl Iterator<Item = usize> {
        self.resolutions.iter().map(|[_, side]| *side).chain([self.resolution])
    }

    /// The optimizer's numbers.
    pub fn settings(&self) -> Settings {
        let OptimizerRecipe { kind, momentum, nesterov, alpha, beta2, eps } = self.optimizer;
        let library = Settings::new(kind);
        Settings {
            momentum,
            nesterov,
            alpha: alpha.unwrap_or(library.alpha),
            beta2: beta2.unwrap_or(library.beta2),
            eps: eps.unwrap_or(library.eps),
            weight_decay: self.weight_decay,
            decay_depthwise: self.decay_depthwise,
            decay_all: self.decay_all,
            clip_norm: self.clip_norm,
        }
    }

    /// The learning rate over the epochs.
    pub fn schedule(&self) -> Schedule {
        let ScheduleRecipe { kind, warmup, warmup_from, every, factor, floor } = self.schedule;
        let fall = match kind {
            ScheduleKind::Constant => Fall::Constant,
            ScheduleKind::Step => Fall::Step { every, factor },
            ScheduleKind::Exponential => Fall::Exponential { every, factor },
            ScheduleKind::Cosine => Fall::Cosine { floor },
        };
        Schedule { peak: self.lr, warmup, warmup_from, fall }
    }
}

/// What prints its own name and is read by it.
mod by_name {
    use super::*;

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
