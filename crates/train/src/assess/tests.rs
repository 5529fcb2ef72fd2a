//! Against NumPy, SciPy and scikit-learn (`scripts/calibration-reference`), and by hand.

use super::*;

const PHOTOS: usize = 40;
const CLASSES: usize = 4;

/// The reference's logits.
fn logits() -> Vec<f32> {
    let logit = |i: usize, j: usize| ((i * 37 + j * 61 + i * j * 17) % 41) as f32 / 4.0 - 5.0;
    (0..PHOTOS).flat_map(|i| (0..CLASSES).map(move |j| logit(i, j))).collect()
}

/// One class a photo, every third answer wrong.
fn by_classes(outputs: Outputs) -> Predictions {
    let logits = logits();
    let class = |(i, row): (usize, &[f32])| (top_k(row, 1)[0].0 + usize::from(i.is_multiple_of(3))) % CLASSES;
    let classes = logits.chunks_exact(CLASSES).enumerate().map(class);
    let targets = classes.map(|class| Target::Class(class as u32)).collect();
    Predictions::new(Reading { outputs, ..Reading::default() }, (0..PHOTOS).collect(), targets, logits)
}

/// Any number of labels a photo, every fifth wrong.
fn by_labels() -> Predictions {
    let logits = logits();
    let labels = |(i, row): (usize, &[f32])| {
        let has = |j: usize| (row[j] > 0.0) != (i + 2 * j).is_multiple_of(5);
        Target::Labels((0..CLASSES).filter(|&j| has(j)).map(|j| j as u32).collect())
    };
    let targets = logits.chunks_exact(CLASSES).enumerate().map(labels).collect();
    let reading = Reading { by_labels: true, outputs: Outputs::Independent, ..Reading::default() };
    Predictions::new(reading, (0..PHOTOS).collect(), targets, logits)
}

/// Photos of class 0 or 1 with these two logits.
fn two(rows: &[([f32; 2], u32)]) -> Predictions {
    let targets = rows.iter().map(|row| Target::Class(row.1)).collect();
    let logits = rows.iter().flat_map(|row| row.0).collect();
    Predictions::new(Reading::default(), (0..rows.len()).collect(), targets, logits)
}

#[track_caller]
fn near(found: f64, right: f64, tolerance: f64) {
    assert!((found - right).abs() <= tolerance, "{found} is not {right}");
}

#[track_caller]
fn all_near(found: [Option<f64>; 3], right: [f64; 3]) {
    found.into_iter().zip(right).for_each(|(found, right)| near(found.unwrap(), right, 1e-9));
}

#[test]
fn classes_are_scikit_learns_figures() {
    let predictions = by_classes(Outputs::Exclusive);
    near(predictions.evaluation().loss, 1.699_925_124, 1e-9);
    assert_eq!((predictions.evaluation().top1, predictions.evaluation().top5), (Some(26.0 / 40.0), None));
    let right = [
        ([0.666_666_667, 0.727_272_727, 0.695_652_174], 11),
        ([0.625, 0.555_555_556, 0.588_235_294], 9),
        ([0.6, 0.666_666_667, 0.631_578_947], 9),
        ([0.7, 0.636_363_636, 0.666_666_667], 11),
    ];
    for (figures, (right, photos)) in predictions.class_figures().iter().zip(right) {
        all_near([figures.precision, figures.recall, figures.f1], right);
        assert_eq!(figures.photos, photos);
    }
}

#[test]
fn labels_are_scikit_learns_figures() {
    let predictions = by_labels();
    near(predictions.evaluation().loss, 0.671_359_176, 1e-9);
    let right = [
        ([0.761_904_762, 0.8, 0.780_487_805], 20, 0.896_016_16),
        ([0.761_904_762, 0.8, 0.780_487_805], 20, 0.789_025_02),
        ([0.809_523_81, 0.772_727_273, 0.790_697_674], 22, 0.870_919_39),
        ([0.761_904_762, 0.8, 0.780_487_805], 20, 0.750_397_08),
    ];
    let mean = right.iter().map(|label| label.2).sum::<f64>() / 4.0;
    near(predictions.evaluation().mean_average_precision.unwrap(), mean, 1e-8);
    for (figures, (right, photos, average_precision)) in predictions.class_figures().iter().zip(right) {
        all_near([figures.precision, figures.recall, figures.f1], right);
        near(figures.average_precision.unwrap(), average_precision, 1e-8);
        assert_eq!(figures.photos, photos);
    }
}

#[test]
fn calibration_and_temperature_are_scipys() {
    for (predictions, [error, temperature, error_then]) in [
        (by_classes(Outputs::Exclusive), [0.317_644_38, 3.391_625, 0.178_197_331]),
        (by_labels(), [0.150_001_178, 2.331_842, 0.152_907_107]),
    ] {
        near(predictions.calibration(1.0).error, error, 1e-9);
        near(predictions.temperature(), temperature, 1e-5);
        near(predictions.calibration(predictions.temperature()).error, error_then, 1e-6);
    }
}

#[test]
fn a_temperature_leaves_no_slope_and_the_losses_around_it_are_larger() {
    let loss = |predictions: &Predictions, temperature: f64| {
        let logits = predictions.logits.iter().map(|logit| (f64::from(*logit) / temperature) as f32).collect();
        Predictions { logits, ..predictions.clone() }.evaluation().loss
    };
    for predictions in [by_classes(Outputs::Exclusive), by_labels()] {
        let best = predictions.temperature();
        let least = loss(&predictions, best);
        assert!([0.9, 1.1].iter().all(|factor| loss(&predictions, best * factor) > least + 1e-4));
    }
}

/// Four photos, softmax probabilities 0.75, 0.75, 0.9 and 0.6, the second and the last wrong.
fn four() -> Predictions {
    let logit = |p: f64| (p / (1.0 - p)).ln() as f32;
    two(&[([logit(0.75), 0.0], 0), ([logit(0.75), 0.0], 1), ([0.0, logit(0.9)], 1), ([0.0, logit(0.6)], 0)])
}

#[test]
fn bins_and_their_error_are_as_by_hand() {
    let Calibration { error, bins } = four().calibration(1.0);
    // Gaps of 0.25, 0.1 and 0.6, by half, a quarter and a quarter of the photos.
    near(error, (2.0 * 0.25 + 0.1 + 0.6) / 4.0, 1e-7);
    assert_eq!(bins.len(), BINS);
    let filled: Vec<_> = bins.iter().enumerate().filter(|(_, bin)| bin.answers > 0).collect();
    // Up to 9/15 · (1 + rounding) belongs to the ninth or tenth bin.
    assert_eq!(filled.iter().map(|(i, bin)| (*i, bin.answers)).collect::<Vec<_>>()[1..], [(11, 2), (13, 1)]);
    assert_eq!((filled[1].1.accuracy, filled[2].1.accuracy), (Some(0.5), Some(1.0)));
    near(filled[1].1.confidence.unwrap(), 0.75, 1e-7);
    assert_eq!(bins[0], Bin::default());
}

#[test]
fn confusions_mistakes_and_thresholds_are_as_by_hand() {
    let predictions = four();
    let confusion = predictions.confusion().unwrap();
    let counts = [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[class, answered]| confusion.photos(class, answered));
    assert_eq!((counts, confusion.row_sums()), ([1, 1, 1, 1], vec![2, 2]));
    assert_eq!(confusion.cells().count(), 4);
    let figures = predictions.class_figures();
    assert_eq!(figures[0].confused, Some(Confused { with: 1, photos: 1 }));

    let worst = predictions.worst(9);
    assert_eq!(
        worst.iter().map(|m| (m.place, m.class, m.is_missed)).collect::<Vec<_>>(),
        [(1, 0, false), (3, 1, false)]
    );
    near(worst[0].probability, 0.75, 1e-6);
    assert_eq!(predictions.worst(1).len(), 1);

    // In order: 0.6, 0.75, 0.75, 0.9. A threshold between equals refuses neither.
    for (share, refused, threshold) in
        [(0.0, 0.0, 0.6), (0.24, 0.0, 0.6), (0.25, 0.25, 0.75), (0.5, 0.25, 0.75), (0.75, 0.75, 0.9), (1.0, 1.0, 1.0)]
    {
        let found = predictions.threshold(share);
        near(found, threshold, 2e-5);
        assert_eq!(predictions.refusals_at(None, [found])[0].known_refused, refused, "{share}");
    }
    let unknown = two(&[([0.0, 0.1], 0), ([3.0, 0.0], 0)]);
    let curve = predictions.refusals(Some(&unknown));
    assert_eq!(curve.len(), 101);
    assert_eq!(curve[70], Refusal { threshold: 0.7, known_refused: 0.25, unknown_found: Some(0.5) });
    assert_eq!((curve[0].known_refused, curve[100].unknown_found), (0.0, Some(1.0)));
    near(auroc(&predictions, &unknown), 0.5, 1e-12);
}

#[test]
fn the_area_under_the_curve_is_scikit_learns() {
    let part = |odd: usize| {
        let all = by_classes(Outputs::Exclusive);
        let rows: Vec<usize> = (0..PHOTOS).filter(|i| i % 2 == odd).collect();
        let logits = rows.iter().flat_map(|&i| all.logits[i * CLASSES..][..CLASSES].to_vec()).collect();
        let targets = rows.iter().map(|&i| all.targets[i].clone()).collect();
        Predictions::new(Reading::default(), rows, targets, logits)
    };
    near(auroc(&part(0), &part(1)), 0.471_25, 1e-9);
}

#[test]
fn where_nothing_is_wrong_no_temperature_is_told() {
    assert_eq!(two(&[([2.0, 1.0], 0), ([0.0, 9.0], 1)]).temperature(), 1.0);
    // Worse than chance, and a mistake by so little that no temperature is low enough.
    assert_eq!(two(&[([2.0, 1.0], 1), ([0.0, 9.0], 1), ([9.0, 0.0], 1)]).temperature(), MAX_TEMPERATURE);
    let mut slight = vec![([9.0, 0.0], 0); 50];
    slight.push(([0.0, 0.0], 1));
    assert_eq!(two(&slight).temperature(), MIN_TEMPERATURE);
    assert_eq!(two(&[([0.0, 0.0], 0)]).calibration(1.0).error, 0.5);
}

#[test]
fn logits_that_are_no_numbers_are_never_sure_and_break_nothing() {
    let predictions = two(&[([f32::NAN, 0.0], 0), ([f32::INFINITY, 0.0], 1), ([1.0, 0.0], 0), ([0.5, 0.0], 1)]);
    assert_eq!(predictions.sureness().take(2).collect::<Vec<_>>(), [0.0, 0.0]);
    assert!(predictions.evaluation().loss.is_nan());
    assert!(predictions.calibration(1.0).error.is_finite());
    assert!(predictions.temperature().is_finite());
    assert_eq!(predictions.threshold(0.0), 0.0);
    assert!(predictions.worst(9).len() >= 2);
    assert_eq!(two(&[([f32::NAN, f32::NAN], 0)]).temperature(), 1.0);
}

#[test]
fn of_labels_there_is_no_confusion_and_denied_ones_are_mistakes() {
    let predictions = by_labels();
    let text = predictions.confusion().unwrap_err().to_string();
    assert!(text.starts_with("photos with any number of labels have no confusion matrix"), "{text}");
    let worst = predictions.worst(usize::MAX);
    assert!(worst.iter().any(|mistake| mistake.is_missed) && worst.iter().any(|mistake| !mistake.is_missed));
    for mistake in worst {
        let has = predictions.targets()[mistake.place].labels().contains(&(mistake.class as u32));
        assert_eq!((has, mistake.probability < 0.5), (mistake.is_missed, mistake.is_missed));
    }
}

#[test]
fn classes_of_independent_outputs_are_as_sure_as_their_sigmoids() {
    let predictions = by_classes(Outputs::Independent);
    let largest = predictions.logits().map(|row| row.iter().copied().fold(f32::MIN, f32::max));
    for (sureness, logit) in predictions.sureness().zip(largest) {
        near(sureness, 1.0 / (1.0 + f64::from(-logit).exp()), 1e-6);
    }
    let error = predictions.calibration(1.0).error;
    assert!(predictions.calibration(predictions.temperature()).error < error);
}

#[test]
fn a_background_is_never_what_a_network_is_sure_of() {
    let reading = Reading { background_class: true, ..Reading::default() };
    let logits = vec![9.0, 0.0, 1.0, 0.0, 3.0, 0.0];
    let predictions = Predictions::new(reading, vec![0, 1], vec![Target::Class(1), Target::Class(1)], logits);
    let sureness: Vec<f64> = predictions.sureness().collect();
    assert!(sureness[0] < 0.001 && sureness[1] > 0.9, "{sureness:?}");
}

#[test]
fn pictures_have_names_and_numbers_as_far_as_they_can_be_read() {
    let names = |classes: usize| (0..classes).map(|class| format!("<{class}>")).collect::<Vec<_>>();
    let picture = four().confusion().unwrap().svg(&names(2), "a & b");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(
        picture.contains(">a &amp; b</text>")
            && picture.contains("<title>1 of 2 &lt;0&gt; → &lt;1&gt;: 50.0 %</title>")
    );
    assert_eq!(picture.matches("text-anchor=\"middle\"").count(), 4);

    let logits = vec![0.0; 3 * 60];
    let many = Predictions::new(Reading::default(), vec![0, 1, 2], vec![Target::Class(59); 3], logits);
    let picture = many.confusion().unwrap().svg(&names(60), "many");
    assert!(
        !picture.contains("text-anchor") && picture.contains("<title>3 of 3 &lt;59&gt; → &lt;0&gt;: 100.0 %</title>")
    );
    assert!(!picture.contains("NaN") && !picture.contains("inf"));
}
