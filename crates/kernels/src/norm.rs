//! Batch normalisation in training: statistics, normalisation and its gradient, over blocked tensors.
//!
//! A layer's raw output x is kept as it is; `Prologue` normalises it on the way into the next layer. What must be added
//! up per channel is added up per plane (a block of an image) here and over the images by the caller, in a fixed order,
//! so that every number of threads gives the same bits.

mod plane;

use crate::cpu::Isa;
use crate::isa::Tier;
use crate::layout::{Dims, LANES, blocks};
use crate::pool::Pool;
use crate::prologue::{Lanewise, Prologue};
use crate::split::{Shared, for_each, piece, wanted};

pub(crate) use plane::task;

/// What is added up over a plane's pixels.
#[derive(Clone, Copy)]
pub enum Sum<'a> {
    /// x − k and (x − k)², then k and the number of pixels: [`MOMENTS`] values a lane. k is the plane's first pixel, so that
    /// a mean far from zero does not swallow the variance.
    Moments,
    /// prologue(x): one value a lane, for pooling.
    Value(Prologue<'a>),
    /// gradient · activation(norm(x)): one value a lane, the gradient of the prologue's gate.
    GateGradient(Prologue<'a>, &'a [f32]),
    /// d and d · (x − centre), two values a lane, for d as in [`Backward`]; the centre is a value a lane near the mean.
    Backward(Backward<'a>, &'a [f32]),
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

/// Values a lane of [`Sum::Moments`].
pub const MOMENTS: usize = 4;
/// Values a lane of [`Sum::Backward`].
pub const BACKWARD: usize = 2;

/// Values that [`sum`] gives for each lane.
fn values(sum: &Sum) -> usize {
    match sum {
        Sum::Moments => MOMENTS,
        Sum::Backward(..) => BACKWARD,
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
    let none = [None; 3];
    let (kind, prologue, gradient, spread, factors) = match what {
        Sum::Moments => (Kind::Moments, Prologue::default(), None, None, none),
        Sum::Value(prologue) => (Kind::Value, prologue, None, None, none),
        Sum::GateGradient(prologue, gradient) => (Kind::GateGradient, prologue, Some(gradient), None, none),
        Sum::Backward(Backward { prologue, gradient, spread }, centre) => {
            (Kind::BackwardSums, prologue, gradient, spread, [Some(centre), None, None])
        }
    };
    planes(isa, pool, dims, Planes { kind, prologue, x, other: gradient, spread, factors, per_plane }, sums);
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
    assert!(dims.pixels() > 0, "an image without pixels");
    let back = Backward { prologue: p.prologue, gradient: p.other, spread: p.spread };
    check(p.x, &back, p.factors.into_iter().flatten(), dims);
    // An element costs several operations and reads memory: weigh it as four multiply-adds.
    let tasks = wanted(pool.threads(), 4 * p.x.len()).min(dims.n * count);
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
                used: used(dims.c, block),
                is_added: false,
            };
            // SAFETY: the tier was handed out by detection; all pointers lie in buffers whose lengths were checked, and
            // each plane writes its own part of `y`.
            unsafe { (tier.plane)(&task) }
        }
    });
}

/// Lanes of `block` that are channels.
fn used(channels: usize, block: usize) -> usize {
    LANES.min(channels - block * LANES)
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
    /// Lanes that are channels; the others stay zero whatever the activation makes of zero.
    used: usize,
    /// Whether sums are added to those at `y`: a plane strip by strip.
    is_added: bool,
}

impl Task {
    /// Without other operands, on whole blocks.
    fn plain(kind: Kind, prologue: Lanewise, x: *const f32, y: *mut f32, pixels: usize) -> Task {
        let null = std::ptr::null();
        let (used, is_added) = (LANES, false);
        Task { kind, prologue, x, other: null, spread: null, factors: [null; 3], y, pixels, used, is_added }
    }

    /// [`Sum::Moments`] of `pixels` pixels at `x`, added to those of the plane's earlier pixels where `is_added`.
    pub fn moments(x: *const f32, pixels: usize, y: *mut f32, is_added: bool) -> Task {
        Task { is_added, ..Task::plain(Kind::Moments, Prologue::default().at(0, 0), x, y, pixels) }
    }

    /// A prologue, from `block` on, for `pixels` pixels from `x` to `y`.
    pub fn forward(prologue: &Lanewise, block: usize, x: *const f32, y: *mut f32, pixels: usize) -> Task {
        Task::plain(Kind::Forward, prologue.at_block(block), x, y, pixels)
    }
}

/// The way back through what follows a layer, for one image: [`Map::Backward`], [`Map::Through`] or [`Sum::Backward`] of
/// some pixels of some block at a time, for kernels that have the gradient in the cache.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    kind: Kind,
    prologue: Lanewise,
    pub x: *const f32,
    /// Null where there is none.
    pub gradient: *const f32,
    spread: *const f32,
    factors: [*const f32; 3],
    channels: usize,
    /// Values between blocks of `x` and of the gradient.
    plane: usize,
}

impl Way {
    /// The map of image `image`; `x` and the gradient are of `dims`, whose lengths the caller has [checked](check).
    pub fn map(x: &[f32], back: &Backward, factors: Option<[&[f32]; 3]>, dims: Dims, image: usize) -> Way {
        let null = std::ptr::null();
        let factors = factors.map_or([null; 3], |f| f.map(<[f32]>::as_ptr));
        let kind = if factors[0].is_null() { Kind::Through } else { Kind::Backward };
        Way { kind, factors, ..Way::new(x, back, dims, image) }
    }

    /// The sums of image `image`, about `centre`.
    pub fn sums(x: &[f32], back: &Backward, centre: &[f32], dims: Dims, image: usize) -> Way {
        let null = std::ptr::null();
        Way { kind: Kind::BackwardSums, factors: [centre.as_ptr(), null, null], ..Way::new(x, back, dims, image) }
    }

    fn new(x: &[f32], back: &Backward, dims: Dims, image: usize) -> Way {
        let (lanes, plane) = (blocks(dims.c) * LANES, dims.pixels() * LANES);
        let at = image * blocks(dims.c) * plane;
        Way {
            kind: Kind::Through,
            prologue: back.prologue.at(image * lanes, 0),
            x: x[at..].as_ptr(),
            gradient: back.gradient.map_or(std::ptr::null(), |g| g[at..].as_ptr()),
            spread: back.spread.map_or(std::ptr::null(), |s| s[image * lanes..].as_ptr()),
            factors: [std::ptr::null(); 3],
            channels: dims.c,
            plane,
        }
    }

    /// `pixels` pixels of `block` from `first` on. Sums are added to those at `y` where `is_added`.
    pub fn task(&self, block: usize, first: usize, pixels: usize, y: *mut f32, is_added: bool) -> Task {
        let lane = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(block * LANES) };
        let at = block * self.plane + first * LANES;
        let pixel = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(at) };
        Task {
            kind: self.kind,
            prologue: self.prologue.at_block(block),
            x: pixel(self.x),
            other: pixel(self.gradient),
            spread: lane(self.spread),
            factors: self.factors.map(lane),
            y,
            pixels,
            used: used(self.channels, block),
            is_added,
        }
    }

    /// The same with a gradient that lies elsewhere, laid out as `x`, from the image's first pixel on.
    pub fn with_gradient(self, gradient: *const f32) -> Way {
        Way { gradient, ..self }
    }
}

/// # Panics
/// Where a length does not fit tensors of `dims`.
pub(crate) fn check<'a>(x: &[f32], back: &Backward, factors: impl IntoIterator<Item = &'a [f32]>, dims: Dims) {
    let lanes = blocks(dims.c) * LANES;
    assert_eq!(x.len(), dims.blocked_len(), "input of {dims:?}");
    assert!(back.gradient.is_none_or(|g| g.len() == x.len()), "the other operand of {dims:?}");
    assert!(back.spread.is_none_or(|s| s.len() == dims.n * lanes), "a spread value a lane of every image");
    assert!(factors.into_iter().all(|f| f.len() == lanes), "one factor a lane");
    back.prologue.check(dims.n, lanes);
}
