//! `mobilenet train`: from photos to a network.

mod changes;
mod doctor;
mod settings;
mod start;
mod watch;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::HumanDuration;
use mobilenet::arch;
use mobilenet::data::{ByContent, Dataset, Scenes, Splits};
use mobilenet::net::file;
use mobilenet::train::calibrate::LEAST;
use mobilenet::train::checkpoint::Checkpoint;
use mobilenet::train::choose::{self, Choice};
use mobilenet::train::recipe::BnStatistics;
use mobilenet::train::trainer::{Ended, MODEL, Machine, Start, Trainer};
use mobilenet::train::{Recipe, RunFolder};

use crate::args::{RunArgs, weights_file};
use crate::failure::Failure;
use crate::ranks::Ranks;
use crate::{check, print};
use changes::ChangeArgs;
use settings::Settings;
use start::Begun;
use watch::Watch;

/// The run's settings in its folder.
const RECIPE: &str = "recipe.toml";
/// What `--recipe` calls the recipe of every key's default, of which nothing is chosen.
const DEFAULT: &str = "default";

const HEADINGS: [&str; 5] = ["Photos and folder", "Network", "Training", "Settings", "Classes of a trained network"];

/// Train a network on photos
#[derive(Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "DATA is a folder with a folder of photos per class (or train/ and val/ with such folders), or a CSV with \
columns file, class, name beside a .tar or .tar.gz. With columns file, label, label a photo may have any number of labels, \
which --loss binary learns. docs/training.md explains every setting.

A run leaves in its folder: model.safetensors (for `classify`, `eval`, `bench`), report.html, checkpoint.safetensors and \
the one before, log.jsonl, log.csv, TensorBoard's event files, recipe.toml. Ctrl-C writes a checkpoint and ends with exit code 130. The same command \
goes on, with the same bits as if it had never stopped, and so does --resume, with which settings may change.

Examples:
  mobilenet train photos/
  mobilenet train photos/ --from mobilenet_v2.pth --minutes 20
  mobilenet train photos/ --from mobilenet_v3_small.pth --recipe recipes/small.toml
  mobilenet train photos/ --from mobilenet_v3_small.pth --recipe recipes/small.toml --epochs 40
  mobilenet train many_photos/ --model mobilenet_v3_small --epochs 100
  mobilenet train cifar10_train.csv --recipe recipes/cifar10.toml -o runs/cifar10 --average 0.99"
)]
pub struct Train {
    /// Photos to learn from
    #[arg(required_unless_present_any = ["add", "rename", "drop"])]
    data: Option<PathBuf>,
    /// Photos to check with, where DATA has none of its own
    #[arg(long, value_name = "DATA", help_heading = HEADINGS[0])]
    validation: Option<PathBuf>,
    /// The run's folder [default: runs/ and DATA's name]
    #[arg(long, short, value_name = "FOLDER", help_heading = HEADINGS[0])]
    output: Option<PathBuf>,
    /// Where the run is kept
    #[arg(skip)]
    folder: PathBuf,
    /// Go on from the folder's checkpoint, also with other settings or photos; begin where there is none
    #[arg(long, help_heading = HEADINGS[0])]
    resume: bool,
    #[arg(long, value_name = "SECONDS", help_heading = HEADINGS[0],
        help = help("Between two checkpoints within an epoch; every epoch ends with one", "checkpoint_every"))]
    checkpoint_every: Option<String>,
    /// Print JSON objects, one at the start and one an epoch, and no progress bar
    #[arg(long, help_heading = HEADINGS[0])]
    json: bool,
    #[arg(long, value_name = "NAME|TOML", help_heading = HEADINGS[1],
        help = help("A registered name or a TOML table", "model"))]
    model: Option<String>,
    #[arg(long, value_name = "FACTOR", help_heading = HEADINGS[1], help = help("Width multiplier", "width"))]
    width: Option<String>,
    #[arg(long, value_name = "STRIDE", help_heading = HEADINGS[1],
        help = help("For small photos: leave out the first strides, so that all together are 32, 16 or 8", "total_stride"))]
    total_stride: Option<String>,
    #[arg(long, value_name = "PIXELS", help_heading = HEADINGS[1],
        help = help("Height and width of the photos in training", "resolution"))]
    resolution: Option<String>,
    /// Begin with these weights, the classifier's only where the classes are the same, or with `random` ones [default: the
    /// built-in network's, where neither a recipe nor a flag names another]
    #[arg(long, value_name = "FILE|random", help_heading = HEADINGS[1], value_parser = weights_file())]
    from: Option<PathBuf>,
    /// A network of the same classes to learn from
    #[arg(long, value_name = "FILE", help_heading = HEADINGS[1], value_parser = weights_file())]
    teacher: Option<PathBuf>,
    /// Learn the classifier alone, on features that one pass over the photos gives: seconds in place of minutes
    #[arg(long, help_heading = HEADINGS[2], conflicts_with = "epochs")]
    head_only: bool,
    /// What epochs and resolution should take, where no recipe says them
    #[arg(long, value_name = "MINUTES", help_heading = HEADINGS[2], default_value_t = choose::MINUTES,
        value_parser = minutes)]
    minutes: f64,
    #[arg(long, value_name = "N", help_heading = HEADINGS[2], help = help("Photos that are worked on together", "batch"))]
    batch: Option<String>,
    #[arg(long, value_name = "N", help_heading = HEADINGS[2],
        help = help("Times that every photo is seen, in all: with --resume too", "epochs"))]
    epochs: Option<String>,
    #[arg(long, value_name = "KIND", help_heading = HEADINGS[2],
        help = help("sgd, rmsprop, rmsprop_tf or adamw", "optimizer.kind"))]
    optimizer: Option<String>,
    #[arg(long, value_name = "RATE", help_heading = HEADINGS[2], help = help("Highest learning rate", "lr"))]
    lr: Option<String>,
    #[arg(long, value_name = "KIND", help_heading = HEADINGS[2],
        help = help("constant, step, exponential or cosine", "schedule.kind"))]
    schedule: Option<String>,
    #[arg(long, value_name = "CHOICE", help_heading = HEADINGS[2],
        help = help("auto, fast, or low: compute expanded tensors twice, to the same bits", "memory"))]
    memory: Option<String>,
    #[arg(long, value_name = "N", help_heading = HEADINGS[2],
        help = help("What every random choice follows from", "seed"))]
    seed: Option<String>,
    /// All settings as a TOML file, or `default` for every key's default; flags replace single ones. Without it, settings
    /// are chosen for the photos and this machine
    #[arg(long, value_name = "FILE|default", help_heading = HEADINGS[3])]
    recipe: Option<PathBuf>,
    /// Any key of a recipe as the file has it, e.g. augmentation.mixup=0.2; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = HEADINGS[3])]
    set: Vec<String>,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    run: RunArgs,
}

/// A time that settings can be chosen for.
fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse::<f64>().ok().filter(|minutes| minutes.is_finite() && *minutes > 0.0);
    minutes.ok_or_else(|| "give a number of minutes above 0".into())
}

/// A run that may begin.
struct Prepared {
    trainer: Trainer,
    recipe: Recipe,
    /// What the run may take, where its settings were chosen.
    seconds: Option<f64>,
    /// Of the process that writes.
    folder: Option<RunFolder>,
    /// To learn from and to check with.
    photos: usize,
    /// Of these, to check with.
    validation: usize,
}

/// A flag's help, with the default of its key.
fn help(text: &str, key: &str) -> String {
    format!("{text} [default: {}]", Recipe::default().get(key).expect("flags are keys of a recipe"))
}

impl Train {
    pub fn run(mut self) -> Result<(), Failure> {
        let ranks = Ranks::meet()?;
        self.folder = self.output.take().unwrap_or_else(|| self.named());
        if let Some(from) = self.from.as_ref().filter(|_| self.changes.is_given()) {
            ranks.all(ranks.expect_one("classes are added, renamed and dropped by one process: leave out mpirun"))?;
            let machine = self.machine(&ranks)?;
            return self.changes.run(from, self.data.as_deref(), &self.folder, self.json, &machine);
        }
        let Prepared { mut trainer, recipe, seconds, folder, photos, validation } = ranks.all(self.prepare(&ranks))?;
        let stop = Arc::new(AtomicBool::new(false));
        // After all processes have read what is there, the first one writes.
        let watch = folder.map(|folder| self.begin(folder, &recipe, &stop)).transpose();
        let mut begun = ranks.all(watch)?;
        if let Some(seconds) = seconds {
            tell(&recipe, seconds);
        }
        let flag = stop.clone();
        // A second Ctrl-C, while the checkpoint is written, is heard as well.
        let heard = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
        heard.map_err(|error| ranks.fail(error.into()))?;
        let ended = trainer.run(&mut |event| match &mut begun {
            Some((watch, _)) => watch.event(event),
            None => watch::silent(&stop),
        });
        begun.iter().for_each(|(watch, _)| watch.clear());
        // Each process knows of those that it has met.
        ranks.aloud(|| print::unreadable(&trainer.unreadable(), photos));
        match ended {
            Ok(Ended::Done) => {
                self.say_uncalibrated(&recipe, validation);
                // The network is there, whatever keeps its report from being written.
                if ranks.is_first()
                    && let Err(error) = trainer.report()
                {
                    note!("warning: there is no report: {error}");
                }
                note!("done: mobilenet classify photo.jpg --weights {}", print::quoted(&self.folder.join(MODEL)));
                Ok(())
            }
            Ok(Ended::Stopped) => {
                note!("stopped; the same command goes on");
                Err(Failure::Interrupted)
            }
            Err(error) if error.is_of_all_ranks() => ranks.all(Err(error.into())),
            Err(error) => Err(ranks.fail(error.into())),
        }
    }

    fn machine(&self, ranks: &Ranks) -> Result<Machine, Failure> {
        Ok(Machine { isa: self.run.isa()?, pool: self.run.pool(), group: ranks.group() })
    }

    /// Reads everything, and writes nothing.
    fn prepare(&self, ranks: &Ranks) -> Result<Prepared, Failure> {
        let machine = self.machine(ranks)?;
        // Before anything is read or measured.
        if !self.has_recipe() {
            ranks.expect_one(
                "settings are chosen for one process on this machine: give several --recipe FILE or --recipe default, or \
                 the folder of a run to go on with (-o) and --resume",
            )?;
        }
        let mut recipe = Recipe::default();
        self.settle(&mut recipe)?;
        arch::find(&recipe.model)?;
        let Splits { train, validation } = self.photos()?;
        [Some(&train), validation.as_ref()].into_iter().flatten().for_each(print::ignored);
        let photos = train.len() + validation.as_ref().map_or(0, Dataset::len);
        let folder = ranks.is_first().then(|| RunFolder::open(&self.folder)).transpose()?;
        let found = self.found(&train)?;
        let is_resumed = found.is_some();
        let base = self.base(found.as_ref().map(|(_, kept)| kept))?;
        let start = match found {
            Some((found, kept)) => {
                if self.from.is_some() {
                    note!("--from is not read: the checkpoint has the weights");
                }
                let network = self.trained(&found, &kept);
                Some((Start::checkpoint(found), network))
            }
            None => self.weights(base.as_ref())?,
        };
        let network = start.as_ref().and_then(|(_, network)| network.as_ref());
        let mut seconds = None;
        let recipe = match base {
            Some(base) => self.recipe(base, network)?,
            None => {
                doctor::look(self.data(), self.validation.as_deref(), photos, self.run.threads())?;
                let Choice { recipe, seconds: about } =
                    self.chosen(&train, validation.as_ref().map(Dataset::len), network, &machine)?;
                seconds = Some(about);
                recipe
            }
        };
        let Splits { train, validation } = self.split(train, validation, recipe.validation_share)?;
        let validation_photos = validation.as_ref().map_or(0, Dataset::len);
        let (train, validation) = (Arc::new(train), validation.map(Arc::new));
        let start = start.map(|(start, _)| start);
        let mut trainer = Trainer::new(recipe.clone(), train, validation, &self.folder, machine, start)?;
        if is_resumed {
            self.go_on(&mut trainer)?;
        }
        if recipe.batch == 1 && recipe.bn_statistics == BnStatistics::Batch {
            note!("warning: batch norm has no statistics in batches of one photo: take --batch 2 or more");
        }
        Ok(Prepared { trainer, recipe, seconds, folder, photos, validation: validation_photos })
    }

    /// Makes the run's folder, which is held as long as it is given back, with the recipe and the log.
    fn begin<'a>(
        &self,
        mut folder: RunFolder,
        recipe: &Recipe,
        stop: &'a AtomicBool,
    ) -> Result<(Watch<'a>, RunFolder), Failure> {
        folder.create()?;
        file::write(self.folder.join(RECIPE), recipe.to_toml().as_bytes())?;
        Ok((Watch::new(&self.folder, self.json, stop, recipe.epochs)?, folder))
    }

    /// Says why a network knows no 'unknown'.
    fn say_uncalibrated(&self, recipe: &Recipe, validation: usize) {
        if recipe.refused.is_some() && validation < LEAST {
            note!(
                "{validation} photos to check with tell no threshold of 'unknown', and no calibration: {LEAST} would"
            );
        }
    }

    fn photos(&self) -> Result<Splits, Failure> {
        let Splits { train, validation } = Splits::open(self.data())?;
        let validation = match &self.validation {
            Some(path) => {
                let dataset = Splits::open_validation_as(path, train.classes())?;
                if dataset.is_by_number() {
                    note!(
                        "{} numbers its classes and does not name them: taken in the training photos' order",
                        path.display()
                    );
                }
                Some(dataset)
            }
            None => validation,
        };
        Ok(Splits { train, validation })
    }

    /// The photos, those of validation taken from the others where there are none and a share is wanted.
    fn split(&self, train: Dataset, validation: Option<Dataset>, share: f64) -> Result<Splits, Failure> {
        if validation.is_some() || share == 0.0 {
            return Ok(Splits { train, validation });
        }
        // For scenes that are alike all photos are decoded.
        let scenes = if train.len() <= doctor::MOST { Scenes::Alike } else { Scenes::SameBytes };
        let how = ByContent { share, scenes, threads: self.run.threads() };
        let bar = check::bar();
        let splits = Splits::by_content(train, &how, &mut |done, total| {
            check::show(&bar, done, total);
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        let splits = splits?.expect("nothing ends it");
        if splits.validation.is_none() {
            note!("no photos can be put aside to check with: the photos of each class are one, or almost the same");
        }
        Ok(splits)
    }

    /// `recipe` with what flags say, for the network of the weights to begin with.
    fn recipe(&self, mut recipe: Recipe, network: Option<&Begun>) -> Result<Recipe, Failure> {
        if let Some(Begun { model, width, width_rule, total_stride, .. }) = network {
            (recipe.width, recipe.width_rule) = (*width, *width_rule);
            // A table of one's own has a name that nobody else knows.
            if arch::models().iter().any(|known| known.name == model) {
                recipe.model = model.clone();
            }
            recipe.total_stride = total_stride.unwrap_or(recipe.total_stride);
        }
        self.settle(&mut recipe)?;
        if let Some(from) = network {
            from.expect(&recipe)?;
        }
        Ok(recipe)
    }

    /// Puts what flags say into a recipe.
    fn settle(&self, recipe: &mut Recipe) -> Result<(), Failure> {
        for (key, value) in self.flags()? {
            recipe.set(&key, &value)?;
        }
        Ok(())
    }

    /// The settings that flags change, those of a file or of a run that goes on; without either, they are to be chosen.
    fn base(&self, kept: Option<&Recipe>) -> Result<Option<Recipe>, Failure> {
        let own = self.folder.join(RECIPE);
        Ok(match (&self.recipe, kept) {
            (Some(file), _) if file.as_os_str() == DEFAULT => Some(Recipe::default()),
            (Some(file), _) => Some(Recipe::from_file(file)?),
            // A run goes on as it began; flags may say otherwise.
            (None, kept) if (self.resume || kept.is_some()) && own.exists() => Some(Recipe::from_file(&own)?),
            (None, kept) => kept.cloned(),
        })
    }

    /// Whether [`base`](Self::base) will give settings, or this command be refused.
    fn has_recipe(&self) -> bool {
        let is_begun = Checkpoint::is_in(&self.folder) || self.resume && self.folder.join(RECIPE).exists();
        self.recipe.is_some() || is_begun
    }

    /// Settings for these photos and this machine, with what flags say.
    fn chosen(
        &self,
        photos: &Dataset,
        validation: Option<usize>,
        network: Option<&Begun>,
        machine: &Machine,
    ) -> Result<Choice, Failure> {
        let beginning = network.and_then(Begun::known);
        let set = self.flags()?;
        let settle = |recipe: &mut Recipe| -> Result<(), Failure> {
            *recipe = self.recipe(recipe.clone(), network)?;
            choose::reconcile(recipe, |key| set.iter().any(|(set, _)| set == key));
            Ok(())
        };
        choose::choose(photos, validation, beginning.as_ref(), self.minutes, settle, machine)
    }

    fn data(&self) -> &Path {
        self.data.as_deref().expect("photos, where no class is added, renamed or dropped")
    }

    /// Keys and values that flags give, the more particular ones last.
    fn flags(&self) -> Result<Vec<(String, String)>, Failure> {
        let single = [
            ("model", &self.model),
            ("width", &self.width),
            ("total_stride", &self.total_stride),
            ("resolution", &self.resolution),
            ("batch", &self.batch),
            ("epochs", &self.epochs),
            ("optimizer.kind", &self.optimizer),
            ("lr", &self.lr),
            ("schedule.kind", &self.schedule),
            ("memory", &self.memory),
            ("seed", &self.seed),
            ("checkpoint_every", &self.checkpoint_every),
            ("teacher.weights", &self.teacher.as_deref().map(|path| path.to_string_lossy().into_owned())),
        ];
        let head_only = [("head_first", "true"), ("epochs", "0"), ("schedule.warmup", "0")];
        let head_only =
            head_only.iter().filter(|_| self.head_only).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let given = single.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        let mut flags: Vec<_> = given.chain(head_only).chain(self.settings.0.iter().cloned()).collect();
        for pair in &self.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Failure::bad(format!("--set {pair}: give KEY=VALUE")))?;
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(flags)
    }
}

/// Says what was chosen.
fn tell(Recipe { resolution, epochs, batch, lr, .. }: &Recipe, seconds: f64) {
    let about = HumanDuration(Duration::from_secs_f64(seconds));
    match *epochs > 0.0 {
        true => note!(
            "chosen: {resolution}×{resolution} pixels, {epochs} epochs, batches of {batch}, a rate of {lr}: about {about} \
             here (--minutes, --recipe and flags say otherwise)"
        ),
        false => note!("chosen: the classifier alone at {resolution}×{resolution} pixels: about {about} here"),
    }
}
