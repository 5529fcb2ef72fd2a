//! The memory of one running program, and the sizes that its steps need.

use std::sync::Arc;

use mobilenet_kernels::cpu::Caches;
use mobilenet_kernels::layout::blocked_len;
use mobilenet_kernels::{Geometry, Pool};
use mobilenet_net::error::Error;
use mobilenet_net::graph::{Shape, Shapes, Window};

use crate::compile::{Form, Kernel, Step, Value};
use crate::memory::{Memory, ValueId};
use crate::plan::Lifetime;
use crate::program::Program;
use crate::slices::{self, Block, MemoryUse};

/// Memory of a program for one batch size and resolution. Made by [`Program::arena`].
pub struct Arena {
    pub(crate) memory: Memory,
    /// Behind the program's values.
    pub(crate) scratch: ValueId,
    input: ValueId,
    input_shape: Shape,
    outputs: Vec<(String, ValueId, Shape)>,
    pub(crate) steps: Arc<[StepSizes]>,
    /// How the steps run, in order.
    pub(crate) runs: Arc<[Run]>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) identity: Arc<()>,
}

/// What a step needs to know of sizes.
#[derive(Clone, Copy)]
pub(crate) struct StepSizes {
    /// Shape of its first input.
    pub input: Shape,
    /// Shape of its output.
    pub output: Shape,
    /// Its window, where it has one.
    pub geometry: Geometry,
    /// Whether its first input is in the caller's order.
    pub reads_plain: bool,
}

/// One or more steps at a time.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    Step(usize),
    /// A block in slices.
    Slices(Block),
}

impl Run {
    /// The last of its steps.
    pub fn last(self) -> usize {
        match self {
            Run::Step(step) => step,
            Run::Slices(block) => block.project,
        }
    }

    /// The first.
    pub fn first(self) -> usize {
        match self {
            Run::Step(step) => step,
            Run::Slices(block) => block.first,
        }
    }
}

/// What an arena holds and how its program runs in it.
struct Layout {
    shapes: Shapes,
    steps: Arc<[StepSizes]>,
    runs: Arc<[Run]>,
    /// The program's values, and scratch behind them.
    values: Vec<Lifetime>,
}

impl Layout {
    fn new(program: &Program, [n, h, w]: [usize; 3], threads: usize, memory: MemoryUse) -> Result<Layout, Error> {
        let shapes = program.graph.infer(n, h, w)?;
        let compiled = &program.compiled;
        let steps: Arc<[StepSizes]> = compiled
            .steps
            .iter()
            .map(|s| StepSizes {
                input: shapes[compiled.values[s.inputs[0]].node],
                output: shapes[compiled.values[s.output].node],
                geometry: geometry(&s.kernel, shapes[compiled.values[s.inputs[0]].node], shapes[s.node]),
                reads_plain: compiled.values[s.inputs[0]].form == Form::Plain,
            })
            .collect();
        let layout = |memory| Layout::with(program, &shapes, &steps, runs(program, &steps, threads, memory), threads);
        let (runs, values) = match memory {
            MemoryUse::Fast => layout(memory),
            // Where slices save less than their window takes, layer by layer is less.
            MemoryUse::Low => [memory, MemoryUse::Fast]
                .map(layout)
                .into_iter()
                .min_by_key(|(_, values)| Memory::bytes_for(values))
                .expect("two layouts"),
        };
        Ok(Layout { shapes, steps, runs, values })
    }

    /// With these runs.
    fn with(
        program: &Program,
        shapes: &Shapes,
        steps: &[StepSizes],
        runs: Arc<[Run]>,
        threads: usize,
    ) -> (Arc<[Run]>, Vec<Lifetime>) {
        let compiled = &program.compiled;
        let mut lens: Vec<usize> = compiled.values.iter().map(|v| value_len(program, v, shapes)).collect();
        let mut scratch = 0;
        for run in &*runs {
            scratch = scratch.max(match run {
                Run::Step(step) => match &compiled.steps[*step] {
                    Step { kernel: Kernel::Pointwise(layer), gate, .. } => layer.scratch_for(gate.is_some(), threads),
                    _ => 0,
                },
                Run::Slices(block) => {
                    block.inner(&compiled.steps).for_each(|value| lens[value] = 0);
                    block.layers(&compiled.steps).scratch(&steps[block.depthwise].geometry, threads)
                }
            });
        }
        let mut values = lifetimes(program, &lens, &runs);
        values.push(Lifetime { len: scratch, first: 0, last: compiled.steps.len() });
        (runs, values)
    }
}

impl Arena {
    pub(crate) fn new(
        program: &Program,
        size: [usize; 3],
        pool: &Arc<Pool>,
        memory: MemoryUse,
    ) -> Result<Arena, Error> {
        let compiled = &program.compiled;
        let Layout { shapes, steps, runs, values } = Layout::new(program, size, pool.threads(), memory)?;
        let shape = |value: ValueId| shapes[compiled.values[value].node];
        let outputs = compiled.outputs.iter().map(|(name, value)| (name.clone(), *value, shape(*value)));
        let [n, h, w] = size;
        Ok(Arena {
            input: compiled.input,
            input_shape: shape(compiled.input),
            outputs: outputs.collect(),
            memory: Memory::new(&values).map_err(|bytes| Error::Memory { n, h, w, bytes })?,
            scratch: values.len() - 1,
            steps,
            runs,
            pool: pool.clone(),
            identity: program.identity.clone(),
        })
    }

    /// Bytes that such an arena takes.
    pub(crate) fn bytes_for(
        program: &Program,
        size: [usize; 3],
        threads: usize,
        memory: MemoryUse,
    ) -> Result<usize, Error> {
        Ok(Memory::bytes_for(&Layout::new(program, size, threads, memory)?.values))
    }

    /// Where the input goes, in the order of axes that the program was compiled for. Runs leave it as it is.
    pub fn input_mut(&mut self) -> &mut [f32] {
        self.memory.write(self.input)
    }

    /// The input's shape.
    pub fn input_shape(&self) -> Shape {
        self.input_shape
    }

    /// The last run's result of the output or tap `name`, in the program's order of axes; `None` where the program was
    /// not compiled for it.
    pub fn output(&self, name: &str) -> Option<&[f32]> {
        self.outputs.iter().find(|(n, ..)| n == name).map(|(_, value, _)| self.memory.read(*value))
    }

    /// Names and shapes of all outputs.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, Shape)> {
        self.outputs.iter().map(|(name, _, shape)| (name.as_str(), *shape))
    }

    /// Threads that share a run's work.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Bytes of memory that the arena takes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }
}

/// All steps, blocks in slices where `memory` or speed ask for it.
fn runs(program: &Program, sizes: &[StepSizes], threads: usize, memory: MemoryUse) -> Arc<[Run]> {
    let compiled = &program.compiled;
    let caches = Caches::detect();
    let wanted = |block: &Block| memory == MemoryUse::Low || block.is_faster(&compiled.steps, sizes, threads, caches);
    let mut blocks = slices::blocks(compiled, sizes).into_iter().filter(wanted).peekable();
    let mut runs = Vec::with_capacity(compiled.steps.len());
    let mut step = 0;
    while step < compiled.steps.len() {
        let run = blocks.next_if(|block| block.first == step).map_or(Run::Step(step), Run::Slices);
        step = run.last() + 1;
        runs.push(run);
    }
    runs.into()
}

/// The window of a step between two shapes.
fn geometry(kernel: &Kernel, input: Shape, output: Shape) -> Geometry {
    match kernel {
        Kernel::Dense(_, window) | Kernel::Depthwise(_, window) | Kernel::Pool(_, window) => {
            window_geometry(*window, input, output)
        }
        _ => window_geometry(Window::square(1, 1, 1, Default::default()), input, input),
    }
}

/// The kernels' form of a window between two shapes.
pub fn window_geometry(window: Window, input: Shape, output: Shape) -> Geometry {
    let Window { kernel, stride, dilation, padding } = window;
    let before = |i: usize, size: usize| padding.amount(size, kernel[i], stride[i], dilation[i]).0;
    Geometry {
        input: [input.h, input.w],
        output: [output.h, output.w],
        kernel,
        stride,
        dilation,
        before: [before(0, input.h), before(1, input.w)],
    }
}

/// Values (`f32`) of memory that `value` takes.
fn value_len(program: &Program, value: &Value, shapes: &Shapes) -> usize {
    let Shape { n, c, h, w } = shapes[value.node];
    match value.form {
        Form::Plain => n * c * h * w,
        Form::Blocked => blocked_len(n, c, h, w),
        Form::SumsOf(output) => {
            let step = program.compiled.steps.iter().find(|s| s.output == output);
            match step.map(|s| &s.kernel) {
                Some(Kernel::Depthwise(layer, _)) => layer.sums(n, [h, w]),
                _ => unreachable!("only depthwise steps leave sums"),
            }
        }
    }
}

/// The input is alive all the time, so that a run can be repeated; outputs are until the end.
fn lifetimes(program: &Program, lens: &[usize], runs: &[Run]) -> Vec<Lifetime> {
    let compiled = &program.compiled;
    let end = compiled.steps.len();
    let mut all: Vec<Lifetime> = lens.iter().map(|&len| Lifetime { len, first: end, last: 0 }).collect();
    (all[compiled.input].first, all[compiled.input].last) = (0, end);
    for run in runs {
        // Steps that run as one read and write at the same time.
        let at = run.last();
        for step in &compiled.steps[run.first()..=at] {
            for value in [Some(step.output), step.sums].into_iter().flatten() {
                all[value].first = at;
                all[value].last = all[value].last.max(at);
            }
            for &value in step.inputs.iter().chain(&step.residual).chain(&step.gate) {
                all[value].last = all[value].last.max(at);
            }
        }
    }
    for (_, value) in &compiled.outputs {
        all[*value].last = end;
    }
    all
}
