//! What is wrong with the classes.

use std::collections::BTreeMap;

use super::Class;
use super::fault::{Fault, Kind};
use crate::dataset::Dataset;
use crate::splits::Splits;

/// How many times as many photos as the smallest class the largest may have.
const IMBALANCE: usize = 10;

/// Names that say where photos lie, and not what they show.
const ODD: [&str; 20] = [
    "all",
    "class",
    "classes",
    "data",
    "dataset",
    "folder",
    "image",
    "images",
    "img",
    "imgs",
    "misc",
    "newfolder",
    "photo",
    "photos",
    "pictures",
    "temp",
    "test",
    "tmp",
    "train",
    "untitled",
];

/// The classes with their photos.
pub(super) fn count(splits: &Splits) -> Vec<Class> {
    let train = splits.train.photos_by_class();
    let validation = splits.validation.as_ref().map(Dataset::photos_by_class);
    let class = |(i, name): (usize, &String)| Class {
        name: name.clone(),
        train: train[i],
        validation: validation.as_ref().map_or(0, |counts| counts[i]),
    };
    splits.train.classes().iter().enumerate().map(class).collect()
}

/// What is wrong with their names and numbers.
pub(super) fn faults(splits: &Splits, classes: &[Class], faults: &mut Vec<Fault>) {
    let mut fault = |kind, what| faults.push(Fault { kind, photos: Vec::new(), what });
    if let [Class { name, .. }] = classes
        && !splits.train.has_labels()
    {
        fault(Kind::OneClass, format!("there is one class only, `{name}`"));
    }
    for Class { name, train, validation } in classes {
        match train {
            0 => fault(Kind::EmptyClass, format!("class `{name}` has no photos to learn from")),
            1 => fault(Kind::SinglePhoto, format!("class `{name}` has one photo")),
            _ => {}
        }
        if splits.validation.is_some() && *validation == 0 {
            fault(Kind::Unchecked, format!("class `{name}` has no photos to check with"));
        }
        if ODD.contains(&plain(name).as_str()) || name.trim() != name {
            fault(Kind::OddName, format!("a class is called `{name}`"));
        }
    }
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for class in classes {
        alike.entry(plain(&class.name)).or_default().push(&class.name);
    }
    for names in alike.into_values().filter(|names| names.len() > 1) {
        fault(Kind::AlikeNames, format!("classes are called `{}`", names.join("` and `")));
    }
    let filled = || classes.iter().filter(|class| class.train > 0);
    if let (Some(least), Some(most)) =
        (filled().min_by_key(|class| class.train), filled().max_by_key(|class| class.train))
        && most.train >= IMBALANCE * least.train
    {
        let [few, many] = [least, most].map(|class| format!("`{}` has {}", class.name, class.train));
        fault(Kind::Imbalance, format!("class {many} photos, and {few}"));
    }
}

/// A name's letters and digits alone.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
