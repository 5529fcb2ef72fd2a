//! AVX-512: one 16-lane register. Where there are two multiply-adds a cycle, a 14×32 tile loads less beside each than 7×32:
//! 0.79 to 0.98 of the time on a Granite Rapids. On Zen 4, where 7×32 reaches the peak, it was not measured. A depthwise tile
//! of 1×7 pixels reaches 94–109 of 117.6 GFLOP/s there.

use std::arch::x86_64::*;

use super::{Half, Lanes};

/// Sixteen lanes as one register.
#[derive(Clone, Copy)]
pub(crate) struct Zmm(pub(super) __m512);

/// Eight lanes: half a step of the multiplier where a register's halves take turns (Zen 4).
#[derive(Clone, Copy)]
pub(crate) struct Ymm(__m256);

impl Half for Ymm {
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        Ymm(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) })
    }

    // SAFETY of both below: as of the methods of `Zmm`.

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Ymm(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Ymm(unsafe { _mm256_fmadd_ps(self.0, a.0, b.0) })
    }
}

impl Lanes for Zmm {
    const REGISTERS: usize = 1;
    type Half = Ymm;

    #[inline(always)]
    fn half(self) -> Ymm {
        // SAFETY: only runs inside this file's tier, after AVX-512 was detected.
        Ymm(unsafe { _mm512_castps512_ps256(self.0) })
    }

    #[inline(always)]
    fn with_half(self, half: Ymm) -> Self {
        // SAFETY: as above.
        Zmm(unsafe { _mm512_insertf32x8::<0>(self.0, half.0) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        Zmm(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) })
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        Zmm(unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()))))
        })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }

    // SAFETY of all below: only runs inside this file's tier, after AVX-512 was detected.

    #[inline(always)]
    fn prefetch(p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    fn prefetch_near<T>(p: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Zmm(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Zmm(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Zmm(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Zmm(unsafe { _mm512_fmadd_ps(self.0, a.0, b.0) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Zmm(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Zmm(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Zmm(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn round(self) -> Self {
        Zmm(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }

    #[inline(always)]
    fn exp2(self) -> Self {
        Zmm(unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), self.0) })
    }

    #[inline(always)]
    fn where_above(self, x: Self, limit: f32) -> Self {
        Zmm(unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x.0, _mm512_set1_ps(limit)), self.0) })
    }

    #[inline(always)]
    fn where_below(self, x: Self, limit: f32) -> Self {
        Zmm(unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x.0, _mm512_set1_ps(limit)), self.0) })
    }
}

super::tier!(
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
    Zmm,
    pixels = 14,
    blocks = 2,
    columns = 7,
    gradient = [8, 3]
);
