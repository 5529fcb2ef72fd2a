//! Any processor: plain arrays, which the compiler turns into the vectors that the target has.

use super::{Half, Lanes};
use crate::f16::from_bits;

/// Sixteen lanes as an array.
#[derive(Clone, Copy)]
pub(crate) struct Array([f32; 16]);

/// Eight lanes as an array.
#[derive(Clone, Copy)]
pub(crate) struct HalfArray([f32; 8]);

impl Half for HalfArray {
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's.
        HalfArray(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        HalfArray(unsafe { p.cast::<[u16; 8]>().read_unaligned() }.map(from_bits))
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        HalfArray([x; 8])
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        HalfArray(std::array::from_fn(|lane| self.0[lane] * a.0[lane] + b.0[lane]))
    }
}

impl Array {
    #[inline(always)]
    fn zip(self, other: Array, f: impl Fn(f32, f32) -> f32) -> Array {
        let mut out = self;
        for (a, b) in out.0.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        out
    }
}

impl Lanes for Array {
    const REGISTERS: usize = 4;
    type Half = HalfArray;

    #[inline(always)]
    fn half(self) -> HalfArray {
        HalfArray(std::array::from_fn(|lane| self.0[lane]))
    }

    #[inline(always)]
    fn with_half(self, half: HalfArray) -> Self {
        Array(std::array::from_fn(|lane| if lane < 8 { half.0[lane] } else { self.0[lane] }))
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's.
        Array(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        Array(unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(from_bits))
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        Array(unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Array([x; 16])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        // Two roundings: a fused one would be a library call on processors without the instruction.
        self.mul(a).add(b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn round(self) -> Self {
        // Adding and taking away 1.5 · 2²³ leaves no room for a fraction; |x| stays below 2²² here.
        const SHIFT: f32 = 12_582_912.0;
        self.zip(self, |a, _| (a + SHIFT) - SHIFT)
    }

    #[inline(always)]
    fn exp2(self) -> Self {
        self.zip(self, |a, _| f32::from_bits(((a as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn where_above(self, x: Self, limit: f32) -> Self {
        self.zip(x, |a, x| if x > limit { a } else { 0.0 })
    }

    #[inline(always)]
    fn where_below(self, x: Self, limit: f32) -> Self {
        self.zip(x, |a, x| if x < limit { a } else { 0.0 })
    }
}

// Two pixels of four 4-lane registers each leave half of the sixteen registers for weights and the broadcast.
super::tier!(Array, pixels = 2, blocks = 1, columns = 2, gradient = [2, 1]);
