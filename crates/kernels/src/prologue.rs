//! What happens to an input on its way into a kernel: normalisation, activation, gate, per image and channel.
//!
//! Applied to a strip while it lies in L1, so that neither a normalised nor a gated tensor is ever written to memory. It
//! serves squeeze-and-excite's gate and, in training, batch norm with its non-linearity.

use crate::epilogue::{Activation, Function, with_activation};
use crate::isa::Lanes;
use crate::layout::LANES;

/// `activation(x · scale + shift) · gate`; what is left out changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prologue<'a> {
    /// Batch norm, as one factor and one summand a lane, for all images.
    pub norm: Option<Norm<'a>>,
    /// Applied after it.
    pub activation: Activation,
    /// One factor a lane of every image.
    pub gate: Option<&'a [f32]>,
}

/// A batch norm as `x · scale + shift`, a value a lane.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Factors; zero in lanes beyond the last channel.
    pub scale: &'a [f32],
    /// Summands; zero in lanes beyond the last channel.
    pub shift: &'a [f32],
}

impl Prologue<'_> {
    /// Whether it leaves its input as it is.
    pub fn is_identity(&self) -> bool {
        self.norm.is_none() && self.activation == Activation::Linear && self.gate.is_none()
    }

    /// # Panics
    /// Where a length does not fit `images` images of `lanes` lanes.
    pub(crate) fn check(&self, images: usize, lanes: usize) {
        assert!(self.norm.is_none_or(|n| n.scale.len() == lanes && n.shift.len() == lanes), "one factor a lane");
        assert!(self.gate.is_none_or(|g| g.len() == images * lanes), "one gate a lane of every image");
    }

    /// For the image whose lanes begin at `first` of all images' lanes, from the block whose lanes begin at `lane` on.
    ///
    /// # Panics
    /// Where these lie beyond the ends.
    pub(crate) fn at(&self, first: usize, lane: usize) -> Lanewise {
        Lanewise {
            scale: self.norm.map_or(std::ptr::null(), |n| n.scale[lane..].as_ptr()),
            shift: self.norm.map_or(std::ptr::null(), |n| n.shift[lane..].as_ptr()),
            gate: self.gate.map_or(std::ptr::null(), |g| g[first + lane..].as_ptr()),
            activation: self.activation,
        }
    }
}

/// A prologue's factors of one image, from some block on.
#[derive(Clone, Copy)]
pub(crate) struct Lanewise {
    scale: *const f32,
    shift: *const f32,
    gate: *const f32,
    pub activation: Activation,
}

/// The factors of one block in registers.
#[derive(Clone, Copy)]
pub(crate) struct Factors<L> {
    pub scale: L,
    pub shift: L,
    pub gate: L,
}

impl<L: Lanes> Factors<L> {
    /// The prologue of one pixel.
    #[inline(always)]
    pub fn apply(self, x: L, activation: impl Function) -> L {
        activation.value(x.mul_add(self.scale, self.shift)).mul(self.gate)
    }
}

impl Lanewise {
    /// The same from `block` blocks further on.
    pub fn at_block(self, block: usize) -> Lanewise {
        let on = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(block * LANES) };
        Lanewise { scale: on(self.scale), shift: on(self.shift), gate: on(self.gate), activation: self.activation }
    }

    /// # Safety
    /// The prologue reaches to `block`.
    #[inline(always)]
    pub unsafe fn factors<L: Lanes>(&self, block: usize) -> Factors<L> {
        let at = block * LANES;
        // SAFETY: the caller's.
        unsafe {
            Factors {
                scale: load_or(self.scale, at, 1.0),
                shift: load_or(self.shift, at, 0.0),
                gate: load_or(self.gate, at, 1.0),
            }
        }
    }

    /// `count` pixels of `block` from `x` to `y`.
    ///
    /// # Safety
    /// Both hold so many pixels, and the prologue reaches to `block`.
    #[inline(always)]
    pub unsafe fn fill<L: Lanes>(&self, block: usize, x: *const f32, y: *mut f32, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            let each = Fill { factors: self.factors::<L>(block), x, y, count };
            with_activation!(self.activation, |activation| each.run(activation))
        }
    }
}

/// The lanes `at` values from `p` on, or `otherwise` where it is null.
///
/// # Safety
/// Sixteen values lie there, unless it is null.
#[inline(always)]
unsafe fn load_or<L: Lanes>(p: *const f32, at: usize, otherwise: f32) -> L {
    // SAFETY: the caller's.
    unsafe { if p.is_null() { L::splat(otherwise) } else { L::load(p.add(at)) } }
}

struct Fill<L> {
    factors: Factors<L>,
    x: *const f32,
    y: *mut f32,
    count: usize,
}

impl<L: Lanes> Fill<L> {
    /// # Safety
    /// As [`Lanewise::fill`].
    #[inline(always)]
    unsafe fn run(&self, activation: impl Function) {
        for p in 0..self.count {
            // SAFETY: the caller's.
            unsafe {
                let v = L::load(self.x.add(p * LANES));
                self.factors.apply(v, activation).store(self.y.add(p * LANES));
            }
        }
    }
}
