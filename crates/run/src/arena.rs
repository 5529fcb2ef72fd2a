//! The memory of one running program: sizes, and a single buffer in which all values have their planned place.

use std::ops::Range;
use std::sync::Arc;

use mobilenet_kernels::aligned::{ALIGNMENT, AlignedBuf};
use mobilenet_kernels::layout::blocked_len;
use mobilenet_kernels::{Geometry, Pool};
use mobilenet_net::error::Error;
use mobilenet_net::graph::{Shape, Shapes, Window};

use crate::compile::{Form, Kernel, Value, ValueId};
use crate::plan::{Lifetime, plan};
use crate::program::Program;

/// Memory of a program for one batch size and resolution. Made by [`Program::arena`].
pub struct Arena {
    /// Accessed through `read` and `write` only.
    memory: SharedMemory,
    values: Vec<Range<usize>>,
    scratch: Range<usize>,
    input: ValueId,
    input_shape: Shape,
    outputs: Vec<(String, ValueId, Shape)>,
    pub(crate) steps: Vec<StepSizes>,
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

struct SharedMemory {
    /// Keeps the memory alive; all access goes through `start`.
    _buf: AlignedBuf,
    start: *mut f32,
}

// SAFETY: the memory is owned, and `Arena` hands it out by its own rules.
unsafe impl Send for SharedMemory {}
// SAFETY: through `&Arena` only `pub(crate)` functions reach it; `Program::run` holds `&mut Arena`.
unsafe impl Sync for SharedMemory {}

/// Alignment of every value, in `f32`.
const ALIGN: usize = ALIGNMENT / size_of::<f32>();

impl Arena {
    pub(crate) fn new(program: &Program, n: usize, h: usize, w: usize, pool: &Arc<Pool>) -> Result<Arena, Error> {
        let shapes = program.graph.infer(n, h, w)?;
        let compiled = &program.compiled;
        let steps: Vec<StepSizes> = compiled
            .steps
            .iter()
            .map(|s| StepSizes {
                input: shapes[compiled.values[s.inputs[0]].node],
                output: shapes[compiled.values[s.output].node],
                geometry: geometry(&s.kernel, shapes[compiled.values[s.inputs[0]].node], shapes[s.node]),
                reads_plain: compiled.values[s.inputs[0]].form == Form::Plain,
            })
            .collect();
        let lens: Vec<usize> = compiled.values.iter().map(|v| value_len(program, v, &shapes)).collect();
        let (values, total) = plan(&lifetimes(program, &lens), ALIGN);
        let scratch = compiled.steps.iter().filter(|s| s.gate.is_some()).map(|s| match &s.kernel {
            Kernel::Pointwise(layer) => layer.scratch(pool.threads()),
            _ => 0,
        });
        let scratch_start = total.next_multiple_of(ALIGN);
        let scratch = scratch_start..scratch_start + scratch.max().unwrap_or(0);
        let bytes = scratch.end.saturating_mul(size_of::<f32>());
        let mut buf = AlignedBuf::try_zeroed(scratch.end).ok_or(Error::Memory { n, h, w, bytes })?;
        let outputs =
            compiled.outputs.iter().map(|(name, value)| (name.clone(), *value, shapes[compiled.values[*value].node]));
        Ok(Arena {
            input: compiled.input,
            input_shape: shapes[compiled.values[compiled.input].node],
            outputs: outputs.collect(),
            memory: SharedMemory { start: buf.as_mut_ptr(), _buf: buf },
            values,
            scratch,
            steps,
            pool: pool.clone(),
            identity: program.identity.clone(),
        })
    }

    /// Where the input goes, in the order of axes that the program was compiled for. Runs leave it as it is.
    pub fn input_mut(&mut self) -> &mut [f32] {
        // SAFETY: `&mut self` makes this the only borrow.
        unsafe { self.write(self.input) }
    }

    /// The input's shape.
    pub fn input_shape(&self) -> Shape {
        self.input_shape
    }

    /// The last run's result of the output or tap `name`, in the program's order of axes; `None` where the program was
    /// not compiled for it.
    pub fn output(&self, name: &str) -> Option<&[f32]> {
        self.outputs.iter().find(|(n, ..)| n == name).map(|(_, value, _)| self.read(*value))
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
        self.scratch.end * size_of::<f32>()
    }

    pub(crate) fn read(&self, value: ValueId) -> &[f32] {
        self.slice(&self.values[value])
    }

    /// # Safety
    /// Nothing else of this value's memory is borrowed.
    #[expect(clippy::mut_from_ref, reason = "values are disjoint parts of one buffer; the caller vouches for it")]
    pub(crate) unsafe fn write(&self, value: ValueId) -> &mut [f32] {
        // SAFETY: the caller's.
        unsafe { self.slice_mut(&self.values[value]) }
    }

    /// # Safety
    /// The scratch is not borrowed elsewhere.
    #[expect(clippy::mut_from_ref, reason = "as `write`")]
    pub(crate) unsafe fn scratch(&self) -> &mut [f32] {
        // SAFETY: the caller's.
        unsafe { self.slice_mut(&self.scratch) }
    }

    fn slice(&self, range: &Range<usize>) -> &[f32] {
        // SAFETY: the plan's ranges lie inside the buffer, which is initialised.
        unsafe { std::slice::from_raw_parts(self.memory.start.add(range.start), range.len()) }
    }

    #[expect(clippy::mut_from_ref, reason = "as `write`")]
    unsafe fn slice_mut(&self, range: &Range<usize>) -> &mut [f32] {
        // SAFETY: as in `slice`; the caller vouches for uniqueness.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.add(range.start), range.len()) }
    }
}

/// The kernels' form of a window between two shapes.
fn geometry(kernel: &Kernel, input: Shape, output: Shape) -> Geometry {
    let (Kernel::Dense(_, window) | Kernel::Depthwise(_, window) | Kernel::Pool(_, window)) = kernel else {
        let size = [input.h, input.w];
        return Geometry {
            input: size,
            output: size,
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            before: [0; 2],
        };
    };
    let Window { kernel, stride, dilation, padding } = *window;
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
fn lifetimes(program: &Program, lens: &[usize]) -> Vec<Lifetime> {
    let compiled = &program.compiled;
    let end = compiled.steps.len();
    let mut all: Vec<Lifetime> = lens.iter().map(|&len| Lifetime { len, first: end, last: 0 }).collect();
    (all[compiled.input].first, all[compiled.input].last) = (0, end);
    for (i, step) in compiled.steps.iter().enumerate() {
        for value in [Some(step.output), step.sums].into_iter().flatten() {
            all[value].first = i;
            all[value].last = all[value].last.max(i);
        }
        for &value in step.inputs.iter().chain(&step.residual).chain(&step.gate) {
            all[value].last = all[value].last.max(i);
        }
    }
    for (_, value) in &compiled.outputs {
        all[*value].last = end;
    }
    all
}
