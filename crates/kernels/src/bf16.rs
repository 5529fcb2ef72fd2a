//! Products of bf16: inputs and weights rounded to eight bits of precision, sums in single precision.
//!
//! A strip of pixels is rounded once, behind its prologue, into pairs of neighbouring channels, `[group][pixel][32]` with
//! groups of two blocks; weights lie as `[block][group][pair][lane][2]`. A row of 32 inputs and sixteen rows of
//! pairs of weights are what AMX multiplies as tiles; one pair of inputs against one row is what AVX-512 BF16 does in a
//! vector. Tensors between layers stay in single precision, as does the arithmetic of all other layers.

use crate::aligned::AlignedBuf;
use crate::epilogue::{Function, with_activation};
use crate::f16::Weight;
use crate::isa::Lanes;
use crate::layout::{LANES, blocks};
use crate::pointwise::Task;
use crate::prologue::Factors;
use crate::split::piece;

/// Channels of a group: a row of a tile.
pub(crate) const GROUP: usize = 2 * LANES;
/// Bytes of a strip's pairs: they share the L1 cache with the weights where those are few, else the L2 cache, so that many
/// weights are read rarely.
const STRIP_BYTES: [usize; 2] = [16 << 10, 128 << 10];
/// Bytes of weights that are few.
const FEW_WEIGHTS: usize = 16 << 10;

/// The bits of a bfloat16: the upper half of an `f32`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bf16(u16);

impl Bf16 {
    pub fn new(x: f32) -> Bf16 {
        let bits = x.to_bits();
        if x.is_nan() {
            return Bf16((bits >> 16) as u16 | 0x40);
        }
        // Sixteen bits fewer, rounded to even.
        Bf16(((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }
}

/// The nearest value that bf16 has, of two as near the even one.
pub fn round(x: f32) -> f32 {
    f32::from_bits(u32::from(Bf16::new(x).0) << 16)
}

impl Weight for Bf16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const Bf16) -> L {
        // SAFETY: the caller's.
        unsafe { L::load_bf16(p.cast()) }
    }
}

/// Groups of so many channels; the second block of the last may lack.
pub(crate) fn groups(channels: usize) -> usize {
    channels.div_ceil(GROUP)
}

/// Values (`f32`) that the pairs of a pixel, and those of a block of weights, take the place of.
pub(crate) const fn pixel_len(groups: usize) -> usize {
    groups * GROUP / 2
}
pub(crate) const fn block_len(groups: usize) -> usize {
    groups * GROUP / 2 * LANES
}

/// Packs `weight(output, input)`; lanes and pairs beyond the last channel are zero.
pub(crate) fn pack(outputs: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) -> AlignedBuf {
    let groups = groups(inputs);
    let mut packed = AlignedBuf::zeroed(blocks(outputs) * block_len(groups));
    let to = packed.as_mut_ptr().cast::<Bf16>();
    for output in 0..outputs {
        let row = output / LANES * groups * GROUP * LANES + output % LANES * 2;
        for input in 0..inputs {
            let at = row + input / 2 * LANES * 2 + input % 2;
            // SAFETY: the buffer has `groups * GROUP` values for each lane of each block.
            unsafe { to.add(at).write(Bf16::new(weight(output, input))) }
        }
    }
    packed
}

/// Most pixels of a strip for a layer of so many inputs and outputs.
pub(crate) fn strip(inputs: usize, outputs: usize) -> usize {
    let groups = groups(inputs);
    let is_few = blocks(outputs) * block_len(groups) * size_of::<f32>() <= FEW_WEIGHTS;
    let bytes = STRIP_BYTES[usize::from(!is_few)];
    (bytes / (pixel_len(groups) * size_of::<f32>())).next_multiple_of(32)
}

/// Lanes that can be rounded.
pub(crate) trait Round: Lanes {
    /// Rounds two blocks of a pixel.
    ///
    /// # Safety
    /// `to` points to 32 writable values.
    unsafe fn store_bf16(low: Self, high: Self, to: *mut Bf16);
}

/// Some pixels of a task, rounded.
#[derive(Clone, Copy)]
pub(crate) struct Strip {
    /// `[group][pixel][32]`.
    pub pairs: *const Bf16,
    /// The first of them among the task's, and how many.
    pub first: usize,
    pub count: usize,
}

/// All strips of a task, each through `products`.
///
/// # Safety
/// The task's pointers cover its pixels and blocks, and its scratch a strip.
#[inline(always)]
pub(crate) unsafe fn task<L: Round>(t: &Task, products: impl Fn(&Task, Strip)) {
    let strips = t.pixels.div_ceil(t.strip);
    for i in 0..strips {
        let here = piece(t.pixels, 1, strips, i);
        let strip = Strip { pairs: t.scratch.cast::<Bf16>(), first: here.start, count: here.len() };
        // SAFETY: the strip lies inside the task.
        unsafe { round_strip::<L>(t, strip) }
        products(t, strip);
    }
}

#[inline(always)]
unsafe fn round_strip<L: Round>(t: &Task, strip: Strip) {
    let blocks = blocks(t.inputs);
    for group in 0..groups(t.inputs) {
        let first = 2 * group;
        let x = t.x.wrapping_add(first * t.x_block + strip.first * LANES);
        let has_second = first + 1 < blocks;
        let rounding = Rounding {
            x: [x, if has_second { x.wrapping_add(t.x_block) } else { std::ptr::null() }],
            to: strip.pairs.wrapping_add(group * strip.count * GROUP).cast_mut(),
            count: strip.count,
        };
        // SAFETY: blocks of the task's input, and the group's place in its scratch.
        unsafe {
            let Some(prologue) = t.prologue else {
                rounding.run::<L>(AsIs);
                continue;
            };
            let second = if has_second { first + 1 } else { first };
            let factors = [prologue.factors::<L>(first), prologue.factors::<L>(second)];
            with_activation!(prologue.activation, |activation| rounding.run(Through { factors, activation }))
        }
    }
}

/// What happens to a pixel of the group's first or second block before it is rounded.
trait Each<L> {
    fn value(&self, block: usize, x: L) -> L;
}

struct AsIs;

impl<L> Each<L> for AsIs {
    #[inline(always)]
    fn value(&self, _block: usize, x: L) -> L {
        x
    }
}

/// Through the prologue.
struct Through<L, F> {
    factors: [Factors<L>; 2],
    activation: F,
}

impl<L: Round, F: Function> Each<L> for Through<L, F> {
    #[inline(always)]
    fn value(&self, block: usize, x: L) -> L {
        self.factors[block].apply(x, self.activation)
    }
}

/// A group of a strip: two blocks of the input, the second of which may be null.
struct Rounding {
    x: [*const f32; 2],
    to: *mut Bf16,
    count: usize,
}

impl Rounding {
    /// `each` block of the group, then rounded; a block that lacks is zero.
    ///
    /// # Safety
    /// The blocks hold so many pixels, and there is room for as many.
    #[inline(always)]
    unsafe fn run<L: Round>(&self, each: impl Each<L>) {
        let [low, high] = self.x;
        for p in 0..self.count {
            // SAFETY: the caller's.
            unsafe {
                let low = each.value(0, L::load(low.add(p * LANES)));
                let high = if high.is_null() { L::splat(0.0) } else { each.value(1, L::load(high.add(p * LANES))) };
                L::store_bf16(low, high, self.to.add(p * GROUP));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_between_two_go_to_the_nearer_and_ties_to_the_even_one() {
        for upper in [0u32, 1, 0x3f80, 0x3f81, 0x7f7e] {
            let [low, high] = [upper, upper + 1].map(|bits| f32::from_bits(bits << 16));
            let middle = f32::from_bits(upper << 16 | 0x8000);
            assert_eq!(round(middle), if upper % 2 == 0 { low } else { high });
            assert_eq!(round(f32::from_bits(middle.to_bits() - 1)), low);
            assert_eq!(round(-f32::from_bits(middle.to_bits() + 1)), -high);
            assert_eq!(round(low), low);
        }
        assert_eq!(round(f32::MAX), f32::INFINITY);
        assert!(round(f32::NAN).is_nan());
        assert!(round(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn weights_lie_in_pairs() {
        let packed = pack(18, 35, |o, i| (o * 64 + i) as f32);
        let at = |block: usize, group: usize, pair: usize, lane: usize, i: usize| {
            let n = (((block * 2 + group) * LANES + pair) * LANES + lane) * 2 + i;
            let bits = packed[n / 2].to_bits() >> (16 * (n % 2)) & 0xffff;
            f32::from_bits(bits << 16)
        };
        assert_eq!(packed.len(), 2 * block_len(2));
        assert_eq!(at(0, 0, 3, 2, 1), round((2 * 64 + 7) as f32));
        assert_eq!(at(1, 1, 1, 1, 0), round((17 * 64 + 34) as f32));
        assert_eq!([at(1, 1, 1, 1, 1), at(1, 1, 1, 2, 0), at(1, 0, 0, 2, 0)], [0.0; 3]);
    }
}
