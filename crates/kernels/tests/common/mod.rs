//! What the kernels' tests share: random values, shapes and windows, and the comparison with the reference.

#![allow(dead_code, reason = "no test file uses all of it")]

use mobilenet_kernels::cpu::Bf16Unit;
use mobilenet_kernels::layout::{Dims, Order, from_blocked, padding_is_zero, to_blocked};
use mobilenet_kernels::{Activation, Geometry, Isa};
use proptest::prelude::*;

/// What multiplies bf16 on this processor.
pub fn bf16_units() -> impl Iterator<Item = (Isa, Bf16Unit)> {
    Isa::available().flat_map(|isa| Bf16Unit::available(isa).map(move |unit| (isa, unit)))
}

/// Values in −1 … 1 that a seed determines.
pub fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub fn blocked(x: &[f32], dims: Dims) -> Vec<f32> {
    let mut y = vec![f32::NAN; dims.blocked_len()];
    to_blocked(x, dims, Order::Nchw, &mut y);
    y
}

/// The largest difference, over a scale of at least one; lanes beyond the last channel must be zero.
#[track_caller]
pub fn assert_close(what: &str, isa: Isa, got: &[f32], dims: Dims, want: &[f32]) {
    assert!(padding_is_zero(got, dims), "{what} on {isa}: lanes beyond the last channel are not zero");
    let mut plain = vec![0.0; dims.len()];
    from_blocked(got, dims, Order::Nchw, &mut plain);
    let scale = want.iter().fold(1f32, |m, v| m.max(v.abs()));
    for (i, (g, w)) in plain.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 2e-5 * scale, "{what} on {isa}: at {i} {g} instead of {w} (scale {scale})");
    }
}

pub fn activation() -> impl Strategy<Value = Activation> {
    prop::sample::select(Activation::ALL.to_vec())
}

/// The same window over an image that is `times` as wide; its right padding is whatever the output then needs.
pub fn widened(g: Geometry, times: usize) -> Geometry {
    let width = g.input[1] * times;
    let output = if times == 1 { g.output[1] } else { (width + g.before[1]).div_ceil(g.stride[1]) };
    Geometry { input: [g.input[0], width], output: [g.output[0], output], ..g }
}

/// A window whose every size may be odd, ragged, strided, dilated and padded on either side.
pub fn geometry() -> impl Strategy<Value = Geometry> {
    let axis = (1usize..24, 1usize..=5, 1usize..=3, 1usize..=3, 0usize..4, 0usize..4);
    (axis.clone(), axis, prop::bool::weighted(0.6)).prop_filter_map("window fits", |(a, b, common)| {
        // The papers' windows are the ones with tiles of their own: try them more often than not.
        let fix = |(i, k, s, d, p, q): (usize, usize, usize, usize, usize, usize)| match common {
            true => (i, if k < 3 { 3 } else { 5 }, s.min(2), 1, p, q),
            false => (i, k, s, d, p, q),
        };
        let (a, mut b) = (fix(a), fix(b));
        if common {
            (b.1, b.2) = (a.1, a.2);
        }
        let output = |(i, k, s, d, p, q): (usize, usize, usize, usize, usize, usize)| {
            (i + p + q).checked_sub(d * (k - 1) + 1).map(|room| room / s + 1)
        };
        Some(Geometry {
            input: [a.0, b.0],
            output: [output(a)?, output(b)?],
            kernel: [a.1, b.1],
            stride: [a.2, b.2],
            dilation: [a.3, b.3],
            before: [a.4, b.4],
        })
    })
}
