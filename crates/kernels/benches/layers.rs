//! Every kernel on the layers of MobileNets: time, GFLOP/s and the share of the measured peak, GB/s.
//!
//! `cargo bench -p mobilenet-kernels --bench layers -- [part of a layer's name] [threads]`; the instruction set is the best
//! one, or what `MOBILENET_ISA` says.

mod common;

use common::{Bench, square, tensor, values};
use mobilenet_kernels::layout::Order;
use mobilenet_kernels::prologue::Prologue;
use mobilenet_kernels::{Activation, Geometry, dense, depthwise, fc, inverted_residual, pointwise};

/// Pixels a side, inputs and outputs: the 1×1 layers of V2 and V3-Large that differ, and V1's most frequent ones.
const POINTWISE: [[usize; 3]; 20] = [
    [112, 32, 16],
    [112, 16, 96],
    [56, 96, 24],
    [56, 24, 144],
    [56, 144, 24],
    [28, 144, 32],
    [28, 32, 192],
    [28, 192, 32],
    [28, 120, 40],
    [14, 192, 64],
    [14, 64, 384],
    [14, 384, 64],
    [14, 96, 576],
    [14, 576, 96],
    [14, 512, 512],
    [7, 160, 960],
    [7, 960, 160],
    [7, 320, 1280],
    [7, 1024, 1024],
    [56, 64, 128],
];

/// Pixels a side of the input, channels, kernel, stride.
const DEPTHWISE: [[usize; 4]; 14] = [
    [112, 32, 3, 1],
    [112, 96, 3, 2],
    [56, 144, 3, 1],
    [56, 144, 3, 2],
    [28, 192, 3, 1],
    [28, 192, 3, 2],
    [14, 384, 3, 1],
    [14, 576, 3, 2],
    [7, 960, 3, 1],
    [56, 72, 5, 2],
    [28, 120, 5, 1],
    [14, 672, 5, 1],
    [14, 672, 5, 2],
    [7, 960, 5, 1],
];

/// Pixels a side of the input, inputs, expanded channels, outputs, kernel, stride.
const INVERTED_RESIDUALS: [[usize; 6]; 8] = [
    [112, 32, 0, 16, 3, 1],
    [112, 16, 96, 24, 3, 2],
    [112, 16, 64, 24, 3, 2],
    [56, 24, 144, 24, 3, 1],
    [56, 24, 144, 32, 3, 2],
    [28, 32, 192, 32, 3, 1],
    [14, 64, 384, 64, 3, 1],
    [7, 160, 960, 160, 3, 1],
];

/// Inputs and outputs.
const FULLY_CONNECTED: [[usize; 2]; 5] = [[1280, 1000], [1024, 1000], [960, 1280], [960, 240], [240, 960]];

fn main() {
    let bench = Bench::from_args();
    POINTWISE.iter().for_each(|&layer| pointwise(&bench, layer));
    DEPTHWISE.iter().for_each(|&layer| depthwise(&bench, layer));
    INVERTED_RESIDUALS.iter().for_each(|&block| inverted_residual(&bench, block));
    [32, 16].iter().for_each(|&outputs| stem(&bench, outputs));
    FULLY_CONNECTED.iter().for_each(|&layer| fully_connected(&bench, layer));
}

fn pointwise(bench: &Bench, [side, inputs, outputs]: [usize; 3]) {
    let name = format!("pointwise {side}×{side} {inputs}→{outputs}");
    if !bench.wants(&name) {
        return;
    }
    let pixels = side * side;
    let weights = values(inputs * outputs);
    let layer = pointwise::Pointwise::new(bench.isa, inputs, outputs, &weights, &[], Activation::Relu6);
    let (x, mut y) = (tensor(1, inputs, side), tensor(1, outputs, side));
    bench.layer(&name, pixels * inputs * outputs, x.len() + y.len() + weights.len(), || {
        run_pointwise(bench, &layer, pixels, &x, &mut y);
    });
}

fn depthwise(bench: &Bench, [side, channels, kernel, stride]: [usize; 4]) {
    let name = format!("depthwise {side}×{side} {channels} {kernel}×{kernel}/{stride}");
    if !bench.wants(&name) {
        return;
    }
    let geometry = square(side, kernel, stride);
    let weights = values(channels * kernel * kernel);
    let layer = depthwise::Depthwise::new(bench.isa, channels, [kernel; 2], &weights, &[], Activation::Relu6);
    let (x, mut y) = (tensor(1, channels, side), tensor(1, channels, geometry.output[0]));
    let work = geometry.pixels()[1] * channels * kernel * kernel;
    bench.layer(&name, work, x.len() + y.len(), || {
        run_depthwise(bench, &layer, geometry, &x, &mut y);
    });
}

/// A block layer by layer and in slices.
fn inverted_residual(bench: &Bench, [side, inputs, expanded, outputs, kernel, stride]: [usize; 6]) {
    let name = format!("inverted residual {side}×{side} {inputs}→{expanded}→{outputs}/{stride}");
    if !bench.wants(&name) {
        return;
    }
    let (geometry, has_expand) = (square(side, kernel, stride), expanded > 0);
    let expanded = if has_expand { expanded } else { inputs };
    let [expand, project] = [(inputs, expanded, Activation::Relu6), (expanded, outputs, Activation::Linear)]
        .map(|(i, o, activation)| pointwise::Pointwise::new(bench.isa, i, o, &values(i * o), &[], activation));
    let weights = values(expanded * kernel * kernel);
    let depthwise = depthwise::Depthwise::new(bench.isa, expanded, [kernel; 2], &weights, &[], Activation::Relu6);
    let out = geometry.output[0];
    let (x, mut y) = (tensor(1, inputs, side), tensor(1, outputs, out));
    let (mut wide, mut filtered) = (tensor(1, expanded, side), tensor(1, expanded, out));
    let work =
        side * side * inputs * expanded * usize::from(has_expand) + out * out * expanded * (kernel * kernel + outputs);
    let moved = x.len() + y.len();
    bench.layer(&name, work, moved + 2 * (wide.len() + filtered.len()), || {
        if has_expand {
            run_pointwise(bench, &expand, side * side, &x, &mut wide);
        }
        run_depthwise(bench, &depthwise, geometry, if has_expand { &wide } else { &x }, &mut filtered);
        run_pointwise(bench, &project, out * out, &filtered, &mut y);
    });
    let layers =
        inverted_residual::Layers { expand: has_expand.then_some(&expand), depthwise: &depthwise, project: &project };
    let mut scratch = values(layers.scratch(&geometry, bench.pool.threads()));
    bench.layer(&format!("{name}, slices"), work, moved, || {
        let call =
            inverted_residual::Call { images: 1, geometry, x: &x, y: &mut y, residual: None, scratch: &mut scratch };
        layers.run(&bench.pool, call);
    });
}

fn run_pointwise(bench: &Bench, layer: &pointwise::Pointwise, pixels: usize, x: &[f32], y: &mut [f32]) {
    layer.run(
        &bench.pool,
        pointwise::Call {
            images: 1,
            pixels,
            x,
            y,
            residual: None,
            prologue: Prologue::default(),
            moments: None,
            scratch: &mut [],
        },
    );
}

fn run_depthwise(bench: &Bench, layer: &depthwise::Depthwise, geometry: Geometry, x: &[f32], y: &mut [f32]) {
    layer.run(
        &bench.pool,
        depthwise::Call {
            images: 1,
            geometry,
            x,
            y,
            residual: None,
            sums: None,
            moments: None,
            prologue: Prologue::default(),
            scratch: &mut [],
        },
    );
}

fn stem(bench: &Bench, outputs: usize) {
    let name = format!("stem 224×224 3→{outputs}");
    if !bench.wants(&name) {
        return;
    }
    let geometry = square(224, 3, 2);
    let weights = values(outputs * 27);
    let layer = dense::Dense::new(bench.isa, [3, outputs], [3; 2], &weights, &[], Activation::Relu6);
    let (x, mut y) = (values(3 * 224 * 224), tensor(1, outputs, 112));
    bench.layer(&name, 112 * 112 * 27 * outputs, x.len() + y.len(), || {
        layer.run(
            &bench.pool,
            dense::Call {
                images: 1,
                geometry,
                source: dense::Source::Plain(Order::Nchw),
                x: &x,
                y: &mut y,
                residual: None,
            },
        );
    });
}

fn fully_connected(bench: &Bench, [inputs, outputs]: [usize; 2]) {
    let name = format!("fully_connected {inputs}→{outputs}");
    if !bench.wants(&name) {
        return;
    }
    let weights = values(inputs * outputs);
    let layer = fc::FullyConnected::new(bench.isa, inputs, outputs, &weights, &[], Activation::Linear);
    let (x, mut y) = (tensor(1, inputs, 1), tensor(1, outputs, 1));
    bench.layer(&name, inputs * outputs, weights.len(), || layer.run(&bench.pool, 1, &x, &mut y));
}
