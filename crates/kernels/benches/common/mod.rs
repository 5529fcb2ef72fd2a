//! What the benchmarks of layers have in common: their arguments, the measuring, one line a layer.

use std::time::{Duration, Instant};

use mobilenet_kernels::layout::blocked_len;
use mobilenet_kernels::{AlignedBuf, Geometry, Isa, Pool, peak};

/// What is measured of each layer.
const TIME: Duration = Duration::from_millis(120);

/// Where and what to measure.
pub struct Bench {
    pub isa: Isa,
    pub pool: Pool,
    filter: String,
    peak: f64,
}

impl Bench {
    /// From the command line, `[part of a layer's name] [threads]`, and `MOBILENET_ISA`; prints the table's head.
    pub fn from_args() -> Bench {
        let (mut filter, mut threads) = (String::new(), 1);
        // Cargo passes `--bench`.
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
        let peak = peak::gflops(isa) * threads as f64;
        println!("{isa}, {threads} thread(s), peak {peak:.1} GFLOP/s");
        println!("{:<42} {:>9} {:>8} {:>7} {:>7}", "", "µs", "GFLOP/s", "peak %", "GB/s");
        Bench { isa, pool: Pool::new(threads), filter, peak }
    }

    /// Whether the layer of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    /// Measures and prints one layer, of `work` multiply-adds and so many values read and written. Its time is the least
    /// of many calls, so that other programs disturb it little; its tensors lie in the caches if they fit.
    pub fn layer(&self, name: &str, work: usize, values: usize, mut run: impl FnMut()) {
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
        println!("{name:<42} {us:>9.1} {gflops:>8.1} {share:>7.1} {gbytes:>7.1}");
    }
}

/// A square image, padded as the papers' layers are.
pub fn square(side: usize, kernel: usize, stride: usize) -> Geometry {
    Geometry {
        input: [side; 2],
        output: [side.div_ceil(stride); 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        before: [kernel / 2; 2],
    }
}

/// A blocked tensor.
pub fn tensor(images: usize, channels: usize, side: usize) -> AlignedBuf {
    let mut tensor = AlignedBuf::zeroed(blocked_len(images, channels, side, side));
    let values = values(tensor.len());
    tensor.copy_from_slice(&values);
    tensor
}

/// Values between −1 and 1, none of them so small that it slows arithmetic down.
pub fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 0.99).collect()
}
