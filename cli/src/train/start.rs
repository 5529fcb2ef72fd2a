//! What a run begins with: a checkpoint, a file's weights, the built-in network's, or random ones.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use mobilenet::arch::{self, WidthRule};
use mobilenet::data::Splits;
use mobilenet::net::built_in;
use mobilenet::net::preprocessing::Preprocessing;
use mobilenet::train::Recipe;
use mobilenet::train::checkpoint::{Checkpoint, Found};
use mobilenet::train::choose::Beginning;
use mobilenet::train::trainer::{Start, Trainer};

use super::Train;
use crate::failure::Failure;

/// What `--from` calls no weights.
const RANDOM: &str = "random";
/// Settings that say which network it is.
const NETWORK: [&str; 4] = ["model", "width", "width_rule", "total_stride"];

impl Train {
    /// The folder of a run without `--output`.
    pub(super) fn named(&self) -> PathBuf {
        let name = self.data.as_deref().and_then(Path::file_stem).and_then(OsStr::to_str).unwrap_or("changed");
        let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        Path::new("runs").join(name.chars().map(safe).collect::<String>())
    }

    /// Whether the folder's checkpoint is gone on from, where there is one.
    pub(super) fn goes_on(&self) -> bool {
        self.resume || self.is_again
    }

    /// Whether the folder holds a run that this command began, which then goes on: its classes and all its settings are those
    /// that the command has now.
    pub(super) fn is_again(&self) -> Result<bool, Failure> {
        if self.resume || !Checkpoint::is_in(&self.folder) {
            return Ok(false);
        }
        let found = Checkpoint::load(&self.folder)?;
        let kept = Recipe::from_toml(&found.checkpoint.recipe)?;
        let base = self.base(None)?.unwrap_or_else(|| kept.clone());
        let is_same = self.recipe(base, self.trained(&found)?.as_ref()).is_ok_and(|recipe| recipe == kept)
            && Splits::open(self.data())?.train.classes() == found.checkpoint.classes;
        if is_same {
            let folder = self.folder.display();
            note!("goes on with the run in {folder}; another folder, by -o, begins a new one");
        }
        Ok(is_same)
    }

    /// The checkpoint to go on from; one that nobody wants to go on from must not be overwritten.
    pub(super) fn checkpoint(&self) -> Result<Option<Found>, Failure> {
        match (self.goes_on(), Checkpoint::is_in(&self.folder)) {
            (true, true) => Ok(Some(Checkpoint::load(&self.folder)?)),
            (true, false) => {
                note!("{} holds no checkpoint yet: training begins", self.folder.display());
                Ok(None)
            }
            (false, true) => Err(self.is_another("settings or classes")),
            (false, false) => Ok(None),
        }
    }

    fn is_another(&self, what: &str) -> Failure {
        Failure::bad(format!(
            "{} holds a checkpoint of a run with other {what}: add --resume to go on from it all the same, or give another \
             folder with -o",
            self.folder.display()
        ))
    }

    /// Goes on from the folder's checkpoint, and says what is not as it was.
    pub(super) fn go_on(&self, trainer: &mut Trainer) -> Result<(), Failure> {
        let resumed = trainer.resume()?;
        if resumed.has_other_photos && !self.resume {
            return Err(self.is_another("photos"));
        }
        resumed.warnings.iter().for_each(|warning| note!("warning: {warning}"));
        if !resumed.changed.is_empty() {
            note!("changed since the checkpoint: {}", resumed.changed.join(", "));
        }
        Ok(())
    }

    /// Weights to begin with, and their network.
    ///
    /// # Errors
    /// None, where the classifier is to be learned first, or alone.
    pub(super) fn weights(&self) -> Result<Option<(Start, Option<Begun>)>, Failure> {
        let begun = match &self.from {
            Some(from) if from.as_os_str() == RANDOM => None,
            Some(from) => Some(begin(from)?),
            None => self.built_in()?,
        };
        let mut recipe = self.base(None)?.unwrap_or_default();
        self.settle(&mut recipe)?;
        if recipe.head_first && begun.is_none() {
            return Err(Failure::bad(
                "the classifier is to be learned first, or alone, on features of a network, and random weights have none: \
                 give the weights to begin with as --from",
            ));
        }
        Ok(begun.map(|(start, begun)| (start, Some(begun))))
    }

    /// The built-in network, where no flag names another, and settings are chosen, or are those of a run that began with it.
    fn built_in(&self) -> Result<Option<(Start, Begun)>, Failure> {
        if self.flags()?.iter().any(|(key, _)| NETWORK.contains(&key.as_str())) {
            return Ok(None);
        }
        let (start, begun) = begin(Path::new(built_in::NAME))?;
        let is_wanted = match self.base(None)? {
            Some(mut recipe) => {
                self.settle(&mut recipe)?;
                recipe.head_first && begun.is_of(&recipe)
            }
            None => true,
        };
        Ok(is_wanted.then_some((start, begun)))
    }

    /// The network that a checkpoint's run took from `--from` when it began.
    pub(super) fn trained(&self, found: &Found) -> Result<Option<Begun>, Failure> {
        if self.from.is_none() {
            return Ok(None);
        }
        let Recipe { width, width_rule, total_stride, .. } = Recipe::from_toml(&found.checkpoint.recipe)?;
        let model = found.checkpoint.network.table.name.clone();
        Ok(Some(Begun { model, width, width_rule, total_stride: Some(total_stride), preprocessing: None }))
    }
}

/// A recipe's network, as weights have it.
pub(super) struct Begun {
    pub(super) model: String,
    pub(super) width: f64,
    pub(super) width_rule: WidthRule,
    pub(super) total_stride: Option<usize>,
    /// Where its weights are from a file.
    preprocessing: Option<Preprocessing>,
}

impl Begun {
    /// What settings follow from, where its weights are from a file.
    pub(super) fn known(&self) -> Option<Beginning> {
        let Begun { model, width, width_rule, total_stride, preprocessing } = self;
        let (width, width_rule, preprocessing) = (*width, *width_rule, (*preprocessing)?);
        let model = arch::models().iter().any(|known| known.name == model).then(|| model.clone());
        Some(Beginning { model, width, width_rule, total_stride: total_stride.unwrap_or(32), preprocessing })
    }

    /// Whether a recipe is of this network.
    fn is_of(&self, recipe: &Recipe) -> bool {
        let Begun { model, width, width_rule, total_stride, .. } = self;
        (&recipe.model, recipe.width, recipe.width_rule) == (model, *width, *width_rule)
            && recipe.total_stride == total_stride.unwrap_or(32)
    }

    /// Refuses a recipe of another network.
    pub(super) fn expect(&self, recipe: &Recipe) -> Result<(), Failure> {
        let (model, width) = (arch::find(&recipe.model)?.name, recipe.width);
        if (&model, width) == (&self.model, self.width) {
            return Ok(());
        }
        let remedy = match arch::models().iter().any(|known| known.name == self.model) {
            true => "leave out --model and --width, or --from",
            false => "give its table as --model, or leave out --from",
        };
        let (theirs, at) = (&self.model, self.width);
        Err(Failure::bad(format!(
            "--from holds {theirs} (width {at:?}), and {model} (width {width:?}) is to be trained: {remedy}"
        )))
    }
}

/// Opens weights to begin with.
fn begin(path: &Path) -> Result<(Start, Begun), Failure> {
    let loaded = mobilenet::net::load(path, &Default::default())?;
    loaded.recognised.guesses.iter().for_each(|guess| note!("guessed {guess}"));
    let spec = &loaded.recognised.spec;
    let begun = Begun {
        model: loaded.recognised.table.name.clone(),
        width: spec.width,
        width_rule: spec.width_rule,
        // Photos of another size may want other strides, which the weights do not mind.
        total_stride: (spec.total_stride != 32).then_some(spec.total_stride),
        preprocessing: Some(loaded.recognised.preprocessing),
    };
    Ok((Start::of(path, loaded), begun))
}
