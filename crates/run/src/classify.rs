//! From a network's outputs to answers.

/// Probabilities from logits: eˣ / Σ eˣ, shifted by the largest so that nothing overflows.
///
/// A NaN among the logits makes every probability NaN.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut values: Vec<f32> = logits.iter().map(|x| (x - largest).exp()).collect();
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|x| *x /= sum);
    values
}

/// The `k` largest values with their indices, largest first; all of them if there are fewer.
///
/// Of equals the lower index comes first; NaNs come last.
pub fn top_k(values: &[f32], k: usize) -> Vec<(usize, f32)> {
    top_k_among(values, k, |_| true)
}

/// As [`top_k`], of the values whose indices `is_among` them.
pub fn top_k_among(values: &[f32], k: usize, is_among: impl Fn(usize) -> bool) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = values.iter().copied().enumerate().filter(|(index, _)| is_among(*index)).collect();
    let by_value = |a: &(usize, f32), b: &(usize, f32)| {
        b.1.partial_cmp(&a.1).unwrap_or_else(|| a.1.is_nan().cmp(&b.1.is_nan())).then(a.0.cmp(&b.0))
    };
    if k < all.len() {
        all.select_nth_unstable_by(k, by_value);
        all.truncate(k);
    }
    all.sort_unstable_by(by_value);
    all
}

/// Probabilities of classes of which a photo shows one.
///
/// With `background_class`, output 0 is none of the classes: it takes its share of the probability, but is never an
/// answer, and class = output − 1.
pub fn class_probabilities(logits: &[f32], background_class: bool) -> Vec<f32> {
    let mut probabilities = softmax(logits);
    probabilities.drain(..usize::from(background_class).min(logits.len()));
    probabilities
}

/// Probabilities of labels of which a photo may show any number, each by itself: the sigmoid of every logit.
/// `background_class` as in [`class_probabilities`].
pub fn label_probabilities(logits: &[f32], background_class: bool) -> Vec<f32> {
    let labels = &logits[usize::from(background_class).min(logits.len())..];
    labels.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_1_and_do_not_overflow() {
        let p = softmax(&[1000.0, 999.0, -1000.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((p[0] - 0.731_058_6).abs() < 1e-6);
        assert_eq!(p[2], 0.0);
        assert!(softmax(&[]).is_empty());
    }

    #[test]
    fn top_k_is_sorted_with_the_lower_index_first_among_equals() {
        assert_eq!(top_k(&[1.0, 3.0, 2.0, 3.0], 3), [(1, 3.0), (3, 3.0), (2, 2.0)]);
        assert_eq!(top_k(&[0.0, -0.0, 0.0], 2), [(0, 0.0), (1, 0.0)]);
        assert_eq!(top_k(&[1.0], 5), [(0, 1.0)]);
        assert_eq!(top_k(&[1.0, 2.0], 0), []);
        assert_eq!(top_k(&[], 3), []);
    }

    #[test]
    fn of_some_values_the_largest_keep_their_indices() {
        assert_eq!(top_k_among(&[1.0, 3.0, 2.0, 3.0], 2, |index| index != 1), [(3, 3.0), (2, 2.0)]);
        assert_eq!(top_k_among(&[1.0, 3.0], 2, |_| false), []);
    }

    #[test]
    fn nan_comes_last_wherever_it_stands() {
        let top = top_k(&[f32::NAN, 1.0, f32::NAN, f32::NEG_INFINITY, 2.0], 5);
        assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), [4, 1, 3, 0, 2]);
    }

    #[test]
    fn labels_have_probabilities_of_their_own() {
        assert_eq!(label_probabilities(&[0.0, 200.0, -200.0], false), [0.5, 1.0, 0.0]);
        assert_eq!(label_probabilities(&[9.0, 0.0], true), [0.5]);
    }

    #[test]
    fn a_background_class_is_no_answer_but_has_its_share() {
        let all = softmax(&[5.0, 1.0, 2.0]);
        assert_eq!(class_probabilities(&[5.0, 1.0, 2.0], true), all[1..]);
        assert_eq!(class_probabilities(&[5.0, 1.0, 2.0], false), all);
        assert!(class_probabilities(&[], true).is_empty());
    }
}
