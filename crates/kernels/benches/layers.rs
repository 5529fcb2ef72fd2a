//! Every kernel on the layers of MobileNets: time, GFLOP/s and the share of the measured peak, GB/s.
//!
//! `cargo bench -p mobilenet-kernels --bench layers -- [part of a kernel's or layer's name] [threads]`
//!
//! The instruction set is the best one, or what `MOBILENET_ISA` says. A layer's time is its least of many calls, so that
//! other programs disturb it little; its tensors lie in the caches if they fit.

use std::time::{Duration, Instant};

use mobilenet_kernels::layout::{Order, blocked_len};
use mobilenet_kernels::prologue::Prologue;
use mobilenet_kernels::{Activation, AlignedBuf, Geometry, Isa, Pool, dense, depthwise, fc, peak, pointwise};

/// What is measured of each layer.
const TIME: Duration = Duration::from_millis(120);

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

/// Inputs and outputs.
const FULLY_CONNECTED: [[usize; 2]; 5] = [[1280, 1000], [1024, 1000], [960, 1280], [960, 240], [240, 960]];

fn main() {
    let mut filter = String::new();
    let mut threads = 1;
    for argument in std::env::args().skip(1).filter(|a| !a.starts_with("--")) {
        match argument.parse() {
            Ok(number) => threads = number,
            Err(_) => filter = argument,
        }
    }
    let isa = Isa::from_env().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2)
    });
    let pool = Pool::new(threads);
    let bench = Bench { isa, pool: &pool, filter, peak: peak::gflops(isa) * threads as f64 };
    println!("{isa}, {threads} thread(s), peak {:.1} GFLOP/s", bench.peak);
    println!("{:<36} {:>9} {:>8} {:>7} {:>7}", "", "µs", "GFLOP/s", "peak %", "GB/s");
    POINTWISE.iter().for_each(|&layer| bench.pointwise(layer));
    DEPTHWISE.iter().for_each(|&layer| bench.depthwise(layer));
    bench.stem();
    FULLY_CONNECTED.iter().for_each(|&layer| bench.fully_connected(layer));
}

struct Bench<'a> {
    isa: Isa,
    pool: &'a Pool,
    filter: String,
    peak: f64,
}

impl Bench<'_> {
    /// Measures and prints one layer, of `work` multiply-adds and so many values read and written.
    fn layer(&self, name: &str, work: usize, values: usize, mut run: impl FnMut()) {
        let (mut least, start) = (Duration::MAX, Instant::now());
        while start.elapsed() < TIME {
            let call = Instant::now();
            run();
            least = least.min(call.elapsed());
        }
        let seconds = least.as_secs_f64();
        let gflops = 2.0 * work as f64 / seconds / 1e9;
        let gbytes = (values * size_of::<f32>()) as f64 / seconds / 1e9;
        let (us, share) = (seconds * 1e6, 100.0 * gflops / self.peak);
        println!("{name:<36} {us:>9.1} {gflops:>8.1} {share:>7.1} {gbytes:>7.1}");
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    fn pointwise(&self, [side, inputs, outputs]: [usize; 3]) {
        let name = format!("pointwise {side}×{side} {inputs}→{outputs}");
        if !self.wants(&name) {
            return;
        }
        let pixels = side * side;
        let weights = values(inputs * outputs);
        let layer = pointwise::Pointwise::new(self.isa, inputs, outputs, &weights, &[], Activation::Relu6);
        let (x, mut y) = (tensor(inputs, side), tensor(outputs, side));
        self.layer(&name, pixels * inputs * outputs, x.len() + y.len() + weights.len(), || {
            layer.run(self.pool, pointwise::Call {
                images: 1,
                pixels,
                x: &x,
                y: &mut y,
                residual: None,
                prologue: Prologue::default(),
                moments: None,
                scratch: &mut [],
            });
        });
    }

    fn depthwise(&self, [side, channels, kernel, stride]: [usize; 4]) {
        let name = format!("depthwise {side}×{side} {channels} {kernel}×{kernel}/{stride}");
        if !self.wants(&name) {
            return;
        }
        let geometry = square(side, kernel, stride);
        let weights = values(channels * kernel * kernel);
        let layer =
            depthwise::Depthwise::new(self.isa, channels, [kernel; 2], &weights, &[], Activation::Relu6);
        let (x, mut y) = (tensor(channels, side), tensor(channels, geometry.output[0]));
        let work = geometry.pixels()[1] * channels * kernel * kernel;
        self.layer(&name, work, x.len() + y.len(), || {
            layer.run(self.pool, depthwise::Call {
                images: 1,
                geometry,
                x: &x,
                y: &mut y,
                residual: None,
                sums: None,
                moments: None,
                prologue: Prologue::default(),
                scratch: &mut [],
            });
        });
    }

    fn stem(&self) {
        for outputs in [32, 16] {
            let name = format!("stem 224×224 3→{outputs}");
            if !self.wants(&name) {
                continue;
            }
            let geometry = square(224, 3, 2);
            let weights = values(outputs * 27);
            let layer = dense::Dense::new(self.isa, [3, outputs], [3; 2], &weights, &[], Activation::Relu6);
            let (x, mut y) = (values(3 * 224 * 224), tensor(outputs, 112));
            self.layer(&name, 112 * 112 * 27 * outputs, x.len() + y.len(), || {
                layer.run(self.pool, dense::Call {
                    images: 1,
                    geometry,
                    source: dense::Source::Plain(Order::Nchw),
                    x: &x,
                    y: &mut y,
                    residual: None,
                });
            });
        }
    }

    fn fully_connected(&self, [inputs, outputs]: [usize; 2]) {
        let name = format!("fully_connected {inputs}→{outputs}");
        if !self.wants(&name) {
            return;
        }
        let weights = values(inputs * outputs);
        let layer = fc::FullyConnected::new(self.isa, inputs, outputs, &weights, &[], Activation::Linear);
        let (x, mut y) = (tensor(inputs, 1), tensor(outputs, 1));
        self.layer(&name, inputs * outputs, weights.len(), || layer.run(self.pool, 1, &x, &mut y));
    }
}

/// A square image, padded as the papers' layers are.
fn square(side: usize, kernel: usize, stride: usize) -> Geometry {
    Geometry {
        input: [side; 2],
        output: [side.div_ceil(stride); 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        before: [kernel / 2; 2],
    }
}

/// A blocked tensor of one image.
fn tensor(channels: usize, side: usize) -> AlignedBuf {
    let mut tensor = AlignedBuf::zeroed(blocked_len(1, channels, side, side));
    let values = values(tensor.len());
    tensor.copy_from_slice(&values);
    tensor
}

/// Values between −1 and 1, none of them so small that it slows arithmetic down.
fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 0.99).collect()
}
