//! New classes learned beside old ones whose weights stay: the softmax's cross-entropy over all classes, minimised by the
//! new rows of the classifier alone.

use mobilenet_net::About;
use mobilenet_net::exemplars::Exemplars;
use mobilenet_run::classify::class_probabilities;
use mobilenet_run::familiar::Familiar;

use crate::head::Head;
use crate::loss::Softmax;
use crate::scale::Scale;

/// Steps of gradient descent with momentum, for rows of mean square length 1.
const STEPS: usize = 400;
const RATE: f64 = 4.0;
const MOMENTUM: f64 = 0.9;
/// Of the new rows.
const DECAY: f64 = 1e-3;
/// Share of the old exemplars that new classes may take: without any, they are hardly ever found where they resemble an old
/// one, and a point of the old classes' accuracy is what users are told to expect.
const TAKEN: f64 = 0.003;
/// By which all other old exemplars stay ahead of new classes, in logits.
const MARGIN: f32 = 0.05;

/// What came of it.
pub(crate) struct Newcomers {
    /// Photos of new classes that were not learned from.
    pub held_out: usize,
    /// Those that were named right.
    pub right: usize,
    /// Share of the old exemplars whose answer stays.
    pub kept: f64,
}

/// Adds to `head` a row for each class of `new` beyond its own. Every class counts the same, however many rows it has. One
/// of `every` rows of a new class is held out to be told of, and is not right where the network that says so `about` itself
/// would not know it; then all are learned.
pub(crate) fn learn(head: &mut Head, old: &Exemplars, new: &Exemplars, every: usize, about: &About) -> Newcomers {
    let none = || Exemplars { len: new.len, ..Exemplars::default() };
    let (mut learned, mut held_out) = (none(), none());
    for (i, (row, class)) in new.iter().enumerate() {
        if i % every == every - 1 { &mut held_out } else { &mut learned }.push(row, class);
    }
    let first = head.with(descend(head, old, &learned));
    let familiar = Familiar::of(new.len, [&*old.rows, &*learned.rows].concat());
    let is_unknown = |row: &[f32]| {
        let sureness = class_probabilities(&first.logits(row), false).into_iter().fold(0.0, f32::max);
        about.is_unknown(f64::from(sureness), || Some(familiar.similarity(row)))
    };
    let is_right = |row: &[f32], class: u32| first.answer(row) == class as usize && !is_unknown(row);
    let right = held_out.iter().filter(|(row, class)| is_right(row, *class)).count();
    let all = head.with(descend(head, old, new));
    let kept = old.iter().filter(|(row, _)| all.answer(row) == head.answer(row)).count();
    *head = all;
    Newcomers { held_out: held_out.classes.len(), right, kept: kept as f64 / old.classes.len() as f64 }
}

/// The rows of the new classes.
fn descend(head: &Head, old: &Exemplars, new: &Exemplars) -> Head {
    let (known, len) = (head.bias.len(), old.len);
    let added = new.classes.iter().max().map_or(0, |&last| last as usize + 1 - known);
    let scale = Scale::of(old.rows.chunks_exact(len).chain(new.rows.chunks_exact(len)), len);
    let rows: Vec<Row> = old
        .iter()
        .chain(new.iter())
        .map(|(row, class)| Row { scaled: scale.apply(row).collect(), known: head.logits(row), class: class as usize })
        .collect();
    let weights = weights(&rows, known + added);
    let mut rows_of = Head { weight: vec![0.0; added * len], bias: vec![0.0; added] };
    let mut speed = Head { weight: vec![0.0; added * len], bias: vec![0.0; added] };
    for step in 0..STEPS {
        let rate = RATE * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / STEPS as f64).cos());
        let mut gradient = Head { weight: vec![0.0; added * len], bias: vec![0.0; added] };
        for (row, weight) in rows.iter().zip(&weights) {
            let mut logits = row.known.clone();
            logits.extend(rows_of.logits(&row.scaled));
            let softmax = Softmax::new(&logits, 1.0);
            for class in 0..added {
                let target = f64::from(u8::from(row.class == known + class));
                let slope = (weight * (softmax.log(logits[known + class]).exp() - target)) as f32;
                gradient.bias[class] += slope;
                let out = &mut gradient.weight[class * len..][..len];
                out.iter_mut().zip(&row.scaled).for_each(|(out, x)| *out += slope * x);
            }
        }
        gradient.weight.iter_mut().zip(&rows_of.weight).for_each(|(g, w)| *g += DECAY as f32 * w);
        let pairs = [
            (&mut rows_of.weight, &mut speed.weight, gradient.weight),
            (&mut rows_of.bias, &mut speed.bias, gradient.bias),
        ];
        for (values, speeds, gradient) in pairs {
            for ((value, speed), g) in values.iter_mut().zip(speeds).zip(gradient) {
                *speed = MOMENTUM as f32 * *speed + g;
                *value -= rate as f32 * *speed;
            }
        }
    }
    let mut rows_of = scale.undo(rows_of);
    lower(head, &mut rows_of, old);
    rows_of
}

/// A photo's features as they are learned from.
struct Row {
    scaled: Vec<f32>,
    /// Logits of the old classes.
    known: Vec<f32>,
    class: usize,
}

/// A weight for each row, so that every class has the same in all.
fn weights(rows: &[Row], classes: usize) -> Vec<f64> {
    let mut counts = vec![0usize; classes];
    rows.iter().for_each(|row| counts[row.class] += 1);
    let present = counts.iter().filter(|&&count| count > 0).count() as f64;
    rows.iter().map(|row| 1.0 / (present * counts[row.class] as f64)).collect()
}

/// Lowers the new biases until no more than a share of [`TAKEN`] of the old exemplars that are answered right changes its
/// answer.
fn lower(head: &Head, new: &mut Head, old: &Exemplars) {
    let largest = |logits: &[f32]| logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let right = old.iter().filter(|(row, class)| head.answer(row) == *class as usize);
    let mut leads: Vec<f32> = right.map(|(row, _)| largest(&new.logits(row)) - largest(&head.logits(row))).collect();
    leads.sort_by(|a, b| b.total_cmp(a));
    let taken = (TAKEN * leads.len() as f64) as usize;
    if let Some(lead) = leads.get(taken).filter(|lead| **lead >= 0.0) {
        new.bias.iter_mut().for_each(|bias| *bias -= lead + MARGIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Photos on a line at `x`.
    fn line(exemplars: &mut Exemplars, x: f32, [from, to]: [f32; 2], photos: usize, class: u32) {
        (0..photos).for_each(|i| exemplars.push(&[x, from + (to - from) * i as f32 / photos as f32], class));
    }

    #[test]
    fn one_odd_photo_of_an_old_class_does_not_hide_a_new_class() {
        let none = Exemplars { len: 2, ..Exemplars::default() };
        let (mut old, mut new) = (none.clone(), none);
        line(&mut old, 1.0, [0.0, 0.4], 200, 0);
        line(&mut old, -1.0, [0.0, 0.4], 199, 1);
        line(&mut new, 1.0, [1.2, 1.8], 40, 2);
        // Farther among the new ones than they are themselves.
        old.push(&[-1.0, 3.0], 1);
        let mut head = Head { weight: vec![4.0, 0.0, -4.0, 0.0], bias: vec![0.0; 2] };
        let before = head.logits(&[0.3, 0.7]);
        let Newcomers { held_out, right, kept } = learn(&mut head, &old, &new, 5, &About::default());
        assert_eq!((held_out, right), (8, 8));
        assert!((1.0 - TAKEN..1.0).contains(&kept), "{kept}");
        assert_eq!(head.logits(&[0.3, 0.7])[..2], before);
    }
}
