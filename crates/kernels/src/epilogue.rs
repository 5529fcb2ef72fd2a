//! What happens to a tile before it is stored: activation, residual. Inside the kernel, never a second pass over memory.
//!
//! Accumulators start from the bias, so it needs no step of its own. In the lanes beyond the last channel weights are
//! zero, and the bias is [`Activation::padding_bias`], so that they are stored as zero whatever the activation.

use crate::isa::Lanes;

/// What a layer's output goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// x.
    #[default]
    Linear,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · min(max(x + 3, 0), 6) / 6.
    HSwish,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// x / (1 + e⁻ˣ).
    Swish,
}

impl Activation {
    /// Every activation, for tests over all of them.
    pub const ALL: [Activation; 7] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Relu6,
        Activation::HSwish,
        Activation::HardSigmoid,
        Activation::Sigmoid,
        Activation::Swish,
    ];

    /// A bias that every activation turns into exactly zero.
    pub fn padding_bias(self) -> f32 {
        match self {
            Activation::HardSigmoid => -3.0,
            Activation::Sigmoid => SIGMOID_ZERO,
            _ => 0.0,
        }
    }
}

/// Below this, `sigmoid` is exactly zero (its true value, 1.6e-38, is at the edge of normal numbers).
const SIGMOID_ZERO: f32 = -87.0;

/// eˣ within 2 ulp for −87 ≤ x ≤ 88: x = n ln 2 + r, a polynomial in r, times 2ⁿ (Cephes `expf`).
#[inline(always)]
fn exp<L: Lanes>(x: L) -> L {
    let n = x.mul(L::splat(std::f32::consts::LOG2_E)).round();
    // ln 2 in two parts, the first exact in few bits, so that r keeps its precision.
    let r = n.mul_add(L::splat(-0.693_359_4), x);
    let r = n.mul_add(L::splat(2.121_944_4e-4), r);
    let mut p = L::splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, L::splat(c));
    }
    p.mul_add(r.mul(r), r.add(L::splat(1.0))).mul(n.exp2())
}

#[inline(always)]
fn sigmoid<L: Lanes>(x: L) -> L {
    let bounded = x.max(L::splat(SIGMOID_ZERO)).min(L::splat(-SIGMOID_ZERO));
    let e = exp(bounded.mul(L::splat(-1.0)));
    L::splat(1.0).div(L::splat(1.0).add(e)).where_above(x, SIGMOID_ZERO)
}

#[inline(always)]
fn hard_sigmoid<L: Lanes>(x: L) -> L {
    x.mul_add(L::splat(1.0 / 6.0), L::splat(0.5)).max(L::splat(0.0)).min(L::splat(1.0))
}

/// An activation as a type, for loops over many values that are compiled for each.
pub(crate) trait Function: Copy {
    fn value<L: Lanes>(self, x: L) -> L;
}

macro_rules! functions {
    ($($name:ident)*) => {
        $(
            #[derive(Clone, Copy)]
            pub(crate) struct $name;

            impl Function for $name {
                #[inline(always)]
                fn value<L: Lanes>(self, x: L) -> L {
                    apply(Activation::$name, x)
                }
            }
        )*
    };
}
functions!(Linear Relu Relu6 HSwish);

/// An activation that is decided on at every value.
#[derive(Clone, Copy)]
pub(crate) struct Rare(pub Activation);

impl Function for Rare {
    #[inline(always)]
    fn value<L: Lanes>(self, x: L) -> L {
        apply(self.0, x)
    }
}

/// Evaluates `$common` with the [`Function`] of `activation`; the rare ones, whose code is long, take `$rare` where there is
/// one.
macro_rules! with_activation {
    ($activation:expr, |$f:ident| $all:expr) => {
        $crate::epilogue::with_activation!($activation, |$f| $all, |$f| $all)
    };
    ($activation:expr, |$f:ident| $common:expr, |$r:ident| $rare:expr) => {
        match $activation {
            $crate::epilogue::Activation::Linear => {
                let $f = $crate::epilogue::Linear;
                $common
            }
            $crate::epilogue::Activation::Relu => {
                let $f = $crate::epilogue::Relu;
                $common
            }
            $crate::epilogue::Activation::Relu6 => {
                let $f = $crate::epilogue::Relu6;
                $common
            }
            $crate::epilogue::Activation::HSwish => {
                let $f = $crate::epilogue::HSwish;
                $common
            }
            rare => {
                let $r = $crate::epilogue::Rare(rare);
                $rare
            }
        }
    };
}
pub(crate) use with_activation;

#[inline(always)]
pub(crate) fn relu<L: Lanes>(x: L) -> L {
    x.max(L::splat(0.0))
}

#[inline(always)]
pub(crate) fn relu6<L: Lanes>(x: L) -> L {
    x.max(L::splat(0.0)).min(L::splat(6.0))
}

#[inline(always)]
pub(crate) fn h_swish<L: Lanes>(x: L) -> L {
    x.mul(hard_sigmoid(x))
}

/// One activation on one vector.
#[inline(always)]
pub(crate) fn apply<L: Lanes>(activation: Activation, x: L) -> L {
    match activation {
        Activation::Linear => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::HSwish => h_swish(x),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Swish => x.mul(sigmoid(x)),
    }
}

/// The derivative of an activation at `x`. At a corner it is PyTorch's (torch@2: zero at 0 and 6 of ReLU6, at ±3 of the
/// hard sigmoid).
#[inline(always)]
pub(crate) fn derivative<L: Lanes>(activation: Activation, x: L) -> L {
    let one = L::splat(1.0);
    match activation {
        Activation::Linear => one,
        Activation::Relu => one.where_above(x, 0.0),
        Activation::Relu6 => one.where_above(x, 0.0).where_below(x, 6.0),
        Activation::HSwish => {
            let slope = x.mul_add(L::splat(1.0 / 3.0), L::splat(0.5));
            slope.where_above(x, -3.0).where_below(x, 3.0).add(one.where_above(x, 3.0))
        }
        Activation::HardSigmoid => L::splat(1.0 / 6.0).where_above(x, -3.0).where_below(x, 3.0),
        Activation::Sigmoid => {
            let s = sigmoid(x);
            s.mul(one.add(s.mul(L::splat(-1.0))))
        }
        Activation::Swish => {
            let s = sigmoid(x);
            x.mul(s).mul_add(one.add(s.mul(L::splat(-1.0))), s)
        }
    }
}

/// Stores a tile of `P` neighbouring pixels in `B` blocks at `y`: activation, then the residual, which lies as `y` does
/// and is absent where null.
///
/// # Safety
/// `y` (and `residual`, unless null) point to `P` pixels of sixteen lanes in each of `B` blocks that are `block` values
/// apart.
#[inline(always)]
pub(crate) unsafe fn finish<L: Lanes, const P: usize, const B: usize>(
    tile: &[[L; B]; P],
    activation: Activation,
    residual: *const f32,
    y: *mut f32,
    block: usize,
) {
    /// More pixels at once are a loop that is not unrolled, and a tile that is indexed at run time lives in memory.
    const PIXELS: usize = 7;
    let (first, second) = tile.split_at(P.min(PIXELS));
    // SAFETY: the caller's.
    unsafe {
        finish_pixels(first, activation, residual, y, block);
        if P > PIXELS {
            let at = PIXELS * 16;
            let residual = if residual.is_null() { residual } else { residual.add(at) };
            finish_pixels(second, activation, residual, y.add(at), block);
        }
    }
}

/// Adds the residual, unless null, and stores.
///
/// # Safety
/// Sixteen values lie at `at` of `y` and of the residual.
#[inline(always)]
unsafe fn finished<L: Lanes>(v: L, residual: *const f32, y: *mut f32, at: usize) {
    // SAFETY: the caller's.
    unsafe {
        let v = if residual.is_null() { v } else { v.add(L::load(residual.add(at))) };
        v.store(y.add(at));
    }
}

/// As [`finish`].
#[inline(always)]
unsafe fn finish_pixels<L: Lanes, const B: usize>(
    tile: &[[L; B]],
    activation: Activation,
    residual: *const f32,
    y: *mut f32,
    block: usize,
) {
    let at = |b: usize, p: usize| b * block + p * 16;
    // SAFETY of all below: the caller's.
    with_activation!(
        activation,
        |f| for b in 0..B {
            for (p, pixel) in tile.iter().enumerate() {
                unsafe { finished(f.value(pixel[b]), residual, y, at(b, p)) };
            }
        },
        |rare| {
            // By way of memory: a loop that indexes the tile would keep all of it in memory, in every product.
            for b in 0..B {
                for (p, pixel) in tile.iter().enumerate() {
                    unsafe { pixel[b].store(y.add(at(b, p))) };
                }
            }
            for b in 0..B {
                for p in 0..tile.len() {
                    unsafe { finished(rare.value(L::load(y.add(at(b, p)))), residual, y, at(b, p)) };
                }
            }
        }
    )
}
