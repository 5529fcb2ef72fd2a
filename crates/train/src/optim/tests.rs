//! The libraries' numbers: PyTorch 2.14.1 and timm 1.0.31. Each case is six steps from `START` with gradient
//! `SLOPE · w − OFFSET` and the rates `RATES`:
//!
//! ```python
//! w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.25, 3.0, 0.5])); o = make([w])
//! for lr in [0.1, 0.1, 0.05, 0.05, 0.02, 0.02]:
//!     o.param_groups[0]["lr"] = lr
//!     w.grad = (torch.tensor([0.5, 1.0, 2.0, 4.0, -0.25]) * w - torch.tensor([1.0, -1.0, 0.5, 3.0, 0.125])).detach()
//!     if clip: torch.nn.utils.clip_grad_norm_([w], clip)
//!     o.step()
//! ```

use mobilenet_net::arch::{Spec, find};

use super::*;

const START: [f32; 5] = [1.0, -2.0, 0.25, 3.0, 0.5];
const SLOPE: [f32; 5] = [0.5, 1.0, 2.0, 4.0, -0.25];
const OFFSET: [f32; 5] = [1.0, -1.0, 0.5, 3.0, 0.125];
const RATES: [f32; 6] = [0.1, 0.1, 0.05, 0.05, 0.02, 0.02];

fn graph() -> Graph {
    find("mobilenet_v2").unwrap().graph(&Spec { width: 0.35, classes: 10, ..Spec::default() }).unwrap()
}

/// An optimizer of one tensor of five elements that is decayed.
fn optimizer(kind: OptimizerKind, settings: Settings) -> Optimizer {
    let graph = graph();
    let weight = graph.parameters().into_iter().find(|p| p.role == Role::Weight).unwrap();
    Optimizer::new(kind, settings, &[Parameter { shape: vec![5], ..weight }], &graph)
}

fn run(optimizer: &mut Optimizer, values: &mut [Vec<f32>], rates: &[f32]) {
    for &lr in rates {
        let gradient = (0..5).map(|i| SLOPE[i] * values[0][i] - OFFSET[i]).collect();
        optimizer.step(values, &[gradient], lr);
    }
}

#[track_caller]
fn check(kind: OptimizerKind, settings: Settings, right: [f64; 5]) {
    let mut values = [START.to_vec()];
    run(&mut optimizer(kind, settings), &mut values, &RATES);
    for (&ours, right) in values[0].iter().zip(right) {
        assert!(
            (f64::from(ours) - right).abs() <= 2e-6 * right.abs().max(0.5),
            "{ours} is not {right}: {:?}",
            values[0]
        );
    }
}

#[test]
fn sgd_is_pytorchs() {
    use OptimizerKind::Sgd;
    let plain = Settings { momentum: 0.0, ..Settings::new(Sgd) };
    check(Sgd, plain, [1.15913379, -1.7020762, 0.25, 1.18877375, 0.58785224]);
    // SGD(p, weight_decay=0.01), then momentum=0.9, then nesterov=True.
    let decayed = Settings { weight_decay: 0.01, ..plain };
    check(Sgd, decayed, [1.15574527, -1.6965189, 0.249348059, 1.18506873, 0.585981667]);
    let momentum = Settings { momentum: 0.9, ..decayed };
    check(Sgd, momentum, [1.34735668, -1.33709073, 0.248642519, -0.332718432, 0.697154999]);
    let nesterov = Settings { nesterov: true, ..momentum };
    check(Sgd, nesterov, [1.43908775, -1.20919383, 0.248559549, 0.163524136, 0.771375775]);
}

#[test]
fn clipping_is_pytorchs() {
    // SGD(p, momentum=0.9, nesterov=True), clip = 1.5.
    let settings = Settings { nesterov: true, clip_norm: Some(1.5), ..Settings::new(OptimizerKind::Sgd) };
    check(OptimizerKind::Sgd, settings, [1.1084106, -1.79045188, 0.25, 1.46660292, 0.55703938]);
}

#[test]
fn rmsprop_is_pytorchs() {
    use OptimizerKind::Rmsprop;
    // RMSprop(p, alpha=0.99, eps=1e-8).
    let plain = Settings { momentum: 0.0, ..Settings::new(Rmsprop) };
    check(Rmsprop, plain, [2.0, -1.0, 0.25, 1.18506265, 3.35242987]);
    // RMSprop(p, alpha=0.9, eps=0.0316, momentum=0.9, weight_decay=0.01): torchvision's for V3.
    let settings = Settings { alpha: 0.9, eps: 0.0316, weight_decay: 0.01, ..Settings::new(Rmsprop) };
    check(Rmsprop, settings, [2.2011025, -0.711865246, 0.258843303, 1.31069386, 2.08377457]);
}

#[test]
fn tensorflows_rmsprop_is_timms() {
    use OptimizerKind::RmspropTf;
    // RMSpropTF(p, alpha=0.9, eps=1e-3), then momentum=0.9, weight_decay=0.01.
    let plain = Settings { eps: 1e-3, momentum: 0.0, ..Settings::new(RmspropTf) };
    check(RmspropTf, plain, [1.1747638, -1.69643235, 0.25, 2.28377223, 0.600141108]);
    let settings = Settings { momentum: 0.9, weight_decay: 0.01, ..plain };
    check(RmspropTf, settings, [1.60226607, -0.923815012, 0.247718737, 0.344255775, 0.85450393]);
}

#[test]
fn adamw_is_pytorchs() {
    // AdamW(p, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05).
    let settings = Settings { beta2: 0.99, weight_decay: 0.05, ..Settings::new(OptimizerKind::Adamw) };
    check(OptimizerKind::Adamw, settings, [1.3181808, -1.63184083, 0.229746908, 2.61271691, 0.830190599]);
}

/// How many parameters of V2 shrink where gradients are zero, by role and kind of layer: depthwise weights, other
/// weights, all the rest.
fn decayed(settings: Settings) -> [usize; 3] {
    let graph = graph();
    let parameters: Vec<_> = graph.parameters().into_iter().filter(|p| p.role.is_learned()).collect();
    let mut optimizer = Optimizer::new(OptimizerKind::Sgd, settings, &parameters, &graph);
    let tensors = |x: f32| parameters.iter().map(|p| vec![x; p.shape.iter().product()]).collect::<Vec<_>>();
    let mut values = tensors(1.0);
    optimizer.step(&mut values, &tensors(0.0), 0.1);
    let mut counts = [0; 3];
    for (p, v) in parameters.iter().zip(&values) {
        let place = match graph[p.node].op {
            Op::Depthwise { .. } if p.role == Role::Weight => 0,
            _ if p.role == Role::Weight => 1,
            _ => 2,
        };
        assert!(v.iter().all(|&x| x == v[0]));
        counts[place] += usize::from(v[0] < 1.0);
    }
    counts
}

#[test]
fn decay_spares_batch_norm_and_biases_and_by_choice_depthwise_filters() {
    let settings = Settings { weight_decay: 0.01, ..Settings::new(OptimizerKind::Sgd) };
    assert_eq!(decayed(settings), [17, 36, 0]);
    assert_eq!(decayed(Settings { decay_depthwise: false, ..settings }), [0, 36, 0]);
    // 52 batch norms with γ and β, and the classifier's bias.
    assert_eq!(decayed(Settings { decay_all: true, ..settings }), [17, 36, 105]);
}

#[test]
fn frozen_parameters_keep_their_bits_and_do_not_count_for_the_norm() {
    let graph = graph();
    let parameter = |p: &Parameter| Parameter { shape: vec![1], ..p.clone() };
    let parameters: Vec<_> = graph.parameters()[..2].iter().map(parameter).collect();
    let settings = Settings { momentum: 0.0, clip_norm: Some(1.0), ..Settings::new(OptimizerKind::Sgd) };
    let mut optimizer = Optimizer::new(OptimizerKind::Sgd, settings, &parameters, &graph);
    assert_eq!(optimizer.freeze(|p| p.name == parameters[0].name), 1);
    let mut values = [vec![1.0], vec![1.0]];
    optimizer.step(&mut values, &[vec![f32::NAN], vec![0.5]], 0.5);
    assert_eq!(values, [vec![1.0], vec![0.75]]);
}

#[test]
fn a_restored_optimizer_goes_on_with_the_same_bits() {
    use OptimizerKind::{Adamw, Rmsprop, RmspropTf, Sgd};
    for kind in [Sgd, Rmsprop, RmspropTf, Adamw] {
        let mut whole = [START.to_vec()];
        run(&mut optimizer(kind, Settings::new(kind)), &mut whole, &RATES);
        let mut parts = [START.to_vec()];
        let mut first = optimizer(kind, Settings::new(kind));
        run(&mut first, &mut parts, &RATES[..3]);
        let mut second = optimizer(kind, Settings::new(kind));
        second.restore(&first.state(), first.steps()).unwrap();
        run(&mut second, &mut parts, &RATES[3..]);
        assert_eq!(whole, parts, "{kind:?}");
    }
    let error = optimizer(Adamw, Settings::new(Adamw))
        .restore(&optimizer(Sgd, Settings::new(Sgd)).state(), 1)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "the checkpoint has no tensor optimizer.square.stem.conv.weight of shape [5]");
}

#[test]
fn the_norm_covers_every_element() {
    for len in [0, 1, 15, 16, 17, 4095, 4096, 4097, 10_000] {
        let gradient: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
        let right = gradient.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let ours = norm([&gradient[..], &[3.0]]);
        assert!((ours - right.hypot(3.0)).abs() < 1e-5 * ours, "{len}: {ours}");
    }
}
