//! One step of a training program.

use mobilenet_kernels::dense::Source;
use mobilenet_kernels::grad::{self, Incoming, Outgoing};
use mobilenet_kernels::layout::{LANES, blocks, from_blocked, to_blocked};
use mobilenet_kernels::norm::{self, Backward, Map, Sum};
use mobilenet_kernels::prologue::Prologue;
use mobilenet_kernels::{dense, depthwise, pointwise};
use mobilenet_net::graph::Op;

use crate::arena::TrainArena;
use crate::layer::LayerKernels;
use crate::norm::{NormState, NormValues, Sums};
use crate::program::{Statistics, TrainProgram};
use crate::steps::{Step, View};

/// A view's prologue, its gate being what memory holds of it.
fn prologue<'a>(norms: &'a [NormState], view: &View, gate: &'a [f32]) -> Prologue<'a> {
    Prologue { norm: view.norm.map(|n| norms[n].norm()), activation: view.activation, gate: view.gate.map(|_| gate) }
}

/// The way back through a view, from what flows into it.
fn way_back<'a>(
    norms: &'a [NormState],
    view: &View,
    gate: &'a [f32],
    gradient: Option<&'a [f32]>,
    spread: Option<&'a [f32]>,
) -> Backward<'a> {
    Backward { prologue: prologue(norms, view, gate), gradient, spread }
}

impl TrainProgram {
    pub(crate) fn step(&mut self, step: Step, arena: &mut TrainArena) {
        match step {
            Step::Layer { .. } => self.forward_layer(step, arena),
            Step::Statistics { norm, value, moments } => self.update_norm(norm, value, moments, arena),
            Step::NormGradient { .. } => self.norm_gradient(step, arena),
            Step::LayerGradient { .. } => self.layer_gradient(step, arena),
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
            Step::ViewGradient { view, gradient, spread, output } => {
                let dims = dims(arena, view.value);
                let reads = [Some(view.value), view.gate, gradient, spread];
                let ([y], [x, gate, g, s]) = arena.memory.parts([Some(output)], reads);
                let back = way_back(&self.norms, &view, gate, gradient.map(|_| g), spread.map(|_| s));
                let map = match self.factors(&view) {
                    Some(factors) => Map::Backward(back, factors),
                    None => Map::Through(back),
                };
                norm::map(isa, &pool, map, dims, x, y);
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
                let (seed, photos) = (arena.dropout, dims(arena, output).n);
                // The zeros follow from a photo's place in the whole batch.
                let before = arena.memory.read(output).len() / photos * arena.first_photo;
                let ([mask, y], [x]) = arena.memory.parts([Some(mask), Some(output)], [Some(input)]);
                for (i, (m, (y, x))) in mask.iter_mut().zip(y.iter_mut().zip(x)).enumerate() {
                    let is_kept = seed.is_none_or(|s| unit(s, (before + i) as u64) >= f64::from(rate));
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
        let Step::Layer { layer, input, output, moments } = step else { return };
        let moments = moments.filter(|_| self.statistics != Statistics::Running);
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
        let writes = [Some(output), Some(arena.scratch), moments];
        let ([y, scratch, sums], [x, gate]) = arena.memory.parts(writes, [Some(input.value), input.gate]);
        let moments = moments.map(|_| sums);
        let prologue = prologue(&self.norms, &input, gate);
        let residual = None;
        match (&*kernels, geometry) {
            (LayerKernels::Pointwise { forward, .. }, _) => {
                forward.run(&pool, pointwise::Call { images, pixels, x, y, residual, prologue, moments, scratch });
            }
            (LayerKernels::Depthwise { forward, .. }, Some(geometry)) => {
                let sums = None;
                let call = depthwise::Call { images, geometry, x, y, residual, sums, moments, prologue, scratch };
                forward.run(&pool, call);
            }
            (LayerKernels::Dense { forward, .. }, Some(geometry)) => {
                let source = if is_input { Source::Plain(self.options.order) } else { Source::Blocked };
                forward.run(&pool, dense::Call { images, geometry, source, x, y, residual });
            }
            (LayerKernels::FullyConnected { forward, .. }, _) => forward.run(&pool, images, x, y),
            _ => unreachable!("windows have a geometry"),
        }
    }

    fn update_norm(&mut self, norm: usize, value: usize, moments: Option<usize>, arena: &mut TrainArena) {
        let of = self.steps.norms[norm];
        let dims = arena.dims(of.node);
        let pool = arena.pool.clone();
        let sums = match moments {
            _ if self.statistics == Statistics::Running => &[],
            Some(moments) => arena.memory.read(moments),
            None => {
                let ([scratch], [x]) = arena.memory.parts([Some(arena.scratch)], [Some(value)]);
                let sums = &mut scratch[..Sums::len(dims.n, dims.c, norm::MOMENTS)];
                norm::sum(self.options.isa, &pool, Sum::Moments, dims, x, sums);
                sums
            }
        };
        let values = NormValues::of(&mut self.values, &of);
        let group = self.together.as_ref().map(|together| &*together.group);
        self.norms[norm].forward(Sums::moments(sums, dims.c), of.epsilon, self.statistics, values, group);
    }

    /// a, b and c of the batch norm of a view.
    fn factors(&self, view: &View) -> Option<[&[f32]; 3]> {
        view.norm.map(|n| self.norms[n].back.each_ref().map(|f| &f[..]))
    }

    fn norm_gradient(&mut self, step: Step, arena: &mut TrainArena) {
        let Step::NormGradient { view, bias, gradient, spread, sums } = step else { return };
        let (isa, pool) = (self.options.isa, arena.pool.clone());
        let dims = arena.dims(self.steps.values[view.value].node());
        let reads = [Some(view.value), view.gate, gradient, spread, sums];
        let ([scratch], [x, gate, g, s, left]) = arena.memory.parts([Some(arena.scratch)], reads);
        let sums = match sums {
            Some(_) => left,
            None => {
                let (sums, zeros) = scratch.split_at_mut(Sums::len(dims.n, dims.c, norm::BACKWARD));
                let zeros = &mut zeros[..blocks(dims.c) * LANES];
                zeros.fill(0.0);
                let centre = view.norm.map_or(&*zeros, |n| &self.norms[n].centre);
                let back = way_back(&self.norms, &view, gate, gradient.map(|_| g), spread.map(|_| s));
                norm::sum(isa, &pool, Sum::Backward(back, centre), dims, x, sums);
                sums
            }
        };
        let sums = Sums::backward(sums, dims.c);
        let bias = bias.and_then(|l| self.steps.layers[l].bias);
        if let Some(norm) = view.norm {
            let first = self.steps.norms[norm].gamma;
            let [gamma, beta] = &mut self.gradients[first..first + 2] else { unreachable!("γ and β") };
            let (count, group) = (dims.n * dims.pixels(), self.together.as_ref().map(|together| &*together.group));
            self.norms[norm].backward(sums, count, self.statistics, [gamma, beta], group);
            // The batch's mean takes a bias away again; the running one does not.
            if let (Some(bias), Statistics::Running) = (bias, self.statistics) {
                for (c, scale) in self.norms[norm].back[0][..dims.c].iter().enumerate() {
                    self.gradients[bias][c] = scale * self.gradients[first + 1][c];
                }
            } else if let Some(bias) = bias {
                self.gradients[bias].fill(0.0);
            }
        } else if let Some(bias) = bias {
            for (block, values) in self.gradients[bias].chunks_mut(LANES).enumerate() {
                values.iter_mut().zip(sums.of_block(0, block)).for_each(|(v, sum)| *v = sum as f32);
            }
        }
    }

    fn layer_gradient(&mut self, step: Step, arena: &mut TrainArena) {
        let Step::LayerGradient { layer, view, gradient, spread, input, add, output, sums } = step else { return };
        let of = self.steps.layers[layer];
        let (isa, pool) = (self.options.isa, arena.pool.clone());
        let (reads, node) = (arena.dims(of.reads), arena.dims(of.node));
        let mut dw = std::mem::take(&mut self.gradients[of.weight]);
        let kernels = self.layer(layer);
        let geometry = match &*kernels {
            LayerKernels::Depthwise { window, .. } => Some(arena.geometry(&of, *window)),
            _ => None,
        };
        let ([dx, sums_out, scratch], [raw, gate, g, s, x, input_gate, other]) = arena.memory.parts(
            [output, sums, Some(arena.scratch)],
            [Some(view.value), view.gate, gradient, spread, Some(input.value), input.gate, add],
        );
        let back = way_back(&self.norms, &view, gate, gradient.map(|_| g), spread.map(|_| s));
        let incoming = Incoming { x: raw, back, factors: self.factors(&view) };
        let prologue = prologue(&self.norms, &input, input_gate);
        let outgoing =
            sums.and(input.norm).map(|n| Outgoing { x, prologue, centre: &self.norms[n].centre, sums: sums_out });
        let (dw_out, add) = (&mut dw[..], add.map(|_| other));
        match (&*kernels, geometry) {
            (LayerKernels::Pointwise { back, .. }, _) => {
                let dx = back.as_ref().zip(output.map(|_| dx));
                let (input, outputs, dw) = (reads, node.c, dw_out);
                let call =
                    grad::pointwise::Call { input, outputs, incoming, x, prologue, dw, dx, add, outgoing, scratch };
                grad::pointwise::back(isa, &pool, call);
            }
            (LayerKernels::Depthwise { forward, flipped, .. }, Some(geometry)) => {
                let dx = output.map(|_| (flipped.as_ref().unwrap_or(forward), dx));
                let (input, dw) = (reads, dw_out);
                let call =
                    grad::depthwise::Call { input, geometry, incoming, x, prologue, dw, dx, add, outgoing, scratch };
                grad::depthwise::back(isa, &pool, call);
            }
            _ => unreachable!("other layers go back step by step"),
        }
        drop(kernels);
        self.gradients[of.weight] = dw;
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
            LayerKernels::Dense { window, .. } => Some(arena.geometry(&of, *window)),
            _ => None,
        };
        let is_input = self.graph[of.reads].op == Op::Input;
        let ([scratch], [x, dy]) = arena.memory.parts([Some(arena.scratch)], [Some(input.value), Some(gradient)]);
        let images = node.n;
        match (&*kernels, geometry) {
            (LayerKernels::Dense { .. }, Some(geometry)) => {
                let source = if is_input { Source::Plain(self.options.order) } else { Source::Blocked };
                let dw = &mut dw;
                let call = grad::dense::Call { channels, images, geometry, source, x, dy, dw, scratch };
                grad::dense::weights(isa, &pool, call);
            }
            _ => grad::product::fully_connected(isa, &pool, channels, images, x, dy, &mut dw, scratch),
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
            LayerKernels::Dense { window, .. } => Some(arena.geometry(of, *window)),
            _ => None,
        };
        let writes = [Some(output), Some(arena.scratch)];
        let ([dx, scratch], [dy, other]) = arena.memory.parts(writes, [Some(gradient), add]);
        match (&*kernels, geometry) {
            (LayerKernels::Dense { .. }, Some(geometry)) => {
                grad::dense::inputs(isa, &pool, [reads.c, node.c], images, geometry, weights, dy, dx, scratch);
            }
            (LayerKernels::FullyConnected { back: Some(back), .. }, _) => back.run(&pool, images, dy, dx),
            _ => unreachable!("other layers go back in one pass"),
        }
        if add.is_some() {
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
