//! Gradients of every layer on every instruction set, against the scalar reference, on random shapes.

mod common;

use common::{activation, assert_close, blocked, geometry, random};
use mobilenet_kernels::dense::Source;
use mobilenet_kernels::grad::{dense, depthwise, product};
use mobilenet_kernels::layout::{Dims, Order, blocks};
use mobilenet_kernels::norm::{self, Backward, Map, Sum};
use mobilenet_kernels::prologue::{Norm, Prologue};
use mobilenet_kernels::{Activation, Geometry, Isa, Pool, reference};
use proptest::prelude::*;

/// The largest difference between plain values, over a scale of at least one.
#[track_caller]
fn assert_plain(what: &str, isa: Isa, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(1f32, |m, v| m.max(v.abs()));
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 3e-5 * scale, "{what} on {isa}: at {i} {g} instead of {w} (scale {scale})");
    }
}

/// A prologue's parts as plain values, and blocked by lane.
struct Parts {
    plain: [Vec<f32>; 3],
    lanes: [Vec<f32>; 3],
}

impl Parts {
    fn random(seed: u64, n: usize, c: usize) -> Parts {
        let plain = [random(seed, c), random(seed ^ 1, c), random(seed ^ 2, n * c)];
        let lanes = plain.each_ref().map(|v| blocked(v, Dims { n: v.len() / c, c, h: 1, w: 1 }));
        Parts { plain, lanes }
    }

    fn prologue(&self, activation: Activation) -> Prologue<'_> {
        let [scale, shift, gate] = &self.lanes;
        Prologue { norm: Some(Norm { scale, shift }), activation, gate: Some(gate) }
    }

    /// What the activation sees, and the gate, for a value of `x`.
    fn seen(&self, dims: Dims, x: &[f32], i: usize) -> (f64, f64) {
        let (image, c) = (i / dims.pixels() / dims.c, i / dims.pixels() % dims.c);
        let [scale, shift, gate] = &self.plain;
        (f64::from(x[i]) * f64::from(scale[c]) + f64::from(shift[c]), gate[image * dims.c + c].into())
    }

    /// The prologue's result.
    fn result(&self, dims: Dims, x: &[f32], activation: Activation) -> Vec<f32> {
        let one = |i: usize| {
            let (v, gate) = self.seen(dims, x, i);
            (reference::activate(activation, v) * gate) as f32
        };
        (0..x.len()).map(one).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 250 }))]

    #[test]
    fn pointwise_weight_gradients_equal_the_reference(
        (n, c, o, h, w) in (1usize..12, 1usize..50, 1usize..70, 1usize..12, 1usize..12),
        activation in activation(), has_prologue: bool, seed: u64, threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h, w }, Dims { n, c: o, h, w });
        let (x, dy, weights) = (random(seed, dims.len()), random(seed ^ 7, out.len()), vec![0.0; c * o]);
        let parts = Parts::random(seed ^ 9, n, c);
        let seen = if has_prologue { parts.result(dims, &x, activation) } else { x.clone() };
        let g = Geometry { input: [h, w], output: [h, w], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0] };
        let [want, _] = reference::convolution_gradients(n, [c, o], 1, &g, &seen, &weights, &dy);
        let (x, dy) = (blocked(&x, dims), blocked(&dy, out));
        for isa in Isa::available() {
            let mut dw = vec![f32::NAN; c * o];
            let mut scratch = vec![f32::NAN; product::scratch([c, o], n, threads)];
            product::pointwise(isa, &Pool::new(threads), product::Call {
                channels: [c, o], images: n, pixels: h * w, x: &x, dy: &dy, dw: &mut dw, scratch: &mut scratch,
                prologue: if has_prologue { parts.prologue(activation) } else { Prologue::default() },
            });
            assert_plain("pointwise weights", isa, &dw, &want);
        }
    }

    #[test]
    fn fully_connected_weight_gradients_equal_the_reference(
        (n, c, o) in (1usize..12, 1usize..70, 1usize..90), seed: u64,
    ) {
        let (dims, out) = (Dims { n, c, h: 1, w: 1 }, Dims { n, c: o, h: 1, w: 1 });
        let (x, dy) = (random(seed, dims.len()), random(seed ^ 7, out.len()));
        let g = Geometry { input: [1, 1], output: [1, 1], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0] };
        let [want, _] = reference::convolution_gradients(n, [c, o], 1, &g, &x, &vec![0.0; c * o], &dy);
        let (x, dy) = (blocked(&x, dims), blocked(&dy, out));
        for isa in Isa::available() {
            let mut dw = vec![f32::NAN; c * o];
            let mut scratch = vec![f32::NAN; product::scratch([c, o], 1, 2)];
            product::fully_connected(isa, &Pool::new(2), [c, o], n, &x, &dy, &mut dw, &mut scratch);
            assert_plain("fully connected weights", isa, &dw, &want);
        }
    }

    #[test]
    fn depthwise_gradients_equal_the_reference(
        (n, c) in (1usize..4, 1usize..40), g in geometry(), activation in activation(), has_prologue: bool, seed: u64,
        threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h: g.input[0], w: g.input[1] }, Dims { n, c, h: g.output[0], w: g.output[1] });
        let (x, dy) = (random(seed, dims.len()), random(seed ^ 7, out.len()));
        let weights = random(seed ^ 8, c * g.kernel[0] * g.kernel[1]);
        let parts = Parts::random(seed ^ 9, n, c);
        let seen = if has_prologue { parts.result(dims, &x, activation) } else { x.clone() };
        let [want, want_dx] = reference::convolution_gradients(n, [c, c], c, &g, &seen, &weights, &dy);
        let (x, dy) = (blocked(&x, dims), blocked(&dy, out));
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let mut dw = vec![f32::NAN; weights.len()];
            let mut scratch = vec![f32::NAN; depthwise::scratch(c, n, &g, threads)];
            depthwise::weights(isa, &pool, depthwise::Call {
                channels: c, images: n, geometry: g, x: &x, dy: &dy, dw: &mut dw, scratch: &mut scratch,
                prologue: if has_prologue { parts.prologue(activation) } else { Prologue::default() },
            });
            assert_plain("depthwise weights", isa, &dw, &want);
            let mut dx = vec![f32::NAN; dims.blocked_len()];
            depthwise::inputs(isa, &pool, c, n, g, &weights, &dy, &mut dx);
            assert_close("depthwise inputs", isa, &dx, dims, &want_dx);
        }
    }

    #[test]
    fn dense_gradients_equal_the_reference(
        (n, c, o) in (1usize..10, 1usize..20, 1usize..40), g in geometry(), source in 0..3, seed: u64,
        threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h: g.input[0], w: g.input[1] }, Dims { n, c: o, h: g.output[0], w: g.output[1] });
        let (x, dy) = (random(seed, dims.len()), random(seed ^ 7, out.len()));
        let weights = random(seed ^ 8, c * o * g.kernel[0] * g.kernel[1]);
        let [want, want_dx] = reference::convolution_gradients(n, [c, o], 1, &g, &x, &weights, &dy);
        let dy = blocked(&dy, out);
        let in_blocks = blocked(&x, dims);
        let mut channels_last = vec![0.0; dims.len()];
        mobilenet_kernels::layout::from_blocked(&in_blocks, dims, Order::Nhwc, &mut channels_last);
        let (source, x) = match source {
            0 => (Source::Blocked, &in_blocks),
            1 => (Source::Plain(Order::Nchw), &x),
            _ => (Source::Plain(Order::Nhwc), &channels_last),
        };
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let mut dw = vec![f32::NAN; weights.len()];
            let mut scratch = vec![f32::NAN; dense::scratch([c, o], n, &g)];
            dense::weights(isa, &pool, dense::Call {
                channels: [c, o], images: n, geometry: g, source, x, dy: &dy, dw: &mut dw, scratch: &mut scratch,
            });
            assert_plain("dense weights", isa, &dw, &want);
            let mut dx = vec![f32::NAN; dims.blocked_len()];
            dense::inputs(isa, &pool, [c, o], n, g, &weights, &dy, &mut dx);
            assert_close("dense inputs", isa, &dx, dims, &want_dx);
        }
    }

    #[test]
    fn sums_and_maps_of_batch_norm_equal_the_reference(
        (n, c, h, w) in (1usize..4, 1usize..40, 1usize..9, 1usize..9), activation in activation(), seed: u64,
    ) {
        let (dims, lane) = (Dims { n, c, h, w }, Dims { n, c, h: 1, w: 1 });
        let x: Vec<f32> = random(seed, dims.len()).iter().map(|v| v * 4.0).collect();
        let (gradient, spread, other) = (random(seed ^ 1, dims.len()), random(seed ^ 2, n * c), random(seed ^ 3, dims.len()));
        let parts = Parts::random(seed ^ 9, n, c);
        let abc = [random(seed ^ 4, c), random(seed ^ 5, c), random(seed ^ 6, c)];
        let channel = |i: usize| i / dims.pixels() % c;
        let image_channel = |i: usize| i / dims.pixels();
        // Not too near the corners, where either derivative would be right.
        let corners = [0.0, 6.0, 3.0, -3.0];
        prop_assume!((0..x.len()).all(|i| corners.iter().all(|k| (parts.seen(dims, &x, i).0 - k).abs() > 1e-5)));
        let d: Vec<f64> = (0..x.len()).map(|i| {
            let (v, gate) = parts.seen(dims, &x, i);
            (f64::from(gradient[i]) * gate + f64::from(spread[image_channel(i)])) * reference::derivative(activation, v)
        }).collect();
        let per_plane = |f: &dyn Fn(usize) -> f64| {
            let mut sums = vec![0f64; n * c];
            (0..x.len()).for_each(|i| sums[image_channel(i)] += f(i));
            sums.into_iter().map(|v| v as f32).collect::<Vec<f32>>()
        };
        let result = parts.result(dims, &x, activation);
        let forward: Vec<f32> = result.iter().zip(&other).map(|(a, b)| a + b).collect();
        let back: Vec<f32> = (0..x.len()).map(|i| {
            let [a, b, k] = [0, 1, 2].map(|f| f64::from(abc[f][channel(i)]));
            (d[i] * a + f64::from(x[i]) * b + k) as f32
        }).collect();
        let gate_gradient = per_plane(&|i| reference::activate(activation, parts.seen(dims, &x, i).0) * f64::from(gradient[i]));

        let lanes = abc.each_ref().map(|v| blocked(v, Dims { n: 1, ..lane }));
        let (bx, bg, bs, bo) = (blocked(&x, dims), blocked(&gradient, dims), blocked(&spread, lane), blocked(&other, dims));
        let prologue = parts.prologue(activation);
        let backward = Backward { prologue, gradient: Some(&bg), spread: Some(&bs) };
        let pool = Pool::new(2);
        for isa in Isa::available() {
            let sum = |what: Sum, values: usize| {
                let mut sums = vec![f32::NAN; n * blocks(c) * values * 16];
                norm::sum(isa, &pool, what, dims, &bx, &mut sums);
                // One value of every lane after the other.
                (0..values).map(|v| sums.chunks(16).skip(v).step_by(values).flatten().copied().collect()).collect::<Vec<Vec<f32>>>()
            };
            let close = |what: &str, got: &[f32], want: &[f32]| {
                let mut plain = vec![0.0; n * c];
                mobilenet_kernels::layout::from_blocked(got, lane, Order::Nchw, &mut plain);
                assert_plain(what, isa, &plain, want);
            };
            let moments = sum(Sum::Moments, 3);
            let from_first = |i: usize| f64::from(x[i]) - f64::from(x[i / dims.pixels() * dims.pixels()]);
            close("sum", &moments[0], &per_plane(&from_first));
            close("squares", &moments[1], &per_plane(&|i| from_first(i).powi(2)));
            let firsts: Vec<f32> = x.iter().step_by(dims.pixels()).copied().collect();
            close("first", &moments[2], &firsts);
            close("pooling", &sum(Sum::Value(prologue), 1)[0], &per_plane(&|i| result[i].into()));
            close("gate", &sum(Sum::GateGradient(prologue, &bg), 1)[0], &gate_gradient);
            let back_sums = sum(Sum::Backward(backward, &lanes[0]), 2);
            close("d", &back_sums[0], &per_plane(&|i| d[i]));
            close("d x", &back_sums[1], &per_plane(&|i| d[i] * (f64::from(x[i]) - f64::from(abc[0][channel(i)]))));
            let map = |what: Map| {
                let mut y = vec![f32::NAN; dims.blocked_len()];
                norm::map(isa, &pool, what, dims, &bx, &mut y);
                y
            };
            assert_close("forward", isa, &map(Map::Forward(prologue, Some(&bo))), dims, &forward);
            assert_close("backward", isa, &map(Map::Backward(backward, lanes.each_ref().map(|v| &v[..]))), dims, &back);
        }
    }
}
