//! What a run begins with: a checkpoint, a file's weights, the built-in network's, or random ones.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use mobilenet::arch::{self, WidthRule};
use mobilenet::data::Dataset;
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

    /// The checkpoint to go on from, and its recipe; one that nobody wants to go on from must not be overwritten.
    pub(super) fn found(&self, photos: &Dataset) -> Result<Option<(Found, Recipe)>, Failure> {
        let folder = self.folder.display();
        if !Checkpoint::is_in(&self.folder) {
            if self.resume {
                note!("{folder} holds no checkpoint yet: training begins");
            }
            return Ok(None);
        }
        let found = Checkpoint::load(&self.folder)?;
        let kept = Recipe::from_toml(&found.checkpoint.recipe)
            .map_err(|error| Failure::bad(format!("{}: {error}", found.path.display())))?;
        if !self.resume {
            if !self.is_same(&found, &kept, photos)? {
                return Err(self.is_another("settings or classes"));
            }
            note!("goes on with the run in {folder}; another folder, by -o, begins a new one");
        }
        Ok(Some((found, kept)))
    }

    /// Whether this command began a checkpoint's run: its classes and all its settings are those that the command has now.
    fn is_same(&self, found: &Found, kept: &Recipe, photos: &Dataset) -> Result<bool, Failure> {
        let base = self.base(Some(kept))?.expect("a run has a recipe");
        let is_same = self.recipe(base, self.trained(found, kept).as_ref()).is_ok_and(|recipe| recipe == *kept);
        Ok(is_same && photos.classes() == found.checkpoint.classes)
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

    /// Weights to begin with, and their network; `base` is what flags change, unless settings are to be chosen.
    ///
    /// # Errors
    /// None, where the classifier is to be learned first, or alone.
    pub(super) fn weights(&self, base: Option<&Recipe>) -> Result<Option<(Start, Option<Begun>)>, Failure> {
        let mut recipe = base.cloned().unwrap_or_default();
        self.settle(&mut recipe)?;
        let begun = match &self.from {
            Some(from) if from.as_os_str() == RANDOM => None,
            Some(from) => Some(begin(from)?),
            None => self.built_in(base.map(|_| &recipe))?,
        };
        if recipe.head_first && begun.is_none() {
            return Err(Failure::bad(
                "the classifier is to be learned first, or alone, on features of a network, and random weights have none: \
                 give the weights to begin with as --from",
            ));
        }
        Ok(begun.map(|(start, begun)| (start, Some(begun))))
    }

    /// The built-in network, where no flag names another, and settings are chosen, or `recipe` is that of a run that began
    /// with it.
    fn built_in(&self, recipe: Option<&Recipe>) -> Result<Option<(Start, Begun)>, Failure> {
        let names_another = self.flags()?.iter().any(|(key, _)| NETWORK.contains(&key.as_str()));
        if names_another || recipe.is_some_and(|recipe| !recipe.head_first) {
            return Ok(None);
        }
        let (start, begun) = begin(Path::new(built_in::NAME))?;
        Ok(recipe.is_none_or(|recipe| begun.is_of(recipe)).then_some((start, begun)))
    }

    /// The network that a checkpoint's run took from `--from` when it began.
    pub(super) fn trained(&self, found: &Found, kept: &Recipe) -> Option<Begun> {
        let &Recipe { width, width_rule, total_stride, .. } = kept;
        self.from.as_ref().map(|_| Begun {
            model: found.checkpoint.network.table.name.clone(),
            width,
            width_rule,
            total_stride: Some(total_stride),
            preprocessing: None,
        })
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
