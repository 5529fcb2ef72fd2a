//! Computing expanded tensors twice gives the same bits in less memory.

use std::sync::Arc;

use mobilenet_kernels::Pool;
use mobilenet_net::{arch, init};
use mobilenet_train::{Forward, MemoryUse, Statistics, TrainOptions, TrainProgram};

/// Bytes that a batch of 16 at 224 pixels takes, and logits and gradients after one pass there and back at a smaller size.
fn pass(name: &str, memory: MemoryUse) -> (usize, Vec<Vec<u32>>) {
    let spec = arch::Spec { width: 0.5, classes: 10, ..Default::default() };
    let graph = arch::find(name).unwrap().graph(&spec).unwrap();
    let options = TrainOptions { memory, ..TrainOptions::default() };
    let mut program = TrainProgram::compile(&graph, &init::random(&graph, 1), options).unwrap();
    let mut arena = program.arena(3, 64, 48, &Arc::new(Pool::new(2))).unwrap();
    assert_eq!(arena.bytes(), program.arena_bytes(3, 64, 48, 2).unwrap());
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as f32 % 251.0 / 125.0 - 1.0;
    arena.input_mut().iter_mut().enumerate().for_each(|(i, v)| *v = noise(i));
    program.forward(&mut arena, Forward { statistics: Statistics::Batch { momentum: 0.1 }, dropout: Some(1) });
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut all = vec![bits(arena.result())];
    arena.result_gradient_mut().iter_mut().enumerate().for_each(|(i, v)| *v = noise(i + 7));
    program.backward(&mut arena);
    all.extend(program.gradients().iter().map(|g| bits(g)));
    (program.arena_bytes(16, 224, 224, 2).unwrap(), all)
}

#[test]
fn low_memory_gives_the_same_bits_in_less_of_it() {
    for model in arch::models() {
        let [(fast, right), (low, found)] = [MemoryUse::Fast, MemoryUse::Low].map(|memory| pass(model.name, memory));
        let differs = right.iter().zip(&found).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{}: tensor {differs:?} has other bits", model.name);
        assert!(right.iter().flatten().any(|bits| *bits != 0));
        println!("{}: {} MB, {} MB in low memory", model.name, fast / 1_000_000, low / 1_000_000);
        assert!(4 * low < 3 * fast, "{}: {low} bytes of {fast}", model.name);
    }
}
