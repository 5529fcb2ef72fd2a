//! `mobilenet train`: from photos to a network.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use mobilenet::Params;
use mobilenet::data::{Dataset, Splits};
use mobilenet::train::Recipe;
use mobilenet::train::checkpoint::NEWEST;
use mobilenet::train::trainer::{Control, Ended, Event, MODEL, Trainer};

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::print;

/// Train a network on photos
#[derive(Args)]
#[command(
    after_help = "DATA is a folder with a folder of photos per class (or train/ and val/ with such folders), or a CSV
with columns file, class, name beside a .tar or .tar.gz. With columns file, label, label a photo may have any number
of labels, which --set loss=binary learns. What a run leaves in its folder: checkpoint.safetensors,
model.safetensors (for `classify`, `eval`, `bench`), log.jsonl, recipe.toml. Ctrl-C writes a checkpoint and ends
with exit code 130; with --resume the run goes on by the recipe in its folder, with the same bits as if it had never
stopped. Without a recipe: V2 at width 1 and 224 pixels, batches of 32, 30 epochs, SGD from 0.05 down a cosine.

Examples:
  mobilenet train photos/
  mobilenet train cifar10_train.csv --validation cifar10_test_a.csv --recipe recipes/cifar10.toml -o runs/cifar10
  mobilenet train photos/ --model mobilenet_v3_small --from weights.pth --epochs 10 --set schedule.warmup=1"
)]
pub struct Train {
    /// Photos to learn from
    data: PathBuf,
    /// Photos to check with, where DATA has none of its own
    #[arg(long, value_name = "DATA")]
    validation: Option<PathBuf>,
    /// The run's folder
    #[arg(long, short, value_name = "FOLDER", default_value = "runs/train")]
    output: PathBuf,
    /// Go on from the folder's checkpoint
    #[arg(long)]
    resume: bool,
    /// Begin with these weights; the classifier's only where the classes are as many
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// All settings as a TOML file; flags below replace single ones
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// A registered name or a TOML table
    #[arg(long, value_name = "NAME|TOML")]
    model: Option<String>,
    /// Width multiplier
    #[arg(long, value_name = "FACTOR")]
    width: Option<String>,
    /// For small photos: leave out the first strides, so that all together are 32, 16 or 8
    #[arg(long, value_name = "STRIDE")]
    total_stride: Option<String>,
    /// Height and width of the photos in training
    #[arg(long, value_name = "PIXELS")]
    resolution: Option<String>,
    /// Photos in a step
    #[arg(long, value_name = "N")]
    batch: Option<String>,
    /// Times that every photo is seen, in all: with --resume too
    #[arg(long, value_name = "N")]
    epochs: Option<String>,
    /// sgd, rmsprop, rmsprop_tf or adamw
    #[arg(long, value_name = "KIND")]
    optimizer: Option<String>,
    /// Highest learning rate
    #[arg(long, value_name = "RATE")]
    lr: Option<String>,
    /// constant, step, exponential or cosine
    #[arg(long, value_name = "KIND")]
    schedule: Option<String>,
    /// A network of the same classes to learn from
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// What every random choice follows from
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// Any other key of a recipe, e.g. augmentation.mixup=0.2; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print one JSON object an epoch, and no progress bar
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs,
}

impl Train {
    pub fn run(self) -> Result<(), Failure> {
        let (train, validation) = self.photos()?;
        let start = self.start()?;
        let recipe = self.recipe(start.as_ref().map(|s| &s.1))?;
        let folder = &self.output;
        if !self.resume && folder.join(NEWEST).exists() {
            let folder = folder.display();
            return Err(Failure::bad(format!(
                "{folder} holds a checkpoint: add --resume to go on from it, or give another folder with -o"
            )));
        }
        let start = start.map(|(params, (_, spec))| (params, spec.bn_epsilon));
        let mut trainer = Trainer::new(recipe.clone(), train, validation, folder, &self.run.pool(), start)?;
        if self.resume {
            trainer.resume()?.iter().for_each(|notice| note!("warning: {notice}"));
        }
        std::fs::create_dir_all(folder).map_err(|e| Failure::bad(format!("{}: {e}", folder.display())))?;
        crate::files::write(&folder.join(RECIPE), recipe.to_toml().as_bytes())?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        // A second Ctrl-C, while the checkpoint is written, is heard as well.
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
        let mut watch = Watch::new(folder, self.json, &stop, recipe.epochs)?;
        let ended = trainer.run(&mut |event| watch.event(event))?;
        watch.bar.finish_and_clear();
        for message in trainer.unreadable() {
            note!("skipped {message}");
        }
        let model = folder.join(MODEL);
        match ended {
            Ended::Done => note!("done: mobilenet classify photo.jpg --weights {}", model.display()),
            Ended::Stopped => {
                note!("stopped; the same command with --resume goes on");
                return Err(Failure::Interrupted);
            }
        }
        Ok(())
    }

    fn photos(&self) -> Result<(Arc<Dataset>, Option<Arc<Dataset>>), Failure> {
        let Splits { train, validation } = Splits::open(&self.data)?;
        let validation = match &self.validation {
            Some(path) => Some(Dataset::open_as(path, train.classes())?),
            None => validation,
        };
        Ok((Arc::new(train), validation.map(Arc::new)))
    }

    /// Weights to begin with, and the name and parameters of their network.
    fn start(&self) -> Result<Option<Start>, Failure> {
        let Some(path) = &self.from else { return Ok(None) };
        let loaded = mobilenet::net::load(path, &Default::default())?;
        loaded.recognised.guesses.iter().for_each(|guess| note!("guessed {guess}"));
        let network = (loaded.recognised.table.name, loaded.recognised.spec);
        Ok(Some((loaded.params, network)))
    }

    /// The file's settings, or the defaults, with what flags say.
    fn recipe(&self, start: Option<&(String, mobilenet::arch::Spec)>) -> Result<Recipe, Failure> {
        let own = self.output.join(RECIPE);
        let mut recipe = match &self.recipe {
            Some(file) => Recipe::from_file(file)?,
            // A run goes on as it began; flags may say otherwise.
            None if self.resume && own.exists() => Recipe::from_file(&own)?,
            None => Recipe::default(),
        };
        if let Some((table, spec)) = start {
            (recipe.model, recipe.width, recipe.width_rule) = (table.clone(), spec.width, spec.width_rule);
        }
        let flags = [
            ("model", &self.model),
            ("width", &self.width),
            ("total_stride", &self.total_stride),
            ("resolution", &self.resolution),
            ("batch", &self.batch),
            ("epochs", &self.epochs),
            ("optimizer.kind", &self.optimizer),
            ("lr", &self.lr),
            ("schedule.kind", &self.schedule),
            ("seed", &self.seed),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                recipe.set(key, value)?;
            }
        }
        if let Some(teacher) = &self.teacher {
            recipe.set("teacher.weights", &teacher.to_string_lossy())?;
        }
        for pair in &self.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Failure::bad(format!("--set {pair}: give KEY=VALUE")))?;
            recipe.set(key.trim(), value.trim())?;
        }
        if let Some((table, spec)) =
            start.filter(|(t, s)| (t.as_str(), s.width) != (recipe.model.as_str(), recipe.width))
        {
            let (model, width) = (&recipe.model, recipe.width);
            return Err(Failure::bad(format!(
                "--from holds {table} (width {:?}), and {model} (width {width:?}) is to be trained: leave out --model and \
                 --width, or --from",
                spec.width
            )));
        }
        Ok(recipe)
    }
}

/// Shows progress, writes the log, hears Ctrl-C.
struct Watch<'a> {
    bar: ProgressBar,
    log: std::fs::File,
    path: PathBuf,
    json: bool,
    stop: &'a AtomicBool,
    epochs: f64,
    steps: u64,
}

/// Weights to begin with, and their network's name and parameters.
type Start = (Params, (String, mobilenet::arch::Spec));

/// The run's settings in its folder.
const RECIPE: &str = "recipe.toml";
/// Steps between two lines of the log.
const LOG_EVERY: u64 = 50;

impl Watch<'_> {
    fn new<'a>(folder: &Path, json: bool, stop: &'a AtomicBool, epochs: f64) -> Result<Watch<'a>, Failure> {
        let path = folder.join("log.jsonl");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|e| Failure::bad(format!("{}: {e}", path.display())))?;
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(10_000) };
        bar.set_style(ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template"));
        Ok(Watch { bar, log, path, json, stop, epochs, steps: 0 })
    }

    fn event(&mut self, event: &Event) -> Control {
        match event {
            Event::Unfolded { photos } => {
                self.write(event);
                self.bar.suspend(|| {
                    note!(
                        "the weights' batch norms were folded: their statistics are now those of {photos} training photos, \
                         and the network computes what it did"
                    );
                });
            }
            Event::Step { epoch, loss, images_per_second, seconds_left, .. } => {
                self.steps += 1;
                self.bar.set_position((epoch / self.epochs * 10_000.0) as u64);
                let left = HumanDuration(Duration::from_secs_f64(seconds_left.max(0.0)));
                self.bar.set_message(format!(
                    "epoch {epoch:.1} of {}  loss {loss:.3}  {images_per_second:.0} images/s  {left} left",
                    self.epochs
                ));
                if self.steps % LOG_EVERY == 1 {
                    self.write(event);
                }
            }
            Event::Epoch { epoch, training_loss, validation, seconds } => {
                self.write(event);
                let figures = validation.map_or(String::new(), |figures| format!("  {figures}"));
                let line = format!("epoch {epoch}  training loss {training_loss:.3}{figures}  {seconds:.0} s");
                let printed = if self.json { print::json(event) } else { self.bar.suspend(|| print::line(line)) };
                if printed.is_err() {
                    return Control::Stop;
                }
            }
        }
        if self.stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Continue }
    }

    /// A line of the log. A full disk must not end the training.
    fn write(&mut self, event: &Event) {
        let line = serde_json::to_string(event).expect("numbers and names are JSON");
        if let Err(e) = writeln!(self.log, "{line}") {
            self.bar.suspend(|| note!("warning: {}: {e}", self.path.display()));
        }
    }
}
