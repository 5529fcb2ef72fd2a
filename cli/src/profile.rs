//! `mobilenet profile`: where a network's time goes.

use std::path::PathBuf;

use clap::Args;
use mobilenet::net::file;
use mobilenet::run::measure::{self, KernelTime, StepTime};
use mobilenet::run::{MemoryUse, Options, picture};
use mobilenet::train::{self, TrainOptions};
use mobilenet::{Isa, Program};
use serde::Serialize;

use crate::args::{MAX_BATCH, MemoryArg, PrecisionArg, Resolution, RunArgs, SpecArgs, seconds, weights_file};
use crate::failure::Failure;
use crate::print;
use crate::text::{Grid, Side, bar};

const EXAMPLES: &str = "\
Examples:
  mobilenet profile mobilenet_v3_small
  mobilenet profile mobilenet_v2 --width 0.5 --seconds 0.5 --svg profile.svg
  mobilenet profile mobilenet_v1 --resolution 128 --threads 1 --seconds 0.5 --json
  mobilenet profile mobilenet_v2 --train --width 0.35 --resolution 64 --batch 4 --seconds 0.5";

/// Measure every step of a network against the processor's peak
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Profile {
    /// A name that `mobilenet models` lists, a TOML table, or a weights file
    #[arg(value_hint = clap::ValueHint::FilePath)]
    model: Option<String>,
    /// Weights to run with; fresh ones where left out
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, value_parser = weights_file())]
    weights: Option<PathBuf>,
    /// Size of the input: one number for a square, or HEIGHTxWIDTH [default: the weights' own, 224 without]
    #[arg(long, value_name = "SIZE")]
    resolution: Option<Resolution>,
    /// Profile training: a step is forward, loss, backward and an update by SGD with momentum
    #[arg(long, conflicts_with = "weights")]
    train: bool,
    /// What memory is spent for
    #[arg(long, default_value = "fast")]
    memory: MemoryArg,
    /// How weights are stored
    #[arg(long, default_value = "f32", conflicts_with = "train")]
    precision: PrecisionArg,
    /// Images in a run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Also draw the profile into this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    svg: Option<PathBuf>,
    #[command(flatten)]
    running: RunArgs,
    #[command(flatten)]
    spec: SpecArgs,
}

impl Profile {
    pub fn run(self) -> Result<(), Failure> {
        let mut network = self.spec.open(self.model.as_deref(), self.weights.as_deref())?;
        let Resolution { h, w } = self.resolution.unwrap_or(network.size);
        let batch = self.batch as usize;
        // What cannot work fails before the time is spent.
        network.graph.infer(batch, h, w)?;
        self.svg.as_deref().map_or(Ok(()), file::check)?;
        let isa = self.running.isa()?;
        let pool = self.running.pool();
        let mut arena_bytes = None;
        let profile = if self.train {
            let options = TrainOptions { isa, memory: self.memory.into(), ..TrainOptions::default() };
            train::measure::Bench::new(&network.graph, options, [batch, h, w], &pool)?.profile(self.seconds)?
        } else {
            let params = network.take_params();
            let program = Program::compile(
                &network.graph,
                params,
                &Options { isa, precision: self.precision.into(), ..Options::default() },
            )?;
            let mut arena = program.arena_with([batch, h, w], &pool, self.memory.into())?;
            let bytes = |memory| program.arena_bytes([batch, h, w], pool.threads(), memory);
            arena_bytes = Some(ArenaBytes { fast: bytes(MemoryUse::Fast)?, low: bytes(MemoryUse::Low)? });
            arena.input_mut().fill(0.5);
            measure::profile(&program, &mut arena, self.seconds)?
        };
        let report = Report { arena_bytes, ..Report::new(&network.table.name, [h, w], batch, isa, &profile) };
        if let Some(path) = &self.svg {
            file::write(path, picture::svg(&profile, &report.heading()).as_bytes())?;
        }
        if self.json { print::json(&report) } else { print::line(report.page()) }
    }
}

/// What is printed, for people and for programs. Shares are in percent.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    /// Height and width.
    resolution: [usize; 2],
    batch: usize,
    threads: usize,
    instruction_set: &'static str,
    /// Of all threads together, measured on registers alone.
    peak_gflops: f64,
    /// Of all threads together, copying from memory to memory.
    memory_gbytes_per_second: f64,
    /// Part of the steps' time in steps that reach 60 % of the peak, and in others that reach 60 % of the memory's rate.
    time_near_peak: f64,
    time_near_memory: f64,
    /// What activations take with either use of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    arena_bytes: Option<ArenaBytes>,
    /// Median of whole runs.
    run_microseconds: f64,
    /// Sum over the steps.
    steps_microseconds: f64,
    steps: Vec<Line<'a>>,
    kernels: Vec<Line<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct ArenaBytes {
    fast: usize,
    low: usize,
}

/// A step, or all steps of a kernel.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    kernel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    microseconds: f64,
    /// Of the sum over the steps.
    share: f64,
    multiply_adds: u64,
    gflops: f64,
    peak_share: f64,
    /// Read and written.
    bytes: u64,
    gbytes_per_second: f64,
}

impl<'a> Report<'a> {
    fn new(
        model: &'a str,
        resolution: [usize; 2],
        batch: usize,
        isa: Isa,
        profile: &'a measure::Profile,
    ) -> Report<'a> {
        let (sum, peak) = (profile.sum_microseconds(), profile.peak_gflops());
        let [near_peak, near_memory] = profile.time_near_limits(0.6);
        let step = |s: &'a StepTime| Line {
            name: Some(&s.name),
            kernel: s.kernel,
            steps: None,
            microseconds: s.microseconds,
            share: 100.0 * s.microseconds / sum,
            multiply_adds: s.multiply_adds,
            gflops: s.gflops(),
            peak_share: 100.0 * s.gflops() / peak,
            bytes: s.bytes,
            gbytes_per_second: s.gbytes_per_second(),
        };
        let kernel = |k: KernelTime| Line {
            name: None,
            kernel: k.kernel,
            steps: Some(k.steps),
            microseconds: k.microseconds,
            share: 100.0 * k.microseconds / sum,
            multiply_adds: k.multiply_adds,
            gflops: k.gflops(),
            peak_share: 100.0 * k.gflops() / peak,
            bytes: k.bytes,
            gbytes_per_second: k.gbytes_per_second(),
        };
        Report {
            model,
            resolution,
            batch,
            threads: profile.threads,
            instruction_set: isa.name(),
            peak_gflops: peak,
            memory_gbytes_per_second: profile.memory_gbytes_per_second,
            time_near_peak: 100.0 * near_peak,
            time_near_memory: 100.0 * near_memory,
            arena_bytes: None,
            run_microseconds: profile.total_microseconds,
            steps_microseconds: sum,
            steps: profile.steps.iter().map(step).collect(),
            kernels: profile.kernels().into_iter().map(kernel).collect(),
        }
    }

    fn heading(&self) -> String {
        let Report { model, resolution: [h, w], batch, threads, instruction_set, .. } = self;
        let plural = if *threads == 1 { "" } else { "s" };
        format!("{model}, {h}×{w} pixels, batch {batch}, {threads} thread{plural}, {instruction_set}")
    }

    fn page(&self) -> String {
        let mut steps = Grid::new(columns("step", "kernel"));
        for line in &self.steps {
            steps.row(line.cells(print::layer(line.name.unwrap_or_default()), line.kernel.into()));
        }
        let mut kernels = Grid::new(columns("kernel", "steps"));
        for line in &self.kernels {
            kernels.row(line.cells(line.kernel, line.steps.unwrap_or_default().to_string()));
        }
        let note =
            "Multiply-adds on padding count, as in the papers, but need not be done: small maps may exceed the peak.";
        let memory = self.arena_bytes.map_or(String::new(), |ArenaBytes { fast, low }| {
            let [fast, low] = [fast, low].map(|bytes| bytes as f64 / 1e6);
            format!("\nactivations take {fast:.1} MB with --memory fast, {low:.1} MB with --memory low")
        });
        format!(
            "{}\n\n{steps}\n\n{kernels}\n\n{note}\n\n\
             the peak is {:.1} GFLOP/s, and memory is copied at {:.1} GB/s, read and written: {:.1} % of the time is in steps at\n\
             60 % of the peak or more, {:.1} % in others at 60 % of the memory's rate or more\n\
             whole run {:.1} µs, sum of its steps {:.1} µs{memory}",
            self.heading(),
            self.peak_gflops,
            self.memory_gbytes_per_second,
            self.time_near_peak,
            self.time_near_memory,
            self.run_microseconds,
            self.steps_microseconds,
        )
    }
}

fn columns(first: &'static str, second: &'static str) -> [(&'static str, Side); 8] {
    [
        (first, Side::Left),
        (second, Side::Left),
        ("µs", Side::Right),
        ("time %", Side::Right),
        ("GFLOP/s", Side::Right),
        ("peak %", Side::Right),
        ("of the peak", Side::Left),
        ("GB/s", Side::Right),
    ]
}

impl Line<'_> {
    /// Rates stay empty where nothing is multiplied.
    fn cells(&self, first: &str, second: String) -> [String; 8] {
        let rate = |value: f64| if self.multiply_adds > 0 { format!("{value:.1}") } else { String::new() };
        [
            first.into(),
            second,
            format!("{:.1}", self.microseconds),
            format!("{:.1}", self.share),
            rate(self.gflops),
            rate(self.peak_share),
            bar(self.peak_share),
            format!("{:.1}", self.gbytes_per_second),
        ]
    }
}
