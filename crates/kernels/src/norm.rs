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

/// Sums of `$n` values over the pixels: `$each` adds pixel `$p` to the sums `$acc`. Four at once of each: a single sum would
/// wait for its own last step. A macro, since a closure that is not inlined would lose the instruction set.
macro_rules! sums {
    ($lanes:ty, $n:literal, $pixels:expr, |$p:ident, $acc:ident| $each:expr) => {{
        const WAYS: usize = 4;
        // A chunk's sums are added to the total at its end: rounding grows with the chunk, not with the plane.
        const CHUNK: usize = 256;
        let mut total = [<$lanes>::splat(0.0); $n];
        for start in (0..$pixels).step_by(CHUNK) {
            let count = CHUNK.min($pixels - start);
            let mut acc = [[<$lanes>::splat(0.0); $n]; WAYS];
            let whole = start + count / WAYS * WAYS;
            for first in (start..whole).step_by(WAYS) {
                for (way, $acc) in acc.iter_mut().enumerate() {
                    let $p = first + way;
                    let sums: [$lanes; $n] = $each;
                    *$acc = sums;
                }
            }
            for $p in whole..start + count {
                let $acc = acc[0];
                acc[0] = $each;
            }
            let [first, second, third, fourth] = acc;
            for n in 0..$n {
                total[n] = total[n].add(first[n].add(second[n]).add(third[n].add(fourth[n])));
            }
        }
        total
    }};
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    // A loop for each common activation, so that none decides at every pixel.
    // SAFETY: the caller's.
    unsafe {
        match t.prologue.activation {
            Activation::Linear => Plane::<L, Linear>::new(t, Linear).run(),
            Activation::Relu => Plane::<L, Relu>::new(t, Relu).run(),
            Activation::Relu6 => Plane::<L, Relu6>::new(t, Relu6).run(),
            Activation::HSwish => Plane::<L, HSwish>::new(t, HSwish).run(),
            rare => Plane::<L, Rare>::new(t, Rare(rare)).run(),
        }
    }
}

/// An activation as a type.
trait Function: Copy {
    fn value<L: Lanes>(self, x: L) -> L;
    /// `d` times the derivative at `x`.
    fn through<L: Lanes>(self, d: L, x: L) -> L;
}

macro_rules! functions {
    ($($name:ident: |$d:ident, $x:ident| $through:expr;)*) => {
        $(
            #[derive(Clone, Copy)]
            struct $name;

            impl Function for $name {
                #[inline(always)]
                fn value<L: Lanes>(self, x: L) -> L {
                    apply(Activation::$name, x)
                }

                #[inline(always)]
                fn through<L: Lanes>(self, $d: L, $x: L) -> L {
                    $through
                }
            }
        )*
    };
}
functions!(
    Linear: |d, _x| d;
    Relu: |d, x| d.where_above(x, 0.0);
    Relu6: |d, x| d.where_above(x, 0.0).where_below(x, 6.0);
    HSwish: |d, x| d.mul(derivative(Activation::HSwish, x));
);

#[derive(Clone, Copy)]
struct Rare(Activation);

impl Function for Rare {
    #[inline(always)]
    fn value<L: Lanes>(self, x: L) -> L {
        apply(self.0, x)
    }

    #[inline(always)]
    fn through<L: Lanes>(self, d: L, x: L) -> L {
        d.mul(derivative(self.0, x))
    }
}

/// What stands for an operand that is not there.
static ZERO: [f32; LANES] = [0.0; LANES];

/// A task with its factors in registers. Pointers are copied: those of the task would be loaded anew for every pixel, since
/// what is stored might be the task.
struct Plane<'a, L, F> {
    t: &'a Task,
    f: Factors<L>,
    spread: L,
    function: F,
    x: *const f32,
    other: *const f32,
    /// Zero where there is no other operand.
    other_pixel: usize,
    y: *mut f32,
}

// SAFETY of all methods: the task's pointers cover its plane.
impl<'a, L: Lanes, F: Function> Plane<'a, L, F> {
    #[inline(always)]
    unsafe fn new(t: &'a Task, function: F) -> Plane<'a, L, F> {
        let (other, other_pixel) = if t.other.is_null() { (ZERO.as_ptr(), 0) } else { (t.other, LANES) };
        let (f, spread) = unsafe { (t.prologue.factors::<L>(0), Self::lane(t.spread)) };
        Plane { t, f, spread, function, x: t.x, other, other_pixel, y: t.y }
    }

    /// A value a lane; zero where there is none.
    #[inline(always)]
    unsafe fn lane(v: *const f32) -> L {
        unsafe { if v.is_null() { L::splat(0.0) } else { L::load(v) } }
    }

    #[inline(always)]
    unsafe fn x(&self, p: usize) -> L {
        unsafe { L::load(self.x.add(p * LANES)) }
    }

    #[inline(always)]
    unsafe fn other(&self, p: usize) -> L {
        unsafe { L::load(self.other.add(p * self.other_pixel)) }
    }

    #[inline(always)]
    unsafe fn store(&self, at: usize, v: L) {
        unsafe { v.store(self.y.add(at * LANES)) }
    }

    /// Zeroes the lanes beyond the last channel of the first `count` values.
    #[inline(always)]
    unsafe fn clear_padding(&self, count: usize) {
        if self.t.used < LANES {
            for at in 0..count {
                for lane in self.t.used..LANES {
                    unsafe { self.y.add(at * LANES + lane).write(0.0) };
                }
            }
        }
    }

    /// A sum, beside or on top of what is there.
    #[inline(always)]
    unsafe fn add(&self, at: usize, v: L) {
        unsafe {
            let before = if self.t.is_added { L::load(self.y.add(at * LANES)) } else { L::splat(0.0) };
            self.store(at, v.add(before));
        }
    }

    #[inline(always)]
    fn activated(&self, x: L) -> L {
        self.function.value(x.mul_add(self.f.scale, self.f.shift))
    }

    /// d = (g · gate + spread) · activation′(x · scale + shift).
    #[inline(always)]
    unsafe fn back(&self, p: usize, x: L) -> L {
        let g = unsafe { self.other(p) }.mul_add(self.f.gate, self.spread);
        self.function.through(g, x.mul_add(self.f.scale, self.f.shift))
    }

    #[inline(always)]
    unsafe fn run(&self) {
        unsafe {
            let stored = match self.t.kind {
                Kind::Moments | Kind::Value | Kind::GateGradient | Kind::BackwardSums => self.sum(),
                Kind::Forward | Kind::Backward | Kind::Through => self.map(),
            };
            self.clear_padding(stored);
        }
    }

    /// Stores sums; their number.
    #[inline(always)]
    unsafe fn sum(&self) -> usize {
        let pixels = self.t.pixels;
        unsafe {
            match self.t.kind {
                Kind::Moments => {
                    let k = if self.t.is_added { L::load(self.y.add(2 * LANES)) } else { self.x(0) };
                    let minus = k.mul(L::splat(-1.0));
                    let [s, q] = sums!(L, 2, pixels, |p, acc| {
                        let v = self.x(p).add(minus);
                        [acc[0].add(v), v.mul_add(v, acc[1])]
                    });
                    self.add(0, s);
                    self.add(1, q);
                    self.store(2, k);
                    self.add(3, L::splat(pixels as f32));
                    MOMENTS
                }
                Kind::BackwardSums => {
                    let minus = Self::lane(self.t.factors[0]).mul(L::splat(-1.0));
                    let [s, q] = sums!(L, 2, pixels, |p, acc| {
                        let v = self.x(p);
                        let d = self.back(p, v);
                        [acc[0].add(d), d.mul_add(v.add(minus), acc[1])]
                    });
                    self.add(0, s);
                    self.add(1, q);
                    BACKWARD
                }
                Kind::GateGradient => {
                    let [s] = sums!(L, 1, pixels, |p, acc| [self.activated(self.x(p)).mul_add(self.other(p), acc[0])]);
                    self.store(0, s);
                    1
                }
                _ => {
                    let [s] = sums!(L, 1, pixels, |p, acc| [acc[0].add(self.activated(self.x(p)))]);
                    self.store(0, s.mul(self.f.gate));
                    1
                }
            }
        }
    }

    /// Stores a value a pixel; their number.
    #[inline(always)]
    unsafe fn map(&self) -> usize {
        let pixels = self.t.pixels;
        unsafe {
            match self.t.kind {
                Kind::Backward => {
                    let [a, b, c] = [0, 1, 2].map(|i| Self::lane(self.t.factors[i]));
                    for p in 0..pixels {
                        let v = self.x(p);
                        self.store(p, self.back(p, v).mul_add(a, v.mul_add(b, c)));
                    }
                }
                Kind::Through => {
                    for p in 0..pixels {
                        self.store(p, self.back(p, self.x(p)));
                    }
                }
                _ => {
                    for p in 0..pixels {
                        self.store(p, self.activated(self.x(p)).mul_add(self.f.gate, self.other(p)));
                    }
                }
            }
        }
        pixels
    }
}
