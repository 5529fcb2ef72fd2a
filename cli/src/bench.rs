//! `mobilenet bench`: latencies of a network, f32 tensor in to f32 result out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use mobilenet::kernels::layout::Order;
use mobilenet::run::golden;
use mobilenet::run::measure::{latencies_ms, median, peak_rss_bytes};
use mobilenet::run::program::Options;
use mobilenet::train::{self, TrainOptions};
use mobilenet::{Arena, Isa, Pool, Program};
use serde::Serialize;

use crate::args::{MAX_BATCH, MemoryArg, Network, PrecisionArg, Resolution, RunArgs, SpecArgs, seconds, weights_file};
use crate::failure::Failure;
use crate::print;

/// Measure latencies of a network
#[derive(Args)]
#[command(after_help = "Examples:
  mobilenet bench mobilenet_v2 --threads 1
  mobilenet bench mobilenet_v3_small --width 0.75 --resolution 160 --batch 8 --json
  mobilenet bench mobilenet_v2 --train --resolution 32 --total-stride 8 --batch 8 --classes 10 --seconds 1
  mobilenet bench --weights mobilenet_v2.pth --seconds 5
  mobilenet bench mobilenet_v3_small --precision f16 --memory low")]
pub struct Bench {
    /// A registered name (see `mobilenet models`), a TOML table or a weights file
    model: Option<String>,
    /// Weights to run with; fresh ones where left out
    #[arg(long, value_name = "FILE", value_parser = weights_file())]
    weights: Option<PathBuf>,
    /// Input size: a number, or HEIGHTxWIDTH [default: the weights' own, 224 without]
    #[arg(long)]
    resolution: Option<Resolution>,
    /// Images in one call
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
    /// Measure training: a step is forward, loss, backward and an update by SGD with momentum
    #[arg(long, conflicts_with = "weights")]
    train: bool,
    /// What memory is spent for
    #[arg(long, default_value = "fast")]
    memory: MemoryArg,
    /// How long to measure
    #[arg(long, default_value = "2", value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// How weights are stored
    #[arg(long, default_value = "f32", conflicts_with = "train")]
    precision: PrecisionArg,
    /// Print one JSON object: latencies_ms, peak_rss_bytes, instruction_set, error …
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Serialize)]
struct Report {
    network: String,
    width: f64,
    resolution: String,
    batch: usize,
    threads: usize,
    instruction_set: String,
    latencies_ms: Vec<f64>,
    peak_rss_bytes: Option<u64>,
    /// Largest difference from the weights file's `golden.output.logits` over its largest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<f64>,
}

impl Bench {
    pub fn run(self) -> Result<(), Failure> {
        let isa = self.run.isa()?;
        let mut network = self.spec.open(self.model.as_deref(), self.weights.as_deref())?;
        let Resolution { h, w } = self.resolution.unwrap_or(network.size);
        let batch = self.batch as usize;
        let pool = self.run.pool();
        let (error, latencies_ms) = if self.train {
            let options = TrainOptions { isa, memory: self.memory.into(), ..TrainOptions::default() };
            let mut bench = train::measure::Bench::new(&network.graph, options, [batch, h, w], &pool)?;
            (None, bench.latencies_ms(self.seconds))
        } else {
            self.inference(&mut network, isa, [batch, h, w], &pool)?
        };
        let report = Report {
            network: network.table.name,
            width: network.spec.width,
            resolution: Resolution { h, w }.to_string(),
            batch,
            threads: pool.threads(),
            instruction_set: isa.to_string(),
            latencies_ms,
            peak_rss_bytes: peak_rss_bytes(),
            error,
        };
        if self.json { print::json(&report) } else { print::line(report.text()) }
    }

    /// The golden output's error, where the weights come with one, and latencies.
    fn inference(
        &self,
        network: &mut Network,
        isa: Isa,
        [batch, h, w]: [usize; 3],
        pool: &Arc<Pool>,
    ) -> Result<(Option<f64>, Vec<f64>), Failure> {
        let params = network.take_params();
        let precision = self.precision.into();
        let options = Options { isa, precision, order: Order::Nchw, ..Options::default() };
        let program = Program::compile(&network.graph, params, &options)?;
        let mut arena = program.arena_with([batch, h, w], pool, self.memory.into())?;
        let error = match &network.file {
            Some(file) => golden_error(file, &program, &mut arena)?,
            None => None,
        };
        if error.is_none() {
            arena.input_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 255) as f32 / 127.0 - 1.0);
        }
        Ok((error, latencies_ms(&program, &mut arena, self.seconds)))
    }
}

impl Report {
    fn text(&self) -> String {
        let Report { network, width, resolution, batch, threads, instruction_set, .. } = self;
        let ms = median(&self.latencies_ms);
        let least = self.latencies_ms.iter().copied().fold(f64::INFINITY, f64::min);
        let mut lines = vec![
            format!("{network} {width:?} at {resolution}, batch {batch}, {threads} thread(s), {instruction_set}"),
            format!("  median  {ms:9.3} ms   least {least:.3} ms   {} calls", self.latencies_ms.len()),
            format!("  speed   {:9.1} images/s", 1e3 * *batch as f64 / ms),
        ];
        if let Some(bytes) = self.peak_rss_bytes {
            lines.push(format!("  memory  {:9.1} MB at most", bytes as f64 / 1e6));
        }
        if let Some(error) = self.error {
            lines.push(format!("  error   {error:9.1e} of the largest golden output"));
        }
        lines.join("\n")
    }
}

/// Runs `golden.input` of a weights file, repeated over the batch, and compares with `golden.output.logits`. `None`
/// where the file has none, or for another size of input.
fn golden_error(file: &Path, program: &Program, arena: &mut Arena) -> Result<Option<f64>, Failure> {
    let Some((input, output)) = golden::reference(file)? else { return Ok(None) };
    let shape = arena.input_shape();
    if input.shape().get(1..) != Some(&[shape.c, shape.h, shape.w]) || input.shape().first() != output.shape().first() {
        return Ok(None);
    }
    let (input, output) = (input.into_f32(), output.into_f32());
    arena.input_mut().iter_mut().zip(input.iter().cycle()).for_each(|(to, from)| *to = *from);
    program.run(arena);
    let logits = arena.output("logits").unwrap_or_default();
    let right: Vec<f32> = output.into_iter().cycle().take(logits.len()).collect();
    // JSON has no word for infinity, as which what is no number shows.
    Ok(Some(golden::relative_error(logits, &right).min(f64::MAX)))
}
