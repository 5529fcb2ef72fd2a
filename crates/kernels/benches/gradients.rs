//! The way back through the layers of MobileNet V2, and through depthwise ones of V3-Large for photos of 64 pixels, as a
//! training step takes it: through batch norm and activation, with the weights' and the input's gradients and the sums for
//! the batch norm before. Time, GFLOP/s, share of the peak, GB/s.
//!
//! `cargo bench -p mobilenet-kernels --bench gradients -- [part of a layer's name] [threads]`

mod common;

use common::{Bench, square, tensor, values};
use mobilenet_kernels::grad::{self, Incoming, Outgoing};
use mobilenet_kernels::layout::{Dims, LANES, blocks};
use mobilenet_kernels::norm::{BACKWARD, Backward};
use mobilenet_kernels::prologue::{Norm, Prologue};
use mobilenet_kernels::{Activation, depthwise, pointwise};

/// Images of a batch, for pointwise ones.
const IMAGES: usize = 16;

/// Pixels a side, inputs and outputs.
const POINTWISE: [[usize; 3]; 13] = [
    [112, 32, 16],
    [112, 16, 96],
    [56, 96, 24],
    [56, 24, 144],
    [56, 144, 24],
    [28, 32, 192],
    [28, 192, 32],
    [14, 64, 384],
    [14, 384, 64],
    [14, 576, 96],
    [7, 160, 960],
    [7, 960, 320],
    [7, 320, 1280],
];

/// Images, pixels a side of the input, channels, kernel, stride.
const DEPTHWISE: [[usize; 5]; 12] = [
    [16, 112, 32, 3, 1],
    [16, 112, 96, 3, 2],
    [16, 56, 144, 3, 1],
    [16, 28, 192, 3, 1],
    [16, 14, 576, 3, 1],
    [16, 7, 960, 3, 1],
    [128, 32, 64, 3, 2],
    [128, 16, 120, 5, 1],
    [128, 16, 240, 3, 2],
    [128, 8, 184, 3, 1],
    [128, 8, 672, 5, 2],
    [128, 4, 960, 5, 1],
];

fn main() {
    let bench = Bench::from_args();
    POINTWISE.iter().for_each(|&layer| pointwise(&bench, layer));
    DEPTHWISE.iter().for_each(|&layer| depthwise(&bench, layer));
}

/// Batch norm and ReLU6 with a factor and a summand a lane.
fn relu6<'a>(scale: &'a [f32], shift: &'a [f32]) -> Prologue<'a> {
    Prologue { norm: Some(Norm { scale, shift }), activation: Activation::Relu6, gate: None }
}

fn pointwise(bench: &Bench, [side, inputs, outputs]: [usize; 3]) {
    let name = format!("pointwise gradients {side}×{side} {inputs}→{outputs}");
    if !bench.wants(&name) {
        return;
    }
    let input = Dims { n: IMAGES, c: inputs, h: side, w: side };
    let [x, y, gradient] = [inputs, outputs, outputs].map(|channels| tensor(IMAGES, channels, side));
    let [x_lanes, y_lanes] = [inputs, outputs].map(|channels| values(blocks(channels) * LANES));
    let transposed =
        pointwise::Pointwise::new(bench.isa, outputs, inputs, &values(inputs * outputs), &[], Activation::Linear);
    let (mut dw, mut dx) = (values(inputs * outputs), tensor(IMAGES, inputs, side));
    let mut sums = values(IMAGES * pointwise::parts(IMAGES, side * side) * blocks(inputs) * BACKWARD * LANES);
    let mut scratch = values(grad::pointwise::scratch(input, outputs, bench.pool.threads()));
    // Read: input, output, its gradient, and the input again for the sums; written: the input's gradient.
    let moved = 3 * x.len() + 2 * y.len();
    bench.layer(&name, 2 * IMAGES * side * side * inputs * outputs, moved, || {
        let prologue = relu6(&y_lanes, &y_lanes);
        let incoming = Incoming {
            x: &y,
            back: Backward { prologue, gradient: Some(&gradient), spread: None },
            factors: Some([&y_lanes, &y_lanes, &y_lanes]),
        };
        let prologue = relu6(&x_lanes, &x_lanes);
        grad::pointwise::back(
            bench.isa,
            &bench.pool,
            grad::pointwise::Call {
                input,
                outputs,
                incoming,
                x: &x,
                prologue,
                dw: &mut dw,
                dx: Some((&transposed, &mut dx)),
                add: None,
                outgoing: Some(Outgoing { x: &x, prologue, centre: &x_lanes, sums: &mut sums }),
                scratch: &mut scratch,
            },
        );
    });
}

fn depthwise(bench: &Bench, [images, side, channels, kernel, stride]: [usize; 5]) {
    let name = format!("depthwise gradients {images}×{side}×{side} {channels} {kernel}×{kernel}/{stride}");
    if !bench.wants(&name) {
        return;
    }
    let (input, geometry) = (Dims { n: images, c: channels, h: side, w: side }, square(side, kernel, stride));
    let taps = kernel * kernel;
    let x = tensor(images, channels, side);
    let [y, gradient] = [(); 2].map(|()| tensor(images, channels, geometry.output[0]));
    let lanes = values(blocks(channels) * LANES);
    let weights = values(channels * taps);
    let flipped = depthwise::Depthwise::new(bench.isa, channels, [kernel; 2], &weights, &[], Activation::Linear);
    let (mut dw, mut dx) = (values(channels * taps), tensor(images, channels, side));
    let mut sums = values(images * blocks(channels) * BACKWARD * LANES);
    let mut scratch = values(grad::depthwise::scratch(channels, images, &geometry, bench.pool.threads()));
    let work = 2 * images * geometry.pixels()[1] * channels * taps;
    bench.layer(&name, work, 3 * x.len() + 2 * y.len(), || {
        let prologue = relu6(&lanes, &lanes);
        let incoming = Incoming {
            x: &y,
            back: Backward { prologue, gradient: Some(&gradient), spread: None },
            factors: Some([&lanes, &lanes, &lanes]),
        };
        grad::depthwise::back(
            bench.isa,
            &bench.pool,
            grad::depthwise::Call {
                input,
                geometry,
                incoming,
                x: &x,
                prologue,
                dw: &mut dw,
                dx: Some((&flipped, &mut dx)),
                add: None,
                outgoing: Some(Outgoing { x: &x, prologue, centre: &lanes, sums: &mut sums }),
                scratch: &mut scratch,
            },
        );
    });
}
