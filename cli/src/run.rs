//! `mobilenet run`: tensors in, tensors out.

use std::path::PathBuf;

use clap::Args;
use mobilenet::net::{DType, file, weights};
use mobilenet::run::program::Options;
use mobilenet::{Params, Program, Tensor};

use crate::args::{RunArgs, SpecArgs, weights_file};
use crate::failure::Failure;
use crate::inputs;

/// Run a network on a tensor: safetensors in, safetensors out
#[derive(Args)]
#[command(after_help = "The output file holds `logits` (N×classes), `features` (the last map before pooling, N×C×H×W)
and every tap asked for. Taps are named after blocks: `stem`, `block3`, `block3.expand` (its expansion after the
activation), `block3.depthwise`, `head`, `pooled`, `hidden`.

Example:
  mobilenet run --weights mobilenet_v2.pth --input photos.safetensors --input-name x --output out.safetensors")]
pub struct Run {
    /// Weights
    #[arg(long, value_name = "FILE", value_parser = weights_file())]
    weights: PathBuf,
    /// A registered name or a TOML table, where the weights do not tell
    #[arg(long, value_name = "NAME|TOML")]
    model: Option<String>,
    /// A safetensors file with the input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The input's name in that file: N×C×H×W, or C×H×W
    #[arg(long, value_name = "NAME", default_value = "input")]
    input_name: String,
    /// Where the outputs go
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Also write this tap; may be repeated
    #[arg(long, value_name = "NAME")]
    tap: Vec<String>,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Run {
    pub fn run(self) -> Result<(), Failure> {
        inputs::expect_other(&self.output, [&*self.input, &*self.weights])?;
        let isa = self.run.isa()?;
        file::check(&self.output)?;
        let mut network = self.spec.open(self.model.as_deref(), Some(&self.weights))?;
        let input = self.read_input(network.spec.input_channels)?;
        let [n, _, h, w] = input.0;
        let mut outputs: Vec<String> = network.graph.outputs.iter().map(|(name, _)| name.clone()).collect();
        outputs.extend(self.tap.iter().filter(|tap| !["logits", "features"].contains(&tap.as_str())).cloned());
        let options = Options { isa, outputs, ..Options::default() };
        let params = network.take_params();
        let program = Program::compile(&network.graph, params, &options)?;
        let mut arena = program.arena(n, h, w, &self.run.pool())?;
        arena.input_mut().copy_from_slice(&input.1);
        program.run(&mut arena);

        let mut results = Params::default();
        for (name, shape) in arena.outputs() {
            let values = arena.output(name).unwrap_or_default().to_vec();
            let is_vector = ["logits", "pooled", "hidden"].contains(&name);
            let shape: &[usize] = if is_vector { &[shape.n, shape.c] } else { &[shape.n, shape.c, shape.h, shape.w] };
            results.tensors.insert(name.to_owned(), Tensor::from_f32(shape, values));
        }
        Ok(weights::save(&self.output, &results)?)
    }

    /// The input's shape and values.
    fn read_input(&self, channels: usize) -> Result<([usize; 4], Vec<f32>), Failure> {
        let file = self.input.display();
        let mut found = weights::open_where(&self.input, |name| name == self.input_name)?;
        let name = &self.input_name;
        let tensor = found.tensors.remove(name).ok_or_else(|| {
            Failure::bad(format!("{file}: there is no tensor named {name}; --input-name gives another"))
        })?;
        let shape = match *tensor.shape() {
            [n, c, h, w] => [n, c, h, w],
            [c, h, w] => [1, c, h, w],
            _ => {
                let shape = tensor.shape();
                return Err(Failure::bad(format!("{file}: {name} has shape {shape:?}; N×C×H×W or C×H×W is needed")));
            }
        };
        if shape[1] != channels {
            let c = shape[1];
            return Err(Failure::bad(format!("{file}: {name} has {c} channels; the network takes {channels}")));
        }
        if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::Bf16) {
            return Err(Failure::bad(format!(
                "{file}: {name} holds integers; floats are needed, as the network was trained"
            )));
        }
        Ok((shape, tensor.into_f32()))
    }
}
