//! What a model says of photos and classes: TFLite's metadata (tflite-support@0.5 `metadata_schema.fbs`), the scaling that
//! it does itself, and a guess where neither tells.

use std::io::{Cursor, Read as _};

use super::super::flatbuffer::{Damaged, Table};
use super::model::Model;
use super::steps::{Kind, Steps};
use crate::arch::Family;
use crate::graph::Padding;
use crate::names::Origin;
use crate::preprocessing::Preprocessing;

/// The largest list of labels: a million of them.
const MAX_LABELS: u64 = 16 << 20;

/// Files of the archive that are looked at.
const MAX_FILES: usize = 16;

/// A linear map a channel, from values between 0 and 1.
struct Linear {
    scale: [f32; 3],
    shift: [f32; 3],
}

impl Linear {
    /// Several scalings and shifts, one after the other; `None` without any.
    fn of(kinds: &[&Kind]) -> Option<Linear> {
        let mut all = Linear { scale: [1.0; 3], shift: [0.0; 3] };
        for kind in kinds {
            let spread = |values: &[f32]| [0, 1, 2].map(|i| values.get(i).copied().unwrap_or(values[0]));
            all = match kind {
                Kind::Scale(by) => all.then(&Linear { scale: spread(by), shift: [0.0; 3] }),
                Kind::Shift(by) => all.then(&Linear { scale: [1.0; 3], shift: spread(by) }),
                _ => all,
            };
        }
        (!kinds.is_empty()).then_some(all)
    }

    /// This map, and another of what it gives.
    fn then(&self, next: &Linear) -> Linear {
        let both = [0, 1, 2].map(|i| (self.scale[i] * next.scale[i], self.shift[i] * next.scale[i] + next.shift[i]));
        Linear { scale: both.map(|(scale, _)| scale), shift: both.map(|(_, shift)| shift) }
    }
}

/// How photos become the network's input; and what had to be guessed.
pub(super) fn preprocessing(
    model: &Model,
    steps: &Steps,
    classes: usize,
    family: Family,
    is_relu: bool,
) -> Result<(Preprocessing, Vec<String>), String> {
    let own: Vec<&Kind> = steps.steps.iter().map(|step| &step.kind).take_while(|kind| is_scaling(kind)).collect();
    let said = model.metadata.map(normalization).transpose();
    let said = said.map_err(|e| format!("its metadata: {e}"))?.flatten();
    let even = |scale, shift| Linear { scale: [scale; 3], shift: [shift; 3] };
    let own = Linear::of(&own);
    let (given, guess) = match (said, &own) {
        (Some(linear), _) => (linear, None),
        // A network that scales by itself takes 0 to 255 where its factor is small, otherwise 0 to 1.
        (None, Some(own)) if own.scale[0].abs() < 0.1 => (even(255.0, 0.0), None),
        (None, Some(_)) => (even(1.0, 0.0), None),
        (None, None) if family == Family::V1 && is_relu => {
            let guess = "input: 0 to 1 (V1 with ReLU is MLPerf Tiny's; --mean 0.5 --std 0.5 for -1 to 1)";
            (even(1.0, 0.0), Some(guess.to_owned()))
        }
        (None, None) => {
            let guess = "input: -1 to 1 (the file does not say; --mean 0 --std 1 for 0 to 1)";
            (even(2.0, -1.0), Some(guess.to_owned()))
        }
    };
    let Linear { scale, shift } = match own {
        Some(own) => given.then(&own),
        None => given,
    };
    let standard = Preprocessing::for_origin(Origin::TensorFlowLite, Padding::Same, classes, Some(steps.size[0]));
    let (resize, resized) = standard.resize_of_tensorflow(steps.size, classes);
    let mean = [0, 1, 2].map(|i| (0.0 - shift[i]) / scale[i]);
    let found = Preprocessing { resize, size: steps.size, mean, std: scale.map(|scale| 1.0 / scale), ..standard };
    let found = found.checked().ok_or("scales photos by no positive number")?;
    let open = steps.is_open.then(|| {
        let [h, w] = steps.size;
        format!("size: {h}×{w} pixels (the file does not say; --crop otherwise)")
    });
    Ok((found, open.into_iter().chain(guess).chain([resized]).collect()))
}

fn is_scaling(kind: &Kind) -> bool {
    matches!(kind, Kind::Scale(_) | Kind::Shift(_))
}

/// The metadata's (pixel − mean) / std over values from 0 to 255, one for all channels or one each.
fn normalization(metadata: &[u8]) -> Result<Option<Linear>, Damaged> {
    /// `ProcessUnitOptions.NormalizationOptions`.
    const NORMALIZATION: u8 = 1;
    const MOST: usize = 64;
    let root = Table::root(metadata)?;
    let Some(&graph) = root.tables(3, "graphs", MOST)?.first() else { return Ok(None) };
    let Some(&input) = graph.tables(2, "inputs", MOST)?.first() else { return Ok(None) };
    for unit in input.tables(4, "processing units", MOST)? {
        let (NORMALIZATION, Some(options)) = (unit.byte(0)?, unit.table(1)?) else { continue };
        let [mean, std] = [options.floats(0, "means", MOST)?, options.floats(1, "deviations", MOST)?];
        let spread = |values: &[f32]| match values {
            &[one] => Some([one; 3]),
            values => values.try_into().ok(),
        };
        let both = spread(&mean).zip(spread(&std));
        return Ok(both.map(|(mean, std)| Linear {
            scale: std.map(|std| 255.0 / std),
            shift: [0, 1, 2].map(|i| -mean[i] / std[i]),
        }));
    }
    Ok(None)
}

/// The labels in the zip archive that TFLite's metadata tools append to a model: the text file with a line for each class.
/// `None` without an archive, and where no file has as many lines.
pub(super) fn labels(file: &[u8], classes: usize) -> Option<Vec<String>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(file)).ok().filter(|_| classes > 0)?;
    for index in 0..zip.len().min(MAX_FILES) {
        let Ok(entry) = zip.by_index(index) else { continue };
        // What such tools append is stored, never compressed.
        let stored = entry.compression() == zip::CompressionMethod::Stored && entry.size() <= MAX_LABELS;
        let mut text = String::new();
        if !stored || entry.take(MAX_LABELS).read_to_string(&mut text).is_err() {
            continue;
        }
        let lines: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
        if lines.len() == classes {
            return Some(lines);
        }
    }
    None
}
