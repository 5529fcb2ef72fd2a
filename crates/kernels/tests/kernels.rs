//! Every kernel of every instruction set that this processor has, against the scalar reference, on random shapes:
//! ragged channels, odd sizes, any window, tails, several threads.

mod common;

use common::{activation, assert_close, bf16_units, blocked, geometry, random};
use mobilenet_kernels::layout::{Dims, Order, blocks, from_blocked, padding_is_zero, to_blocked};
use mobilenet_kernels::pool2d::{self, Kind};
use mobilenet_kernels::prologue::{Norm, Prologue};
use mobilenet_kernels::{
    Activation, Geometry, Isa, Pool, bf16, dense, depthwise, elementwise, f16, fc, pointwise, reference, resize,
};
use proptest::prelude::*;

/// Weights as a layer keeps them: as they are, in half precision, in bf16.
fn stored(weights: Vec<f32>, precision: i32) -> Vec<f32> {
    match precision {
        0 => weights,
        1 => weights.into_iter().map(f16::round).collect(),
        _ => weights.into_iter().map(bf16::round).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 400 }))]

    #[test]
    fn pointwise_equals_the_reference(
        (n, c, o, h, w) in (1usize..3, 1usize..70, 1usize..90, 1usize..12, 1usize..12),
        activation in activation(), with_residual: bool, with_bias: bool, prologue in 0..4, is_f16: bool,
        seed: u64, threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h, w }, Dims { n, c: o, h, w });
        let x = random(seed, dims.len());
        let (weights, bias) = (stored(random(seed ^ 1, c * o), is_f16.into()), if with_bias { random(seed ^ 2, o) } else { vec![] });
        let residual = random(seed ^ 3, out.len());
        let (scale, shift, gate) = (random(seed ^ 4, c), random(seed ^ 5, c), random(seed ^ 6, n * c));
        let (has_norm, has_gate) = (prologue & 1 == 1, prologue & 2 == 2);
        let inner = if has_norm { activation } else { Activation::Linear };
        let seen: Vec<f32> = x.iter().enumerate().map(|(i, &v)| {
            let (image, channel) = (i / dims.pixels() / c, i / dims.pixels() % c);
            let v = if has_norm { v * scale[channel] + shift[channel] } else { v };
            reference::activate(inner, v.into()) as f32 * if has_gate { gate[image * c + channel] } else { 1.0 }
        }).collect();
        let g = Geometry { input: [h, w], output: [h, w], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0] };
        let mut want = reference::convolution(n, [c, o], 1, &g, &seen, &weights, &bias, activation);
        if with_residual {
            want.iter_mut().zip(&residual).for_each(|(y, r)| *y += r);
        }
        let lanes = |v: &[f32]| blocked(v, Dims { n: v.len() / c, c, h: 1, w: 1 });
        let (scale, shift, gate) = (lanes(&scale), lanes(&shift), lanes(&gate));
        let (x, residual) = (blocked(&x, dims), blocked(&residual, out));
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let layer = pointwise::Pointwise::new(isa, c, o, &weights, &bias, activation);
            let layer = if is_f16 { layer.in_f16() } else { layer };
            let mut y = vec![f32::NAN; out.blocked_len()];
            let mut scratch = vec![f32::NAN; layer.scratch(threads)];
            layer.run(&pool, pointwise::Call {
                images: n, pixels: h * w, x: &x, y: &mut y,
                residual: with_residual.then_some(&residual[..]),
                prologue: Prologue {
                    norm: has_norm.then_some(Norm { scale: &scale, shift: &shift }),
                    activation: inner,
                    gate: has_gate.then_some(&gate[..]),
                },
                moments: None, scratch: &mut scratch,
            });
            assert_close("pointwise", isa, &y, out, &want);
        }
    }

    /// Products of bf16 are exact in single precision, so that only the order of the sum is left open.
    #[test]
    fn pointwise_in_bf16_equals_the_reference_of_rounded_values(
        (n, c, o, h, w) in (1usize..3, 1usize..110, 1usize..90, 1usize..14, 1usize..14),
        activation in activation(), with_residual: bool, has_gate: bool, seed: u64, threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h, w }, Dims { n, c: o, h, w });
        let x = random(seed, dims.len());
        let (weights, bias, residual) = (random(seed ^ 1, c * o), random(seed ^ 2, o), random(seed ^ 3, out.len()));
        let gate = random(seed ^ 4, n * c);
        let seen: Vec<f32> = x.iter().enumerate().map(|(i, &v)| {
            bf16::round(if has_gate { v * gate[i / dims.pixels()] } else { v })
        }).collect();
        let rounded: Vec<f32> = weights.iter().map(|&w| bf16::round(w)).collect();
        let g = Geometry { input: [h, w], output: [h, w], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0] };
        let mut want = reference::convolution(n, [c, o], 1, &g, &seen, &rounded, &bias, activation);
        if with_residual {
            want.iter_mut().zip(&residual).for_each(|(y, r)| *y += r);
        }
        let gate = blocked(&gate, Dims { n, c, h: 1, w: 1 });
        let (x, residual) = (blocked(&x, dims), blocked(&residual, out));
        let pool = Pool::new(threads);
        for (isa, unit) in bf16_units() {
            let layer = pointwise::Pointwise::new(isa, c, o, &weights, &bias, activation).in_bf16(unit);
            let mut y = vec![f32::NAN; out.blocked_len()];
            let mut scratch = vec![f32::NAN; layer.scratch(threads)];
            layer.run(&pool, pointwise::Call {
                images: n, pixels: h * w, x: &x, y: &mut y,
                residual: with_residual.then_some(&residual[..]),
                prologue: Prologue { gate: has_gate.then_some(&gate[..]), ..Prologue::default() },
                moments: None, scratch: &mut scratch,
            });
            assert_close(unit.name(), isa, &y, out, &want);
        }
    }

    #[test]
    fn depthwise_equals_the_reference(
        (n, c) in (1usize..3, 1usize..40), g in geometry(),
        activation in activation(), with_residual: bool, extra in 0..3, seed: u64, threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h: g.input[0], w: g.input[1] }, Dims { n, c, h: g.output[0], w: g.output[1] });
        let x = random(seed, dims.len());
        let (weights, bias) = (random(seed ^ 1, c * g.kernel[0] * g.kernel[1]), random(seed ^ 2, c));
        let residual = random(seed ^ 3, out.len());
        // Neither, sums in the epilogue, or a prologue.
        let (with_sums, with_prologue) = (extra == 1, extra == 2);
        let (scale, shift, gate) = (random(seed ^ 4, c), random(seed ^ 5, c), random(seed ^ 6, n * c));
        let seen: Vec<f32> = x.iter().enumerate().map(|(i, &v)| {
            let (image, channel) = (i / dims.pixels() / c, i / dims.pixels() % c);
            let normed = f64::from(v) * f64::from(scale[channel]) + f64::from(shift[channel]);
            if with_prologue { reference::activate(activation, normed) as f32 * gate[image * c + channel] } else { v }
        }).collect();
        let mut want = reference::convolution(n, [c, c], c, &g, &seen, &weights, &bias, activation);
        if with_residual {
            want.iter_mut().zip(&residual).for_each(|(y, r)| *y += r);
        }
        let (x, residual) = (blocked(&x, dims), blocked(&residual, out));
        let lanes = |v: &[f32]| blocked(v, Dims { n: v.len() / c, c, h: 1, w: 1 });
        let (scale, shift, gate) = (lanes(&scale), lanes(&shift), lanes(&gate));
        let norm = Some(Norm { scale: &scale, shift: &shift });
        let prologue = match with_prologue {
            true => Prologue { norm, activation, gate: Some(&gate) },
            false => Prologue::default(),
        };
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let layer = depthwise::Depthwise::new(isa, c, g.kernel, &weights, &bias, activation);
            let mut y = vec![f32::NAN; out.blocked_len()];
            let mut sums = vec![f32::NAN; layer.sums(n, g.output)];
            let mut scratch = vec![f32::NAN; layer.scratch(&g, threads)];
            layer.run(&pool, depthwise::Call {
                images: n, geometry: g, x: &x, y: &mut y,
                residual: with_residual.then_some(&residual[..]),
                sums: with_sums.then_some(&mut sums[..]), prologue, moments: None, scratch: &mut scratch,
            });
            assert_close("depthwise", isa, &y, out, &want);
            if with_sums {
                let pooled = Dims { n, c, h: 1, w: 1 };
                let mut mean = vec![f32::NAN; pooled.blocked_len()];
                pool2d::mean_of_sums(isa, &pool, n * blocks(c), layer.shards(g.output), out.pixels(), &sums, &mut mean);
                assert_close("squeeze", isa, &mean, pooled, &reference::global_average(out.pixels(), &want));
            }
        }
    }

    #[test]
    fn dense_equals_the_reference(
        (n, c, o) in (1usize..3, 1usize..20, 1usize..40), g in geometry(), source in 0..3,
        activation in activation(), with_residual: bool, seed: u64, threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h: g.input[0], w: g.input[1] }, Dims { n, c: o, h: g.output[0], w: g.output[1] });
        let x = random(seed, dims.len());
        let (weights, bias) = (random(seed ^ 1, c * o * g.kernel[0] * g.kernel[1]), random(seed ^ 2, o));
        let residual = random(seed ^ 3, out.len());
        let mut want = reference::convolution(n, [c, o], 1, &g, &x, &weights, &bias, activation);
        if with_residual {
            want.iter_mut().zip(&residual).for_each(|(y, r)| *y += r);
        }
        let in_blocks = blocked(&x, dims);
        let mut channels_last = vec![0.0; dims.len()];
        from_blocked(&in_blocks, dims, Order::Nhwc, &mut channels_last);
        let (source, x) = match source {
            0 => (dense::Source::Blocked, &in_blocks),
            1 => (dense::Source::Plain(Order::Nchw), &x),
            _ => (dense::Source::Plain(Order::Nhwc), &channels_last),
        };
        let residual = blocked(&residual, out);
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let layer = dense::Dense::new(isa, [c, o], g.kernel, &weights, &bias, activation);
            let mut y = vec![f32::NAN; out.blocked_len()];
            layer.run(&pool, dense::Call {
                images: n, geometry: g, source, x, y: &mut y, residual: with_residual.then_some(&residual[..]),
            });
            assert_close("dense", isa, &y, out, &want);
        }
    }

    #[test]
    fn fully_connected_equals_the_reference(
        (n, c, o) in (1usize..11, 1usize..200, 1usize..150), activation in activation(), precision in 0..3, seed: u64,
        threads in 1usize..4,
    ) {
        let (dims, out) = (Dims { n, c, h: 1, w: 1 }, Dims { n, c: o, h: 1, w: 1 });
        let (x, weights) = (random(seed, dims.len()), stored(random(seed ^ 1, c * o), precision));
        let bias = random(seed ^ 2, o);
        let g = Geometry { input: [1, 1], output: [1, 1], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0] };
        let want = reference::convolution(n, [c, o], 1, &g, &x, &weights, &bias, activation);
        let x = blocked(&x, dims);
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let layer = fc::FullyConnected::new(isa, c, o, &weights, &bias, activation);
            let layer = match precision {
                0 => layer,
                1 => layer.in_f16(),
                _ => layer.in_bf16(),
            };
            let mut y = vec![f32::NAN; out.blocked_len()];
            layer.run(&pool, n, &x, &mut y);
            assert_close("fully connected", isa, &y, out, &want);
        }
    }

    #[test]
    fn pooling_equals_the_reference((n, c) in (1usize..3, 1usize..40), g in geometry(), max: bool, seed: u64) {
        // A window wholly in the padding has no mean and no maximum.
        let has_tap = |axis: usize, at: usize| (0..g.kernel[axis]).any(|k| {
            (g.before[axis]..g.before[axis] + g.input[axis]).contains(&(at * g.stride[axis] + k * g.dilation[axis]))
        });
        prop_assume!((0..2).all(|axis| (0..g.output[axis]).all(|at| has_tap(axis, at))));
        let kind = if max { Kind::Max } else { Kind::Average };
        let (dims, out) = (Dims { n, c, h: g.input[0], w: g.input[1] }, Dims { n, c, h: g.output[0], w: g.output[1] });
        let x = random(seed, dims.len());
        let want = reference::pool(kind, n * c, &g, &x);
        let mean = reference::global_average(dims.pixels(), &x);
        let x = blocked(&x, dims);
        let pool = Pool::new(2);
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; out.blocked_len()];
            pool2d::windows(isa, &pool, kind, n * blocks(c), g, &x, &mut y);
            assert_close("pool", isa, &y, out, &want);
            let pooled = Dims { n, c, h: 1, w: 1 };
            let mut y = vec![f32::NAN; pooled.blocked_len()];
            pool2d::global_average(isa, &pool, n * blocks(c), dims.pixels(), &x, &mut y);
            assert_close("global average", isa, &y, pooled, &mean);
        }
    }

    #[test]
    fn elementwise_equals_the_reference(
        (n, c, h, w) in (1usize..3, 1usize..40, 1usize..9, 1usize..9), activation in activation(), seed: u64,
    ) {
        let dims = Dims { n, c, h, w };
        let x: Vec<f32> = random(seed, dims.len()).iter().map(|v| v * 8.0).collect();
        let (other, gate) = (random(seed ^ 1, dims.len()), random(seed ^ 2, n * c));
        let activated: Vec<f32> = x.iter().map(|&v| reference::activate(activation, v.into()) as f32).collect();
        let sum: Vec<f32> = x.iter().zip(&other).map(|(a, b)| a + b).collect();
        let gated = reference::gate(dims, &x, &gate);
        let (x, other, gate) = (blocked(&x, dims), blocked(&other, dims), blocked(&gate, Dims { h: 1, w: 1, ..dims }));
        let pool = Pool::new(2);
        for isa in Isa::available() {
            for (operation, want) in [
                (elementwise::Operation::Activate(activation), &activated),
                (elementwise::Operation::Add(&other), &sum),
                (elementwise::Operation::Gate(&gate), &gated),
            ] {
                let mut y = vec![f32::NAN; dims.blocked_len()];
                elementwise::run(isa, &pool, operation, dims, &x, &mut y);
                assert_close("elementwise", isa, &y, dims, want);
            }
        }
    }

    #[test]
    fn concat_and_resize_equal_the_reference(
        (n, a, b) in (1usize..3, 1usize..40, 1usize..40), (h, w) in (1usize..9, 1usize..9),
        (oh, ow) in (1usize..20, 1usize..20), align_corners: bool, seed: u64,
    ) {
        let (first, second) = (Dims { n, c: a, h, w }, Dims { n, c: b, h, w });
        let both = Dims { n, c: a + b, h, w };
        let (x, z) = (random(seed, first.len()), random(seed ^ 1, second.len()));
        let want: Vec<f32> = x.chunks(a * h * w).zip(z.chunks(b * h * w)).flat_map(|(x, z)| [x, z].concat()).collect();
        let mut y = vec![0.0; both.blocked_len()];
        elementwise::copy_channels(&blocked(&x, first), first, &mut y, a + b, 0);
        elementwise::copy_channels(&blocked(&z, second), second, &mut y, a + b, a);
        assert_close("concat", Isa::Portable, &y, both, &want);

        let out = Dims { h: oh, w: ow, ..first };
        let want = reference::bilinear(n * a, [h, w], [oh, ow], align_corners, &x);
        let mut y = vec![f32::NAN; out.blocked_len()];
        resize::bilinear(&Pool::new(2), n * blocks(a), [h, w], [oh, ow], align_corners, &blocked(&x, first), &mut y);
        assert_close("resize", Isa::Portable, &y, out, &want);
    }

    #[test]
    fn activations_hold_over_their_whole_range(x in prop::num::f32::NORMAL | prop::num::f32::ZERO) {
        let x = x.clamp(-1e30, 1e30);
        let dims = Dims { n: 1, c: 16, h: 1, w: 1 };
        for isa in Isa::available() {
            for activation in Activation::ALL {
                let mut y = [f32::NAN; 16];
                elementwise::run(isa, &Pool::new(1), elementwise::Operation::Activate(activation), dims, &[x; 16], &mut y);
                let want = reference::activate(activation, x.into()) as f32;
                prop_assert!((y[0] - want).abs() <= 2e-6 * want.abs().max(1e-30), "{activation:?} of {x} on {isa}: {} instead of {want}", y[0]);
            }
        }
    }
}

#[test]
fn layout_round_trips_in_both_orders() {
    let dims = Dims { n: 2, c: 19, h: 3, w: 5 };
    let x = random(7, dims.len());
    for order in [Order::Nchw, Order::Nhwc] {
        let mut y = vec![f32::NAN; dims.blocked_len()];
        to_blocked(&x, dims, order, &mut y);
        assert!(padding_is_zero(&y, dims));
        let mut back = vec![0.0; dims.len()];
        from_blocked(&y, dims, order, &mut back);
        assert_eq!(back, x);
    }
}

#[test]
fn bits_are_equal_for_any_number_of_threads() {
    let dims = Dims { n: 1, c: 72, h: 28, w: 28 };
    let g = Geometry {
        input: [28, 28],
        output: [28, 28],
        kernel: [5, 5],
        stride: [1, 1],
        dilation: [1, 1],
        before: [2, 2],
    };
    let x = blocked(&random(1, dims.len()), dims);
    let (dw, pw) = (random(2, 72 * 25), random(3, 72 * 160));
    for isa in Isa::available() {
        let depth = depthwise::Depthwise::new(isa, 72, [5, 5], &dw, &[], Activation::HSwish);
        let point = pointwise::Pointwise::new(isa, 72, 160, &pw, &[], Activation::Relu);
        let results: Vec<_> = [1, 2, 3, 7]
            .map(|threads| {
                let pool = Pool::new(threads);
                let mut y = vec![0.0; x.len()];
                let mut sums = vec![0.0; depth.sums(1, g.output)];
                depth.run(
                    &pool,
                    depthwise::Call {
                        images: 1,
                        geometry: g,
                        x: &x,
                        y: &mut y,
                        residual: None,
                        sums: Some(&mut sums),
                        prologue: Prologue::default(),
                        moments: None,
                        scratch: &mut [],
                    },
                );
                let mut z = vec![0.0; Dims { c: 160, ..dims }.blocked_len()];
                let call = pointwise::Call {
                    images: 1,
                    pixels: 784,
                    x: &y,
                    y: &mut z,
                    residual: None,
                    prologue: Prologue::default(),
                    moments: None,
                    scratch: &mut [],
                };
                point.run(&pool, call);
                [y, sums, z].map(|v| v.iter().map(|f| f.to_bits()).collect::<Vec<_>>())
            })
            .into();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{isa} differs between thread counts");
    }
}

/// What a safe function must refuse, whatever the sizes say: the message of its panic.
fn refusal(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(f).expect_err("the sizes were accepted");
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default()
}

#[test]
fn sizes_that_wrap_around_are_refused() {
    let huge = Dims { n: 1 << 60, c: 16, h: 1, w: 1 };
    let text = refusal(|| {
        let operation = elementwise::Operation::Activate(Activation::Relu);
        elementwise::run(Isa::Portable, &Pool::new(1), operation, huge, &[], &mut []);
    });
    assert_eq!(text, "a tensor within the address space");
    let text = refusal(|| {
        let layer = pointwise::Pointwise::new(Isa::Portable, 16, 16, &[0.0; 256], &[], Activation::Linear);
        let (prologue, scratch) = (Prologue::default(), &mut [][..]);
        let call = pointwise::Call {
            images: 1 << 60,
            pixels: 1,
            x: &[],
            y: &mut [],
            residual: None,
            prologue,
            moments: None,
            scratch,
        };
        layer.run(&Pool::new(1), call);
    });
    assert_eq!(text, "a tensor within the address space");
}

#[test]
fn windows_that_no_image_has_are_refused() {
    let g = Geometry {
        input: [1, 4],
        output: [1, 4],
        kernel: [1, 9],
        stride: [1, 1],
        dilation: [1, 1 << 61],
        before: [0; 2],
    };
    for (geometry, reason) in [
        (g, "address space"),
        (Geometry { dilation: [1, 1 << 41], ..g }, "a window beyond any image"),
        (Geometry { dilation: [1, 0], ..g }, "stride or dilation zero"),
        (Geometry { dilation: [1, 1], before: [0, 1 << 50], ..g }, "a window beyond any image"),
    ] {
        let text = refusal(move || {
            let layer = depthwise::Depthwise::new(Isa::Portable, 16, [1, 9], &[0.0; 144], &[], Activation::Linear);
            let (x, mut y) = ([0.0; 64], [0.0; 64]);
            let (prologue, scratch) = (Prologue::default(), &mut [][..]);
            let call = depthwise::Call {
                images: 1,
                geometry,
                x: &x,
                y: &mut y,
                residual: None,
                sums: None,
                prologue,
                moments: None,
                scratch,
            };
            layer.run(&Pool::new(1), call);
        });
        assert!(text.contains(reason), "{text}");
    }
}
