//! Photos put aside to check with, where the data has none: which ones follows from their content alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use mobilenet_net::hash::Hash;
use mobilenet_run::image::Decoded;
use mobilenet_run::ordered::in_order;

use crate::check::alike::{Groups, scenes};
use crate::check::photo::Seen;
use crate::dataset::{Dataset, Item};
use crate::error::Error;
use crate::random::Random;
use crate::splits::Splits;

/// Which photos stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenes {
    /// Files with the same bytes. They are read, and not decoded.
    SameBytes,
    /// Also photos with the same pixels or almost the same, as [`check`](crate::check) finds them. All are decoded, which
    /// takes as long as an epoch's decoding.
    Alike,
}

/// How photos are put aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByContent {
    /// The part of the photos that is put aside, more than 0 and less than 1.
    pub share: f64,
    /// Which photos stay together.
    pub scenes: Scenes,
    /// Threads that read.
    pub threads: usize,
}

impl ByContent {
    /// Of seven photos one, about, read by so many threads.
    pub fn new(threads: usize) -> ByContent {
        ByContent { share: 0.15, scenes: Scenes::SameBytes, threads }
    }
}

impl Splits {
    /// Puts photos of `dataset` aside to check with, about `share` of each class: at least one of every class that has two
    /// different ones, and never the last; no validation photos where no class has two. `watch` is told how many photos were
    /// read, of how many, and may end it, which gives `Ok(None)`.
    ///
    /// A photo's side follows from a hash of its bytes, so that folders, names, order and machine do not matter, files of
    /// the same bytes are on one side, and a photo that is added moves no other, but where it is the second of its class or
    /// takes the place of the only one put aside. Where photos of several labels cannot suit all, every label has
    /// photos to learn from, and some may have none to check with. Photos that are no photos by their first bytes, or with
    /// [`Scenes::Alike`] cannot be decoded, stay with those to learn from.
    ///
    /// # Errors
    /// [`Error::Share`].
    pub fn by_content(
        dataset: Dataset,
        how: &ByContent,
        watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Splits>, Error> {
        if !(how.share > 0.0 && how.share < 1.0) {
            return Err(Error::Share { path: dataset.path, share: how.share });
        }
        let Some(read) = read(&dataset, how, watch) else { return Ok(None) };
        let groups = groups(&dataset.items, &read);
        let mut is_aside = vec![false; dataset.len()];
        for (group, side) in groups.iter().zip(sides(&groups, dataset.classes.len(), how.share)) {
            group.photos.iter().for_each(|&photo| is_aside[photo] = side);
        }
        Ok(Some(divide(dataset, &is_aside)))
    }
}

/// What is known of the photos, in their order.
#[derive(Default)]
struct Read {
    /// Of their bytes; none of those that cannot be read.
    hashes: Vec<Option<u64>>,
    /// Their pixels, where scenes are compared.
    seen: Vec<Seen>,
}

/// Reads every photo; `None` where `watch` ended it.
fn read(dataset: &Dataset, how: &ByContent, watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Option<Read> {
    let see = |(): &mut (), &index: &usize| {
        let Ok(bytes) = dataset.bytes(index) else { return (None, None) };
        let mut hash = Hash::default();
        hash.bytes(&bytes);
        let name = || dataset.name(index);
        let seen = (how.scenes == Scenes::Alike)
            .then(|| Seen::of_decoded(Decoded::from_bytes(&bytes, &name()).map_err(Error::from)));
        let is_broken = seen.as_ref().is_some_and(|seen| seen.ok().is_none());
        ((!is_broken).then_some(hash.get()), seen)
    };
    let total = dataset.len();
    let mut read = Read::default();
    let take = |_, (hash, seen): (Option<u64>, Option<Seen>)| {
        read.hashes.push(hash);
        read.seen.push(seen.unwrap_or(Seen::Empty));
        watch(read.hashes.len(), total)
    };
    in_order(vec![(); how.threads.max(1)], 0..total, see, take);
    (read.hashes.len() == total).then_some(read)
}

/// Photos that stay together.
struct Group {
    /// The least of its photos'.
    hash: u64,
    photos: Vec<usize>,
    /// All labels of its photos, each once.
    labels: BTreeSet<u32>,
}

impl Group {
    /// In 0..1; those below the share are put aside.
    fn place(&self) -> f64 {
        Random::new(self.hash, 0, 0).unit_f64()
    }
}

/// The groups of the photos that were read, by their places.
fn groups(items: &[Item], read: &Read) -> Vec<Group> {
    let mut together = Groups::new(items.len());
    let mut first: HashMap<u64, usize> = HashMap::new();
    for (photo, hash) in read.hashes.iter().enumerate() {
        if let Some(hash) = hash {
            together.join(*first.entry(*hash).or_insert(photo), photo);
        }
    }
    for scene in scenes(&read.seen) {
        scene.iter().for_each(|&photo| together.join(scene[0], photo));
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    for (photo, hash) in read.hashes.iter().enumerate() {
        let Some(hash) = hash else { continue };
        let empty = || Group { hash: u64::MAX, photos: Vec::new(), labels: BTreeSet::new() };
        let group = groups.entry(together.root(photo)).or_insert_with(empty);
        // Not the least place of all: of many photos one is always below the share.
        group.hash = group.hash.min(*hash);
        group.photos.push(photo);
        group.labels.extend(items[photo].target.labels());
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| a.place().total_cmp(&b.place()));
    groups
}

/// Which of the groups, in the order of their places, are put aside.
fn sides(groups: &[Group], classes: usize, share: f64) -> Vec<bool> {
    let mut by_label = vec![Vec::new(); classes];
    for (i, group) in groups.iter().enumerate() {
        group.labels.iter().for_each(|&label| by_label[label as usize].push(i));
    }
    let mut is_aside: Vec<bool> = groups.iter().map(|group| group.place() < share).collect();
    for of_label in by_label.iter().filter(|of_label| of_label.len() > 1) {
        if !of_label.iter().any(|&i| is_aside[i]) {
            is_aside[of_label[0]] = true;
        }
    }
    for of_label in &by_label {
        if let Some(&last) = of_label.last()
            && of_label.iter().all(|&i| is_aside[i])
        {
            is_aside[last] = false;
        }
    }
    is_aside
}

/// The photos that are put aside as validation photos, if there are any.
fn divide(dataset: Dataset, is_aside: &[bool]) -> Splits {
    let Dataset { path, classes, items, archives, ignored, is_by_number, is_sharded } = dataset;
    let part = |items, ignored| Dataset {
        path: path.clone(),
        classes: classes.clone(),
        items,
        archives: archives.clone(),
        ignored,
        is_by_number,
        is_sharded,
    };
    let mut sides = is_aside.iter();
    let (aside, rest): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|_| *sides.next().expect("a side each"));
    let validation = (!aside.is_empty()).then(|| part(aside, Vec::new()));
    Splits { train: part(rest, ignored), validation }
}
