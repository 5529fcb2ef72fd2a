//! Several networks side by side.

use std::path::{Path, PathBuf};

use mobilenet::Program;
use mobilenet::net::weights;
use mobilenet::run::measure::{latencies_ms, median};
use mobilenet::train::Evaluation;
use serde::Serialize;

use super::Eval;
use super::tested::{ClassesBy, Tested};
use crate::failure::Failure;
use crate::print;
use crate::text::{Grid, Side};

/// A network's line.
#[derive(Serialize)]
struct Line {
    file: String,
    network: String,
    /// Of the file.
    bytes: u64,
    #[serde(flatten)]
    figures: Evaluation,
    unreadable: usize,
    classes_by: ClassesBy,
    /// The expected calibration error.
    calibration_error: f64,
    /// Median of one photo, from tensor to logits, with the threads that are used here.
    latency_ms: f64,
}

impl Eval {
    /// One that fails is told of, and the others go on.
    pub(super) fn compare(&self, weights: &[PathBuf]) -> Result<(), Failure> {
        self.expect_comparable()?;
        let mut lines = Vec::new();
        for (at, file) in weights.iter().enumerate() {
            match self.line(file, at == 0) {
                Ok(line) => {
                    if self.json {
                        print::json(&line)?;
                    }
                    lines.push(line);
                }
                Err(Failure::Bad(reason)) => note!("error: {}", crate::inputs::named(file, &reason)),
                Err(other) => return Err(other),
            }
        }
        if lines.is_empty() {
            return Err(Failure::Reported);
        }
        if !self.json {
            print::line(table(&lines))?;
        }
        if lines.len() == weights.len() { Ok(()) } else { Err(Failure::Some) }
    }

    fn expect_comparable(&self) -> Result<(), Failure> {
        let given = [
            ("--classes", self.classes),
            ("--confusion", self.confusion.is_some()),
            ("--mistakes", self.mistakes.is_some()),
            ("--unknown", self.unknown.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Failure::bad(format!("{flag} is for one network: give one weights file"))),
            None => Ok(()),
        }
    }

    /// A network's line; what is to be said of the photos is, where it is the first.
    fn line(&self, file: &Path, is_first: bool) -> Result<Line, Failure> {
        let bytes = weights::size(file).unwrap_or(0);
        let mut network = self.load(file)?;
        let dataset = self.photos(file, &network)?;
        let program = self.compile(&mut network)?;
        if is_first {
            print::ignored(&dataset.0);
        }
        let tested = self.test(file, network, &program, dataset)?;
        if is_first {
            tested.say_unreadable();
        }
        Ok(Line {
            file: file.display().to_string(),
            network: tested.network(),
            bytes,
            figures: tested.predictions.evaluation(),
            unreadable: tested.unreadable(),
            classes_by: tested.classes_by,
            calibration_error: tested.predictions.calibration(1.0).error,
            latency_ms: self.latency_ms(&program, &tested)?,
        })
    }

    fn latency_ms(&self, program: &Program, tested: &Tested) -> Result<f64, Failure> {
        let [h, w] = tested.loader.options().preprocessing.size;
        let mut arena = program.arena(1, h, w, &tested.pool)?;
        arena.input_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 255) as f32 / 127.0 - 1.0);
        Ok(median(&latencies_ms(program, &mut arena, self.seconds)))
    }
}

fn table(lines: &[Line]) -> String {
    let has_labels = lines.iter().any(|line| line.figures.mean_average_precision.is_some());
    let mut grid = Grid::new([
        ("file", Side::Left),
        ("network", Side::Left),
        ("MB", Side::Right),
        (if has_labels { "mean average precision %" } else { "top-1 %" }, Side::Right),
        ("top-5 %", Side::Right),
        ("loss", Side::Right),
        ("calibration error", Side::Right),
        ("ms a photo", Side::Right),
    ]);
    let percent = |share: Option<f64>| share.map_or("–".into(), |share| format!("{:.2}", share * 100.0));
    for line in lines {
        let Evaluation { top1, top5, mean_average_precision, loss, .. } = line.figures;
        grid.row([
            line.file.clone(),
            line.network.clone(),
            format!("{:.1}", line.bytes as f64 / 1e6),
            percent(top1.or(mean_average_precision)),
            percent(top5),
            format!("{loss:.4}"),
            format!("{:.4}", line.calibration_error),
            format!("{:.2}", line.latency_ms),
        ]);
    }
    let photos = lines[0].figures.photos;
    format!("{grid}\n\nof {photos} photos; the latency is of one photo in memory, a median")
}
