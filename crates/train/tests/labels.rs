//! Photos with any number of labels: learned, evaluated, refused where one class a photo is needed, and classified by
//! sigmoids afterwards.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::photos::{recipe, trainer};
use mobilenet_data::Dataset;
use mobilenet_kernels::Pool;
use mobilenet_net::recognise::Outputs;
use mobilenet_run::{Classifier, Image};
use mobilenet_testing::photos::photo;
use mobilenet_train::Trainer;
use mobilenet_train::trainer::{Control, MODEL};

/// Photos of sums of two colours in a folder with a CSV: each names those that it has.
fn photos(folder: &Path) -> Arc<Dataset> {
    std::fs::create_dir_all(folder).unwrap();
    let mut csv = "file,label,label\n".to_owned();
    for i in 0..36u8 {
        let (blue, red) = (i % 2 == 1, i / 2 % 2 == 1);
        let level = |has: bool| if has { 210 } else { 40 };
        std::fs::write(folder.join(format!("{i}.bmp")), photo(20, [level(blue), 90, level(red)], usize::from(i)))
            .unwrap();
        let labels = [(blue, ",blue"), (red, ",red")].map(|(has, label)| if has { label } else { "" });
        csv += &format!("{i}.bmp{}\n", labels.concat());
    }
    std::fs::write(folder.join("labels.csv"), csv).unwrap();
    Arc::new(Dataset::open(folder).unwrap())
}

#[test]
fn labels_are_learned_and_classified_independently() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let recipe = recipe(&[("loss", "binary"), ("epochs", "60"), ("bn_momentum", "0.3")]);
    let mut trainer = trainer(&recipe, &data, folder.path());
    trainer.run(&mut |_| Control::Continue).unwrap();
    let figures = trainer.evaluate().unwrap().unwrap();
    assert!(figures.mean_average_precision.unwrap() > 0.95, "two colours were not learned: {figures:?}");
    let json = serde_json::to_string(&figures).unwrap();
    assert!(json.contains("mean_average_precision") && !json.contains("top1"), "{json}");

    let classifier = Classifier::open(folder.path().join(MODEL)).unwrap();
    assert_eq!(classifier.recognised().outputs, Outputs::Independent);
    let right = (0..data.len()).filter(|&i| {
        let image: Image = data.read(i).unwrap();
        let labels = data.items()[i].target.labels();
        classifier.classify(&image, 2).iter().all(|p| (p.probability > 0.5) == labels.contains(&(p.class as u32)))
    });
    assert!(right.count() > 32, "both sigmoids should be right on nearly every photo");
}

#[test]
fn mixed_and_smoothed_labels_train() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let keys =
        [("loss", "binary"), ("label_smoothing", "0.1"), ("augmentation.mixup", "0.2"), ("augmentation.cutmix", "1")];
    let mut trainer = trainer(&recipe(&keys), &data, folder.path());
    trainer.run(&mut |_| Control::Continue).unwrap();
    assert!(trainer.evaluate().unwrap().unwrap().loss.is_finite());
}

#[test]
fn cross_entropy_refuses_several_labels_and_none_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let data = photos(&folder.path().join("photos"));
    let one_each = common::photos::photos(&folder.path().join("classes"));
    let names = ["blue".to_owned(), "red".to_owned()];
    let open = |data: &Arc<Dataset>, validation: &Arc<Dataset>| {
        let pool = Arc::new(Pool::new(1));
        let trainer = Trainer::new(recipe(&[]), data.clone(), Some(validation.clone()), folder.path(), &pool, None);
        trainer.map(|_| ()).map_err(|e| e.to_string().replace(&format!("{}/", folder.path().display()), ""))
    };
    let remedy = "loss = \"cross_entropy\" needs one a photo: set loss = \"binary\" for any number";
    assert_eq!(open(&data, &one_each), Err(format!("photos/0.bmp has no labels; {remedy}")));
    assert_eq!(open(&one_each, &data), Err(format!("photos/0.bmp has no labels; {remedy}")));
    std::fs::write(folder.path().join("photos/labels.csv"), "file,label\n1.bmp,blue\n3.bmp,blue,red\n").unwrap();
    let two = Arc::new(Dataset::open_as(folder.path().join("photos"), &names).unwrap());
    assert_eq!(open(&two, &one_each), Err(format!("photos/3.bmp has 2 labels; {remedy}")));
}
