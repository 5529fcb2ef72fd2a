//! Going on from a checkpoint: what must be as it was, what may change, and what the user is told.

use std::collections::BTreeMap;
use std::path::Path;

use mobilenet_data::{Dataset, Source};
use mobilenet_kernels::Isa;
use mobilenet_net::Error as NetError;
use mobilenet_net::hash::Hash;

use super::{Origin, Trainer};
use crate::average::Average;
use crate::checkpoint::{Checkpoint, Found, NEWEST, PREVIOUS};
use crate::error::Error;
use crate::optim::named;
use crate::recipe::Recipe;

/// Settings that a run keeps: the optimizer's state is of one kind, and all random choices follow from one seed.
const KEPT: [&str; 2] = ["optimizer.kind", "seed"];
/// Settings that move the steps within an epoch.
const MOVING: [&str; 2] = ["batch", "accumulate"];

/// What a checkpoint knows of its photos beside the classes.
const PHOTOS: &str = "photos";
/// See [`PHOTOS`].
const PHOTOS_HASH: &str = "photos_hash";
/// The instruction set, by whose name checkpoints know it.
const INSTRUCTIONS: &str = "instruction_set";
/// What the weights began with.
pub(super) const SOURCE: &str = "source";
/// What a damaged checkpoint is called once it was passed over.
const DAMAGED: &str = "checkpoint.damaged.safetensors";
/// See [`PHOTOS`]: photos to check with, where there are any.
const VALIDATION: &str = "validation_photos";
/// See [`VALIDATION`].
const VALIDATION_HASH: &str = "validation_photos_hash";
/// See [`PHOTOS`]: steps of an epoch.
const STEPS: &str = "steps";

/// What the user should know of a run that goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumed {
    /// What makes the run another one than if it had not stopped, without the user's having asked for it.
    pub warnings: Vec<String>,
    /// Settings that are others than the checkpoint's: `lr 0.05 → 0.01`.
    pub changed: Vec<String>,
    /// Whether the photos to learn from are others.
    pub has_other_photos: bool,
}

impl Trainer {
    /// Goes on from the newest checkpoint of the folder, at the same epoch and the same photo, by this trainer's recipe.
    ///
    /// # Errors
    /// No checkpoint, a damaged one, or one of another network, other classes, another seed or kind of optimizer.
    pub fn resume(&mut self) -> Result<Resumed, Error> {
        let Found { checkpoint, path, notice } = Checkpoint::load(&self.folder)?;
        expect_same_names(&checkpoint.classes, &self.classes, &path)?;
        checkpoint.expect(&self.network, &path)?;
        let mut resumed = Resumed { warnings: notice.into_iter().collect(), ..Resumed::default() };
        let before = Recipe::from_toml(&checkpoint.recipe).map_err(|e| NetError::format(&path, e.to_string()))?;
        for (key, then, now) in before.differences(&self.recipe) {
            if KEPT.contains(&key.as_str()) {
                let reason = format!(
                    "{key} is {then} in the checkpoint and {now} now, and a run keeps it: set it back, or begin another \
                     run in another folder (-o)"
                );
                return Err(NetError::format(&path, reason).into());
            }
            if MOVING.contains(&key.as_str()) {
                resumed
                    .warnings
                    .push(format!("{key} is {then} in the checkpoint and {now} now: epochs go on as counted"));
            }
            resumed.changed.push(format!("{key} {then} → {now}"));
        }
        let other_photos = other_photos(&checkpoint.extra, &self.extra);
        resumed.has_other_photos = other_photos.is_some();
        resumed.warnings.extend(other_photos);
        resumed.warnings.extend(other_instructions(&checkpoint.extra, &self.extra));
        if let (Some(then), None) = (checkpoint.extra.get(VALIDATION), self.extra.get(VALIDATION)) {
            let text = format!("the checkpoint was checked with {then} validation photos, and now there are none");
            resumed.warnings.push(text);
        }
        let is_other_measure = before.resolution != self.recipe.resolution
            || checkpoint.extra.get(VALIDATION_HASH).is_some_and(|then| self.extra.get(VALIDATION_HASH) != Some(then));
        self.restore(checkpoint, &path)?;
        // Figures of other photos, or of another size, are no measure for those to come.
        if is_other_measure {
            self.position.best = None;
            self.position.lacks_evaluation = self.position.step > 0;
        }
        let (made, steps) = (self.position.steps_of(self.steps_in_epoch()), self.steps_in_epoch() as f64);
        if (steps * self.recipe.epochs).ceil() < made as f64 {
            let (epochs, made) = (self.recipe.epochs, made as f64 / steps);
            let reason =
                format!("epochs is {epochs}, and {made:.1} are made already: it counts from the run's beginning");
            return Err(NetError::format(&path, reason).into());
        }
        // A damaged file must not become the previous one and push out the good one.
        if path.ends_with(PREVIOUS) && self.machine.is_first() {
            _ = std::fs::rename(self.folder.join(NEWEST), self.folder.join(DAMAGED));
        }
        Ok(resumed)
    }

    fn restore(&mut self, checkpoint: Checkpoint, path: &Path) -> Result<(), Error> {
        let Checkpoint { weights, optimizer, average, mut position, extra, .. } = checkpoint;
        let parameters = self.program.parameters().to_vec();
        let weights = named("", &weights, &parameters)?;
        self.optimizer.restore(&optimizer, position.optimizer_steps)?;
        self.program.set_values(weights);
        match &mut self.average {
            Some(state) if !average.is_empty() => state.restore(&average, position.average_updates)?,
            // An average that was not kept so far begins here.
            Some(state) => {
                let values = self.program.values().iter().map(Vec::as_slice);
                *state = Average::new(state.decay(), self.recipe.average_warmup, &parameters, values);
            }
            None => {}
        }
        let steps = self.steps_in_epoch();
        let then = extra.get(STEPS).and_then(|text| text.parse().ok()).filter(|&then: &u64| then > 0);
        // Other photos or batches: the epoch goes on at the same share of it.
        let at = u128::from(position.step_in_epoch) * u128::from(steps) / u128::from(then.unwrap_or(steps));
        position.step_in_epoch = at.min(u128::from(steps)) as u64;
        let epoch = position.epoch as f64 + position.step_in_epoch as f64 / steps as f64;
        // The checkpoint's weights have come from there all the same.
        self.extra.remove(SOURCE);
        self.extra.extend(extra.get_key_value(SOURCE).map(|(key, source)| (key.clone(), source.clone())));
        self.origin = Origin::Checkpoint { file: path.display().to_string(), epoch };
        self.position = position;
        Ok(())
    }
}

/// What a checkpoint holds of its photos, seen in `steps` steps an epoch.
pub(super) fn describe(
    dataset: &Dataset,
    validation: Option<&Dataset>,
    steps: u64,
    isa: Isa,
    source: Option<String>,
) -> BTreeMap<String, String> {
    let entries = [
        (PHOTOS, dataset.len().to_string()),
        (PHOTOS_HASH, hash(dataset).to_string()),
        (STEPS, steps.to_string()),
        (INSTRUCTIONS, isa.to_string()),
    ];
    let validation = validation
        .map(|dataset| [(VALIDATION, dataset.len().to_string()), (VALIDATION_HASH, hash(dataset).to_string())]);
    let source = source.map(|source| (SOURCE, source));
    entries
        .into_iter()
        .chain(validation.into_iter().flatten())
        .chain(source)
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// A number that follows from the photos' names in their order, their sizes in bytes and their classes, wherever the data
/// set lies.
fn hash(dataset: &Dataset) -> u64 {
    let mut hash = Hash::default();
    let beside = dataset.path().parent().unwrap_or(dataset.path());
    for item in dataset.items() {
        let size = match &item.source {
            Source::File(path) => {
                let name = path.strip_prefix(dataset.path()).or_else(|_| path.strip_prefix(beside)).unwrap_or(path);
                hash.bytes(name.as_os_str().as_encoded_bytes());
                // A file that is gone by now is told of when it is its turn.
                std::fs::metadata(path).map_or(0, |found| found.len())
            }
            Source::Member { name, size, .. } => {
                hash.bytes(name.as_bytes());
                *size
            }
        };
        hash.word(size);
        item.target.labels().iter().for_each(|&label| hash.word(label.into()));
    }
    hash.get()
}

/// What to say where the photos are others than the checkpoint's.
fn other_photos(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let [photos_then, photos_now] = [then, now].map(|extra| extra.get(PHOTOS));
    let what = match (photos_then?, photos_now?) {
        (a, b) if a != b => format!("there are {b} photos, and the checkpoint was trained on {a}"),
        _ if then.get(PHOTOS_HASH) != now.get(PHOTOS_HASH) => {
            "the photos have other names, sizes or classes than those that the checkpoint was trained on".to_owned()
        }
        _ => return None,
    };
    Some(format!("{what}: an epoch that is under way sees some photos twice, and some not at all"))
}

/// What to say where another instruction set is used than before.
fn other_instructions(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let [then, now] = [then, now].map(|extra| extra.get(INSTRUCTIONS));
    let (then, now) = (then?, now?);
    (then != now)
        .then(|| format!("trained with {then} so far and with {now} from here: other bits than without the change"))
}

/// Classes that are named in an error.
const NAMES: usize = 5;

fn expect_same_names(then: &[String], now: &[String], path: &Path) -> Result<(), NetError> {
    if then == now {
        return Ok(());
    }
    let only = |a: &[String], b: &[String]| {
        let names: Vec<_> = a.iter().filter(|name| !b.contains(name)).map(|name| format!("`{name}`")).collect();
        let more = if names.len() > NAMES { format!(" and {} more", names.len() - NAMES) } else { String::new() };
        (!names.is_empty()).then(|| names[..names.len().min(NAMES)].join(", ") + &more)
    };
    let differ = match (only(then, now), only(now, then)) {
        (None, None) => "they are in another order".to_owned(),
        (gone, new) => {
            let part = |what, names: Option<String>| names.map(|names| format!("{what} {names}"));
            let parts = [part("the checkpoint alone has", gone), part("the data alone has", new)];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
    };
    let reason =
        format!("the checkpoint's classes are not the data's: {differ}; give the same data, or another folder");
    Err(NetError::format(path, reason))
}
