//! AVX-512 BF16: the dot product of two pairs in every lane. Tiles are those of AVX-512, a pair of channels a step.

use std::arch::x86_64::*;

use super::avx512::Zmm;
use crate::bf16::{self, Bf16, GROUP, Round, Strip};
use crate::epilogue::finish;
use crate::layout::{LANES, blocks};
use crate::pointwise::{Task, tile_height};

/// Pixels of a tile.
const PIXELS: usize = 14;
/// Blocks of a tile.
const BLOCKS: usize = 2;

impl Round for Zmm {
    #[inline(always)]
    unsafe fn store_bf16(low: Zmm, high: Zmm, to: *mut Bf16) {
        // SAFETY: the caller's; two registers have the same size.
        unsafe {
            _mm512_storeu_si512(to.cast(), std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high.0, low.0)))
        }
    }
}

/// # Safety
/// As [`bf16::task`], on a processor with AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
pub(crate) unsafe fn pointwise(t: &Task) {
    // SAFETY: the caller's.
    unsafe { bf16::task::<Zmm>(t, |t, strip| products(t, strip)) }
}

/// # Safety
/// The strip lies inside the task.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
unsafe fn products(t: &Task, strip: Strip) {
    for block in (0..t.blocks).step_by(BLOCKS) {
        let mut pixel = 0;
        while pixel < strip.count {
            let height = tile_height::<PIXELS>(strip.count - pixel);
            macro_rules! tiles {
                ($($p:literal)*) => {
                    match (height, t.blocks - block) {
                        // SAFETY: the tile lies inside the strip.
                        $(($p, 1) => unsafe { product::<$p, 1>(t, strip, block, pixel) },
                          ($p, _) => unsafe { product::<$p, BLOCKS>(t, strip, block, pixel) },)*
                        _ => unreachable!(),
                    }
                };
            }
            tiles!(14 13 12 11 10 9 8 7 6 5 4 3 2 1);
            pixel += height;
        }
    }
}

/// # Safety
/// The tile lies inside the strip.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
unsafe fn product<const P: usize, const B: usize>(t: &Task, strip: Strip, block: usize, pixel: usize) {
    let groups = bf16::groups(t.inputs);
    // SAFETY: inside the task and the strip; two bf16 have the size of an integer.
    unsafe {
        let bias: [Zmm; B] = std::array::from_fn(|b| Zmm(_mm512_loadu_ps(t.bias.add((block + b) * LANES))));
        let mut acc = [bias; P];
        let w = t.panels.cast::<f32>().add(block * bf16::block_len(groups));
        for group in 0..groups {
            let x = strip.pairs.add((group * strip.count + pixel) * GROUP).cast::<i32>();
            let w = w.add(group * GROUP / 2 * LANES);
            let pairs = if 2 * group + 1 < blocks(t.inputs) { LANES } else { LANES / 2 };
            for pair in 0..pairs {
                let row: [__m512bh; B] = std::array::from_fn(|b| {
                    std::mem::transmute(_mm512_loadu_ps(w.add(b * bf16::block_len(groups) + pair * LANES)))
                });
                for (p, acc) in acc.iter_mut().enumerate() {
                    let value = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*x.add(p * LANES + pair)));
                    for b in 0..B {
                        acc[b] = Zmm(_mm512_dpbf16_ps(acc[b].0, row[b], value));
                    }
                }
            }
        }
        let at = block * t.y_block + (strip.first + pixel) * LANES;
        let residual = if t.residual.is_null() { t.residual } else { t.residual.add(at) };
        finish(&acc, t.activation, residual, t.y.add(at), t.y_block);
    }
}
