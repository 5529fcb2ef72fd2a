//! A compiled network: packed weights and a list of steps. Running it allocates nothing and cannot fail on shapes.

use std::ops::Range;
use std::sync::Arc;

use mobilenet_kernels::layout::{Order, from_blocked, to_blocked};
use mobilenet_kernels::prologue::Prologue;
use mobilenet_kernels::{
    Isa, Pool, dense, depthwise, elementwise, inverted_residual, layout, pointwise, pool2d, resize,
};
use mobilenet_net::error::Error;
use mobilenet_net::graph::{Graph, Shape};
use mobilenet_net::tensor::Params;

use crate::arena::{Arena, Run, StepSizes};
use crate::compile::{Compiled, Kernel, Step, compile};
use crate::memory::Memory;
use crate::slices::{Block, MemoryUse};

/// How weights are stored, and products computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Weights rounded to half precision: half the memory. Arithmetic is in single precision.
    F16,
    /// 1×1 convolutions of inputs and weights rounded to bf16, with sums in single precision, on processors that have
    /// such products; the classifier's weights rounded alike; everything else in single precision.
    Bf16,
}

/// What a program is compiled for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The instruction set.
    pub isa: Isa,
    /// How weights are stored, and products computed.
    pub precision: Precision,
    /// Outputs and taps to compute, by name.
    pub outputs: Vec<String>,
    /// Order of axes of the input and of the outputs.
    pub order: Order,
}

impl Default for Options {
    /// The logits, in PyTorch's order, on the best instruction set that this processor has.
    fn default() -> Options {
        Options { isa: Isa::detect(), precision: Precision::F32, outputs: vec!["logits".into()], order: Order::Nchw }
    }
}

/// A network ready to run at any batch and resolution: one for all threads, with an [`Arena`] for each.
///
/// ```
/// # use mobilenet_net::{arch, Params, Tensor, Data};
/// # use mobilenet_run::{Program, program::Options};
/// # use mobilenet_kernels::Pool;
/// # use std::sync::Arc;
/// # let graph = arch::find("mobilenet_v3_small")?.graph(&arch::Spec { width: 0.35, classes: 10, ..Default::default() })?;
/// # let mut params = Params::default();
/// # for p in graph.parameters() {
/// #     let len = p.shape.iter().product();
/// #     params.tensors.insert(p.name, Tensor::from_f32(&p.shape, vec![0.1; len]));
/// # }
/// let program = Program::compile(&graph, params, &Options::default())?;
/// let mut arena = program.arena(1, 96, 96, &Arc::new(Pool::new(1)))?;
/// arena.input_mut().fill(0.5);
/// program.run(&mut arena);
/// assert_eq!(arena.output("logits").unwrap().len(), 10);
/// # Ok::<(), mobilenet_net::Error>(())
/// ```
pub struct Program {
    pub(crate) graph: Graph,
    pub(crate) compiled: Compiled,
    isa: Isa,
    order: Order,
    /// Tells this program's arenas from another's.
    pub(crate) identity: Arc<()>,
}

/// What a step did, for those who watch.
pub struct Observed<'a> {
    /// Its place in [`Program::steps`], or the places of all that ran as one.
    pub steps: Range<usize>,
    /// Its result; blocked, but for conversions to plain order.
    pub output: &'a [f32],
    /// The result's shape.
    pub shape: Shape,
    /// Whether the result is blocked.
    pub is_blocked: bool,
    /// Bytes of the result and of all tensors that the step read, weights aside.
    pub bytes: usize,
}

/// What a step is, for tables.
#[derive(Clone, Debug, PartialEq)]
pub struct StepInfo {
    /// The node that it computes first, e.g. `block3.expand.conv`.
    pub name: String,
    /// The kernel: `pointwise`, `depthwise`, `dense`, `fully_connected`, …
    pub kernel: &'static str,
}

impl Program {
    /// Folds `graph`, fuses, chooses kernels and packs `params`, which are freed on the way.
    ///
    /// # Errors
    /// [`Error::Config`] where a parameter is missing or misshapen, an output is unknown, or the processor lacks what
    /// [`Precision::Bf16`] needs.
    pub fn compile(graph: &Graph, params: Params, options: &Options) -> Result<Program, Error> {
        let folded = mobilenet_net::fold::fold(graph, params)?;
        let (graph, compiled) = compile(folded, &options.outputs, (options.isa, options.precision))?;
        Ok(Program { graph, compiled, isa: options.isa, order: options.order, identity: Arc::new(()) })
    }

    /// Memory for `n` images of `h`×`w` pixels, worked on by the threads of `pool`.
    ///
    /// # Errors
    /// [`Error::Size`] where the network cannot take that size, [`Error::Memory`] where the system has no memory for it.
    pub fn arena(&self, n: usize, h: usize, w: usize, pool: &Arc<Pool>) -> Result<Arena, Error> {
        self.arena_with([n, h, w], pool, MemoryUse::default())
    }

    /// As [`Program::arena`] for images, height and width, with a choice of what memory is spent for. Every choice gives the
    /// same bits.
    ///
    /// # Errors
    /// As [`Program::arena`].
    pub fn arena_with(&self, size: [usize; 3], pool: &Arc<Pool>, memory: MemoryUse) -> Result<Arena, Error> {
        Arena::new(self, size, pool, memory)
    }

    /// Bytes that an [`arena_with`](Program::arena_with) would take; nothing is allocated.
    ///
    /// # Errors
    /// [`Error::Size`] where the network cannot take that size.
    pub fn arena_bytes(&self, size: [usize; 3], threads: usize, memory: MemoryUse) -> Result<usize, Error> {
        Arena::bytes_for(self, size, threads, memory)
    }

    /// The instruction set that it was compiled for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The graph that it computes, batch norm folded.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Its steps, in order.
    pub fn steps(&self) -> Vec<StepInfo> {
        let info = |s: &Step| StepInfo { name: s.name.clone(), kernel: s.kernel.name() };
        self.compiled.steps.iter().map(info).collect()
    }

    /// From the arena's input to its outputs.
    ///
    /// # Panics
    /// Where `arena` is another program's.
    pub fn run(&self, arena: &mut Arena) {
        self.check(arena);
        for &run in &*arena.runs.clone() {
            self.run_one(run, arena);
        }
    }

    /// As [`Program::run`], calling `observe` after every step.
    ///
    /// # Panics
    /// Where `arena` is another program's.
    pub fn run_observed(&self, arena: &mut Arena, mut observe: impl FnMut(Observed)) {
        self.check(arena);
        for &run in &*arena.runs.clone() {
            self.run_one(run, arena);
            let [first, step] = [run.first(), run.last()].map(|step| &self.compiled.steps[step]);
            let is_blocked = !matches!(step.kernel, Kernel::ToPlain);
            let bytes =
                first.inputs.iter().chain(&step.residual).map(|v| size_of_val(arena.memory.read(*v))).sum::<usize>();
            let output = arena.memory.read(step.output);
            let bytes = bytes + size_of_val(output);
            let (steps, shape) = (run.first()..run.last() + 1, arena.steps[run.last()].output);
            observe(Observed { steps, output, shape, is_blocked, bytes });
        }
    }

    fn check(&self, arena: &Arena) {
        assert!(Arc::ptr_eq(&self.identity, &arena.identity), "the arena belongs to another program");
    }

    fn run_one(&self, run: Run, arena: &mut Arena) {
        match run {
            Run::Step(step) => {
                let sizes = arena.steps[step];
                self.step(&self.compiled.steps[step], &sizes, arena);
            }
            Run::Slices(block) => self.slices(block, arena),
        }
    }

    fn slices(&self, block: Block, arena: &mut Arena) {
        let Arena { memory, pool, scratch, steps: sizes, .. } = arena;
        let steps = &self.compiled.steps;
        let (first, last) = (&steps[block.first], &steps[block.project]);
        let ([y, scratch], [x, residual]) =
            memory.parts([Some(last.output), Some(*scratch)], [Some(first.inputs[0]), last.residual]);
        let residual: Option<&[f32]> = last.residual.map(|_| residual);
        let StepSizes { input, geometry, .. } = sizes[block.depthwise];
        let call = inverted_residual::Call { images: input.n, geometry, x, y, residual, scratch };
        block.layers(steps).run(pool, call);
    }

    fn step(&self, step: &Step, sizes: &StepSizes, arena: &mut Arena) {
        let Arena { memory, pool, scratch, .. } = arena;
        let pool: &Pool = pool;
        if let Kernel::Concat = step.kernel {
            return self.concat(step, sizes, memory);
        }
        let second = step.inputs.get(1).copied();
        let ([y, sums, scratch], [x, other, residual, gate]) = memory.parts(
            [Some(step.output), step.sums, Some(*scratch)],
            [Some(step.inputs[0]), second, step.residual, step.gate],
        );
        let residual: Option<&[f32]> = step.residual.map(|_| residual);
        let StepSizes { input, output, geometry, .. } = *sizes;
        let planes = input.n * layout::blocks(input.c);
        let order = self.order;
        match &step.kernel {
            Kernel::Dense(layer, _) => {
                let source = if sizes.reads_plain { dense::Source::Plain(order) } else { dense::Source::Blocked };
                layer.run(pool, dense::Call { images: input.n, geometry, source, x, y, residual });
            }
            Kernel::Pointwise(layer) => {
                let prologue = Prologue { gate: step.gate.map(|_| gate), ..Prologue::default() };
                let (images, pixels) = (input.n, input.h * input.w);
                layer.run(pool, pointwise::Call { images, pixels, x, y, residual, prologue, moments: None, scratch });
            }
            Kernel::Depthwise(layer, _) => {
                let sums = step.sums.map(|_| sums);
                let (prologue, scratch) = (Prologue::default(), &mut []);
                layer.run(
                    pool,
                    depthwise::Call {
                        images: input.n,
                        geometry,
                        x,
                        y,
                        residual,
                        sums,
                        moments: None,
                        prologue,
                        scratch,
                    },
                );
            }
            Kernel::FullyConnected(layer) => layer.run(pool, input.n, x, y),
            Kernel::GlobalAverage => pool2d::global_average(self.isa, pool, planes, input.h * input.w, x, y),
            Kernel::MeanOfSums => {
                let count = x.len() / y.len();
                pool2d::mean_of_sums(self.isa, pool, planes, count, input.h * input.w, x, y);
            }
            Kernel::Pool(kind, _) => pool2d::windows(self.isa, pool, *kind, planes, geometry, x, y),
            Kernel::Activate(activation) => {
                let operation = elementwise::Operation::Activate(*activation);
                elementwise::run(self.isa, pool, operation, dims(input), x, y);
            }
            Kernel::Add => {
                let operation = elementwise::Operation::Add(other);
                elementwise::run(self.isa, pool, operation, dims(input), x, y);
            }
            Kernel::Gate => {
                let operation = elementwise::Operation::Gate(other);
                elementwise::run(self.isa, pool, operation, dims(input), x, y);
            }
            Kernel::Concat => unreachable!("handled above"),
            Kernel::Resize { align_corners } => {
                resize::bilinear(pool, planes, [input.h, input.w], [output.h, output.w], *align_corners, x, y);
            }
            Kernel::ToBlocked => to_blocked(x, dims(input), order, y),
            Kernel::ToPlain => from_blocked(x, dims(output), order, y),
        }
    }

    /// One input behind another along the channels.
    fn concat(&self, step: &Step, sizes: &StepSizes, memory: &mut Memory) {
        memory.write(step.output).fill(0.0);
        let mut at = 0;
        for &value in &step.inputs {
            let c = self.graph[self.compiled.values[value].node].channels;
            let ([y], [x]) = memory.parts([Some(step.output)], [Some(value)]);
            elementwise::copy_channels(x, layout::Dims { c, ..dims(sizes.output) }, y, sizes.output.c, at);
            at += c;
        }
    }
}

impl Kernel {
    fn name(&self) -> &'static str {
        match self {
            Kernel::Dense(..) => "dense",
            Kernel::Pointwise(_) => "pointwise",
            Kernel::Depthwise(..) => "depthwise",
            Kernel::FullyConnected(_) => "fully_connected",
            Kernel::GlobalAverage | Kernel::MeanOfSums => "global_average",
            Kernel::Pool(..) => "pool",
            Kernel::Activate(_) => "activation",
            Kernel::Add => "add",
            Kernel::Gate => "gate",
            Kernel::Concat => "concat",
            Kernel::Resize { .. } => "resize",
            Kernel::ToBlocked | Kernel::ToPlain => "convert",
        }
    }
}

fn dims(shape: Shape) -> layout::Dims {
    layout::Dims { n: shape.n, c: shape.c, h: shape.h, w: shape.w }
}
