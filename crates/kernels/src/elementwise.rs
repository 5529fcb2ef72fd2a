//! Elementwise operations that no kernel's epilogue could take along.

use crate::cpu::Isa;
use crate::epilogue::{Activation, apply};
use crate::isa::{Lanes, Tier};
use crate::layout::{Dims, LANES, blocks};
use crate::pool::Pool;
use crate::split::{Shared, for_each, piece, wanted};

/// An operation on whole blocked tensors.
#[derive(Clone, Copy)]
pub enum Operation<'a> {
    /// y = activation(x).
    Activate(Activation),
    /// y = x + other.
    Add(&'a [f32]),
    /// y = x · gate, the gate being one value a lane of each image.
    Gate(&'a [f32]),
}

/// Runs `operation` on `x` of `dims`.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn run(isa: Isa, pool: &Pool, operation: Operation, dims: Dims, x: &[f32], y: &mut [f32]) {
    let tier = Tier::of(isa);
    assert_eq!((x.len(), y.len()), (dims.blocked_len(), dims.blocked_len()), "elementwise buffers of {dims:?}");
    let (activation, other) = match operation {
        Operation::Activate(activation) => (activation, None),
        Operation::Add(other) => (Activation::Linear, Some(other)),
        Operation::Gate(gate) => (Activation::Linear, Some(gate)),
    };
    let is_gate = matches!(operation, Operation::Gate(_));
    let other_len = if is_gate { dims.n * blocks(dims.c) * LANES } else { x.len() };
    assert!(other.is_none_or(|o| o.len() == other_len), "the other operand of {dims:?}");
    let planes = dims.n * blocks(dims.c);
    let plane = dims.pixels() * LANES;
    // Lanes beyond the last channel, which the activation may not leave at zero.
    let used = match dims.c % LANES {
        0 => LANES,
        used => used,
    };
    let tasks = wanted(pool.threads(), 2 * x.len()).min(planes);
    let y = Shared::new(y);
    for_each(pool, tasks, |task, _slot| {
        for i in piece(planes, 1, tasks, task) {
            let task = Task {
                x: x[i * plane..].as_ptr(),
                y: y.at(i * plane),
                other: other.map_or(std::ptr::null(), |o| o[i * if is_gate { LANES } else { plane }..].as_ptr()),
                is_gate,
                activation,
                pixels: dims.pixels(),
                used: if i % blocks(dims.c) + 1 == blocks(dims.c) { used } else { LANES },
            };
            // SAFETY: the tier was handed out by detection, the plane lies inside the checked buffers, and each plane
            // is written by one task.
            unsafe { (tier.elementwise)(&task) }
        }
    });
}

/// One plane.
pub(crate) struct Task {
    x: *const f32,
    y: *mut f32,
    /// Null where there is none.
    other: *const f32,
    is_gate: bool,
    activation: Activation,
    pixels: usize,
    used: usize,
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    for p in 0..t.pixels {
        // SAFETY: inside the plane.
        unsafe {
            let mut v = L::load(t.x.add(p * LANES));
            if t.is_gate {
                v = v.mul(L::load(t.other));
            } else if !t.other.is_null() {
                v = v.add(L::load(t.other.add(p * LANES)));
            }
            let y = t.y.add(p * LANES);
            apply(t.activation, v).store(y);
            for lane in t.used..LANES {
                y.add(lane).write(0.0);
            }
        }
    }
}

/// Copies `x` of `dims` behind the first `at` channels of `y`, a tensor of `channels` channels: one input of a
/// concatenation.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn copy_channels(x: &[f32], dims: Dims, y: &mut [f32], channels: usize, at: usize) {
    assert_eq!((x.len(), y.len()), (dims.blocked_len(), Dims { c: channels, ..dims }.blocked_len()), "concat buffers");
    assert!(at + dims.c <= channels, "channels {at}..{} of {channels}", at + dims.c);
    let plane = dims.pixels() * LANES;
    for n in 0..dims.n {
        for c in 0..dims.c {
            let from = (n * blocks(dims.c) + c / LANES) * plane + c % LANES;
            let to = (n * blocks(channels) + (at + c) / LANES) * plane + (at + c) % LANES;
            for p in 0..dims.pixels() {
                y[to + p * LANES] = x[from + p * LANES];
            }
        }
    }
}
