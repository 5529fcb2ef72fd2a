//! Latencies, memory and where the time goes.

use std::ops::Range;
use std::time::{Duration, Instant};

use mobilenet_kernels::peak;
use mobilenet_net::Error;
use mobilenet_net::count::Summary;

use crate::arena::Arena;
use crate::program::{Program, StepInfo};

/// Runs before anything is timed.
const WARM_UP_RUNS: usize = 3;

/// Latencies of whole runs in milliseconds, input in memory to output in memory, for about `seconds` and at least one.
pub fn latencies_ms(program: &Program, arena: &mut Arena, seconds: f64) -> Vec<f64> {
    for _ in 0..WARM_UP_RUNS {
        program.run(arena);
    }
    let mut latencies = Vec::new();
    let start = Instant::now();
    while latencies.is_empty() || start.elapsed().as_secs_f64() < seconds {
        let run = Instant::now();
        program.run(arena);
        latencies.push(run.elapsed().as_secs_f64() * 1e3);
    }
    latencies
}

/// The middle of `values`, or the mean of the two middle ones; not a number where there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// Most memory that the process has taken so far, in bytes; `None` where the system does not tell.
pub fn peak_rss_bytes() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// A size that Linux tells in kB behind `label` in a file of `/proc`, in bytes; `None` where it does not.
pub fn proc_bytes(file: &str, label: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(label))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Where a step's time goes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The node that the step computes first, e.g. `block3.expand.conv`.
    pub name: String,
    /// The kernel.
    pub kernel: &'static str,
    /// Median over the rounds, in microseconds.
    pub microseconds: f64,
    /// Multiply-adds of the whole batch; 0 where the step only moves or adds.
    pub multiply_adds: u64,
    /// Bytes that it reads and writes: its inputs, its weights and its result.
    pub bytes: u64,
}

impl StepTime {
    /// Two operations a multiply-add.
    pub fn gflops(&self) -> f64 {
        gflops(self.multiply_adds, self.microseconds)
    }

    /// 10⁹ bytes a second.
    pub fn gbytes_per_second(&self) -> f64 {
        gbytes_per_second(self.bytes, self.microseconds)
    }
}

/// All steps of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// The kernel.
    pub kernel: &'static str,
    /// How many steps it has.
    pub steps: usize,
    /// Sum over the steps.
    pub microseconds: f64,
    /// Sum over the steps.
    pub multiply_adds: u64,
    /// Sum over the steps.
    pub bytes: u64,
}

impl KernelTime {
    /// Two operations a multiply-add.
    pub fn gflops(&self) -> f64 {
        gflops(self.multiply_adds, self.microseconds)
    }

    /// 10⁹ bytes a second.
    pub fn gbytes_per_second(&self) -> f64 {
        gbytes_per_second(self.bytes, self.microseconds)
    }
}

/// 0 where the clock saw no time pass.
fn gflops(multiply_adds: u64, microseconds: f64) -> f64 {
    if microseconds > 0.0 { 2.0 * multiply_adds as f64 / (microseconds * 1e3) } else { 0.0 }
}

/// 0 where the clock saw no time pass.
fn gbytes_per_second(bytes: u64, microseconds: f64) -> f64 {
    if microseconds > 0.0 { bytes as f64 / (microseconds * 1e3) } else { 0.0 }
}

/// A profile: steps in order, and the limits to compare them with.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The steps.
    pub steps: Vec<StepTime>,
    /// Median of whole runs without any watching, in microseconds.
    pub total_microseconds: f64,
    /// GFLOP/s of one core on registers alone, measured now.
    pub core_peak_gflops: f64,
    /// 10⁹ bytes a second that all threads together copy from memory to memory, read and written, measured now.
    pub memory_gbytes_per_second: f64,
    /// Threads that shared the work.
    pub threads: usize,
}

impl Profile {
    /// What all threads together could do, if each had a core of its own.
    pub fn peak_gflops(&self) -> f64 {
        self.core_peak_gflops * self.threads as f64
    }

    /// Shares (0 … 1) of the steps' time that pass near a limit: in steps that reach `share` of the peak, and in others that
    /// move `share` of the bytes that a copy moves.
    pub fn time_near_limits(&self, share: f64) -> [f64; 2] {
        let is_near_peak = |s: &StepTime| s.gflops() >= share * self.peak_gflops();
        let is_near_memory = |s: &StepTime| s.gbytes_per_second() >= share * self.memory_gbytes_per_second;
        let part = |is_near: &dyn Fn(&StepTime) -> bool| {
            let near = self.steps.iter().filter(|s| is_near(s));
            // The `sum` of nothing is −0.
            near.fold(0.0, |sum, s| sum + s.microseconds) / self.sum_microseconds()
        };
        [part(&is_near_peak), part(&|s| !is_near_peak(s) && is_near_memory(s))]
    }

    /// Sum over the steps, in microseconds.
    pub fn sum_microseconds(&self) -> f64 {
        self.steps.iter().map(|s| s.microseconds).sum()
    }

    /// Multiply-adds of a run.
    pub fn multiply_adds(&self) -> u64 {
        self.steps.iter().map(|s| s.multiply_adds).sum()
    }

    /// The kernels, the one that takes longest first.
    pub fn kernels(&self) -> Vec<KernelTime> {
        let mut kernels: Vec<KernelTime> = Vec::new();
        for step in &self.steps {
            let at = kernels.iter().position(|k| k.kernel == step.kernel).unwrap_or_else(|| {
                let kernel = step.kernel;
                kernels.push(KernelTime { kernel, steps: 0, microseconds: 0.0, multiply_adds: 0, bytes: 0 });
                kernels.len() - 1
            });
            let total = &mut kernels[at];
            total.steps += 1;
            total.microseconds += step.microseconds;
            total.multiply_adds += step.multiply_adds;
            total.bytes += step.bytes;
        }
        kernels.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
        kernels
    }
}

/// Times every step of `program` on the input that `arena` holds, for about `seconds`.
///
/// # Errors
/// None for an arena of this program; the shape was accepted before.
pub fn profile(program: &Program, arena: &mut Arena, seconds: f64) -> Result<Profile, Error> {
    let core_peak_gflops = peak::gflops(program.isa());
    let memory_gbytes_per_second = peak::memory_gbytes_per_second(&arena.pool);
    let whole = latencies_ms(program, arena, seconds / 2.0);
    let infos = program.steps();
    let shape = arena.input_shape();
    let counts = Summary::new(program.graph(), shape.h, shape.w)?;
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); infos.len()];
    let mut bytes = vec![0u64; infos.len()];
    let start = Instant::now();
    let mut ran = Vec::<Range<usize>>::new();
    loop {
        let mut last = Instant::now();
        ran.clear();
        program.run_observed(arena, |observed| {
            let first = observed.steps.start;
            rounds[first].push(last.elapsed().as_secs_f64() * 1e6);
            bytes[first] = observed.bytes as u64;
            ran.push(observed.steps);
            last = Instant::now();
        });
        if start.elapsed() >= Duration::from_secs_f64(seconds / 2.0) {
            break;
        }
    }
    let steps = ran.into_iter().map(|steps| {
        let first = steps.start;
        let layers = || infos[steps.clone()].iter().filter_map(|i| counts.layers.iter().find(|l| l.name == i.name));
        let StepInfo { name, kernel } = &infos[first];
        let is_one = steps.len() == 1;
        StepTime {
            microseconds: median(&rounds[first]),
            multiply_adds: layers().map(|l| l.multiply_adds * shape.n as u64).sum(),
            bytes: bytes[first] + layers().map(|l| l.weights * size_of::<f32>() as u64).sum::<u64>(),
            // Steps that run as one are a block's.
            name: if is_one { name } else { name.split('.').next().unwrap_or(name) }.to_owned(),
            kernel: if is_one { kernel } else { "slices" },
        }
    });
    Ok(Profile {
        steps: steps.collect(),
        total_microseconds: median(&whole) * 1e3,
        core_peak_gflops,
        memory_gbytes_per_second,
        threads: arena.threads(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mobilenet_kernels::Pool;
    use mobilenet_net::{arch, init};

    use super::*;
    use crate::program::Options;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn timed_runs_leave_the_input_and_the_outputs_as_they_are() {
        let spec = arch::Spec { width: 0.35, classes: 10, ..Default::default() };
        let graph = arch::find("mobilenet_v3_large").unwrap().graph(&spec).unwrap();
        let program = Program::compile(&graph, init::random(&graph, 1), &Options::default()).unwrap();
        let mut arena = program.arena(1, 64, 64, &Arc::new(Pool::new(1))).unwrap();
        let mut once = |measure: &mut dyn FnMut(&mut Arena)| {
            arena.input_mut().fill(0.5);
            measure(&mut arena);
            arena.output("logits").unwrap().to_vec()
        };
        let expected = once(&mut |arena| program.run(arena));
        assert_eq!(expected, once(&mut |arena| drop(latencies_ms(&program, arena, 0.01))));
        assert_eq!(expected, once(&mut |arena| drop(profile(&program, arena, 0.01).unwrap())));
    }

    #[test]
    fn kernels_are_summed_and_the_slowest_comes_first() {
        let step =
            |kernel, microseconds| StepTime { name: "n".into(), kernel, microseconds, multiply_adds: 1000, bytes: 4 };
        let steps = vec![step("dense", 2.0), step("pointwise", 1.5), step("pointwise", 2.5)];
        let profile = Profile {
            steps,
            total_microseconds: 6.0,
            core_peak_gflops: 2.0,
            memory_gbytes_per_second: 1.0,
            threads: 2,
        };
        let kernels = profile.kernels();
        assert_eq!(kernels.iter().map(|k| (k.kernel, k.steps)).collect::<Vec<_>>(), [("pointwise", 2), ("dense", 1)]);
        assert_eq!((kernels[0].microseconds, kernels[0].bytes, kernels[0].gflops()), (4.0, 8, 1.0));
        assert_eq!((profile.sum_microseconds(), profile.multiply_adds()), (6.0, 3000));
    }

    #[test]
    fn memory_is_known_on_linux() {
        assert_eq!(peak_rss_bytes().is_some(), cfg!(target_os = "linux"));
    }
}
