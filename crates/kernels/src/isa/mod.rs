//! One file an instruction set. Each says how sixteen lanes are held and how large its tiles are; the tiles themselves
//! are written once, over [`Lanes`], and compiled for each instruction set by [`tier!`].

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod portable;

use crate::cpu::{Bf16Unit, Isa};
use crate::{dense, depthwise, elementwise, fc, grad, norm, peak, pointwise, pool2d};

/// Sixteen `f32` lanes: one pixel of one channel block.
///
/// The methods are safe to write down but only ever run inside the functions of a [`Tier`], which is handed out after
/// the processor was asked for its instruction set. All are inlined into those functions, and so must be whatever calls them
/// for every value: functions marked `#[inline(always)]`, macros, types. A closure that the compiler does not inline lacks
/// the instruction set, and every method in it becomes a call; `scripts/outlined` lists what is left of that.
pub(crate) trait Lanes: Copy {
    /// Registers that hold the lanes.
    const REGISTERS: usize;
    /// The first eight lanes.
    type Half: Half;
    fn half(self) -> Self::Half;
    /// `self` with these first eight lanes.
    fn with_half(self, half: Self::Half) -> Self;
    /// # Safety
    /// `p` points to sixteen readable values; no alignment needed.
    unsafe fn load(p: *const f32) -> Self;
    /// From half precision.
    ///
    /// # Safety
    /// `p` points to the bits of sixteen readable values; no alignment needed.
    unsafe fn load_f16(p: *const u16) -> Self;
    /// From bf16.
    ///
    /// # Safety
    /// As [`load_f16`](Self::load_f16).
    unsafe fn load_bf16(p: *const u16) -> Self;
    /// # Safety
    /// `p` points to sixteen writable values; no alignment needed.
    unsafe fn store(self, p: *mut f32);
    /// Begins to bring the cache line at `p`, wherever that is, into the L2 cache. A hint.
    fn prefetch(_p: *const f32) {}
    /// As [`prefetch`](Self::prefetch), into the L1 cache.
    fn prefetch_near<T>(_p: *const T) {}
    fn splat(x: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self · a + b`, rounded once where the instruction set can.
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// The larger; `other` where `self` is not a number.
    fn max(self, other: Self) -> Self;
    /// Nearest integer.
    fn round(self) -> Self;
    /// 2ⁿ for integral n in −126 … 127.
    fn exp2(self) -> Self;
    /// `self` in the lanes where `x > limit`, zero elsewhere.
    fn where_above(self, x: Self, limit: f32) -> Self;
    /// `self` in the lanes where `x < limit`, zero elsewhere.
    fn where_below(self, x: Self, limit: f32) -> Self;
}

/// Half a block: what a sum needs whose channels end in the middle of it. As [`Lanes`].
pub(crate) trait Half: Copy {
    /// # Safety
    /// `p` points to eight readable values; no alignment needed.
    unsafe fn load(p: *const f32) -> Self;
    /// From half precision.
    ///
    /// # Safety
    /// `p` points to the bits of eight readable values; no alignment needed.
    unsafe fn load_f16(p: *const u16) -> Self;
    fn splat(x: f32) -> Self;
    fn mul_add(self, a: Self, b: Self) -> Self;
}

/// The functions of one instruction set. Each computes one task: a part of a layer that one thread works on.
pub(crate) struct Tier {
    /// Blocks of sixteen output channels a weight panel holds.
    pub panel_blocks: usize,
    /// Pixels of a pointwise or dense tile.
    pub tile_pixels: usize,
    /// Blocks of columns of a weight gradient's tile.
    pub gradient_blocks: usize,
    /// With weights in single and in half precision.
    pub pointwise: [unsafe fn(&pointwise::Task); 2],
    pub depthwise: unsafe fn(&depthwise::Task),
    pub dense: unsafe fn(&dense::Task),
    /// With weights in single precision, half precision, and bf16.
    pub fully_connected: [unsafe fn(&fc::Task); 3],
    pub pool: unsafe fn(&pool2d::Task),
    pub elementwise: unsafe fn(&elementwise::Task),
    pub plane: unsafe fn(&norm::Task),
    pub weight_gradient: unsafe fn(&grad::product::Task),
    pub depthwise_gradient: unsafe fn(&grad::depthwise::Task),
    pub dense_gradient: unsafe fn(&grad::dense::Task),
    pub peak: unsafe fn(&peak::Task),
}

impl Tier {
    /// The functions of `isa`.
    ///
    /// # Panics
    /// Where the processor lacks it: then its functions must never be called.
    pub fn of(isa: Isa) -> &'static Tier {
        assert!(isa <= Isa::detect(), "this processor has no {isa}");
        match isa {
            Isa::Portable => &portable::TIER,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::TIER,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::TIER,
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("not detected on this architecture"),
        }
    }
}

/// The products of pairs of bf16; never to be called where the processor lacks `unit`.
pub(crate) fn bf16_products(unit: Bf16Unit) -> unsafe fn(&pointwise::Task) {
    match unit {
        #[cfg(target_arch = "x86_64")]
        Bf16Unit::Vectors => avx512_bf16::pointwise,
        #[cfg(target_arch = "x86_64")]
        Bf16Unit::Tiles => amx::pointwise,
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("not detected on this architecture"),
    }
}

/// Compiles every tile for an instruction set: its lanes, the pixels and blocks of a product tile, the columns of a
/// depthwise tile, the rows and blocks of a weight gradient's tile.
macro_rules! tier {
    ($(#[$features:meta])? $lanes:ty, pixels = $pixels:literal, blocks = $blocks:literal, columns = $columns:literal,
     gradient = [$rows:literal, $row_blocks:literal]) => {
        pub(crate) static TIER: crate::isa::Tier = {
            use crate::bf16::Bf16;
            use crate::f16::F16;
            use crate::{dense, depthwise, elementwise, fc, grad, norm, peak, pointwise, pool2d};
            $(#[$features])?
            unsafe fn pointwise_(t: &pointwise::Task) {
                unsafe { pointwise::task::<$lanes, f32, $pixels, $blocks>(t) }
            }
            $(#[$features])?
            unsafe fn pointwise_f16_(t: &pointwise::Task) {
                unsafe { pointwise::task::<$lanes, F16, $pixels, $blocks>(t) }
            }
            $(#[$features])?
            unsafe fn depthwise_(t: &depthwise::Task) {
                unsafe { depthwise::task::<$lanes, $columns>(t) }
            }
            $(#[$features])?
            unsafe fn dense_(t: &dense::Task) {
                unsafe { dense::task::<$lanes, $pixels, $blocks>(t) }
            }
            $(#[$features])?
            unsafe fn fully_connected_(t: &fc::Task) {
                unsafe { fc::task::<$lanes, f32, $blocks>(t) }
            }
            $(#[$features])?
            unsafe fn fully_connected_f16_(t: &fc::Task) {
                unsafe { fc::task::<$lanes, F16, $blocks>(t) }
            }
            $(#[$features])?
            unsafe fn fully_connected_bf16_(t: &fc::Task) {
                unsafe { fc::task::<$lanes, Bf16, $blocks>(t) }
            }
            $(#[$features])?
            unsafe fn pool_(t: &pool2d::Task) {
                unsafe { pool2d::task::<$lanes>(t) }
            }
            $(#[$features])?
            unsafe fn elementwise_(t: &elementwise::Task) {
                unsafe { elementwise::task::<$lanes>(t) }
            }
            $(#[$features])?
            unsafe fn plane_(t: &norm::Task) {
                unsafe { norm::task::<$lanes>(t) }
            }
            $(#[$features])?
            unsafe fn weight_gradient_(t: &grad::product::Task) {
                unsafe { grad::product::task::<$lanes, $rows, $row_blocks>(t) }
            }
            $(#[$features])?
            unsafe fn depthwise_gradient_(t: &grad::depthwise::Task) {
                unsafe { grad::depthwise::task::<$lanes>(t) }
            }
            $(#[$features])?
            unsafe fn dense_gradient_(t: &grad::dense::Task) {
                unsafe { grad::dense::task::<$lanes>(t) }
            }
            $(#[$features])?
            unsafe fn peak_(t: &peak::Task) {
                peak::task::<$lanes, $pixels, $blocks>(t)
            }
            crate::isa::Tier {
                panel_blocks: $blocks,
                tile_pixels: $pixels,
                gradient_blocks: $row_blocks,
                pointwise: [pointwise_, pointwise_f16_],
                depthwise: depthwise_,
                dense: dense_,
                fully_connected: [fully_connected_, fully_connected_f16_, fully_connected_bf16_],
                pool: pool_,
                elementwise: elementwise_,
                plane: plane_,
                weight_gradient: weight_gradient_,
                depthwise_gradient: depthwise_gradient_,
                dense_gradient: dense_gradient_,
                peak: peak_,
            }
        };
    };
}
pub(crate) use tier;
