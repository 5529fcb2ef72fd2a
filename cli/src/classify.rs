//! `mobilenet classify`: what is in these photos?

mod classes;
mod output;
mod region;
mod tally;
mod watch;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use mobilenet::run::Answer;
use mobilenet::run::sheet::{Layout, Pages, Thumbnail, pages};
use mobilenet::{Classifier, Image};

use crate::args::{NetworkArgs, say_built_in};
use crate::failure::Failure;
use crate::inputs::{self, Inputs};
use crate::print;
use classes::ClassArgs;
use output::Output;
use region::Region;
use tally::Tally;
use watch::{Arrivals, WatchArgs};

/// Say what is in photos
#[derive(Args)]
#[command(
    after_help = "Network, preprocessing and class names follow from the weights; what they cannot tell is guessed and said.

Examples:
  mobilenet classify photo.jpg
  mobilenet classify photo.jpg --weights mobilenet_v2.pth
  mobilenet classify photos/ --weights mobilenet_v2.pth --top 1 --csv > classes.csv
  mobilenet classify 'photos/**/*.jpg' --weights mobilenet_v2.pth --draw sheet.png
  mobilenet classify incoming/ --weights mobilenet_v2.pth --watch --json
  cat photo.jpg | mobilenet classify - --weights mobilenet_v2.pth

Exit codes: 0 done, 1 some photos failed and are named at the end, 2 wrong usage or no photo classified,
130 stopped by Ctrl-C. With --watch, Ctrl-C is the end: 0, or 1 if photos failed."
)]
pub struct Classify {
    /// Photos (JPEG, PNG, WebP, BMP, GIF), folders of photos, patterns such as 'photos/**/*.jpg', or - for standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How many classes to name
    #[arg(long, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    top: u64,
    /// Print one JSON object a photo and line: {"path", "top": [{"class", "label", "probability"}]} or {"path", "error"}
    #[arg(long)]
    json: bool,
    /// Print CSV, a line a photo: path, then class_1, label_1, probability_1 and so on, then error
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Draw a contact sheet with each photo's likeliest class: .png, .jpg or .webp, a page for every 200 photos
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    watch: WatchArgs,
    /// Look at a part of each photo: its left and top edge, width and height, in pixels or in fractions from 0 to 1
    #[arg(long, value_name = "X,Y,W,H", allow_hyphen_values = true, help_heading = "Photos")]
    roi: Option<Region>,
    /// Answer with classes even where the weights say that the photo is unknown
    #[arg(long)]
    always: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

/// What a thread finds out about a photo.
struct Found {
    answer: Answer,
    thumbnail: Option<Thumbnail>,
}

/// What a thread does with a photo.
struct Look {
    region: Option<Region>,
    layout: Option<Layout>,
}

/// Where answers go.
struct Sink {
    /// Whether it may be said that a photo is unknown.
    is_modest: bool,
    output: Output,
    sheet: Option<Pages>,
    tally: Tally,
}

impl Classify {
    pub fn run(self) -> Result<(), Failure> {
        if self.paths.iter().filter(|path| *path == Path::new("-")).count() > 1 {
            return Err(Failure::bad("standard input holds one photo: give - once"));
        }
        let sheet = self.draw.as_ref().map(|path| Pages::new(path, Layout::default())).transpose()?;
        if self.watch.is_on() {
            return self.watch(sheet);
        }
        let classifier = self.open()?;
        let Inputs { photos, failed, passed_over } = Inputs::find(&self.paths);
        if let Some(picture) = &self.draw {
            inputs::expect_others(pages(picture, photos.len()), photos.iter().map(PathBuf::as_path))?;
        }
        let mut sink = self.sink(&classifier, sheet, Some(photos.len() + failed.len()))?;
        failed.into_iter().try_for_each(|(path, reason)| sink.take(&path, Err(reason)))?;
        let stop = Arc::new(AtomicBool::new(false));
        if let [photo] = &photos[..] {
            let found = self.look().at(photo, |image| classifier.answer(image, self.top as usize));
            sink.take(photo, found)?;
        } else {
            stop_at_ctrl_c(&stop)?;
            let jobs = photos.into_iter().take_while(|_| !stop.load(Ordering::Relaxed));
            self.work_through(&classifier, jobs, &mut sink, &stop)?;
        }
        passed_over.say();
        let ended = sink.end();
        if stop.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { ended }
    }

    /// Classifies what arrives in folders until Ctrl-C.
    fn watch(&self, sheet: Option<Pages>) -> Result<(), Failure> {
        let classifier = self.open()?;
        let stop = Arc::new(AtomicBool::new(false));
        stop_at_ctrl_c(&stop)?;
        let arrivals = Arrivals::new(&self.paths, &self.watch, stop.clone())?;
        if let Some(picture) = self.draw.as_deref().filter(|picture| arrivals.hear_of(picture)) {
            let picture = picture.display();
            return Err(Failure::bad(format!("{picture}: lies in a watched folder, and would be a photo there")));
        }
        let lost = arrivals.lost();
        let mut sink = self.sink(&classifier, sheet, None)?;
        let worked = self.work_through(&classifier, arrivals, &mut sink, &stop);
        let ended = sink.end();
        worked?;
        match lost.get() {
            Some(folder) => Err(Failure::bad(format!("{}: the folder is gone", folder.display()))),
            None => ended,
        }
    }

    fn work_through(
        &self,
        classifier: &Classifier,
        photos: impl Iterator<Item = PathBuf> + Send,
        sink: &mut Sink,
        stop: &AtomicBool,
    ) -> Result<(), Failure> {
        let (look, top) = (self.look(), self.top as usize);
        let mut failure = None;
        classifier.work_through(
            photos,
            |worker, photo| look.at(photo, |image| worker.answer(image, top)),
            |photo, found| {
                failure = sink.take(&photo, found).err();
                if failure.is_none() {
                    return ControlFlow::Continue(());
                }
                // Whoever waits for the next photo is told as well.
                stop.store(true, Ordering::Relaxed);
                ControlFlow::Break(())
            },
        )?;
        failure.map_or(Ok(()), Err)
    }

    fn look(&self) -> Look {
        Look { region: self.roi, layout: self.draw.is_some().then(Layout::default) }
    }

    fn sink(&self, classifier: &Classifier, sheet: Option<Pages>, photos: Option<usize>) -> Result<Sink, Failure> {
        let is_modest = !self.always && classifier.may_not_know();
        let output = match (self.json, self.csv) {
            (true, _) => Output::Json,
            (_, true) => {
                let classes = classifier.labels().len().min(self.top as usize);
                Output::Csv { classes, is_modest }
            }
            _ => Output::Text,
        };
        output.begin()?;
        Ok(Sink { is_modest, output, sheet, tally: Tally::new(photos) })
    }

    fn open(&self) -> Result<Classifier, Failure> {
        let mut classifier = Classifier::open_with(self.network.weights(), &self.network.options()?)?;
        say_built_in(self.network.weights(), classifier.labels().len());
        self.classes.restrict(&mut classifier)?;
        classifier.recognised().guesses.iter().for_each(|guess| note!("guessed {guess}"));
        Ok(classifier)
    }
}

impl Look {
    fn at(&self, path: &Path, answer: impl FnOnce(&Image) -> Answer) -> Result<Found, String> {
        let mut image = inputs::read(path)?;
        if let Some(region) = self.region {
            image = region.of(&image)?;
        }
        let thumbnail = self.layout.map(|layout| layout.thumbnail(&image));
        Ok(Found { answer: answer(&image), thumbnail })
    }
}

impl Sink {
    /// Prints and draws a photo's answer, or notes why it has none.
    fn take(&mut self, path: &Path, found: Result<Found, String>) -> Result<(), Failure> {
        match found {
            Ok(Found { answer: Answer { likeliest: top, is_unknown }, thumbnail }) => {
                let is_unknown = self.is_modest && is_unknown;
                self.tally.beside(|| self.output.answer(path, &top, is_unknown))?;
                if let (Some(sheet), Some(thumbnail)) = (&mut self.sheet, thumbnail) {
                    let class = match top.first() {
                        _ if is_unknown => "unknown".into(),
                        Some(p) => format!("{:.1} %  {}", p.probability * 100.0, p.label),
                        None => "no class".into(),
                    };
                    sheet.add(thumbnail, &[class, inputs::name(path)], None)?;
                }
                self.tally.done();
            }
            // Gone again before its turn.
            Err(_) if self.tally.is_endless() && !path.exists() => {}
            Err(reason) => {
                // Errors of ours begin with the path.
                let named = format!("{}: ", path.display());
                let reason = reason.strip_prefix(&named).unwrap_or(&reason);
                self.tally.beside(|| self.output.failed(path, reason))?;
                self.tally.failed(path, reason);
            }
        }
        Ok(())
    }

    /// Writes the last page, and says what became of all.
    fn end(self) -> Result<(), Failure> {
        let pages = self.sheet.map(Pages::finish).transpose();
        let ended = self.tally.end();
        match &pages?.unwrap_or_default()[..] {
            [] => {}
            [page] => note!("drawn: {}", print::quoted(page)),
            [first, .., last] => note!("drawn: {} to {}", print::quoted(first), print::quoted(last)),
        }
        ended
    }
}

/// Sets `stop` at the first Ctrl-C, or when the system ends; a second one ends at once.
fn stop_at_ctrl_c(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let stop = stop.clone();
    let stop_or_end = move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    Ok(ctrlc::set_handler(stop_or_end)?)
}
