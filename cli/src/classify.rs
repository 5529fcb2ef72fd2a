//! `mobilenet classify`: what is in these photos?

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use mobilenet::net::preprocessing::{Filter, Resize};
use mobilenet::run::classifier::{ClassifierOptions, PreprocessingOverrides};
use mobilenet::run::image::MAX_FILE_BYTES;
use mobilenet::{Classifier, Image, Prediction};
use serde::Serialize;

use crate::args::{PrecisionArg, Resolution, SpecArgs, weights_file};
use crate::failure::Failure;
use crate::print;

/// Say what is in photos
#[derive(Args)]
#[command(
    after_help = "Network, preprocessing and class names follow from the weights; what they cannot tell is guessed and said.

Examples:
  mobilenet classify photo.jpg --weights mobilenet_v2.pth
  mobilenet classify photos/ --weights mobilenet_v2.pth --top 1 --json
  cat photo.jpg | mobilenet classify - --weights mobilenet_v2.pth"
)]
pub struct Classify {
    /// Photos (JPEG, PNG, WebP, BMP, GIF), folders of photos, or - for standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Weights: .safetensors, or PyTorch's .pth, under torchvision's or timm's names
    #[arg(long, value_name = "FILE", value_parser = weights_file())]
    weights: Option<PathBuf>,
    /// A registered name or a TOML table, where the weights do not tell
    #[arg(long, value_name = "NAME|TOML")]
    model: Option<String>,
    /// How many classes to name
    #[arg(long, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    top: u64,
    /// Print one JSON object a photo and line: {"path", "top": [{"class", "label", "probability"}]}
    #[arg(long)]
    json: bool,
    /// How weights are stored
    #[arg(long, default_value = "f32")]
    precision: PrecisionArg,
    /// Threads [default: what quota, affinity and cores allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: Option<u64>,
    #[command(flatten)]
    photo: PhotoArgs,
    #[command(flatten)]
    spec: SpecArgs,
}

/// From photo to tensor. Left out, all this is the weights' own.
#[derive(Args)]
#[command(next_help_heading = "Photos")]
struct PhotoArgs {
    /// Short side after resizing, or `squash` for the whole photo to the network's size
    #[arg(long, value_name = "PIXELS|squash", value_parser = resize)]
    resize: Option<Resize>,
    /// The network's input, cut from the middle: a number, or HEIGHTxWIDTH
    #[arg(long, value_name = "SIZE", value_parser = input_size)]
    crop: Option<Resolution>,
    /// bilinear or bicubic, antialiased as Pillow's
    #[arg(long, value_parser = filter)]
    filter: Option<Filter>,
    /// Subtracted from red, green and blue between 0 and 1
    #[arg(long, value_name = "R,G,B", value_parser = three, allow_negative_numbers = true)]
    mean: Option<[f32; 3]>,
    /// Divides the differences
    #[arg(long, value_name = "R,G,B", value_parser = deviation)]
    std: Option<[f32; 3]>,
    /// Whether output 0 is a background class
    #[arg(long, value_name = "true|false")]
    background: Option<bool>,
    /// A file with one class name a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

fn resize(text: &str) -> Result<Resize, String> {
    match text {
        "squash" => Ok(Resize::Squash),
        _ => match text.parse() {
            Ok(pixels @ 1..=8192) => Ok(Resize::ShortSide(pixels)),
            _ => Err("give 1 to 8192 pixels, or squash".into()),
        },
    }
}

fn input_size(text: &str) -> Result<Resolution, String> {
    let size: Resolution = text.parse()?;
    if size.h.max(size.w) <= 8192 { Ok(size) } else { Err("give at most 8192 pixels a side".into()) }
}

fn filter(text: &str) -> Result<Filter, String> {
    match text {
        "bilinear" => Ok(Filter::Bilinear),
        "bicubic" => Ok(Filter::Bicubic),
        _ => Err("give bilinear or bicubic".into()),
    }
}

fn three(text: &str) -> Result<[f32; 3], String> {
    let values: Result<Vec<f32>, _> = text.split(',').map(|v| v.trim().parse()).collect();
    let values = values.ok().filter(|v| v.iter().all(|x| x.is_finite()));
    match values.as_deref() {
        Some([all]) => Ok([*all; 3]),
        Some([r, g, b]) => Ok([*r, *g, *b]),
        _ => Err("give three numbers with commas between, or one for all".into()),
    }
}

fn deviation(text: &str) -> Result<[f32; 3], String> {
    three(text).and_then(|v| if v.iter().all(|&x| x > 0.0) { Ok(v) } else { Err("give numbers above 0".into()) })
}

#[derive(Serialize)]
struct Answer<'a> {
    path: &'a str,
    top: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: String,
    probability: f32,
}

/// Photos whose rate is worth a line.
const MANY: usize = 10;

impl Classify {
    pub fn run(self) -> Result<(), Failure> {
        if self.paths.iter().filter(|path| *path == Path::new("-")).count() > 1 {
            return Err(Failure::bad("standard input holds one photo: give - once"));
        }
        let classifier = self.open()?;
        let (mut done, mut failed) = (0, 0);
        let mut report = |path: &Path, reason: String| {
            failed += 1;
            // Errors of ours begin with the path.
            let path = path.display().to_string();
            note!("error: {}", if reason.starts_with(&path) { reason } else { format!("{path}: {reason}") });
        };
        let mut all = Vec::new();
        for path in &self.paths {
            match photos(path) {
                Ok(photos) => all.extend(photos),
                Err(reason) => report(path, reason),
            }
        }
        let top = self.top as usize;
        let mut take = |photo: &Path, found: Result<Vec<Prediction>, String>| {
            match found {
                Ok(found) => {
                    self.answer(photo, found)?;
                    done += 1;
                }
                Err(reason) => report(photo, reason),
            }
            Ok::<(), Failure>(())
        };
        let start = Instant::now();
        if let [photo] = &all[..] {
            take(photo, read(photo).map(|image| classifier.classify(&image, top)))?;
        } else {
            let mut failure = None;
            classifier.classify_each(
                all.len(),
                top,
                |photo| read(&all[photo]),
                |photo, found| {
                    failure = take(&all[photo], found).err();
                    if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            )?;
            failure.map_or(Ok(()), Err)?;
            let seconds = start.elapsed().as_secs_f64();
            if done >= MANY {
                note!("{done} photos in {seconds:.1} s: {:.1} photos/s", done as f64 / seconds);
            }
        }
        match (done, failed) {
            (_, 0) => Ok(()),
            (0, 1) => Err(Failure::Reported),
            (0, _) => Err(Failure::bad(format!("none of {failed} inputs could be classified"))),
            (_, _) => Err(Failure::Some),
        }
    }

    fn open(&self) -> Result<Classifier, Failure> {
        let Some(weights) = &self.weights else {
            return Err(Failure::bad(
                "no weights: --weights FILE takes torchvision's and timm's MobileNets, .pth or .safetensors; \
                 `mobilenet pull torchvision/mobilenet_v2` fetches one, and --weights torchvision/mobilenet_v2 takes it",
            ));
        };
        let table = self.model.as_deref().map(mobilenet::arch::find).transpose()?;
        let PhotoArgs { resize, crop, filter, mean, std, background, labels } = &self.photo;
        let classifier = Classifier::open_with(
            weights,
            &ClassifierOptions {
                network: self.spec.overrides(table),
                preprocessing: PreprocessingOverrides {
                    resize: *resize,
                    size: crop.map(|Resolution { h, w }| [h, w]),
                    filter: *filter,
                    mean: *mean,
                    std: *std,
                    background_class: *background,
                },
                labels: labels.clone(),
                threads: self.threads.map(|n| n as usize),
                precision: self.precision.into(),
            },
        )?;
        classifier.recognised().guesses.iter().for_each(|guess| note!("guessed {guess}"));
        Ok(classifier)
    }

    fn answer(&self, path: &Path, top: Vec<Prediction>) -> Result<(), Failure> {
        let path = path.to_string_lossy();
        if self.json {
            let class = |p: Prediction| Class { class: p.class, label: p.label, probability: p.probability };
            return print::json(&Answer { path: &path, top: top.into_iter().map(class).collect() });
        }
        print::line(&path)?;
        for p in top {
            print::line(format!("  {:5.1} %  {}", p.probability * 100.0, p.label))?;
        }
        Ok(())
    }
}

/// A path's photos: itself, or those in a folder and its subfolders, by name.
fn photos(path: &Path) -> Result<Vec<PathBuf>, String> {
    const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("{}: {e}", folder.display()))?;
            // Links to folders are not followed: they may lead in circles.
            let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
            let extension = entry.path().extension().map(|e| e.to_string_lossy().to_lowercase());
            if is_folder {
                folders.push(entry.path());
            } else if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
                found.push(entry.path());
            }
        }
    }
    if found.is_empty() {
        return Err(format!("{}: the folder holds no photo ({})", path.display(), EXTENSIONS.join(", ")));
    }
    found.sort();
    Ok(found)
}

/// A file's photo, or standard input's for `-`.
fn read(path: &Path) -> Result<Image, String> {
    if path != Path::new("-") {
        return Image::open(path).map_err(|e| e.to_string());
    }
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Image::decode(&bytes, "-").map_err(|e| e.to_string())
}
