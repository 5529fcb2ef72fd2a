//! Batch normalisation in training: statistics, normalisation and its gradient, over blocked tensors.
//!
//! A layer's raw output x is kept as it is; `Prologue` normalises it on the way into the next layer. What must be added
//! up per channel is added up per plane (a block of an image) here and over the images by the caller, in a fixed order,
//! so that every number of threads gives the same bits.

use crate::cpu::Isa;
use crate::epilogue::{Activation, apply, derivative};
use crate::isa::{Lanes, Tier};
use crate::layout::{Dims, LANES, blocks};
use crate::pool::Pool;
use crate::prologue::{Factors, Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};

/// What is added up over a plane's pixels.
#[derive(Clone, Copy)]
pub enum Sum<'a> {
    /// x and x²: two values a lane.
    Moments,
    /// prologue(x): one value a lane, for pooling.
    Value(Prologue<'a>),
    /// gradient · activation(norm(x)): one value a lane, the gradient of the prologue's gate.
    GateGradient(Prologue<'a>, &'a [f32]),
    /// d and d · x, two values a lane, for d = gradient · activation′(norm(x)); see [`Backward`].
    Backward(Backward<'a>),
}

/// The way back through a prologue's gate and activation: d = (g · gate + spread) · activation′(x · scale + shift).
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// The prologue.
    pub prologue: Prologue<'a>,
    /// The gradient g of its result, laid out as x; zero where there is none.
    pub gradient: Option<&'a [f32]>,
    /// A gradient that every pixel of a channel gets besides: what pooling gives back, a value a lane of every image.
    pub spread: Option<&'a [f32]>,
}

/// What is computed for every value.
#[derive(Clone, Copy)]
pub enum Map<'a> {
    /// prologue(x), plus another tensor where given.
    Forward(Prologue<'a>, Option<&'a [f32]>),
    /// d · a + x · b + c, with d as in [`Backward`], and a, b, c a value a lane: the gradient of batch norm's input.
    Backward(Backward<'a>, [&'a [f32]; 3]),
    /// d alone, as in [`Backward`].
    Through(Backward<'a>),
}

/// Values that [`sum`] gives for each lane.
fn values(sum: &Sum) -> usize {
    match sum {
        Sum::Moments | Sum::Backward(_) => 2,
        Sum::Value(_) | Sum::GateGradient(..) => 1,
    }
}

/// Sums over each plane of `x`: `[image][block][value][16]`.
///
/// # Panics
/// Where a buffer's length does not fit `dims`.
pub fn sum(isa: Isa, pool: &Pool, what: Sum, dims: Dims, x: &[f32], sums: &mut [f32]) {
    let per_plane = values(&what) * LANES;
    assert_eq!(sums.len(), dims.n * blocks(dims.c) * per_plane, "sums of {dims:?}");
    let (kind, prologue, gradient, spread) = match what {
        Sum::Moments => (Kind::Moments, Prologue::default(), None, None),
        Sum::Value(prologue) => (Kind::Value, prologue, None, None),
        Sum::GateGradient(prologue, gradient) => (Kind::GateGradient, prologue, Some(gradient), None),
        Sum::Backward(Backward { prologue, gradient, spread }) => (Kind::BackwardSums, prologue, gradient, spread),
    };
    planes(isa, pool, dims, Planes { kind, prologue, x, other: gradient, spread, factors: [None; 3], per_plane }, sums);
}

/// Writes a value for every value of `x`.
///
/// # Panics
/// Where a buffer's length does not fit `dims`.
pub fn map(isa: Isa, pool: &Pool, what: Map, dims: Dims, x: &[f32], y: &mut [f32]) {
    assert_eq!(y.len(), dims.blocked_len(), "output of {dims:?}");
    let per_plane = dims.pixels() * LANES;
    let (kind, prologue, other, spread, factors) = match what {
        Map::Forward(prologue, other) => (Kind::Forward, prologue, other, None, [None; 3]),
        Map::Backward(Backward { prologue, gradient, spread }, abc) => {
            (Kind::Backward, prologue, gradient, spread, abc.map(Some))
        }
        Map::Through(Backward { prologue, gradient, spread }) => (Kind::Through, prologue, gradient, spread, [None; 3]),
    };
    planes(isa, pool, dims, Planes { kind, prologue, x, other, spread, factors, per_plane }, y);
}

struct Planes<'a> {
    kind: Kind,
    prologue: Prologue<'a>,
    x: &'a [f32],
    other: Option<&'a [f32]>,
    spread: Option<&'a [f32]>,
    factors: [Option<&'a [f32]>; 3],
    /// Values of output for each plane.
    per_plane: usize,
}

fn planes(isa: Isa, pool: &Pool, dims: Dims, p: Planes, y: &mut [f32]) {
    let tier = Tier::of(isa);
    let (count, lanes, plane) = (blocks(dims.c), blocks(dims.c) * LANES, dims.pixels() * LANES);
    assert_eq!(p.x.len(), dims.blocked_len(), "input of {dims:?}");
    assert!(p.other.is_none_or(|o| o.len() == p.x.len()), "the other operand of {dims:?}");
    assert!(p.spread.is_none_or(|s| s.len() == dims.n * lanes), "a spread value a lane of every image");
    assert!(p.factors.iter().flatten().all(|f| f.len() == lanes), "one factor a lane");
    p.prologue.check(dims.n, lanes);
    // An element costs several operations and reads memory: weigh it as four multiply-adds.
    let tasks = wanted(pool, 4 * p.x.len()).min(dims.n * count);
    let y = Shared::new(y);
    for_each(pool, tasks, |task, _slot| {
        for i in piece(dims.n * count, 1, tasks, task) {
            let (image, block) = (i / count, i % count);
            let lane = |v: &[f32], first: usize| v[first + block * LANES..].as_ptr();
            let task = Task {
                kind: p.kind,
                prologue: p.prologue.at(image * lanes, block * LANES),
                x: p.x[i * plane..].as_ptr(),
                other: p.other.map_or(std::ptr::null(), |o| o[i * plane..].as_ptr()),
                spread: p.spread.map_or(std::ptr::null(), |s| lane(s, image * lanes)),
                factors: p.factors.map(|f| f.map_or(std::ptr::null(), |f| lane(f, 0))),
                y: y.at(i * p.per_plane),
                pixels: dims.pixels(),
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked, and
            // each plane writes its own part of `y`.
            unsafe { (tier.plane)(&task) }
        }
    });
}

#[derive(Clone, Copy)]
enum Kind {
    Moments,
    Value,
    GateGradient,
    BackwardSums,
    Forward,
    Backward,
    Through,
}

/// One plane.
pub(crate) struct Task {
    kind: Kind,
    prologue: Lanewise,
    x: *const f32,
    /// The gradient, or what is added; null where it is zero.
    other: *const f32,
    /// Null where there is none.
    spread: *const f32,
    factors: [*const f32; 3],
    y: *mut f32,
    pixels: usize,
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    // SAFETY of all below: the caller's.
    let f = unsafe { t.prologue.factors::<L>(0) };
    let x = |p: usize| unsafe { L::load(t.x.add(p * LANES)) };
    let has_other = !t.other.is_null();
    let other = |p: usize| unsafe { if has_other { L::load(t.other.add(p * LANES)) } else { L::splat(0.0) } };
    let lane = |v: *const f32| unsafe { if v.is_null() { L::splat(0.0) } else { L::load(v) } };
    let normed = |v: L| v.mul_add(f.scale, f.shift);
    let store = |at: usize, v: L| unsafe { v.store(t.y.add(at * LANES)) };
    let activation = t.prologue.activation;
    let spread = lane(t.spread);
    match t.kind {
        Kind::Moments => {
            let [s, q] = sums(t.pixels, |p| {
                let v = x(p);
                [v, v.mul(v)]
            });
            store(0, s);
            store(1, q);
        }
        Kind::Value => {
            let [s] = sums(t.pixels, |p| [apply(activation, normed(x(p)))]);
            store(0, s.mul(f.gate));
        }
        Kind::GateGradient => {
            let [s] = sums(t.pixels, |p| [apply(activation, normed(x(p))).mul(other(p))]);
            store(0, s);
        }
        Kind::BackwardSums => {
            let [s, q] = sums(t.pixels, |p| {
                let v = x(p);
                let d = back(activation, &f, v, other(p), spread);
                [d, d.mul(v)]
            });
            store(0, s);
            store(1, q);
        }
        Kind::Forward => {
            for p in 0..t.pixels {
                let v = apply(activation, normed(x(p))).mul(f.gate);
                store(p, v.add(other(p)));
            }
        }
        Kind::Through => {
            for p in 0..t.pixels {
                store(p, back(activation, &f, x(p), other(p), spread));
            }
        }
        Kind::Backward => {
            let [a, b, c] = t.factors.map(lane);
            for p in 0..t.pixels {
                let v = x(p);
                store(p, back(activation, &f, v, other(p), spread).mul_add(a, v.mul_add(b, c)));
            }
        }
    }
}

/// (g · gate + spread) · activation′(x · scale + shift).
#[inline(always)]
fn back<L: Lanes>(activation: Activation, f: &Factors<L>, x: L, g: L, spread: L) -> L {
    let g = g.mul_add(f.gate, spread);
    if activation == Activation::Linear { g } else { g.mul(derivative(activation, x.mul_add(f.scale, f.shift))) }
}

/// Sums of `N` values over the pixels. Four at once of each: a single sum would wait for its own last step.
#[inline(always)]
fn sums<L: Lanes, const N: usize>(pixels: usize, each: impl Fn(usize) -> [L; N]) -> [L; N] {
    const WAYS: usize = 4;
    let zero = L::splat(0.0);
    let mut acc = [[zero; N]; WAYS];
    let whole = pixels / WAYS * WAYS;
    for first in (0..whole).step_by(WAYS) {
        for (way, acc) in acc.iter_mut().enumerate() {
            let values = each(first + way);
            for n in 0..N {
                acc[n] = acc[n].add(values[n]);
            }
        }
    }
    for p in whole..pixels {
        let values = each(p);
        for n in 0..N {
            acc[0][n] = acc[0][n].add(values[n]);
        }
    }
    let [first, second, third, fourth] = acc;
    std::array::from_fn(|n| first[n].add(second[n]).add(third[n].add(fourth[n])))
}
