//! AMX: a tile register holds sixteen rows of 64 bytes, and one instruction multiplies two of them: sixteen pixels ×
//! 32 channels × sixteen outputs.
//!
//! The instructions are written out in assembly, as the compiler has no stable form of them. It uses no tile registers
//! itself, so they keep their values from one to the next.

use std::arch::asm;
use std::mem::MaybeUninit;

use super::avx512::Zmm;
use crate::bf16::{self, GROUP, Strip};
use crate::epilogue::{Activation, finish};
use crate::isa::Lanes;
use crate::layout::LANES;
use crate::pointwise::Task;

/// Rows of a tile register.
const ROWS: usize = 16;
/// Bytes of a row, between two rows, and of a whole register.
const ROW_BYTES: usize = 64;
/// Values of a register of sums.
const SUMS: usize = ROWS * LANES;

/// What `ldtilecfg` reads (Intel SDM, "Tile configuration").
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Sums and inputs of so many pixels, whole registers of weights.
    fn new(pixels: usize) -> Config {
        let (pixels, mut rows, mut bytes) = (pixels as u8, [0; 16], [0; 16]);
        rows[..8].copy_from_slice(&[pixels, pixels, pixels, pixels, pixels, pixels, ROWS as u8, ROWS as u8]);
        bytes[..8].fill(ROW_BYTES as u16);
        Config { palette: 1, start_row: 0, reserved: [0; 14], bytes, rows }
    }

    /// # Safety
    /// On a processor with AMX.
    unsafe fn load(&self) {
        // SAFETY: the caller's; the instruction reads the 64 bytes of `self`.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(nostack, preserves_flags)) }
    }
}

/// # Safety
/// The configuration's rows of register `T` lie at `p`, `stride` bytes apart.
#[inline(always)]
unsafe fn load<const T: u8, V>(p: *const V, stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        asm!("tileloadd tmm{t}, [{p} + {s}*1]", t = const T, p = in(reg) p, s = in(reg) stride,
            options(nostack, preserves_flags))
    }
}

/// # Safety
/// There is room for the rows of register `T`, 64 bytes apart.
#[inline(always)]
unsafe fn store<const T: u8>(p: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        asm!("tilestored [{p} + {s}*1], tmm{t}", t = const T, p = in(reg) p, s = in(reg) ROW_BYTES,
            options(nostack, preserves_flags))
    }
}

/// Adds the product of inputs `X` and weights `W` to the sums `SUM`.
///
/// # Safety
/// On a processor with AMX whose tiles are configured.
#[inline(always)]
unsafe fn multiply<const SUM: u8, const X: u8, const W: u8>() {
    // SAFETY: the caller's.
    unsafe {
        asm!("tdpbf16ps tmm{c}, tmm{x}, tmm{w}", c = const SUM, x = const X, w = const W,
            options(nomem, nostack, preserves_flags))
    }
}

/// # Safety
/// As [`bf16::task`], on a processor with AMX and AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
pub(crate) unsafe fn pointwise(t: &Task) {
    // SAFETY: the caller's.
    unsafe {
        bf16::task::<Zmm>(t, |t, strip| products(t, strip));
        // Frees the state, which a switch to another thread would have to save.
        asm!("tilerelease", options(nomem, nostack, preserves_flags));
    }
}

/// # Safety
/// The strip lies inside the task, on a processor with AMX.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
unsafe fn products(t: &Task, strip: Strip) {
    // Tiles as even as can be; the last one begins a little earlier where they do not divide the strip, and computes
    // some pixels twice.
    let tiles = strip.count.div_ceil(ROWS);
    let rows = strip.count.div_ceil(tiles);
    let start = |tile: usize| (tile * rows).min(strip.count - rows);
    // SAFETY: tiles lie inside the strip.
    unsafe {
        Config::new(rows).load();
        for block in (0..t.blocks).step_by(2) {
            for tile in (0..tiles).step_by(2) {
                let place = Place { block, pixels: [start(tile), start((tile + 1).min(tiles - 1))], rows };
                match (tile + 1 < tiles, block + 1 < t.blocks) {
                    (true, true) => product::<2, 2>(t, strip, place),
                    (true, false) => product::<2, 1>(t, strip, place),
                    (false, true) => product::<1, 2>(t, strip, place),
                    (false, false) => product::<1, 1>(t, strip, place),
                }
            }
        }
    }
}

/// Where up to two tiles of pixels and two blocks of outputs lie.
struct Place {
    block: usize,
    /// The first pixels of the tiles in the strip.
    pixels: [usize; 2],
    rows: usize,
}

/// `M` tiles of pixels × `N` blocks of outputs: sums in registers 0 to 3, inputs in 4 and 5, weights in 6 and 7.
///
/// # Safety
/// The place lies inside the strip.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
unsafe fn product<const M: usize, const N: usize>(t: &Task, strip: Strip, place: Place) {
    let groups = bf16::groups(t.inputs);
    let block_len = bf16::block_len(groups);
    // SAFETY: the caller's.
    unsafe {
        // The same bias in every row.
        let bias = t.bias.add(place.block * LANES);
        each::<M, N>(
            || load::<0, _>(bias, 0),
            || load::<1, _>(bias.add(LANES), 0),
            || load::<2, _>(bias, 0),
            || load::<3, _>(bias.add(LANES), 0),
        );
        let w = t.panels.cast::<f32>().add(place.block * block_len);
        for group in 0..groups {
            let x = strip.pairs.add(group * strip.count * GROUP);
            let w = w.add(group * bf16::block_len(1));
            load::<4, _>(x.add(place.pixels[0] * GROUP), ROW_BYTES);
            load::<6, _>(w, ROW_BYTES);
            if M > 1 {
                load::<5, _>(x.add(place.pixels[1] * GROUP), ROW_BYTES);
            }
            if N > 1 {
                load::<7, _>(w.add(block_len), ROW_BYTES);
            }
            each::<M, N>(
                || multiply::<0, 4, 6>(),
                || multiply::<1, 4, 7>(),
                || multiply::<2, 5, 6>(),
                || multiply::<3, 5, 7>(),
            );
        }
        let at = |m: usize, n: usize| (place.block + n) * t.y_block + (strip.first + place.pixels[m]) * LANES;
        if t.activation == Activation::Linear && t.residual.is_null() {
            let y = |m, n| t.y.add(at(m, n));
            each::<M, N>(
                || store::<0>(y(0, 0)),
                || store::<1>(y(0, 1)),
                || store::<2>(y(1, 0)),
                || store::<3>(y(1, 1)),
            );
            return;
        }
        let mut sums = MaybeUninit::<[f32; 4 * SUMS]>::uninit();
        let sums = sums.as_mut_ptr().cast::<f32>();
        let of = |i: usize| sums.add(i * SUMS);
        each::<M, N>(|| store::<0>(of(0)), || store::<1>(of(1)), || store::<2>(of(2)), || store::<3>(of(3)));
        let done = |i: usize, m, n| finish_rows(t, of(i), place.rows, at(m, n));
        each::<M, N>(|| done(0, 0, 0), || done(1, 0, 1), || done(2, 1, 0), || done(3, 1, 1));
    }
}

/// Calls what is there of two tiles of pixels × two blocks.
#[inline(always)]
fn each<const M: usize, const N: usize>(first: impl Fn(), right: impl Fn(), below: impl Fn(), last: impl Fn()) {
    first();
    if N > 1 {
        right();
    }
    if M > 1 {
        below();
    }
    if M > 1 && N > 1 {
        last();
    }
}

/// Activation, residual and output of one register of sums.
///
/// # Safety
/// `sums` holds so many rows, and the task's output has room for them at `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
unsafe fn finish_rows(t: &Task, sums: *const f32, rows: usize, at: usize) {
    const AT_ONCE: usize = 4;
    // SAFETY: the caller's.
    unsafe {
        let residual = |row: usize| if t.residual.is_null() { t.residual } else { t.residual.add(at + row * LANES) };
        let sum = |row: usize| [Zmm::load(sums.add(row * LANES))];
        let whole = rows / AT_ONCE * AT_ONCE;
        for row in (0..whole).step_by(AT_ONCE) {
            let tile: [[Zmm; 1]; AT_ONCE] = std::array::from_fn(|i| sum(row + i));
            finish(&tile, t.activation, residual(row), t.y.add(at + row * LANES), 0);
        }
        for row in whole..rows {
            finish(&[sum(row)], t.activation, residual(row), t.y.add(at + row * LANES), 0);
        }
    }
}
