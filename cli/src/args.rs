//! Flags that several commands share.

mod network;
mod photo;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use mobilenet::arch::{self, Spec, Table, WidthRule};
use mobilenet::kernels::cpu;
use mobilenet::net::graph::{Activation, Padding};
use mobilenet::net::{Loaded, Overrides, Recognised, built_in};
use mobilenet::pull::{self, Name, Store};
use mobilenet::run::{MemoryUse, Precision};
use mobilenet::{Graph, Isa, Params, Pool, init};

use crate::failure::Failure;

pub use network::{NetworkArgs, say_built_in};
pub use photo::PhotoArgs;

/// The parameters of a network beside its table. Left out, they are the weights' or the network's own.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub struct SpecArgs {
    /// Width multiplier
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    pub width: Option<f64>,
    /// Outputs of the classifier; 0 for a network without one
    #[arg(long, value_name = "N")]
    pub classes: Option<usize>,
    /// Channels of the input
    #[arg(long, value_name = "N")]
    pub input_channels: Option<usize>,
    /// Whose rounding of channels: tensorflow, timm, torchvision or keras
    #[arg(long, value_name = "RULE")]
    pub width_rule: Option<WidthRule>,
    /// Where convolutions pad: symmetric (PyTorch's) or same (TensorFlow's)
    #[arg(long, value_parser = Padding::from_str)]
    pub padding: Option<Padding>,
    /// Batch norm's epsilon
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    pub bn_epsilon: Option<f32>,
    /// Keep features at 1/16 or 1/8 of the input by dilating late layers: 32, 16 or 8
    #[arg(long, value_name = "STRIDE")]
    pub output_stride: Option<usize>,
    /// For small photos: leave out the first strides, so that all together are 32, 16 or 8
    #[arg(long, value_name = "STRIDE")]
    pub total_stride: Option<usize>,
    /// Non-linearity in place of the table's only one: relu, relu6, h-swish, swish …
    #[arg(long, value_name = "NAME")]
    pub activation: Option<Activation>,
}

impl SpecArgs {
    /// `spec` with what was given.
    pub fn over(&self, spec: Spec) -> Spec {
        Spec {
            width: self.width.unwrap_or(spec.width),
            classes: self.classes.unwrap_or(spec.classes),
            input_channels: self.input_channels.unwrap_or(spec.input_channels),
            width_rule: self.width_rule.unwrap_or(spec.width_rule),
            padding: self.padding.unwrap_or(spec.padding),
            bn_epsilon: self.bn_epsilon.unwrap_or(spec.bn_epsilon),
            output_stride: self.output_stride.unwrap_or(spec.output_stride),
            total_stride: self.total_stride.unwrap_or(spec.total_stride),
            activation: self.activation.or(spec.activation),
        }
    }

    /// What is known better than a weights file can tell.
    ///
    /// # Errors
    /// Channels of the input, which the weights' shapes tell for certain.
    pub fn overrides(&self, table: Option<Table>) -> Result<Overrides, Failure> {
        if self.input_channels.is_some() {
            return Err(Failure::bad("--input-channels is for networks without weights; a file's weights have theirs"));
        }
        Ok(Overrides {
            table,
            width: self.width,
            width_rule: self.width_rule,
            classes: self.classes,
            padding: self.padding,
            bn_epsilon: self.bn_epsilon,
            output_stride: self.output_stride,
            total_stride: self.total_stride,
            activation: self.activation,
        })
    }

    /// The network that `model` names, a registered name, a TOML table, a weights file or what such a file is called by
    /// `mobilenet pull`, with the weights of `weights` where given, and fresh ones where there are none at all.
    pub fn open(&self, model: Option<&str>, weights: Option<&Path>) -> Result<Network, Failure> {
        let file = model.map(weights_of).transpose()?.flatten();
        let (model, weights) = match (&file, weights) {
            (Some(_), Some(weights)) => {
                let weights = weights.display();
                return Err(Failure::bad(format!("two weights files: give a network's name with --weights {weights}")));
            }
            (Some(file), None) => (None, Some(file.as_path())),
            (None, weights) => (model, weights),
        };
        let table = model.map(arch::find).transpose()?;
        if let Some(path) = weights {
            let Loaded { recognised, graph, params } = mobilenet::net::load(path, &self.overrides(table)?)?;
            recognised.guesses.iter().for_each(|guess| note!("guessed {guess}"));
            let Recognised { table, spec, preprocessing, .. } = recognised;
            let [h, w] = preprocessing.size;
            let (file, params) = (Some(path.to_owned()), Some(params));
            return Ok(Network { table, spec, graph, file, params, size: Resolution { h, w } });
        }
        let table =
            table.ok_or_else(|| Failure::bad("no network: give a name, see `mobilenet models`, or --weights"))?;
        let spec = self.over(Spec::default());
        let graph = table.graph(&spec)?;
        Ok(Network { table, spec, graph, file: None, params: None, size: Resolution { h: 224, w: 224 } })
    }
}

/// What is known better than a weights file can tell.
#[derive(Args, Clone, Debug, Default)]
pub struct KnownArgs {
    /// A registered name or a TOML table, where the weights do not tell
    #[arg(long, value_name = "NAME|TOML")]
    model: Option<String>,
    #[command(flatten)]
    pub spec: SpecArgs,
}

impl KnownArgs {
    /// The network that `--model` names.
    ///
    /// # Errors
    /// A name that is not registered; a table that is none.
    pub fn table(&self) -> Result<Option<Table>, Failure> {
        Ok(self.model.as_deref().map(arch::find).transpose()?)
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`KnownArgs::table`].
    pub fn overrides(&self) -> Result<Overrides, Failure> {
        self.spec.overrides(self.table()?)
    }
}

/// The weights file that a network's argument names, as a file or as a published one. Networks' names come first.
fn weights_of(model: &str) -> Result<Option<PathBuf>, Failure> {
    if model.ends_with(".toml") {
        return Ok(None);
    }
    if model == built_in::NAME || Path::new(model).is_file() {
        return Ok(Some(model.into()));
    }
    if arch::models().iter().any(|known| known.name == model) { Ok(None) } else { Ok(pulled(model)?) }
}

/// Reads a weights file's argument, for clap: a path, or the name of a file that `mobilenet pull` has fetched.
pub fn weights_file() -> impl TypedValueParser<Value = PathBuf> {
    fn path(given: OsString) -> Result<PathBuf, pull::Error> {
        let name = Some(&*given).filter(|path| !Path::new(path).exists()).and_then(OsStr::to_str);
        Ok(name.map(pulled).transpose()?.flatten().unwrap_or_else(|| given.into()))
    }
    OsStringValueParser::new().try_map(path)
}

/// The fetched file of this name; `None` where it is no name of a published file.
fn pulled(name: &str) -> Result<Option<PathBuf>, pull::Error> {
    match name.parse::<Name>() {
        Ok(name) => Store::from_env()?.get(&name).map(Some),
        Err(error) if ["hf:", "torchvision/", "timm/"].iter().any(|start| name.starts_with(start)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A network as the command line named it.
pub struct Network {
    /// Its table.
    pub table: Table,
    /// Its parameters beside the table.
    pub spec: Spec,
    /// Its graph.
    pub graph: Graph,
    /// The weights file, where there is one.
    pub file: Option<PathBuf>,
    /// Its weights.
    params: Option<Params>,
    /// The input size that it was made for.
    pub size: Resolution,
}

impl Network {
    /// The file's weights, or fresh ones.
    pub fn take_params(&mut self) -> Params {
        self.params.take().unwrap_or_else(|| init::random(&self.graph, 1))
    }
}

/// An input size: one number for a square, or HEIGHTxWIDTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
}

impl std::fmt::Display for Resolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.h, self.w)
    }
}

impl FromStr for Resolution {
    type Err = String;
    fn from_str(text: &str) -> Result<Resolution, String> {
        let (h, w) = text.split_once('x').unwrap_or((text, text));
        let side = |s: &str| s.parse::<usize>().ok().filter(|&v| (1..=32768).contains(&v));
        match (side(h), side(w)) {
            (Some(h), Some(w)) => Ok(Resolution { h, w }),
            _ => Err("give one number from 1 to 32768, or HEIGHTxWIDTH".into()),
        }
    }
}

/// Largest batch; larger ones gain nothing and need memory that few machines have.
pub const MAX_BATCH: u64 = 4096;

/// A part of a whole, for clap.
pub fn fraction<T: FromStr + PartialOrd + From<i8>>(text: &str) -> Result<T, String> {
    let fraction = text.parse().ok().filter(|part| (T::from(0)..=T::from(1)).contains(part));
    fraction.ok_or_else(|| "give a number from 0 to 1".into())
}

/// How long to measure, in seconds, for clap.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.0..=3600.0).contains(s));
    seconds.ok_or_else(|| "give a number from 0 to 3600".into())
}

/// How to run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    /// Threads [default: what quota, affinity and cores allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub threads: Option<u64>,
}

impl RunArgs {
    /// The threads asked for, or as many as this process may use.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(cpu::default_threads, |n| n as usize)
    }

    /// A pool of [`threads`](Self::threads).
    pub fn pool(&self) -> Arc<Pool> {
        Arc::new(Pool::new(self.threads()))
    }

    /// The best instruction set, or the lower one that `MOBILENET_ISA` asks for.
    pub fn isa(&self) -> Result<Isa, Failure> {
        Ok(Isa::from_env()?)
    }
}

/// How weights are stored, and products computed.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum PrecisionArg {
    /// Single precision
    F32,
    /// Half precision, half the memory for weights; arithmetic is in single precision
    F16,
    /// 1×1 convolutions in bf16 with sums in single precision, where the processor has it (AVX-512 BF16, AMX)
    Bf16,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Precision {
        match arg {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::F16 => Precision::F16,
            PrecisionArg::Bf16 => Precision::Bf16,
        }
    }
}

/// What memory is spent for; the bits are the same.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum MemoryArg {
    /// Speed
    Fast,
    /// As little as possible: expanded tensors never exist as a whole, or, in training, are computed anew
    Low,
}

impl From<MemoryArg> for MemoryUse {
    fn from(arg: MemoryArg) -> MemoryUse {
        match arg {
            MemoryArg::Fast => MemoryUse::Fast,
            MemoryArg::Low => MemoryUse::Low,
        }
    }
}
