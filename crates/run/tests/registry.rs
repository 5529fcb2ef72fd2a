//! Everything registered: built, inferred, folded, compiled and run at several widths, sizes and strides on every
//! instruction set, against the unfused graph in the scalar reference.

use std::sync::Arc;

use mobilenet_kernels::cpu::Bf16Unit;
use mobilenet_kernels::layout::{Dims, padding_is_zero};
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::{self, Spec, Table, WidthRule};
use mobilenet_net::graph::{Graph, Padding, Role};
use mobilenet_net::init;
use mobilenet_net::tensor::{Params, Tensor};
use mobilenet_run::program::Options;
use mobilenet_run::{MemoryUse, Precision, Program, reference};
use mobilenet_testing::difference;

/// Values in −1 … 1.
struct Random(u64);

impl Random {
    fn values(&mut self, len: usize, scale: f32, shift: f32) -> Vec<f32> {
        let next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale + shift
        };
        std::iter::repeat_with(next).take(len).collect()
    }
}

/// Fresh weights with batch norms that do something. Variances above one keep activations from growing: large ones would
/// turn rounding in squeeze-and-excite's gates into large differences.
fn random_params(graph: &Graph, random: &mut Random) -> Params {
    let mut params = init::random(graph, random.0);
    for p in graph.parameters() {
        let (scale, shift) = match p.role {
            Role::Weight => continue,
            Role::Bias | Role::Beta => (0.3, 0.0),
            Role::Mean => (0.2, 0.0),
            Role::Gamma => (0.4, 1.0),
            Role::Variance => (1.0, 3.0),
        };
        let values = random.values(p.shape.iter().product(), scale, shift);
        params.tensors.insert(p.name, Tensor::from_f32(&p.shape, values));
    }
    params
}

fn tables() -> Vec<Table> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tables");
    let ablations = std::fs::read_dir(examples).expect("the example tables").map(|entry| {
        let path = entry.expect("a readable folder").path();
        arch::find(path.to_str().expect("a path in UTF-8")).expect("a valid table")
    });
    arch::models().iter().map(|m| (m.table)()).chain(ablations).collect()
}

fn specs() -> Vec<(Spec, [usize; 3])> {
    let spec = Spec { classes: 7, ..Spec::default() };
    vec![
        (Spec { width: 0.35, ..spec.clone() }, [2, 64, 64]),
        (Spec { width: 0.5, width_rule: WidthRule::Torchvision, ..spec.clone() }, [1, 65, 97]),
        (Spec { width: 0.75, padding: Padding::Same, output_stride: 16, ..spec.clone() }, [1, 96, 96]),
        (Spec { width: 0.25, padding: Padding::Same, output_stride: 8, ..spec.clone() }, [1, 71, 64]),
        (Spec { width: 0.3, total_stride: 8, input_channels: 1, ..spec.clone() }, [2, 32, 32]),
        (Spec { width: 1.0, total_stride: 16, ..spec }, [1, 33, 31]),
    ]
}

/// Every output and tap, so that each layer is seen.
fn all_outputs(graph: &Graph) -> Vec<String> {
    graph.outputs.iter().chain(&graph.taps).map(|(name, _)| name.clone()).collect()
}

#[test]
fn every_network_equals_the_unfused_reference_on_every_instruction_set() {
    let mut random = Random(11);
    for table in tables() {
        for (spec, [n, h, w]) in specs() {
            let graph = table.graph(&spec).expect("a graph");
            let params = random_params(&graph, &mut random);
            let input = random.values(n * spec.input_channels * h * w, 2.0, 0.0);
            let want = reference::run(&graph, &params, &input, n, h, w).expect("reference results");
            for isa in Isa::available() {
                let what = format!("{} width {} at {h}×{w} on {isa}", table.name, spec.width);
                let runs = [(vec!["logits".to_string()], MemoryUse::Low), (all_outputs(&graph), MemoryUse::Fast)];
                for (outputs, memory) in runs {
                    let options = Options { isa, outputs: outputs.clone(), ..Options::default() };
                    let program = Program::compile(&graph, params.clone(), &options).expect(&what);
                    let mut arena = program.arena_with([n, h, w], &Arc::new(Pool::new(2)), memory).expect(&what);
                    arena.input_mut().copy_from_slice(&input);
                    let steps = program.steps();
                    program.run_observed(&mut arena, |o| {
                        let dims = Dims { n: o.shape.n, c: o.shape.c, h: o.shape.h, w: o.shape.w };
                        let is_clean = !o.is_blocked || padding_is_zero(o.output, dims);
                        assert!(
                            is_clean,
                            "{what}: {} leaves values beyond the last channel",
                            steps[o.steps.start].name
                        );
                    });
                    for name in &outputs {
                        let node = graph.find(name).expect("a known output");
                        let error = difference(arena.output(name).expect("an output"), &want[node.0]);
                        assert!(error < 1e-4, "{what}: {name} differs by {error}");
                    }
                }
            }
        }
    }
}

/// The bits of all outputs of three runs, which must be equal.
fn bits(program: &Program, input: &[f32], [n, h, w]: [usize; 3], threads: usize, memory: MemoryUse) -> Vec<Vec<u32>> {
    let mut arena = program.arena_with([n, h, w], &Arc::new(Pool::new(threads)), memory).unwrap();
    arena.input_mut().copy_from_slice(input);
    let once = || {
        program.run(&mut arena);
        let names: Vec<String> = arena.outputs().map(|(name, _)| name.to_owned()).collect();
        names.iter().map(|name| arena.output(name).unwrap().iter().map(|v| v.to_bits()).collect()).collect()
    };
    let all: Vec<Vec<Vec<u32>>> = std::iter::repeat_with(once).take(3).collect();
    assert!(all.windows(2).all(|w| w[0] == w[1]), "runs differ");
    all.into_iter().next().unwrap()
}

#[test]
fn every_number_of_threads_and_use_of_memory_gives_the_same_bits() {
    let mut random = Random(5);
    for model in arch::models() {
        let spec = Spec { width: 0.5, classes: 9, ..Spec::default() };
        let graph = (model.table)().graph(&spec).unwrap();
        let params = random_params(&graph, &mut random);
        for isa in Isa::available() {
            let outputs = vec!["logits".to_owned(), "features".to_owned()];
            let options = Options { isa, outputs, ..Options::default() };
            let program = Program::compile(&graph, params.clone(), &options).unwrap();
            for [n, h, w] in [[1, 96, 96], [2, 65, 129]] {
                let input = random.values(n * 3 * h * w, 1.0, 0.0);
                let of = |threads, memory| bits(&program, &input, [n, h, w], threads, memory);
                let alone = of(1, MemoryUse::Fast);
                for (threads, memory) in
                    [1, 2, 3, 7].into_iter().zip([MemoryUse::Low, MemoryUse::Fast].into_iter().cycle())
                {
                    let what = format!("{} at {h}×{w} on {isa}: {threads} threads, {memory:?}", model.name);
                    assert!(of(threads, memory) == alone, "{what} gives other bits");
                }
            }
        }
    }
}

/// Half precision rounds weights by up to 2⁻¹¹ of themselves, bf16 weights and inputs by 2⁻⁹, in every layer of the deepest
/// network.
#[test]
fn rounded_weights_stay_near_single_precision_with_the_same_bits_for_any_threads() {
    let mut random = Random(23);
    for model in arch::models() {
        let graph = (model.table)().graph(&Spec { width: 0.5, classes: 9, ..Spec::default() }).unwrap();
        let params = random_params(&graph, &mut random);
        let input = random.values(3 * 96 * 96, 1.0, 0.0);
        let rounded = Isa::available().flat_map(|isa| {
            let bf16 = Bf16Unit::detect(isa).map(|_| (isa, Precision::Bf16, 1e-1));
            std::iter::once((isa, Precision::F16, 1e-2)).chain(bf16)
        });
        for (isa, precision, most) in rounded {
            let program = |precision| {
                let options = Options { isa, precision, ..Options::default() };
                Program::compile(&graph, params.clone(), &options).unwrap()
            };
            let [single, half] = [Precision::F32, precision].map(program);
            let run = |program, threads, memory| bits(program, &input, [1, 96, 96], threads, memory).remove(0);
            let [want, got] = [&single, &half].map(|program| run(program, 1, MemoryUse::Fast));
            let what = format!("{} in {precision:?} on {isa}", model.name);
            assert!(want != got, "{what}: nothing was rounded");
            let [want_values, got_values] =
                [&want, &got].map(|bits| bits.iter().map(|&v| f32::from_bits(v)).collect::<Vec<f32>>());
            let error = difference(&got_values, &want_values);
            assert!(error < most, "{what}: off by {error}");
            assert!(run(&half, 3, MemoryUse::Low) == got, "{what}: other bits");
        }
    }
}

#[test]
fn bf16_is_refused_where_the_processor_has_none() {
    let graph = arch::find("mobilenet_v3_small").unwrap().graph(&Spec { classes: 9, ..Spec::default() }).unwrap();
    let options = Options { isa: Isa::Portable, precision: Precision::Bf16, ..Options::default() };
    let error = Program::compile(&graph, init::random(&graph, 1), &options).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("AVX-512 BF16") && error.contains("portable") && error.contains("choose f16"), "{error}");
}

#[test]
fn a_program_serves_many_threads_with_an_arena_each() {
    let graph = arch::find("mobilenet_v3_small").unwrap().graph(&Spec { classes: 9, ..Spec::default() }).unwrap();
    let mut random = Random(5);
    let params = random_params(&graph, &mut random);
    let program = Program::compile(&graph, params, &Options::default()).unwrap();
    let input = random.values(3 * 96 * 96, 1.0, 0.0);
    let run = |threads| bits(&program, &input, [1, 96, 96], threads, MemoryUse::Fast);
    let alone = run(1);
    std::thread::scope(|s| {
        let run = &run;
        let others: Vec<_> = [1, 2, 3, 7].map(|threads| s.spawn(move || run(threads))).into();
        for other in others {
            assert!(other.join().unwrap() == alone, "bits differ between threads");
        }
    });
}

#[test]
fn slices_halve_the_memory_of_v2() {
    let graph = arch::find("mobilenet_v2").unwrap().graph(&Spec::default()).unwrap();
    let program = Program::compile(&graph, init::random(&graph, 1), &Options::default()).unwrap();
    let bytes = |size, memory| program.arena_bytes(size, 1, memory).unwrap();
    for n in [1, 4] {
        // Layer by layer, the second block's expansion stands beside what it gives to, and the input is kept.
        let layers = n * (3 * 224 * 224 + 112 * 112 * 96 + 56 * 56 * 96) * size_of::<f32>();
        let low = bytes([n, 224, 224], MemoryUse::Low);
        assert!(2 * low <= layers, "{low} bytes in slices, {layers} layer by layer");
        assert!(low <= bytes([n, 224, 224], MemoryUse::Fast));
    }
}

#[test]
fn a_size_that_does_not_fit_is_an_error() {
    let graph = arch::find("mobilenet_v2").unwrap().graph(&Spec { classes: 3, ..Spec::default() }).unwrap();
    let params = random_params(&graph, &mut Random(1));
    let program = Program::compile(&graph, params, &Options::default()).unwrap();
    let pool = Arc::new(Pool::new(1));
    for (n, h, w) in [(0, 224, 224), (1, 0, 224), (1, usize::MAX / 2, 224), (1 << 20, 4096, 4096)] {
        assert!(program.arena(n, h, w, &pool).is_err(), "{n}×{h}×{w} was accepted");
    }
    assert!(program.arena(1, 1, 1, &pool).is_ok(), "a single pixel fits with symmetric padding");
}
