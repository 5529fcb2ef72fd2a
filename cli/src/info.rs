//! `mobilenet info`: all that a weights file says of itself, and what it costs to run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use mobilenet::net::count::Summary;
use mobilenet::net::golden::Golden;
use mobilenet::net::recognise::Overrides;
use mobilenet::net::{About, Loaded, Preprocessing, Recognised, weights};
use mobilenet::run::golden;
use mobilenet::run::labels::Labels;
use mobilenet::run::program::Options;
use mobilenet::run::{MemoryUse, Precision};
use mobilenet::{Pool, Program, init};
use serde::Serialize;

use crate::args::{KnownArgs, PrecisionArg, Resolution, RunArgs, SpecArgs, weights_file};
use crate::failure::Failure;
use crate::print;
use crate::text::{millions, thousands};

/// Show what a weights file holds, and what the network costs at any width, size and precision
#[derive(Args)]
#[command(
    after_help = "What a foreign file does not say is guessed, and marked so. --width, --resolution and --precision ask
what the same network would cost there: parameters, multiply-adds, weights, and the memory of activations.

Examples:
  mobilenet info model.safetensors
  mobilenet info mobilenet_v2.pth --width 0.5 --resolution 160 --precision f16
  mobilenet info model.safetensors --json"
)]
pub struct Info {
    /// A weights file
    #[arg(value_hint = clap::ValueHint::FilePath, value_parser = weights_file())]
    file: PathBuf,
    /// Costs at this size of the input [default: the file's own]
    #[arg(long, value_name = "SIZE")]
    resolution: Option<Resolution>,
    /// Costs with weights stored so
    #[arg(long, default_value = "f32")]
    precision: PrecisionArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    known: KnownArgs,
    #[command(flatten)]
    running: RunArgs,
}

impl Info {
    pub fn run(self) -> Result<(), Failure> {
        let format = weights::format(&self.file)?;
        // Flags ask about another network, and are no word about this file; only its name, padding and epsilon are.
        let SpecArgs { padding, bn_epsilon, .. } = self.known.spec;
        let known = Overrides { table: self.known.table()?, padding, bn_epsilon, ..Overrides::default() };
        let Loaded { mut recognised, params, .. } = mobilenet::net::load(&self.file, &known)?;
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        for tensor in params.tensors.values() {
            *types.entry(format!("{:?}", tensor.dtype()).to_lowercase()).or_default() += tensor.data().len() as u64;
        }
        drop(params);
        let pairs = match Golden::read(&self.file)? {
            Some(golden) => golden.pairs.len(),
            None => golden::reference(&self.file)?.map_or(0, |(input, _)| input.shape().first().copied().unwrap_or(0)),
        };
        recognised.guesses.extend(Labels::guess(&recognised));
        let bytes = weights::size(&self.file)?;
        let costs = self.costs(&recognised)?;
        let file = self.file.display().to_string();
        let report = Report { file, format, bytes, types, pairs, recognised: &recognised, costs };
        if self.json { print::json(&report.json()) } else { print::line(report.page()) }
    }

    /// What the network would cost as the flags have it.
    fn costs(&self, recognised: &Recognised) -> Result<Costs, Failure> {
        let spec = self.known.spec.over(recognised.spec.clone());
        let graph = recognised.table.graph(&spec)?;
        let [h, w] = self.resolution.map_or(recognised.preprocessing.size, |Resolution { h, w }| [h, w]);
        let Summary { parameters, multiply_adds, .. } = Summary::new(&graph, h, w)?;
        let precision: Precision = self.precision.into();
        // Without a classifier a network ends in its features.
        let ends = ["logits", "hidden", "pooled"].into_iter().find(|name| graph.find(name).is_some());
        let program = Program::compile(
            &graph,
            init::random(&graph, 1),
            &Options {
                isa: self.running.isa()?,
                // Activations are single precision in any, and bf16 is not for every processor.
                precision: Precision::F32,
                outputs: ends.map(str::to_owned).into_iter().collect(),
                ..Options::default()
            },
        )?;
        let pool: Arc<Pool> = self.running.pool();
        let memory = |memory| program.arena_bytes([1, h, w], pool.threads(), memory);
        let stored: u64 = graph
            .parameters()
            .iter()
            .map(|p| {
                let is_narrow = p.role == mobilenet::net::graph::Role::Weight && precision != Precision::F32;
                p.shape.iter().product::<usize>() as u64 * if is_narrow { 2 } else { 4 }
            })
            .sum();
        Ok(Costs {
            width: spec.width,
            resolution: [h, w],
            precision: match precision {
                Precision::F32 => "f32",
                Precision::F16 => "f16",
                Precision::Bf16 => "bf16",
            },
            threads: pool.threads(),
            parameters,
            multiply_adds,
            weight_bytes: stored,
            activation_bytes: memory(MemoryUse::Fast)?,
            activation_bytes_low: memory(MemoryUse::Low)?,
        })
    }
}

/// What a network costs for one image.
#[derive(Serialize)]
struct Costs {
    width: f64,
    /// Height and width.
    resolution: [usize; 2],
    precision: &'static str,
    threads: usize,
    parameters: u64,
    multiply_adds: u64,
    /// Of a file, batch norms unfolded.
    weight_bytes: u64,
    /// At their peak.
    activation_bytes: usize,
    /// The same with `--memory low`.
    activation_bytes_low: usize,
}

struct Report<'a> {
    file: String,
    format: &'static str,
    bytes: u64,
    /// Numbers of each type among the parameters.
    types: BTreeMap<String, u64>,
    pairs: usize,
    recognised: &'a Recognised,
    costs: Costs,
}

/// The report as JSON.
#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    format: &'a str,
    bytes: u64,
    types: &'a BTreeMap<String, u64>,
    names: &'a str,
    model: &'a str,
    width: f64,
    width_rule: String,
    classes: usize,
    input_channels: usize,
    padding: String,
    bn_epsilon: f32,
    total_stride: usize,
    output_stride: usize,
    outputs: String,
    preprocessing: &'a Preprocessing,
    labels: Option<&'a [String]>,
    threshold: Option<f32>,
    familiarity: Option<f32>,
    source: Option<&'a str>,
    licence: Option<&'a str>,
    training: Option<&'a serde_json::Value>,
    pairs: usize,
    guesses: &'a [String],
    costs: &'a Costs,
}

/// Class names that are printed.
const NAMED: usize = 5;

impl Report<'_> {
    fn json(&self) -> Json<'_> {
        let Recognised { origin, table, spec, preprocessing, labels, outputs, about, guesses } = self.recognised;
        let About { threshold, familiarity, source, licence, training } = about;
        Json {
            file: &self.file,
            format: self.format,
            bytes: self.bytes,
            types: &self.types,
            names: origin.name(),
            model: &table.name,
            width: spec.width,
            width_rule: spec.width_rule.to_string(),
            classes: spec.classes,
            input_channels: spec.input_channels,
            padding: spec.padding.to_string(),
            bn_epsilon: spec.bn_epsilon,
            total_stride: spec.total_stride,
            output_stride: spec.output_stride,
            outputs: outputs.to_string(),
            preprocessing,
            labels: labels.as_deref(),
            threshold: *threshold,
            familiarity: *familiarity,
            source: source.as_deref(),
            licence: licence.as_deref(),
            training: training.as_ref(),
            pairs: self.pairs,
            guesses,
            costs: &self.costs,
        }
    }

    fn page(&self) -> String {
        let Recognised { origin, table, spec, outputs, about, guesses, .. } = self.recognised;
        let types: Vec<String> = self.types.iter().map(|(t, n)| format!("{} {t}", thousands(*n))).collect();
        let mut lines = vec![
            (
                "file",
                format!(
                    "{}, {:.2} MB: {}, {origin}'s names, {}",
                    self.file,
                    megabytes(self.bytes),
                    self.format,
                    types.join(" and ")
                ),
            ),
            (
                "network",
                format!(
                    "{}, width {} ({}'s rule), {}",
                    table.name,
                    spec.width,
                    spec.width_rule,
                    match spec.classes {
                        0 => "no classifier".to_owned(),
                        classes => format!("{} classes ({outputs})", thousands(classes as u64)),
                    }
                ),
            ),
            (
                "",
                format!(
                    "padding {}, batch-norm epsilon {}, total stride {}, output stride {}",
                    spec.padding, spec.bn_epsilon, spec.total_stride, spec.output_stride
                ),
            ),
        ];
        lines.extend(self.photo());
        lines.push(("labels", self.labels()));
        let About { threshold, familiarity, source, licence, training } = about;
        if let Some(threshold) = threshold {
            lines.push(("threshold", format!("unknown below {:.1} %", threshold * 100.0)));
        }
        if let Some(familiarity) = familiarity {
            lines.push((
                "familiarity",
                format!("unknown below a similarity of {familiarity:.3} to the nearest exemplar"),
            ));
        }
        lines.push(("source", source.clone().unwrap_or_else(|| "not said".into())));
        lines.push(("licence", licence.clone().unwrap_or_else(|| "not said".into())));
        if let Some(training) = training {
            lines.push(("training", record(training)));
        }
        lines.push((
            "checked pairs",
            match self.pairs {
                0 => "none".to_owned(),
                pairs => format!("{pairs} (`mobilenet verify` runs them)"),
            },
        ));
        lines.extend(guesses.iter().map(|guess| ("guessed", guess.clone())));
        lines.extend(self.cost_lines());
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let line = |(name, text): &(&str, String)| format!("{name:<width$}  {text}");
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// From photo to tensor.
    fn photo(&self) -> [(&'static str, String); 2] {
        let Preprocessing { resize, size: [h, w], filter, mean, std, channel_order, background_class } =
            self.recognised.preprocessing;
        let list = |values: [f32; 3]| values.map(|v| v.to_string()).join(", ");
        let background = if background_class { "; output 0 is background" } else { "" };
        [
            ("photo", format!("{resize}, {filter}; {h}×{w} from the middle; {channel_order}")),
            ("", format!("(x / 255 − mean) / deviation; mean {}; deviation {}{background}", list(mean), list(std))),
        ]
    }

    fn labels(&self) -> String {
        let Some(labels) = &self.recognised.labels else { return "not in the file".into() };
        let more = if labels.len() > NAMED { format!(" and {} more", labels.len() - NAMED) } else { String::new() };
        labels[..labels.len().min(NAMED)].join("; ") + &more
    }

    fn cost_lines(&self) -> [(&'static str, String); 3] {
        let Costs { width, resolution: [h, w], precision, threads, .. } = self.costs;
        [
            ("costs", format!("at width {width}, {h}×{w} pixels, {precision}, threads: {threads}")),
            (
                "",
                format!(
                    "{} parameters, {} M multiply-adds, weights {:.2} MB",
                    thousands(self.costs.parameters),
                    millions(self.costs.multiply_adds),
                    megabytes(self.costs.weight_bytes)
                ),
            ),
            (
                "",
                format!(
                    "activations {:.2} MB at most, {:.2} MB with --memory low",
                    megabytes(self.costs.activation_bytes as u64),
                    megabytes(self.costs.activation_bytes_low as u64)
                ),
            ),
        ]
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The numbers of a training record; its recipe is long, and in the JSON.
fn record(training: &serde_json::Value) -> String {
    let Some(entries) = training.as_object() else { return training.to_string() };
    let entry = |(key, value): (&String, &serde_json::Value)| match value.as_str() {
        Some(text) if text.contains('\n') => format!("{key}: see --json"),
        Some(text) => format!("{key}: {text}"),
        None => format!("{key}: {value}"),
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}
