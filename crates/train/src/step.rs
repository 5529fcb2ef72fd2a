//! One step of a training program.

use mobilenet_kernels::dense::Source;
use mobilenet_kernels::grad;
use mobilenet_kernels::layout::{LANES, blocks, from_blocked, to_blocked};
use mobilenet_kernels::norm::{self, Backward, Map, Sum};
use mobilenet_kernels::prologue::Prologue;
use mobilenet_kernels::{dense, depthwise, pointwise};
use mobilenet_net::graph::Op;

use crate::arena::TrainArena;
use crate::differentiate::{Step, View};
use crate::layer::LayerKernels;
use crate::norm::{NormState, NormValues, Sums};
use crate::program::{Statistics, TrainProgram};

/// A view's prologue, its gate being what memory holds of it.
fn prologue<'a>(norms: &'a [NormState], view: &View, gate: &'a [f32]) -> Prologue<'a> {
    Prologue { norm: view.norm.map(|n| norms[n].norm()), activation: view.activation, gate: view.gate.map(|_| gate) }
}

impl TrainProgram {
    pub(crate) fn step(&mut self, step: Step, arena: &mut TrainArena) {
        match step {
            Step::Layer { .. } => self.forward_layer(step, arena),
            Step::Statistics { norm, value } => self.update_norm(norm, value, arena),
            Step::ViewGradient { .. } => self.view_gradient(step, arena),
            Step::WeightGradient { .. } => self.weight_gradient(step, arena),
            Step::InputGradient { .. } => self.input_gradient(step, arena),
            _ => self.small(step, arena),
        }
    }

    /// Steps without weights or statistics.
    fn small(&self, step: Step, arena: &mut TrainArena) {
        let (isa, order, pool) = (self.options.isa, self.options.order, arena.pool.clone());
        let dims = |arena: &TrainArena, value: usize| arena.dims(self.steps.values[value].node());
        match step {
            Step::WriteOut { view, add, output } => {
                let dims = dims(arena, view.value);
                let ([y], [x, gate, other]) = arena.memory.parts([Some(output)], [Some(view.value), view.gate, add]);
                let map = Map::Forward(prologue(&self.norms, &view, gate), add.map(|_| other));
                norm::map(isa, &pool, map, dims, x, y);
            }
            Step::Pool { view, output } => {
                let dims = dims(arena, view.value);
                let ([y], [x, gate]) = arena.memory.parts([Some(output)], [Some(view.value), view.gate]);
                norm::sum(isa, &pool, Sum::Value(prologue(&self.norms, &view, gate)), dims, x, y);
                y.iter_mut().for_each(|v| *v /= dims.pixels() as f32);
            }
            Step::PoolGradient { gradient, pooled, output } => {
                let pixels = arena.dims(pooled).pixels() as f32;
                let ([y], [x]) = arena.memory.parts([Some(output)], [Some(gradient)]);
                y.iter_mut().zip(x).for_each(|(y, x)| *y = x / pixels);
            }
            Step::GateGradient { view, gradient, output } => {
                let dims = dims(arena, view.value);
                let ([y], [x, gate, g]) =
                    arena.memory.parts([Some(output)], [Some(view.value), view.gate, Some(gradient)]);
                norm::sum(isa, &pool, Sum::GateGradient(prologue(&self.norms, &view, gate), g), dims, x, y);
            }
            Step::Add { a, b, output } => {
                let dims = dims(arena, output);
                let ([y], [a, b]) = arena.memory.parts([Some(output)], [Some(a), Some(b)]);
                norm::map(isa, &pool, Map::Forward(Prologue::default(), Some(b)), dims, a, y);
            }
            Step::ToPlain { input, output } => {
                let dims = dims(arena, output);
                let ([y], [x]) = arena.memory.parts([Some(output)], [Some(input)]);
                from_blocked(x, dims, order, y);
            }
            Step::FromPlain { input, output } => {
                let dims = dims(arena, output);
                let ([y], [x]) = arena.memory.parts([Some(output)], [Some(input)]);
                to_blocked(x, dims, order, y);
            }
            Step::Dropout { rate, input, mask, output } => {
                let seed = arena.dropout;
                let ([mask, y], [x]) = arena.memory.parts([Some(mask), Some(output)], [Some(input)]);
                for (i, (m, (y, x))) in mask.iter_mut().zip(y.iter_mut().zip(x)).enumerate() {
                    let is_kept = seed.is_none_or(|s| unit(s, i as u64) >= f64::from(rate));
                    *m = match (seed, is_kept) {
                        (None, _) => 1.0,
                        (Some(_), true) => 1.0 / (1.0 - rate),
                        (Some(_), false) => 0.0,
                    };
                    *y = x * *m;
                }
            }
            Step::DropoutGradient { mask, gradient, output } => {
                let ([y], [m, g]) = arena.memory.parts([Some(output)], [Some(mask), Some(gradient)]);
                y.iter_mut().zip(m.iter().zip(g)).for_each(|(y, (m, g))| *y = m * g);
            }
            _ => unreachable!("a step of its own"),
        }
    }

    fn forward_layer(&self, step: Step, arena: &mut TrainArena) {
        let Step::Layer { layer, input, output } = step else { return };
        let of = &self.steps.layers[layer];
        let (images, pixels) = (arena.shapes[of.node].n, arena.dims(of.node).pixels());
        let kernels = self.layer(layer);
        let geometry = match &*kernels {
            LayerKernels::Dense { window, .. } | LayerKernels::Depthwise { window, .. } => {
                Some(arena.geometry(of, *window))
            }
            _ => None,
        };
        let is_input = self.graph[of.reads].op == Op::Input;
        let pool = arena.pool.clone();
        let ([y, scratch], [x, gate]) =
            arena.memory.parts([Some(output), Some(arena.scratch)], [Some(input.value), input.gate]);
        let prologue = prologue(&self.norms, &input, gate);
        let residual = None;
        match (&*kernels, geometry) {
            (LayerKernels::Pointwise { forward, .. }, _) => {
                forward.run(&pool, pointwise::Call { images, pixels, x, y, residual, prologue, scratch });
            }
            (LayerKernels::Depthwise { forward, .. }, Some(geometry)) => {
                let sums = None;
                forward.run(&pool, depthwise::Call { images, geometry, x, y, residual, sums, prologue, scratch });
            }
            (LayerKernels::Dense { forward, .. }, Some(geometry)) => {
                let source = if is_input { Source::Plain(self.options.order) } else { Source::Blocked };
                forward.run(&pool, dense::Call { images, geometry, source, x, y, residual });
            }
            (LayerKernels::FullyConnected { forward, .. }, _) => forward.run(&pool, images, x, y),
            _ => unreachable!("windows have a geometry"),
        }
    }

    fn update_norm(&mut self, norm: usize, value: usize, arena: &mut TrainArena) {
        let of = self.steps.norms[norm];
        let dims = arena.dims(of.node);
        let pool = arena.pool.clone();
        let ([scratch], [x]) = arena.memory.parts([Some(arena.scratch)], [Some(value)]);
        let sums = &mut scratch[..Sums::len(dims.n, dims.c, 3)];
        norm::sum(self.options.isa, &pool, Sum::Moments, dims, x, sums);
        let sums = Sums { values: sums, each: 3, images: dims.n, channels: dims.c };
        let [gamma, beta, mean, variance] = &mut self.values[of.gamma..of.gamma + 4] else {
            unreachable!("a batch norm has four tensors")
        };
        let values = NormValues { gamma, beta, mean, variance };
        self.norms[norm].forward(sums, dims.pixels(), of.epsilon, self.statistics, values);
    }

    fn view_gradient(&mut self, step: Step, arena: &mut TrainArena) {
        let Step::ViewGradient { view, bias, gradient, spread, output } = step else { return };
        let (isa, pool) = (self.options.isa, arena.pool.clone());
        let dims = arena.dims(self.steps.values[view.value].node());
        let ([y, scratch], [x, gate, g, spread_values]) =
            arena.memory.parts([Some(output), Some(arena.scratch)], [Some(view.value), view.gate, gradient, spread]);
        let gradient = gradient.map(|_| g);
        let spread = spread.map(|_| spread_values);
        fn back<'a>(prologue: Prologue<'a>, [gradient, spread]: [Option<&'a [f32]>; 2]) -> Backward<'a> {
            Backward { prologue, gradient, spread }
        }
        let gradients = [gradient, spread];
        let (sums, zeros) = scratch.split_at_mut(Sums::len(dims.n, dims.c, 2));
        let zeros = &mut zeros[..blocks(dims.c) * LANES];
        zeros.fill(0.0);
        let centre = view.norm.map_or(&*zeros, |n| &self.norms[n].centre);
        if view.norm.is_some() || bias.is_some() {
            norm::sum(
                isa,
                &pool,
                Sum::Backward(back(prologue(&self.norms, &view, gate), gradients), centre),
                dims,
                x,
                sums,
            );
        }
        let sums = Sums { values: sums, each: 2, images: dims.n, channels: dims.c };
        let bias = bias.and_then(|l| self.steps.layers[l].bias);
        if let Some(norm) = view.norm {
            let first = self.steps.norms[norm].gamma;
            let [gamma, beta] = &mut self.gradients[first..first + 2] else { unreachable!("γ and β") };
            self.norms[norm].backward(sums, dims.n * dims.pixels(), self.statistics, gamma, beta);
            // The batch's mean takes a bias away again; the running one does not.
            if let (Some(bias), Statistics::Running) = (bias, self.statistics) {
                for (c, scale) in self.norms[norm].back[0][..dims.c].iter().enumerate() {
                    self.gradients[bias][c] = scale * self.gradients[first + 1][c];
                }
            } else if let Some(bias) = bias {
                self.gradients[bias].fill(0.0);
            }
        } else if let Some(bias) = bias {
            self.gradients[bias].iter_mut().enumerate().for_each(|(c, v)| *v = sums.get(0, c) as f32);
        }
        match view.norm {
            Some(norm) => {
                let [a, b, c] = &self.norms[norm].back;
                norm::map(
                    isa,
                    &pool,
                    Map::Backward(back(prologue(&self.norms, &view, gate), gradients), [a, b, c]),
                    dims,
                    x,
                    y,
                );
            }
            None => {
                norm::map(isa, &pool, Map::Through(back(prologue(&self.norms, &view, gate), gradients)), dims, x, y)
            }
        }
    }

    fn weight_gradient(&mut self, step: Step, arena: &mut TrainArena) {
        let Step::WeightGradient { layer, input, gradient } = step else { return };
        let of = self.steps.layers[layer];
        let (isa, pool) = (self.options.isa, arena.pool.clone());
        let (reads, node) = (arena.dims(of.reads), arena.dims(of.node));
        let channels = [reads.c, node.c];
        let mut dw = std::mem::take(&mut self.gradients[of.weight]);
        let kernels = self.layer(layer);
        let geometry = match &*kernels {
            LayerKernels::Dense { window, .. } | LayerKernels::Depthwise { window, .. } => {
                Some(arena.geometry(&of, *window))
            }
            _ => None,
        };
        let is_input = self.graph[of.reads].op == Op::Input;
        let ([scratch], [x, gate, dy]) =
            arena.memory.parts([Some(arena.scratch)], [Some(input.value), input.gate, Some(gradient)]);
        let prologue = prologue(&self.norms, &input, gate);
        let (images, pixels) = (node.n, node.pixels());
        match (&*kernels, geometry) {
            (LayerKernels::Pointwise { .. }, _) => {
                let dw = &mut dw;
                let call = grad::product::Call { channels, images, pixels, x, prologue, dy, dw, scratch };
                grad::product::pointwise(isa, &pool, call);
            }
            (LayerKernels::FullyConnected { .. }, _) => {
                grad::product::fully_connected(isa, &pool, channels, images, x, dy, &mut dw, scratch);
            }
            (LayerKernels::Depthwise { .. }, Some(geometry)) => {
                let (channels, dw) = (node.c, &mut dw);
                let call = grad::depthwise::Call { channels, images, geometry, x, prologue, dy, dw, scratch };
                grad::depthwise::weights(isa, &pool, call);
            }
            (LayerKernels::Dense { .. }, Some(geometry)) => {
                let source = if is_input { Source::Plain(self.options.order) } else { Source::Blocked };
                let dw = &mut dw;
                let call = grad::dense::Call { channels, images, geometry, source, x, dy, dw, scratch };
                grad::dense::weights(isa, &pool, call);
            }
            _ => unreachable!("windows have a geometry"),
        }
        drop(kernels);
        self.gradients[of.weight] = dw;
    }

    fn input_gradient(&self, step: Step, arena: &mut TrainArena) {
        let Step::InputGradient { layer, gradient, add, output } = step else { return };
        let of = &self.steps.layers[layer];
        let (isa, pool) = (self.options.isa, arena.pool.clone());
        let (reads, node) = (arena.dims(of.reads), arena.dims(of.node));
        let kernels = self.layer(layer);
        let weights = &self.values[of.weight];
        let images = reads.n;
        let geometry = match &*kernels {
            LayerKernels::Dense { window, .. } | LayerKernels::Depthwise { window, .. } => {
                Some(arena.geometry(of, *window))
            }
            _ => None,
        };
        let ([dx, scratch], [dy, other]) =
            arena.memory.parts([Some(output), Some(arena.scratch)], [Some(gradient), add]);
        let residual = add.map(|_| other);
        let prologue = Prologue::default();
        let is_added = match (&*kernels, geometry) {
            (LayerKernels::Pointwise { back: Some(back), .. }, _) => {
                let pixels = reads.pixels();
                back.run(&pool, pointwise::Call { images, pixels, x: dy, y: dx, residual, prologue, scratch });
                true
            }
            (LayerKernels::Depthwise { flipped: Some(flipped), .. }, Some(g)) => {
                let geometry = g.transposed();
                let sums = None;
                let call = depthwise::Call { images, geometry, x: dy, y: dx, residual, sums, prologue, scratch };
                flipped.run(&pool, call);
                true
            }
            (LayerKernels::Depthwise { .. }, Some(geometry)) => {
                grad::depthwise::inputs(isa, &pool, node.c, images, geometry, weights, dy, dx);
                false
            }
            (LayerKernels::Dense { .. }, Some(geometry)) => {
                grad::dense::inputs(isa, &pool, [reads.c, node.c], images, geometry, weights, dy, dx);
                false
            }
            (LayerKernels::FullyConnected { back: Some(back), .. }, _) => {
                back.run(&pool, images, dy, dx);
                false
            }
            _ => unreachable!("layers whose input gradient is wanted have a way back"),
        };
        if let (Some(other), false) = (residual, is_added) {
            dx.iter_mut().zip(other).for_each(|(x, o)| *x += o);
        }
    }
}

/// A number in 0 … 1 that `seed` and `index` determine (SplitMix64, Steele et al. 2014).
fn unit(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
