//! Pooling: over the whole image, or in windows.

use crate::cpu::Isa;
use crate::isa::{Lanes, Tier};
use crate::layout::{LANES, volume};
use crate::pool::Pool;
use crate::split::{Shared, for_each, wanted};
use crate::window::Geometry;

/// What a window computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Mean over the taps inside the image.
    Average,
    /// Largest tap inside the image.
    Max,
}

/// Pools `planes` blocked planes (images × blocks) in windows.
///
/// # Panics
/// Where a buffer's length does not fit, or a window has no tap inside the image.
pub fn windows(isa: Isa, pool: &Pool, kind: Kind, planes: usize, geometry: Geometry, x: &[f32], y: &mut [f32]) {
    geometry.check();
    let [x_len, y_len] = geometry.pixels().map(|pixels| volume(&[pixels, LANES]));
    assert_eq!((x.len(), y.len()), (volume(&[planes, x_len]), volume(&[planes, y_len])), "pooling buffers");
    for axis in [0, 1] {
        let all_have_taps = (0..geometry.output[axis]).all(|at| !geometry.taps(axis, at).is_empty());
        assert!(all_have_taps, "a pooling window lies wholly in the padding");
    }
    each_plane(isa, pool, What::Windows(kind, geometry), planes, x_len, y_len, x, y);
}

/// Mean over the pixels of each of `planes` blocked planes.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn global_average(isa: Isa, pool: &Pool, planes: usize, pixels: usize, x: &[f32], y: &mut [f32]) {
    mean_of_sums(isa, pool, planes, pixels, pixels, x, y);
}

/// Mean over `pixels` pixels from `count` partial sums a plane, as `depthwise` leaves them.
///
/// # Panics
/// Where a buffer's length does not fit.
pub fn mean_of_sums(isa: Isa, pool: &Pool, planes: usize, count: usize, pixels: usize, sums: &[f32], y: &mut [f32]) {
    assert_eq!((sums.len(), y.len()), (volume(&[planes, count, LANES]), volume(&[planes, LANES])), "pooling buffers");
    each_plane(isa, pool, What::Mean { count, pixels }, planes, count * LANES, LANES, sums, y);
}

#[expect(clippy::too_many_arguments, reason = "one call for three kinds of pooling")]
fn each_plane(isa: Isa, pool: &Pool, what: What, planes: usize, x_len: usize, y_len: usize, x: &[f32], y: &mut [f32]) {
    let tier = Tier::of(isa);
    // An addition costs as much as a multiply-add, but reads memory: weigh it double.
    let tasks = wanted(pool.threads(), 2 * x.len()).min(planes);
    let y = Shared::new(y);
    for_each(pool, tasks, |task, _slot| {
        for plane in crate::split::piece(planes, 1, tasks, task) {
            let task = Task { what, x: x[plane * x_len..].as_ptr(), y: y.at(plane * y_len) };
            // SAFETY: the tier was handed out by detection, the plane lies inside the checked buffers, and each plane
            // is written by one task.
            unsafe { (tier.pool)(&task) }
        }
    });
}

#[derive(Clone, Copy)]
enum What {
    Windows(Kind, Geometry),
    Mean { count: usize, pixels: usize },
}

/// One plane.
pub(crate) struct Task {
    what: What,
    x: *const f32,
    y: *mut f32,
}

/// # Safety
/// The task's pointers cover its plane.
#[inline(always)]
pub(crate) unsafe fn task<L: Lanes>(t: &Task) {
    // SAFETY: the caller's.
    unsafe {
        match t.what {
            What::Mean { count, pixels } => mean::<L>(t, count, pixels),
            What::Windows(kind, geometry) => {
                for row in 0..geometry.output[0] {
                    for column in 0..geometry.output[1] {
                        window::<L>(t, kind, &geometry, row, column);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn mean<L: Lanes>(t: &Task, count: usize, pixels: usize) {
    // Four sums at once: a single one would wait for its own last step.
    const WAYS: usize = 4;
    let mut sums = [L::splat(0.0); WAYS];
    for i in 0..count {
        // SAFETY: inside the plane.
        sums[i % WAYS] = sums[i % WAYS].add(unsafe { L::load(t.x.add(i * LANES)) });
    }
    let sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
    // SAFETY: sixteen values of the plane's own.
    unsafe { sum.mul(L::splat(1.0 / pixels as f32)).store(t.y) }
}

#[inline(always)]
unsafe fn window<L: Lanes>(t: &Task, kind: Kind, g: &Geometry, row: usize, column: usize) {
    let (rows, columns) = (g.taps(0, row), g.taps(1, column));
    let taps = rows.len() * columns.len();
    let mut acc = L::splat(if kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 });
    for kh in rows {
        for kw in columns.clone() {
            let h = g.start(0, row) + (kh * g.dilation[0]) as isize;
            let w = g.start(1, column) + (kw * g.dilation[1]) as isize;
            // SAFETY: the tap lies inside the image.
            let v = unsafe { L::load(t.x.offset((h * g.input[1] as isize + w) * LANES as isize)) };
            acc = if kind == Kind::Max { acc.max(v) } else { acc.add(v) };
        }
    }
    if kind == Kind::Average {
        acc = acc.mul(L::splat(1.0 / taps as f32));
    }
    // SAFETY: an output pixel of the plane.
    unsafe { acc.store(t.y.add((row * g.output[1] + column) * LANES)) }
}
