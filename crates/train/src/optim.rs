//! Optimizers: from gradients to the next weights. Each is defined by the library that it names, to the order of its
//! operations; the tests hold that library's numbers.

use std::collections::BTreeMap;

use mobilenet_net::graph::{Graph, Op, Parameter, Role};
use mobilenet_net::{Error, Tensor};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Which rule turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Gradient descent with momentum, without dampening (`torch.optim.SGD`).
    Sgd,
    /// `torch.optim.RMSprop`: mean square from 0, ε outside the root, the rate outside the momentum buffer.
    Rmsprop,
    /// `tf.train.RMSPropOptimizer`, as timm's `RMSpropTF` rebuilds it: mean square from 1, ε inside the root, the rate
    /// inside the momentum buffer.
    RmspropTf,
    /// `torch.optim.AdamW` (arXiv 1711.05101): decay apart from the gradient.
    Adamw,
}

/// The numbers of an optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Share of the last step that is kept; AdamW's β₁.
    pub momentum: f64,
    /// Whether SGD looks ahead (Nesterov's momentum, in PyTorch's form).
    pub nesterov: bool,
    /// RMSprop's decay of the mean square, which TensorFlow calls `decay`.
    pub alpha: f64,
    /// AdamW's decay of the mean square.
    pub beta2: f64,
    /// Keeps RMSprop and AdamW from dividing by zero.
    pub eps: f64,
    /// Weight decay: added to the gradient times the weight; AdamW's shrinks the weight itself.
    pub weight_decay: f64,
    /// Whether depthwise filters are decayed too, which V1's paper advises against (§3.2).
    pub decay_depthwise: bool,
    /// Whether everything is decayed, batch norm and biases included, as PyTorch does with `net.parameters()`.
    pub decay_all: bool,
    /// Largest norm of all gradients together; longer ones are scaled down to it.
    pub clip_norm: Option<f64>,
}

impl Settings {
    /// The library's defaults for `kind`, with momentum 0.9 and no decay.
    pub fn new(kind: OptimizerKind) -> Settings {
        Settings {
            momentum: 0.9,
            nesterov: false,
            alpha: if kind == OptimizerKind::Rmsprop { 0.99 } else { 0.9 },
            beta2: 0.999,
            eps: if kind == OptimizerKind::RmspropTf { 1e-10 } else { 1e-8 },
            weight_decay: 0.0,
            decay_depthwise: true,
            decay_all: false,
            clip_norm: None,
        }
    }
}

/// Added to the norm before the limit is divided by it, as `torch.nn.utils.clip_grad_norm_` does.
const CLIP_EPSILON: f64 = 1e-6;

/// An optimizer with its state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    settings: Settings,
    steps: u64,
    parameters: Vec<Parameter>,
    slots: Vec<Slot>,
}

/// One parameter's state.
#[derive(Clone, Debug)]
struct Slot {
    decayed: bool,
    frozen: bool,
    /// SGD's and RMSprop's momentum buffer, AdamW's mean gradient.
    momentum: Vec<f32>,
    /// Mean square of the gradient; empty for SGD.
    square: Vec<f32>,
}

impl Optimizer {
    /// An optimizer for `parameters` of `graph`. Statistics among them are never moved.
    pub fn new(kind: OptimizerKind, settings: Settings, parameters: &[Parameter], graph: &Graph) -> Optimizer {
        let slot = |parameter: &Parameter| {
            let learned = parameter.role.is_learned();
            let len = if learned { parameter.shape.iter().product() } else { 0 };
            let square = match kind {
                OptimizerKind::Sgd => Vec::new(),
                OptimizerKind::RmspropTf => vec![1.0; len],
                OptimizerKind::Rmsprop | OptimizerKind::Adamw => vec![0.0; len],
            };
            let is_depthwise = matches!(graph[parameter.node].op, Op::Depthwise { .. });
            let is_weight = parameter.role == Role::Weight && (settings.decay_depthwise || !is_depthwise);
            let decayed = settings.decay_all || is_weight;
            Slot { decayed, frozen: !learned, momentum: vec![0.0; len], square }
        };
        let slots = parameters.iter().map(slot).collect();
        Optimizer { kind, settings, steps: 0, parameters: parameters.to_vec(), slots }
    }

    /// Leaves the parameters that `is_frozen` names as they are, whatever their gradients, and returns how many.
    pub fn freeze(&mut self, is_frozen: impl Fn(&Parameter) -> bool) -> usize {
        for (slot, parameter) in self.slots.iter_mut().zip(&self.parameters) {
            slot.frozen = !parameter.role.is_learned() || is_frozen(parameter);
        }
        let learned = self.slots.iter().zip(&self.parameters).filter(|(_, p)| p.role.is_learned());
        learned.filter(|(slot, _)| slot.frozen).count()
    }

    /// Moves `values` by one step at rate `lr`. Allocates nothing.
    ///
    /// # Panics
    /// Where values or gradients are not those of the parameters.
    pub fn step(&mut self, values: &mut [Vec<f32>], gradients: &[Vec<f32>], lr: f32) {
        assert_eq!((values.len(), gradients.len()), (self.slots.len(), self.slots.len()), "parameters are missing");
        self.steps += 1;
        let mut rule = Rule::new(self.kind, &self.settings, self.steps, lr, self.scale(gradients));
        for ((slot, w), g) in self.slots.iter_mut().zip(values).zip(gradients) {
            if !slot.frozen {
                let len = slot.momentum.len();
                assert_eq!((w.len(), g.len()), (len, len), "a tensor changed its size");
                rule.decay = if slot.decayed { self.settings.weight_decay as f32 } else { 0.0 };
                rule.update(w, g, &mut slot.momentum, &mut slot.square);
            }
        }
    }

    /// What the gradients are multiplied by, so that their norm keeps its limit.
    fn scale(&self, gradients: &[Vec<f32>]) -> f32 {
        let Some(limit) = self.settings.clip_norm else { return 1.0 };
        let learned = self.slots.iter().zip(gradients).filter(|(slot, _)| !slot.frozen);
        (limit / (norm(learned.map(|(_, g)| &g[..])) + CLIP_EPSILON)).min(1.0) as f32
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The state by name, for a checkpoint: `momentum.` and `square.` before the parameters' names.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        for (slot, parameter) in self.slots.iter().zip(&self.parameters) {
            for (part, values) in [("momentum", &slot.momentum), ("square", &slot.square)] {
                if !values.is_empty() {
                    let tensor = Tensor::from_f32(&parameter.shape, values.clone());
                    tensors.insert(format!("{part}.{}", parameter.name), tensor);
                }
            }
        }
        tensors
    }

    /// Takes up what [`Optimizer::state`] and [`Optimizer::steps`] gave.
    ///
    /// # Errors
    /// [`Error::Tensors`] where a tensor is missing or misshapen; nothing is changed then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<(), Error> {
        let learned = || self.parameters.iter().filter(|p| p.role.is_learned());
        let part = |part: &str| {
            let rename = |p: &Parameter| Parameter { name: format!("{part}.{}", p.name), ..p.clone() };
            named("optimizer.", state, &learned().map(rename).collect::<Vec<_>>())
        };
        let momentum = part("momentum")?;
        let square = match self.kind {
            OptimizerKind::Sgd => vec![Vec::new(); momentum.len()],
            _ => part("square")?,
        };
        let slots = self.slots.iter_mut().zip(&self.parameters).filter(|(_, p)| p.role.is_learned());
        for (((slot, _), momentum), square) in slots.zip(momentum).zip(square) {
            (slot.momentum, slot.square) = (momentum, square);
        }
        self.steps = steps;
        Ok(())
    }
}

/// The tensors of `state` in the order of `parameters`. `prefix` is what stands before their names in the file.
pub(crate) fn named(
    prefix: &str,
    state: &BTreeMap<String, Tensor>,
    parameters: &[Parameter],
) -> Result<Vec<Vec<f32>>, Error> {
    let fits = |p: &Parameter| state.get(&p.name).is_some_and(|tensor| tensor.shape() == p.shape);
    let missing = |p: &Parameter| format!("the checkpoint has no tensor {prefix}{} of shape {:?}", p.name, p.shape);
    let wrong: Vec<_> = parameters.iter().filter(|p| !fits(p)).map(missing).collect();
    if !wrong.is_empty() {
        return Err(Error::Tensors(wrong));
    }
    Ok(parameters.iter().map(|p| state[&p.name].clone().into_f32()).collect())
}

/// Euclidean norm of all `gradients` together. Partial sums of 16 lanes are `f32`, so that the loop runs at the speed of
/// memory; everything else is `f64`, in a fixed order.
pub fn norm<'a>(gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let mut sum = 0.0;
    for block in gradients.into_iter().flat_map(|g| g.chunks(4096)) {
        let (lanes, rest) = block.as_chunks::<16>();
        let mut partial = [0.0f32; 16];
        for lane in lanes {
            (0..16).for_each(|i| partial[i] += lane[i] * lane[i]);
        }
        let rest = rest.iter().map(|&x| f64::from(x) * f64::from(x));
        sum += partial.iter().map(|&x| f64::from(x)).chain(rest).sum::<f64>();
    }
    sum.sqrt()
}

/// One step's numbers, in the precision of the weights.
struct Rule {
    kind: OptimizerKind,
    /// What gradients are multiplied by.
    scale: f32,
    /// Weight decay of the present tensor.
    decay: f32,
    lr: f32,
    momentum: f32,
    nesterov: bool,
    /// Decay of the mean square, and what it leaves.
    keep: f32,
    take: f32,
    eps: f32,
    /// What AdamW's mean gradient takes of a new one.
    first: f32,
    /// AdamW's rate over its first bias correction, and the root of the second one.
    corrected: f32,
    root: f32,
}

impl Rule {
    fn new(kind: OptimizerKind, s: &Settings, steps: u64, lr: f32, scale: f32) -> Rule {
        let keep = if kind == OptimizerKind::Adamw { s.beta2 } else { s.alpha };
        let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
        Rule {
            kind,
            scale,
            decay: 0.0,
            lr,
            momentum: s.momentum as f32,
            nesterov: s.nesterov,
            keep: keep as f32,
            take: (1.0 - keep) as f32,
            eps: s.eps as f32,
            first: (1.0 - s.momentum) as f32,
            corrected: (f64::from(lr) / correction(s.momentum)) as f32,
            root: correction(s.beta2).sqrt() as f32,
        }
    }

    fn update(&self, w: &mut [f32], g: &[f32], momentum: &mut [f32], square: &mut [f32]) {
        match self.kind {
            OptimizerKind::Sgd if self.nesterov => self.each(w, g, momentum, |w, g, m| {
                *m = self.momentum * *m + g;
                *w -= self.lr * (g + self.momentum * *m);
            }),
            OptimizerKind::Sgd => self.each(w, g, momentum, |w, g, m| {
                *m = self.momentum * *m + g;
                *w -= self.lr * *m;
            }),
            OptimizerKind::Rmsprop => self.each_squared(w, g, momentum, square, self.decay, |w, g, m, s| {
                *s = self.keep * *s + self.take * (g * g);
                *m = self.momentum * *m + g / (s.sqrt() + self.eps);
                *w -= self.lr * *m;
            }),
            OptimizerKind::RmspropTf => self.each_squared(w, g, momentum, square, self.decay, |w, g, m, s| {
                *s += self.take * (g * g - *s);
                *m = self.momentum * *m + self.lr * (g / (*s + self.eps).sqrt());
                *w -= *m;
            }),
            OptimizerKind::Adamw => {
                let shrink = 1.0 - self.lr * self.decay;
                self.each_squared(w, g, momentum, square, 0.0, |w, g, m, s| {
                    *w *= shrink;
                    *m += self.first * (g - *m);
                    *s = self.keep * *s + self.take * (g * g);
                    *w -= self.corrected * (*m / (s.sqrt() / self.root + self.eps));
                });
            }
        }
    }

    /// Runs `f` over weights, clipped and decayed gradients and momenta.
    #[inline(always)]
    fn each(&self, w: &mut [f32], g: &[f32], m: &mut [f32], f: impl Fn(&mut f32, f32, &mut f32)) {
        for ((w, &g), m) in w.iter_mut().zip(g).zip(m) {
            let g = self.scale * g + self.decay * *w;
            f(w, g, m);
        }
    }

    /// As [`Rule::each`], with mean squares.
    #[inline(always)]
    fn each_squared(
        &self,
        w: &mut [f32],
        g: &[f32],
        m: &mut [f32],
        s: &mut [f32],
        decay: f32,
        f: impl Fn(&mut f32, f32, &mut f32, &mut f32),
    ) {
        for (((w, &g), m), s) in w.iter_mut().zip(g).zip(m).zip(s) {
            let g = self.scale * g + decay * *w;
            f(w, g, m, s);
        }
    }
}
