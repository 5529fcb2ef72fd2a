//! Bilinear resize of feature maps, as PyTorch's `interpolate` does it (torch@2.x, `UpSampleBilinear2d`).

use crate::layout::{LANES, volume};
use crate::pool::Pool;
use crate::split::{Shared, for_each, piece, wanted};

/// The two source rows (or columns) of an output one, and the second's share.
fn sources(input: usize, output: usize, align_corners: bool, at: usize) -> (usize, usize, f32) {
    let place = if align_corners {
        if output > 1 { at as f32 * ((input - 1) as f32 / (output - 1) as f32) } else { 0.0 }
    } else {
        ((at as f32 + 0.5) * (input as f32 / output as f32) - 0.5).max(0.0)
    };
    let first = (place as usize).min(input - 1);
    (first, (first + 1).min(input - 1), place - first as f32)
}

/// Resizes `planes` blocked planes (images × blocks) from `input` to `output` height and width.
///
/// With `align_corners` the corner pixels map onto each other; otherwise pixels are areas.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn bilinear(
    pool: &Pool,
    planes: usize,
    input: [usize; 2],
    output: [usize; 2],
    align_corners: bool,
    x: &[f32],
    y: &mut [f32],
) {
    let [x_len, y_len] = [input, output].map(|[h, w]| volume(&[h, w, LANES]));
    assert_eq!((x.len(), y.len()), (volume(&[planes, x_len]), volume(&[planes, y_len])), "resize buffers");
    let rows = planes * output[0];
    let tasks = wanted(pool.threads(), 4 * y.len()).min(rows);
    let y = Shared::new(y);
    for_each(pool, tasks, |task, _slot| {
        for row in piece(rows, 1, tasks, task) {
            let (plane, oh) = (row / output[0], row % output[0]);
            let (top, bottom, v) = sources(input[0], output[0], align_corners, oh);
            let line = |h: usize| &x[plane * x_len + h * input[1] * LANES..][..input[1] * LANES];
            let (top, bottom) = (line(top), line(bottom));
            // SAFETY: each row lies inside the checked buffer and belongs to one task.
            let out = unsafe { std::slice::from_raw_parts_mut(y.at(row * output[1] * LANES), output[1] * LANES) };
            for (ow, out) in out.chunks_exact_mut(LANES).enumerate() {
                let (left, right, u) = sources(input[1], output[1], align_corners, ow);
                let pixel = |line: &[f32], w: usize, lane: usize| line[w * LANES + lane];
                for (lane, out) in out.iter_mut().enumerate() {
                    let above = pixel(top, left, lane) * (1.0 - u) + pixel(top, right, lane) * u;
                    let below = pixel(bottom, left, lane) * (1.0 - u) + pixel(bottom, right, lane) * u;
                    *out = above * (1.0 - v) + below * v;
                }
            }
        }
    });
}
