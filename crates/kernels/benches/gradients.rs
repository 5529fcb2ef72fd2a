//! The way back through the layers of MobileNet V2 as a training step takes it: through batch norm and activation, with
//! the weights' and the input's gradients and the sums for the batch norm before. Time, GFLOP/s, share of the peak, GB/s.
//!
//! `cargo bench -p mobilenet-kernels --bench gradients -- [part of a layer's name] [threads]`

mod common;

use common::{Bench, square, tensor, values};
use mobilenet_kernels::grad::{self, Incoming, Outgoing};
use mobilenet_kernels::layout::{Dims, LANES, blocks};
use mobilenet_kernels::norm::{BACKWARD, Backward};
use mobilenet_kernels::prologue::{Norm, Prologue};
use mobilenet_kernels::{Activation, depthwise, pointwise};

/// Images of a batch.
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

/// Pixels a side of the input, channels, stride.
const DEPTHWISE: [[usize; 3]; 6] = [[112, 32, 1], [112, 96, 2], [56, 144, 1], [28, 192, 1], [14, 576, 1], [7, 960, 1]];

fn main() {
    let bench = Bench::from_args();
    POINTWISE.iter().for_each(|&layer| pointwise(&bench, layer));
    DEPTHWISE.iter().for_each(|&layer| depthwise(&bench, layer));
}

fn dims(channels: usize, side: usize) -> Dims {
    Dims { n: IMAGES, c: channels, h: side, w: side }
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
    let input = dims(inputs, side);
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

fn depthwise(bench: &Bench, [side, channels, stride]: [usize; 3]) {
    let name = format!("depthwise gradients {side}×{side} {channels} 3×3/{stride}");
    if !bench.wants(&name) {
        return;
    }
    let (input, geometry) = (dims(channels, side), square(side, 3, stride));
    let x = tensor(IMAGES, channels, side);
    let [y, gradient] = [(); 2].map(|()| tensor(IMAGES, channels, geometry.output[0]));
    let lanes = values(blocks(channels) * LANES);
    let weights = values(channels * 9);
    let flipped = depthwise::Depthwise::new(bench.isa, channels, [3; 2], &weights, &[], Activation::Linear);
    let (mut dw, mut dx) = (values(channels * 9), tensor(IMAGES, channels, side));
    let mut sums = values(IMAGES * blocks(channels) * BACKWARD * LANES);
    let mut scratch = values(grad::depthwise::scratch(channels, IMAGES, &geometry, bench.pool.threads()));
    let work = 2 * IMAGES * geometry.pixels()[1] * channels * 9;
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
