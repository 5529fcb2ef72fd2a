//! Weights in half precision (IEEE 754 binary16): half the memory, and half the way from it. Arithmetic stays in single
//! precision, so the rounding of the weights is the only difference.

use crate::isa::{Half, Lanes};

/// How a weight lies in a panel.
pub(crate) trait Weight: Copy {
    /// # Safety
    /// `p` points to sixteen readable weights.
    unsafe fn load<L: Lanes>(p: *const Self) -> L;
}

/// A weight of panels that may end in half a block.
pub(crate) trait PanelWeight: Weight {
    /// # Safety
    /// `p` points to eight readable weights.
    unsafe fn load_half<L: Lanes>(p: *const Self) -> L::Half;
}

impl Weight for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const f32) -> L {
        // SAFETY: the caller's.
        unsafe { L::load(p) }
    }
}

impl PanelWeight for f32 {
    #[inline(always)]
    unsafe fn load_half<L: Lanes>(p: *const f32) -> L::Half {
        // SAFETY: the caller's.
        unsafe { L::Half::load(p) }
    }
}

/// The bits of a binary16.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F16(u16);

impl F16 {
    pub fn new(x: f32) -> F16 {
        F16(to_bits(x))
    }
}

impl Weight for F16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const F16) -> L {
        // SAFETY: the caller's.
        unsafe { L::load_f16(p.cast()) }
    }
}

impl PanelWeight for F16 {
    #[inline(always)]
    unsafe fn load_half<L: Lanes>(p: *const F16) -> L::Half {
        // SAFETY: the caller's.
        unsafe { L::Half::load_f16(p.cast()) }
    }
}

/// The nearest value that half precision has, of two as near the even one; infinite beyond its range.
pub fn round(x: f32) -> f32 {
    from_bits(to_bits(x))
}

fn to_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let (sign, magnitude) = ((bits >> 16 & 0x8000) as u16, bits & 0x7fff_ffff);
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // 65520, halfway between the largest number and the next.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2⁻¹⁴ steps are of 2⁻²⁴: adding ½ leaves that many bits of an f32, rounded as its sums are.
        let rounded = (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits();
        return sign | rounded as u16;
    }
    // Thirteen bits fewer, rounded to even, and the exponent's origin at 15 instead of 127.
    let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    sign | (rounded.wrapping_sub(112 << 23) >> 13) as u16
}

/// The value of a binary16's bits.
pub(crate) fn from_bits(bits: u16) -> f32 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    let value = match magnitude {
        0x7c00.. => 0x7f80_0000 | magnitude << 13,
        0x0400.. => (magnitude << 13) + (112 << 23),
        _ => (magnitude as f32 * 2f32.powi(-24)).to_bits(),
    };
    f32::from_bits(sign | value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back_as_it_was() {
        for bits in 0..=u16::MAX {
            let value = from_bits(bits);
            if value.is_nan() {
                assert!(from_bits(to_bits(value)).is_nan());
            } else {
                assert_eq!(to_bits(value), bits, "{value}");
            }
        }
        assert_eq!(
            [0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00].map(from_bits),
            [1.0, -2.0, 2f32.powi(-24), 65504.0, f32::INFINITY]
        );
    }

    #[test]
    fn values_between_two_go_to_the_nearer_and_ties_to_the_even_one() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (from_bits(bits), from_bits(bits + 1));
            let middle = (low + high) / 2.0;
            let even = if bits % 2 == 0 { low } else { high };
            assert_eq!(round(middle), even);
            assert_eq!(round(f32::from_bits(middle.to_bits() - 1)), low);
            assert_eq!(round(-f32::from_bits(middle.to_bits() + 1)), -high);
        }
        assert_eq!([65519.9, 65520.0, -1e9].map(round), [65504.0, f32::INFINITY, f32::NEG_INFINITY]);
    }
}
