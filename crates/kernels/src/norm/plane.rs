//! One plane of normalising, of its sums, or of the way back, on the lanes of an instruction set.

use super::{BACKWARD, Kind, MOMENTS, Task};
use crate::epilogue::{Activation, Function, HSwish, Linear, Rare, Relu, Relu6, derivative, with_activation};
use crate::isa::Lanes;
use crate::layout::LANES;
use crate::prologue::Factors;

/// Sums of `$n` values over the pixels: `$each` adds pixel `$p` to the sums `$acc`. Four at once of each: a single sum would
/// wait for its own last step. A macro, not a closure: see [`Lanes`].
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
    unsafe { with_activation!(t.prologue.activation, |activation| Plane::<L, _>::new(t, activation).run()) }
}

/// The way back through an activation.
trait Back: Function {
    /// `d` times the derivative at `x`.
    fn through<L: Lanes>(self, d: L, x: L) -> L;
}

macro_rules! back {
    ($($name:ident: |$f:pat_param, $d:ident, $x:ident| $through:expr;)*) => {
        $(
            impl Back for $name {
                #[inline(always)]
                fn through<L: Lanes>(self, $d: L, $x: L) -> L {
                    let $f = self;
                    $through
                }
            }
        )*
    };
}
back!(
    Linear: |_, d, _x| d;
    Relu: |_, d, x| d.where_above(x, 0.0);
    Relu6: |_, d, x| d.where_above(x, 0.0).where_below(x, 6.0);
    HSwish: |_, d, x| d.mul(derivative(Activation::HSwish, x));
    Rare: |Rare(rare), d, x| d.mul(derivative(rare, x));
);

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
impl<'a, L: Lanes, F: Back> Plane<'a, L, F> {
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
                    let [a, b, c] = self.t.factors;
                    let (a, b, c) = (Self::lane(a), Self::lane(b), Self::lane(c));
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
