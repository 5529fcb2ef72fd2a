//! PyTorch 2.14.1's numbers, and finite differences. `x`, `t`, `w`, `p` and `teach` are the constants below:
//!
//! ```python
//! show(F.cross_entropy(x, t, weight=w, label_smoothing=.1))  # and so on, each case in its comment
//! kl = F.kl_div(F.log_softmax(x/3, 1), F.log_softmax(teach/3, 1), log_target=True, reduction='batchmean')
//! show(.3 * F.cross_entropy(x, t, label_smoothing=.1) + .7*9*kl)
//! ```

use super::*;
use mobilenet_data::Random;

const X: [f32; 12] = [1., -2., 0.5, 3., 0., 0.25, -0.75, 1.5, -1., 4., 2., 0.];
const T: [usize; 3] = [0, 3, 1];
const W: [f32; 4] = [1., 2., 0.5, 0.25];
const P: [f32; 12] = [0.1, 0.2, 0.3, 0.4, 0., 1., 0., 0., 0.7, 0., 0., 0.3];
const TEACHER: [f32; 12] = [2., 0., -1., 1., 0.5, 0.5, 0.5, 0.5, 0., 3., 1., -2.];
const LABELS: [f32; 12] = [1., 0., 0., 1., 0., 0., 1., 1., 0., 1., 0., 0.5];

/// Checks loss and first gradients against PyTorch's.
#[track_caller]
fn check(run: impl Fn(&[f32], &mut [f32]) -> f64, loss: f64, first: [f64; 6]) {
    let mut gradient = [f32::NAN; 12];
    let ours = run(&X, &mut gradient);
    assert!((ours - loss).abs() < 3e-7 * loss.max(1.0), "{ours} is not {loss}");
    for (&g, right) in gradient.iter().zip(first) {
        assert!((f64::from(g) - right).abs() < 1e-7, "{gradient:?}");
    }
    check_differences(&X, run);
}

/// Checks the gradient against central differences of the loss.
#[track_caller]
fn check_differences(x: &[f32], run: impl Fn(&[f32], &mut [f32]) -> f64) {
    let mut gradient = vec![f32::NAN; x.len()];
    let mut scrap = vec![0.0; x.len()];
    run(x, &mut gradient);
    for (i, &g) in gradient.iter().enumerate() {
        const STEP: f32 = 1.0 / 1024.0;
        let mut at = |step: f32| {
            let mut x = x.to_vec();
            x[i] += step;
            run(&x, &mut scrap)
        };
        let difference = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
        assert!((difference - f64::from(g)).abs() < 1e-6, "element {i}: {g} against {difference}");
    }
}

fn cross_entropy(smoothing: f32, weights: Option<&[f32]>, targets: Targets) -> impl Fn(&[f32], &mut [f32]) -> f64 {
    let loss = CrossEntropy { smoothing, weights: weights.map(<[f32]>::to_vec) };
    move |x, dx| loss.run(x, 4, targets, dx)
}

#[test]
fn cross_entropy_is_pytorchs() {
    let hard = Targets::Classes(&T);
    // F.cross_entropy(x, t)
    let right = [-0.29648209, 0.0018347159, 0.02235141, 0.27229595, 0.04605272, 0.059132867];
    check(cross_entropy(0.0, None, hard), 0.943454981, right);
    // label_smoothing=.1
    let right = [-0.27148208, -0.0064986181, 0.014018072, 0.26396257, 0.037719384, 0.050799526];
    check(cross_entropy(0.1, None, hard), 1.08928823, right);
    // weight=w
    let right = [-0.27367577, 0.0016935839, 0.020632071, 0.2513501, 0.010627551, 0.013646046];
    check(cross_entropy(0.0, Some(&W), hard), 0.806031764, right);
    // weight=w, label_smoothing=.1
    let right = [-0.25081143, -0.013701617, 0.016656965, 0.2478561, 0.0058578183, 0.0020140917];
    check(cross_entropy(0.1, Some(&W), hard), 0.94457376, right);
}

#[test]
fn soft_targets_are_pytorchs() {
    let soft = Targets::Distributions(&P);
    // F.cross_entropy(x, p), then weight=w, label_smoothing=.1
    let right = [0.0035179141, -0.064831957, -0.077648595, 0.13896264, 0.04605272, -0.27420047];
    check(cross_entropy(0.0, None, soft), 2.91012168, right);
    let right = [-0.010003937, -0.13525623, -0.031984024, 0.1772442, 0.078879006, -0.50468379];
    check(cross_entropy(0.1, Some(&W), soft), 3.26761341, right);
}

#[test]
fn a_pair_is_the_distribution_that_it_names() {
    let pairs = Targets::Pairs(&[(0, 2, 0.75), (1, 1, 0.5), (3, 0, 1.0)]);
    let same = Targets::Distributions(&[0.75, 0., 0.25, 0., 0., 1., 0., 0., 0., 0., 0., 1.]);
    let (mut a, mut b) = ([0.0; 12], [0.0; 12]);
    let losses = (cross_entropy(0.1, None, pairs)(&X, &mut a), cross_entropy(0.1, None, same)(&X, &mut b));
    assert_eq!(losses.0, losses.1);
    assert_eq!(a, b);
}

#[test]
fn distillation_is_pytorchs() {
    let distillation = Distillation { temperature: 3.0, mix: 0.7 };
    let own = cross_entropy(0.1, None, Targets::Classes(&T));
    let run = |x: &[f32], dx: &mut [f32]| {
        let loss = own(x, dx);
        distillation.mix(x, &TEACHER, 4, loss, dx)
    };
    let right = [-0.18271595, -0.07842122, 0.047443286, 0.21369395, -0.0086257188, 0.0087735374];
    check(run, 0.783355474, right);
}

#[test]
fn binary_cross_entropy_is_pytorchs() {
    // F.binary_cross_entropy_with_logits(x, labels), then weight=w
    let right = [-0.022411784, 0.0099335769, 0.051871613, -0.0039521554, 0.041666668, 0.046848044];
    check(|x, dx| binary_cross_entropy(x, 4, &LABELS, None, dx), 0.622642636, right);
    let right = [-0.022411784, 0.019867154, 0.025935806, -0.00098803884, 0.041666668, 0.093696088];
    check(|x, dx| binary_cross_entropy(x, 4, &LABELS, Some(&W), dx), 0.468035907, right);
}

#[test]
fn gradients_agree_with_differences_at_odd_sizes() {
    let mut random = Random::new(1, 0, 0);
    for (rows, classes) in [(1, 1), (1, 7), (3, 2), (5, 13)] {
        let mut draw = |scale: f32| (0..rows * classes).map(|_| scale * random.normal()).collect::<Vec<_>>();
        let (x, teacher) = (draw(3.0), draw(3.0));
        let labels: Vec<_> = draw(1.0).iter().map(|v| v.abs().min(1.0)).collect();
        let hard: Vec<_> = (0..rows).map(|i| i * 3 % classes).collect();
        let weights: Vec<_> = (0..classes).map(|c| 0.5 + c as f32).collect();
        let loss = CrossEntropy { smoothing: 0.2, weights: Some(weights) };
        check_differences(&x, |x, dx| {
            let own = loss.run(x, classes, Targets::Classes(&hard), dx);
            Distillation { temperature: 2.0, mix: 0.4 }.mix(x, &teacher, classes, own, dx)
        });
        check_differences(&x, |x, dx| binary_cross_entropy(x, classes, &labels, None, dx));
    }
}

#[test]
fn huge_logits_stay_finite_and_nan_comes_through() {
    let x = [1e30, -1e30, 0.0, 3e38];
    let mut dx = [0.0; 4];
    assert!(CrossEntropy::default().run(&x, 4, Targets::Classes(&[3]), &mut dx).abs() < 1e-9);
    assert!(dx.iter().all(|g| g.abs() < 1e-9), "{dx:?}");
    assert!(binary_cross_entropy(&x, 4, &[1.0, 0.0, 0.0, 1.0], None, &mut dx).is_finite());
    assert!(CrossEntropy::default().run(&[f32::NAN, 0.0], 2, Targets::Classes(&[1]), &mut dx[..2]).is_nan());
    assert!(binary_cross_entropy(&[f32::NAN, 0.0], 2, &[0.0, 1.0], None, &mut dx[..2]).is_nan());
}

#[test]
fn balanced_weights_give_every_class_the_same_sum() {
    let weights = balanced_weights(&[10, 30, 0, 20]);
    assert_eq!(weights, [2.0, 2.0 / 3.0, 0.0, 1.0]);
    let zero = CrossEntropy { smoothing: 0.0, weights: Some(weights) };
    let mut dx = [1.0; 4];
    assert_eq!(zero.run(&X[..4], 4, Targets::Classes(&[2]), &mut dx), 0.0);
    assert_eq!(dx, [0.0; 4]);
}
