//! Blocks in slices against the same layers one by one: equal bits on every instruction set, for any shape and threads.

mod common;

use common::{activation, bf16_units, blocked, geometry, random, widened};
use mobilenet_kernels::inverted_residual::{Call, Layers};
use mobilenet_kernels::layout::Dims;
use mobilenet_kernels::prologue::Prologue;
use mobilenet_kernels::{Activation, Isa, Pool, depthwise, pointwise};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 48 } else { 300 }))]

    #[test]
    fn slices_equal_the_layers_one_by_one(
        (n, inputs, expanded, outputs) in (1usize..3, 1usize..40, 1usize..70, 1usize..40),
        // Wide images have slices of a row or two.
        (g, is_wide) in (geometry(), any::<bool>()),
        (inner, last) in (activation(), activation()),
        has_expand: bool, with_residual: bool, seed: u64, threads in 1usize..4,
    ) {
        let inputs = if has_expand { inputs } else { expanded };
        let g = if is_wide { widened(g, 41) } else { g };
        let dims = |c: usize, [h, w]: [usize; 2]| Dims { n, c, h, w };
        let x = blocked(&random(seed, dims(inputs, g.input).len()), dims(inputs, g.input));
        let out = dims(outputs, g.output);
        let residual = blocked(&random(seed ^ 1, out.len()), out);
        let residual = with_residual.then_some(&residual[..]);
        let [expand, filter, project] =
            [inputs * expanded, expanded * g.kernel[0] * g.kernel[1], expanded * outputs].map(|len| random(seed ^ len as u64, len));
        let bias = random(seed ^ 2, expanded.max(outputs));
        let pool = Pool::new(threads);
        let single = Isa::available().map(|isa| (isa, None));
        for (isa, unit) in single.chain(bf16_units().map(|(isa, unit)| (isa, Some(unit)))) {
            let stored = |layer: pointwise::Pointwise| match unit {
                Some(unit) => layer.in_bf16(unit),
                None => layer,
            };
            let expand = pointwise::Pointwise::new(isa, inputs, expanded, &expand, &bias[..expanded], inner);
            let expand = stored(expand);
            let filter = depthwise::Depthwise::new(isa, expanded, g.kernel, &filter, &bias[..expanded], inner);
            let project = pointwise::Pointwise::new(isa, expanded, outputs, &project, &bias[..outputs], last);
            let project = stored(project);
            let mut wide = vec![f32::NAN; dims(expanded, g.input).blocked_len()];
            let mut filtered = vec![f32::NAN; dims(expanded, g.output).blocked_len()];
            let mut want = vec![f32::NAN; out.blocked_len()];
            let mut got = want.clone();
            if has_expand {
                run(&pool, &expand, n, g.pixels()[0], &x, &mut wide, None);
            } else {
                wide.copy_from_slice(&x);
            }
            filter.run(&pool, depthwise::Call {
                images: n, geometry: g, x: &wide, y: &mut filtered, residual: None, sums: None, moments: None,
                prologue: Prologue::default(), scratch: &mut [],
            });
            run(&pool, &project, n, g.pixels()[1], &filtered, &mut want, residual);
            let layers = Layers { expand: has_expand.then_some(&expand), depthwise: &filter, project: &project };
            let mut scratch = vec![f32::NAN; layers.scratch(&g, threads)];
            layers.run(&pool, Call { images: n, geometry: g, x: &x, y: &mut got, residual, scratch: &mut scratch });
            let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert!(bits(&got) == bits(&want), "{isa} {unit:?}");
        }
    }
}

fn run(
    pool: &Pool,
    layer: &pointwise::Pointwise,
    images: usize,
    pixels: usize,
    x: &[f32],
    y: &mut [f32],
    residual: Option<&[f32]>,
) {
    let call = pointwise::Call {
        images,
        pixels,
        x,
        y,
        residual,
        prologue: Prologue::default(),
        moments: None,
        scratch: &mut vec![f32::NAN; layer.scratch(pool.threads())],
    };
    layer.run(pool, call);
}

#[test]
#[should_panic(expected = "the projection's inputs")]
fn layers_that_do_not_fit_are_refused() {
    let g = mobilenet_kernels::Geometry {
        input: [4, 4],
        output: [4, 4],
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        before: [1, 1],
    };
    let depthwise = depthwise::Depthwise::new(Isa::Portable, 8, [3, 3], &[0.0; 72], &[], Activation::Linear);
    let project = pointwise::Pointwise::new(Isa::Portable, 9, 4, &[0.0; 36], &[], Activation::Linear);
    let layers = Layers { expand: None, depthwise: &depthwise, project: &project };
    let mut y = [0.0; 256];
    layers.run(
        &Pool::new(1),
        Call { images: 1, geometry: g, x: &[0.0; 256], y: &mut y, residual: None, scratch: &mut [] },
    );
}
