//! Making and checking the [pairs](mobilenet_net::golden) that prove a weights file.

use std::path::Path;
use std::sync::Arc;

use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::Spec;
use mobilenet_net::golden::{Form, Golden, Pair, Settings};
use mobilenet_net::preprocessing::Filter;
use mobilenet_net::recognise::Overrides;
use mobilenet_net::{Activation, Graph, Params, Recognised, Tensor, weights};

use crate::classifier::{Classifier, ClassifierOptions, PreprocessingOverrides};
use crate::classify::top_k;
use crate::differences::{self, Difference};
use crate::error::Error;
use crate::image::{self, Image};
use crate::labels::Labels;
use crate::preprocess::preprocess;
use crate::program::{Options, Program};
use crate::resize::shrunk;

/// Relative to the largest logit: what instruction sets differ by is a tenth of it.
pub const TOLERANCE: f64 = 1e-4;

/// The long side of a pair's photo, so that three of them add 100 kB to a file.
const LONG_SIDE: usize = 128;

/// A photo small enough to travel in a weights file.
pub fn small(photo: &Image) -> Image {
    shrunk(photo, LONG_SIDE, Filter::Bilinear)
}

/// Photos where there are none: smooth patterns, different in every colour and direction.
pub fn patterns() -> Vec<Image> {
    let pattern = |seed: usize| {
        let (width, height) = (LONG_SIDE, LONG_SIDE * 3 / 4);
        let level = |x: usize, y: usize, color: usize| {
            let wave = |at: usize, period: usize| (at as f64 * std::f64::consts::TAU / period as f64).sin();
            let sum =
                wave(x + 9 * seed, 17 + 13 * color + 5 * seed) + wave(y, 29 + 7 * seed) * wave(x + y, 53 - 11 * color);
            (127.5 + 63.0 * sum) as u8
        };
        let pixel = |i: usize| [0, 1, 2].map(|color| level(i % width, i / width, color));
        Image { width, height, rgb: (0..width * height).flat_map(pixel).collect() }
    };
    (0..3).map(pattern).collect()
}

/// The photos of a file's own pairs, or patterns where it has none.
///
/// # Errors
/// A photo that is none.
pub fn photos(pairs: Option<Golden>) -> Result<Vec<Image>, image::Error> {
    let Some(Golden { pairs, .. }) = pairs else { return Ok(patterns()) };
    pairs.into_iter().map(|Pair { size: [h, w], rgb, .. }| Image::from_rgb(w, h, rgb)).collect()
}

/// Pairs of `photos` with what the network `graph` with `params`, described by `what`, gives for them in `f32`. `None`
/// without photos, or where the network takes other than photos.
///
/// # Errors
/// Where the network cannot be compiled or does not take its own size.
pub fn make(
    graph: &Graph,
    params: Params,
    what: &Recognised,
    photos: &[Image],
    isa: Isa,
) -> Result<Option<Golden>, mobilenet_net::Error> {
    if photos.is_empty() || what.spec.input_channels != 3 || graph.find("logits").is_none() {
        return Ok(None);
    }
    let program = Program::compile(graph, params, &Options { isa, ..Options::default() })?;
    let [h, w] = what.preprocessing.size;
    let mut arena = program.arena(1, h, w, &Arc::new(Pool::new(1)))?;
    let mut pair = |photo: &Image| {
        preprocess(photo, &what.preprocessing, arena.input_mut());
        program.run(&mut arena);
        let logits = arena.output("logits").unwrap_or_default().to_vec();
        Pair { size: [photo.height, photo.width], rgb: photo.rgb.clone(), logits }
    };
    let pairs: Vec<Pair> = photos.iter().map(&mut pair).collect();
    let labels = pairs.iter().map(|pair| label(what.labels.as_deref(), largest(&pair.logits))).collect();
    let settings = Settings {
        preprocessing: what.preprocessing,
        padding: what.spec.padding,
        bn_epsilon: what.spec.bn_epsilon,
        form: Some(Form {
            output_stride: what.spec.output_stride,
            total_stride: what.spec.total_stride,
            activation: what.spec.activation.map(|activation| activation.to_string()),
            outputs: what.outputs,
        }),
        labels,
    };
    Ok(Some(Golden { pairs, settings }))
}

/// The index of the largest value.
fn largest(logits: &[f32]) -> usize {
    top_k(logits, 1).first().map_or(0, |&(index, _)| index)
}

/// The name of an output.
fn label(labels: Option<&[String]>, output: usize) -> String {
    labels.and_then(|labels| labels.get(output).cloned()).unwrap_or_else(|| format!("output {output}"))
}

/// What a check of a file against its own pairs found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Pairs that were checked.
    pub pairs: usize,
    /// The largest difference from a pair's logits, relative to the largest of them.
    pub error: f64,
    /// What is wrong, a line each: nothing where the file is sound.
    pub faults: Vec<String>,
}

/// Runs the pairs of the file at `path`, its own or those of a reference file (`golden.input`, N×3×H×W, and
/// `golden.output.logits`); `None` where it has neither. `options` are what the user knows better.
///
/// # Errors
/// A file that cannot be opened as a classifier; pairs that are none.
pub fn check(path: &Path, options: &ClassifierOptions) -> Result<Option<Verdict>, Error> {
    if let Some(golden) = Golden::read(path)? {
        return Ok(Some(check_photos(path, &golden, options)?));
    }
    check_tensors(path, &options.network)
}

pub(crate) fn check_photos(path: &Path, golden: &Golden, options: &ClassifierOptions) -> Result<Verdict, Error> {
    let classifier = Classifier::open_with(path, options)?;
    let error = error_of(&classifier, &golden.pairs)?;
    // What does not show in the logits may still move the classes, or show on other photos.
    let found = Recognised { preprocessing: *classifier.preprocessing(), ..classifier.recognised().clone() };
    let mut faults = differences(&found, &golden.settings);
    if error > TOLERANCE {
        let right = &golden.settings;
        let preprocessing = PreprocessingOverrides::all(&right.preprocessing);
        let mut network =
            Overrides { padding: Some(right.padding), bn_epsilon: Some(right.bn_epsilon), ..options.network.clone() };
        if let Some(form) = &right.form {
            (network.output_stride, network.total_stride) = (Some(form.output_stride), Some(form.total_stride));
            network.activation = activation(form);
        }
        let restored = ClassifierOptions { network, preprocessing, ..options.clone() };
        let explained = error_of(&Classifier::open_with(path, &restored)?, &golden.pairs)? <= TOLERANCE;
        if !explained {
            faults.insert(0, "the weights are not those that its pairs were computed with".into());
        }
    }
    let names = Labels::of_outputs(&found, options.labels.as_deref())?;
    faults.extend(shifted(names.as_deref(), golden));
    Ok(Verdict { pairs: golden.pairs.len(), error, faults })
}

/// The largest relative difference between the pairs' logits and what the classifier gives.
fn error_of(classifier: &Classifier, pairs: &[Pair]) -> Result<f64, Error> {
    let mut worst = 0.0f64;
    for Pair { size: [height, width], rgb, logits } in pairs {
        let image = Image::from_rgb(*width, *height, rgb.clone())?;
        worst = worst.max(relative_error(&classifier.logits(&image), logits));
    }
    Ok(worst)
}

/// max |found − right| / max |right|; infinite where the lengths differ or a value is no number.
pub fn relative_error(found: &[f32], right: &[f32]) -> f64 {
    if found.len() != right.len() {
        return f64::INFINITY;
    }
    let scale = right.iter().fold(0.0, |a: f64, &b| a.max(f64::from(b).abs()));
    let apart = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).abs();
    let apart =
        found.iter().zip(right).map(apart).fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
    match apart {
        0.0 => 0.0,
        apart if apart.is_finite() => apart / scale.max(f64::MIN_POSITIVE),
        _ => f64::INFINITY,
    }
}

/// What the file says otherwise than its pairs' settings, a line each.
fn differences(found: &Recognised, right: &Settings) -> Vec<String> {
    let mut was = Recognised { preprocessing: right.preprocessing, ..found.clone() };
    (was.spec.padding, was.spec.bn_epsilon) = (right.padding, right.bn_epsilon);
    if let Some(form) = &right.form {
        let Form { output_stride, total_stride, outputs, .. } = *form;
        was.spec = Spec { output_stride, total_stride, activation: activation(form), ..was.spec };
        was.outputs = outputs;
    }
    differences::between(found, &was).iter().map(fault).collect()
}

/// The non-linearity that replaced the table's.
fn activation(form: &Form) -> Option<Activation> {
    form.activation.as_deref().and_then(|name| name.parse().ok())
}

fn fault(Difference { what, first, second }: &Difference) -> String {
    format!("{what} is {first}, and was {second}")
}

/// Whether the classes' names are others than the pairs know for the same outputs, and by how many places they moved.
fn shifted(names: Option<&[String]>, golden: &Golden) -> Option<String> {
    let outputs: Vec<usize> = golden.pairs.iter().map(|pair| largest(&pair.logits)).collect();
    let known = golden.settings.labels.iter();
    let (&output, right) =
        // A file without names has pairs without.
        outputs.iter().zip(known.clone()).find(|&(&output, right)| {
            ![label(names, output), label(None, output)].contains(right)
        })?;
    let found = label(names, output);
    let offset = |(&output, right): (&usize, &String)| {
        let place = names?.iter().position(|name| name == right)?;
        Some(place as isize - output as isize)
    };
    let offsets: Vec<Option<isize>> = outputs.iter().zip(known).map(offset).collect();
    let moved = match offsets[..] {
        [Some(by), ref rest @ ..] if by != 0 && rest.iter().all(|other| *other == Some(by)) => {
            format!("; all names are shifted by {by}")
        }
        _ => String::new(),
    };
    Some(format!("labels: output {output} is called {found:?}, and was {right:?}{moved}"))
}

/// The input, N×3×H×W, and the logits, N×classes, that a reference file was computed with: `golden.input` and
/// `golden.output.logits`; `None` where it lacks one.
///
/// # Errors
/// As [`weights::open`].
pub fn reference(path: &Path) -> Result<Option<(Tensor, Tensor)>, mobilenet_net::Error> {
    let mut found = weights::open_where(path, |name| ["golden.input", "golden.output.logits"].contains(&name))?.tensors;
    Ok(found.remove("golden.input").zip(found.remove("golden.output.logits")))
}

/// A reference file against its tensors, where it has them.
fn check_tensors(path: &Path, overrides: &Overrides) -> Result<Option<Verdict>, Error> {
    let Some((input, right)) = reference(path)? else { return Ok(None) };
    let right = right.into_f32();
    let error = error_on_tensor(path, overrides, &input, &right)?;
    let mut faults = Vec::new();
    if error > TOLERANCE {
        let paddings = mobilenet_net::Padding::ALL.into_iter();
        let trials = paddings.flat_map(|padding| [1e-3, 1e-5].map(|epsilon| (padding, epsilon)));
        let mut explained = None;
        for (padding, epsilon) in trials {
            let overrides = Overrides { padding: Some(padding), bn_epsilon: Some(epsilon), ..overrides.clone() };
            if error_on_tensor(path, &overrides, &input, &right)? <= TOLERANCE {
                explained = Some((padding, epsilon));
                break;
            }
        }
        faults = match explained {
            None => vec!["the weights are not those that its reference was computed with".into()],
            Some((padding, bn_epsilon)) => {
                let found = mobilenet_net::load(path, overrides)?.recognised;
                let mut was = found.clone();
                (was.spec.padding, was.spec.bn_epsilon) = (padding, bn_epsilon);
                differences::between(&found, &was).iter().map(fault).collect()
            }
        };
    }
    Ok(Some(Verdict { pairs: input.shape().first().copied().unwrap_or(0), error, faults }))
}

fn error_on_tensor(path: &Path, overrides: &Overrides, input: &Tensor, right: &[f32]) -> Result<f64, Error> {
    let mobilenet_net::Loaded { recognised, graph, params } = mobilenet_net::load(path, overrides)?;
    let &[n, c, h, w] = input.shape() else {
        let reason = format!("golden.input of shape {:?} is no batch of N×C×H×W", input.shape());
        return Err(mobilenet_net::Error::format(path, reason).into());
    };
    if c != recognised.spec.input_channels {
        let reason = format!("golden.input has {c} channels; the network takes {}", recognised.spec.input_channels);
        return Err(mobilenet_net::Error::format(path, reason).into());
    }
    let program = Program::compile(&graph, params, &Options { isa: Isa::from_env()?, ..Options::default() })?;
    let mut arena = program.arena(n, h, w, &Arc::new(Pool::new(1)))?;
    arena.input_mut().copy_from_slice(&input.clone().into_f32());
    program.run(&mut arena);
    Ok(relative_error(arena.output("logits").unwrap_or_default(), right))
}
