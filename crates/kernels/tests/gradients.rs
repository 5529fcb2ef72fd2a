//! Gradients of every layer on every instruction set, against the scalar reference, on random shapes.

mod common;

use std::ops::Range;

use common::{activation, assert_close, blocked, geometry, random, widened};
use mobilenet_kernels::dense::Source;
use mobilenet_kernels::depthwise::Depthwise;
use mobilenet_kernels::grad::{Incoming, Outgoing, dense, depthwise, pointwise, product};
use mobilenet_kernels::layout::{Dims, Order, blocks};
use mobilenet_kernels::norm::{self, Backward, Map, Sum};
use mobilenet_kernels::pointwise::Pointwise;
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

/// A tensor in plain order, and blocked.
struct Values {
    plain: Vec<f32>,
    blocked: Vec<f32>,
}

impl Values {
    fn random(seed: u64, dims: Dims) -> Values {
        let plain = random(seed, dims.len());
        Values { blocked: blocked(&plain, dims), plain }
    }
}

/// A layer between two batch norms, on the way back.
struct Way {
    dims: Dims,
    out: Dims,
    /// Whether there are: a gradient, a spread, batch norm behind the layer, something to add.
    has: [bool; 4],
    activations: [Activation; 2],
    /// The layer's raw output and what follows it, with a, b and c of its batch norm.
    raw: Values,
    behind: Parts,
    factors: Vec<Values>,
    gradient: Values,
    spread: Values,
    /// The raw value that the layer reads through a prologue.
    x: Values,
    before: Parts,
    add: Values,
    centre: Values,
}

/// Gradients of weights and input, and sums of the latter by image and channel.
struct Want {
    dw: Vec<f32>,
    dx: Vec<f32>,
    dims: Dims,
    sums: [Vec<f32>; 2],
}

impl Way {
    fn random(seed: u64, dims: Dims, out: Dims, activations: [Activation; 2], has: [bool; 4]) -> Way {
        let lane = |d: Dims, n: usize| Dims { n, h: 1, w: 1, ..d };
        Way {
            dims,
            out,
            has,
            activations,
            raw: Values::random(seed, out),
            behind: Parts::random(seed ^ 10, out.n, out.c),
            factors: (11..14).map(|i| Values::random(seed ^ i, lane(out, 1))).collect(),
            gradient: Values::random(seed ^ 14, out),
            spread: Values::random(seed ^ 15, lane(out, out.n)),
            x: Values::random(seed ^ 16, dims),
            before: Parts::random(seed ^ 17, dims.n, dims.c),
            add: Values::random(seed ^ 18, dims),
            centre: Values::random(seed ^ 19, lane(dims, 1)),
        }
    }

    /// Not near the corners of activations, where either derivative would be right.
    fn is_off_corners(&self) -> bool {
        let corners = [0.0, 6.0, 3.0, -3.0];
        let is_off = |parts: &Parts, dims: Dims, x: &[f32]| {
            (0..x.len()).all(|i| corners.iter().all(|k| (parts.seen(dims, x, i).0 - k).abs() > 1e-5))
        };
        is_off(&self.behind, self.out, &self.raw.plain) && is_off(&self.before, self.dims, &self.x.plain)
    }

    fn incoming(&self) -> Incoming<'_> {
        let [has_gradient, has_spread, has_norm, _] = self.has;
        let back = Backward {
            prologue: self.behind.prologue(self.activations[0]),
            gradient: has_gradient.then_some(&self.gradient.blocked),
            spread: has_spread.then_some(&self.spread.blocked),
        };
        let factors = has_norm.then(|| [0, 1, 2].map(|i| &self.factors[i].blocked[..]));
        Incoming { x: &self.raw.blocked, back, factors }
    }

    /// Without gate: a gated unit's sums are taken elsewhere.
    fn prologue(&self) -> Prologue<'_> {
        Prologue { gate: None, ..self.before.prologue(self.activations[1]) }
    }

    fn added(&self) -> Option<&[f32]> {
        self.has[3].then_some(&self.add.blocked)
    }

    fn outgoing<'a>(&'a self, sums: &'a mut [f32]) -> Outgoing<'a> {
        Outgoing { x: &self.x.blocked, prologue: self.prologue(), centre: &self.centre.blocked, sums }
    }

    fn reference(&self, g: &Geometry, groups: usize, weights: &[f32]) -> Want {
        let [has_gradient, has_spread, has_norm, has_add] = self.has;
        let one = |has: bool, value: f32| if has { f64::from(value) } else { 0.0 };
        let plane = |dims: Dims, i: usize| i / dims.pixels();
        let channel = |dims: Dims, i: usize| plane(dims, i) % dims.c;
        let dy: Vec<f32> = (0..self.out.len())
            .map(|i| {
                let (v, gate) = self.behind.seen(self.out, &self.raw.plain, i);
                let spread = one(has_spread, self.spread.plain[plane(self.out, i)]);
                let d = (one(has_gradient, self.gradient.plain[i]) * gate + spread)
                    * reference::derivative(self.activations[0], v);
                let [a, b, c] = [0, 1, 2].map(|f| f64::from(self.factors[f].plain[channel(self.out, i)]));
                (if has_norm { d * a + f64::from(self.raw.plain[i]) * b + c } else { d }) as f32
            })
            .collect();
        let seen = |i: usize| self.before.seen(self.dims, &self.x.plain, i).0;
        let input: Vec<f32> =
            (0..self.dims.len()).map(|i| reference::activate(self.activations[1], seen(i)) as f32).collect();
        let channels = [self.dims.c, self.out.c];
        let [dw, mut dx] = reference::convolution_gradients(self.dims.n, channels, groups, g, &input, weights, &dy);
        dx.iter_mut().zip(&self.add.plain).for_each(|(d, a)| *d += one(has_add, *a) as f32);
        let mut sums = [0, 1].map(|_| vec![0f64; self.dims.n * self.dims.c]);
        for (i, &dx) in dx.iter().enumerate() {
            let d = f64::from(dx) * reference::derivative(self.activations[1], seen(i));
            let centred = f64::from(self.x.plain[i]) - f64::from(self.centre.plain[channel(self.dims, i)]);
            sums[0][plane(self.dims, i)] += d;
            sums[1][plane(self.dims, i)] += d * centred;
        }
        Want { dw, dx, dims: self.dims, sums: sums.map(|s| s.into_iter().map(|v| v as f32).collect()) }
    }
}

/// What a kernel wrote.
struct Got {
    dw: Vec<f32>,
    dx: Vec<f32>,
    sums: Vec<f32>,
}

impl Got {
    fn new(weights: usize, dims: Dims, parts: usize) -> Got {
        let nan = |len: usize| vec![f32::NAN; len];
        let sums = dims.n * parts * blocks(dims.c) * norm::BACKWARD * 16;
        Got { dw: nan(weights), dx: nan(dims.blocked_len()), sums: nan(sums) }
    }

    fn bits(&self) -> Vec<u32> {
        [&self.dw, &self.dx, &self.sums].into_iter().flatten().map(|v| v.to_bits()).collect()
    }

    #[track_caller]
    fn check(&self, isa: Isa, parts: usize, want: &Want) {
        assert_plain("weights", isa, &self.dw, &want.dw);
        assert_close("inputs", isa, &self.dx, want.dims, &want.dx);
        let Dims { n, c, .. } = want.dims;
        for (value, want) in want.sums.iter().enumerate() {
            let of = |image: usize, channel: usize| -> f32 {
                let at = |part: usize| (image * parts + part) * blocks(c) + channel / 16;
                let part = |part: usize| self.sums[(at(part) * norm::BACKWARD + value) * 16 + channel % 16];
                (0..parts).map(part).sum()
            };
            let got: Vec<f32> = (0..n * c).map(|i| of(i / c, i % c)).collect();
            assert_plain("sums", isa, &got, want);
        }
    }
}

#[test]
fn the_weights_gradient_of_many_images_is_the_sum_of_each_ones() {
    // So many images with so many channels share sums.
    const IMAGES: usize = 33;
    const CHANNELS: usize = 129;
    let window = |side: usize, kernel: usize, stride: usize, dilation: usize| {
        let before = (kernel - 1) * dilation / 2;
        let output = (side + 2 * before - (kernel - 1) * dilation - 1) / stride + 1;
        let pair = |v: usize| [v; 2];
        Geometry {
            input: pair(side),
            output: pair(output),
            kernel: pair(kernel),
            stride: pair(stride),
            dilation: pair(dilation),
            before: pair(before),
        }
    };
    for (i, g) in [window(7, 3, 1, 1), window(4, 5, 1, 1), window(8, 5, 2, 1), window(6, 2, 1, 1), window(5, 3, 1, 2)]
        .into_iter()
        .enumerate()
    {
        let dims = |n: usize, [h, w]: [usize; 2]| Dims { n, c: CHANNELS, h, w };
        let of = |seed: usize, size| blocked(&random(seed as u64, dims(IMAGES, size).len()), dims(IMAGES, size));
        let (x, raw, gradient) = (of(i, g.input), of(i + 10, g.output), of(i + 20, g.output));
        let taps = g.kernel[0] * g.kernel[1];
        for isa in Isa::available() {
            let back = |images: Range<usize>, threads: usize| {
                let part = |v: &[f32]| {
                    let image = v.len() / IMAGES;
                    v[images.start * image..images.end * image].to_vec()
                };
                let [x, raw, gradient] = [&x, &raw, &gradient].map(|v| part(v));
                let (n, mut dw) = (images.len(), vec![f32::NAN; CHANNELS * taps]);
                let mut scratch = vec![f32::NAN; depthwise::scratch(CHANNELS, n, &g, threads)];
                let back = Backward { prologue: Prologue::default(), gradient: Some(&gradient), spread: None };
                depthwise::back(
                    isa,
                    &Pool::new(threads),
                    depthwise::Call {
                        input: dims(n, g.input),
                        geometry: g,
                        incoming: Incoming { x: &raw, back, factors: None },
                        x: &x,
                        prologue: Prologue::default(),
                        dw: &mut dw,
                        dx: None,
                        add: None,
                        outgoing: None,
                        scratch: &mut scratch,
                    },
                );
                dw
            };
            let all = back(0..IMAGES, 1);
            let mut sum = vec![0.0; all.len()];
            for image in 0..IMAGES {
                sum.iter_mut().zip(back(image..image + 1, 1)).for_each(|(sum, v)| *sum += v);
            }
            assert_plain("sum of images", isa, &all, &sum);
            for threads in [2, 3] {
                assert!(back(0..IMAGES, threads) == all, "{isa}, {threads} threads, {g:?}");
            }
        }
    }
}

/// Moments of all images and parts together are those of `y`, channel by channel.
#[track_caller]
fn assert_moments(what: &str, isa: Isa, dims: Dims, y: &[f32], moments: &[f32]) {
    let mut plain = vec![0.0; dims.len()];
    mobilenet_kernels::layout::from_blocked(y, dims, Order::Nchw, &mut plain);
    let pieces = moments.len() / (blocks(dims.c) * norm::MOMENTS * 16);
    for c in 0..dims.c {
        let values: Vec<f64> = (0..dims.n)
            .flat_map(|n| &plain[(n * dims.c + c) * dims.pixels()..][..dims.pixels()])
            .map(|v| f64::from(*v))
            .collect();
        let (mut count, mut sum, mut square) = (0.0, 0.0, 0.0);
        for piece in 0..pieces {
            let at = (piece * blocks(dims.c) + c / 16) * norm::MOMENTS;
            let [s, q, k, n] = [0, 1, 2, 3].map(|i| f64::from(moments[(at + i) * 16 + c % 16]));
            count += n;
            sum += s + k * n;
            square += q + 2.0 * k * s + n * k * k;
        }
        assert_eq!(count, values.len() as f64, "{what} on {isa}: pixels");
        let scale = values.iter().fold(1f64, |m, v| m.max(v.abs())) * count;
        let (want, wanted) = (values.iter().sum::<f64>(), values.iter().map(|v| v * v).sum::<f64>());
        assert!((sum - want).abs() < 1e-5 * scale, "{what} on {isa}: sum {sum} instead of {want}");
        assert!(
            (square - wanted).abs() < 1e-5 * scale * scale,
            "{what} on {isa}: squares {square} instead of {wanted}"
        );
    }
}

/// Images, inputs, outputs, height and width: many small images, or few that take several strips.
fn shapes() -> impl Strategy<Value = (usize, usize, usize, usize, usize)> {
    prop_oneof![
        4 => (1usize..20, 1usize..50, 1usize..70, 1usize..14, 1usize..14),
        1 => (16usize..18, 1usize..50, 1usize..70, 16usize..24, 16usize..24),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 250 }))]

    #[test]
    fn the_way_back_through_a_pointwise_layer_equals_the_reference(
        (n, c, o, h, w) in shapes(),
        (behind, before) in (activation(), activation()), has: [bool; 4], seed: u64, threads in 1usize..4,
    ) {
        let dims = Dims { n, c, h, w };
        let out = Dims { c: o, ..dims };
        let weights = random(seed ^ 8, c * o);
        let g = Geometry { input: [h, w], output: [h, w], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0] };
        let way = Way::random(seed, dims, out, [behind, before], has);
        prop_assume!(way.is_off_corners());
        let want = way.reference(&g, 1, &weights);
        let parts = mobilenet_kernels::pointwise::parts(n, h * w);
        for isa in Isa::available() {
            let mut transposed = Pointwise::new(isa, o, c, &vec![0.0; c * o], &[], Activation::Linear);
            transposed.set_transposed(&weights);
            let mut got = Got::new(c * o, dims, parts);
            let mut scratch = vec![f32::NAN; pointwise::scratch(dims, o, threads)];
            pointwise::back(isa, &Pool::new(threads), pointwise::Call {
                input: dims, outputs: o, incoming: way.incoming(), x: &way.x.blocked, prologue: way.prologue(),
                dw: &mut got.dw, dx: Some((&transposed, &mut got.dx)), add: way.added(),
                outgoing: Some(way.outgoing(&mut got.sums)), scratch: &mut scratch,
            });
            got.check(isa, parts, &want);
        }
    }

    #[test]
    fn fully_connected_weight_gradients_equal_the_reference(
        (n, c, o) in (prop_oneof![4 => 1usize..12, 1 => 60usize..140], 1usize..70, 1usize..90), seed: u64,
    ) {
        let (dims, out) = (Dims { n, c, h: 1, w: 1 }, Dims { n, c: o, h: 1, w: 1 });
        let (x, dy) = (random(seed, dims.len()), random(seed ^ 7, out.len()));
        let g = Geometry { input: [1, 1], output: [1, 1], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], before: [0, 0] };
        let [want, _] = reference::convolution_gradients(n, [c, o], 1, &g, &x, &vec![0.0; c * o], &dy);
        let (x, dy) = (blocked(&x, dims), blocked(&dy, out));
        for isa in Isa::available() {
            let mut dw = vec![f32::NAN; c * o];
            let mut scratch = vec![f32::NAN; product::scratch([c, o])];
            product::fully_connected(isa, &Pool::new(2), [c, o], n, &x, &dy, &mut dw, &mut scratch);
            assert_plain("fully connected weights", isa, &dw, &want);
        }
    }

    #[test]
    fn the_way_back_through_a_depthwise_layer_equals_the_reference(
        (n, c) in (1usize..4, 1usize..40), g in geometry(), (behind, before) in (activation(), activation()),
        is_wide in prop::bool::weighted(0.3), has: [bool; 4], seed: u64, threads in 1usize..4,
    ) {
        // Wide images pass in strips of a few rows. With few channels, or a value near some corner is all but certain.
        let (n, c, g) = if is_wide { (1, c.min(3), widened(g, 12)) } else { (n, c, g) };
        let (dims, out) = (Dims { n, c, h: g.input[0], w: g.input[1] }, Dims { n, c, h: g.output[0], w: g.output[1] });
        let weights = random(seed ^ 8, c * g.kernel[0] * g.kernel[1]);
        let way = Way::random(seed, dims, out, [behind, before], has);
        prop_assume!(way.is_off_corners());
        let want = way.reference(&g, c, &weights);
        for isa in Isa::available() {
            let mut layer = Depthwise::new(isa, c, g.kernel, &weights, &[], Activation::Linear);
            if g.stride == [1; 2] {
                layer.set_flipped(&weights);
            }
            let back = |threads: usize| {
                let mut got = Got::new(weights.len(), dims, 1);
                let mut scratch = vec![f32::NAN; depthwise::scratch(c, n, &g, threads)];
                depthwise::back(isa, &Pool::new(threads), depthwise::Call {
                    input: dims, geometry: g, incoming: way.incoming(), x: &way.x.blocked, prologue: way.prologue(),
                    dw: &mut got.dw, dx: Some((&layer, &mut got.dx)), add: way.added(),
                    outgoing: Some(way.outgoing(&mut got.sums)), scratch: &mut scratch,
                });
                got
            };
            let (got, alone) = (back(threads), back(1));
            got.check(isa, 1, &want);
            prop_assert_eq!(got.bits(), alone.bits(), "{} on {} threads", isa, threads);
        }
    }

    #[test]
    fn moments_of_a_layer_are_those_of_its_output(
        (n, c, o, h, w) in (1usize..20, 1usize..50, 1usize..70, 1usize..14, 1usize..14), has_prologue: bool,
        activation in activation(), seed: u64, threads in 1usize..4,
    ) {
        let dims = Dims { n, c, h, w };
        let out = Dims { c: o, ..dims };
        let x = blocked(&random(seed, dims.len()), dims);
        let parts = Parts::random(seed ^ 9, n, c);
        let prologue = if has_prologue { parts.prologue(activation) } else { Prologue::default() };
        let g = Geometry { input: [h, w], output: [h, w], kernel: [3, 3], stride: [1, 1], dilation: [1, 1], before: [1, 1] };
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            let layer = Pointwise::new(isa, c, o, &random(seed ^ 8, c * o), &[], Activation::Linear);
            let mut y = vec![f32::NAN; out.blocked_len()];
            let mut moments = vec![f32::NAN; layer.moments(n, h * w)];
            let mut scratch = vec![f32::NAN; layer.scratch(threads)];
            layer.run(&pool, mobilenet_kernels::pointwise::Call {
                images: n, pixels: h * w, x: &x, y: &mut y, residual: None, prologue, moments: Some(&mut moments),
                scratch: &mut scratch,
            });
            assert_moments("pointwise", isa, out, &y, &moments);

            let layer = Depthwise::new(isa, c, [3, 3], &random(seed ^ 8, c * 9), &[], Activation::Linear);
            let mut y = vec![f32::NAN; dims.blocked_len()];
            let mut moments = vec![f32::NAN; n * blocks(c) * norm::MOMENTS * 16];
            let mut scratch = vec![f32::NAN; layer.scratch(&g, threads)];
            layer.run(&pool, mobilenet_kernels::depthwise::Call {
                images: n, geometry: g, x: &x, y: &mut y, residual: None, sums: None, prologue,
                moments: Some(&mut moments), scratch: &mut scratch,
            });
            assert_moments("depthwise", isa, dims, &y, &moments);
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
            dense::inputs(isa, &pool, [c, o], n, g, &weights, &dy, &mut dx, &mut scratch);
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
            let moments = sum(Sum::Moments, norm::MOMENTS);
            let from_first = |i: usize| f64::from(x[i]) - f64::from(x[i / dims.pixels() * dims.pixels()]);
            close("sum", &moments[0], &per_plane(&from_first));
            close("squares", &moments[1], &per_plane(&|i| from_first(i).powi(2)));
            let firsts: Vec<f32> = x.iter().step_by(dims.pixels()).copied().collect();
            close("first", &moments[2], &firsts);
            close("count", &moments[3], &vec![dims.pixels() as f32; n * c]);
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
