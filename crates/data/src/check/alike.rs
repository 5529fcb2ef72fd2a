//! Photos that are there several times.

use std::collections::{BTreeMap, HashMap};

use super::Photos;
use super::fault::{Fault, Kind};
use super::photo::{Facts, SMALL, Seen};

/// Most photos that one is compared with for each quarter of its fingerprint: beyond, photos without contrast such as
/// scans of empty pages would be compared all with all.
const MOST: usize = 200;

/// The largest mean difference of two small copies' levels. Another size, quality or format of a photo gives up to 2.
const NEAR: f64 = 3.0;
/// The same in parts of the copy's contrast, its standard deviation: on white paper, things may differ by little.
const NEAR_PART: f64 = 0.06;
/// Levels that neighbours must differ by to count in a fingerprint: less is noise of compression.
const MARGIN: i32 = 3;

/// Groups of photos with the same pixels, and of almost the same.
pub(super) fn faults(photos: &Photos, seen: &[Seen], faults: &mut Vec<Fault>) {
    let groups = same(seen);
    faults.extend(groups.iter().filter(|group| group.len() > 1).map(|group| of_same(photos, group)));
    // Of those with the same pixels one stands for all.
    let firsts = firsts(&groups);
    let by_first: HashMap<usize, &Vec<usize>> = groups.iter().map(|group| (group[0], group)).collect();
    for near in near(&firsts, seen) {
        let all: Vec<usize> = near.iter().flat_map(|first| by_first[first].iter().copied()).collect();
        let classes = classes(photos, &all);
        let (kind, more) = if leaks(photos, &all) && !same_groups_leak(photos, &near, &by_first) {
            (Kind::NearLeak, ", in training and validation".to_owned())
        } else if classes.len() > 1 {
            (Kind::NearContradiction, format!(", as {}", classes.join(" and as ")))
        } else {
            (Kind::NearDuplicate, String::new())
        };
        faults.push(fault(photos, kind, &near, format!("{} photos are almost the same{more}", near.len())));
    }
}

/// Groups of photos with the same pixels or almost the same; only those of two and more.
pub(crate) fn scenes(seen: &[Seen]) -> Vec<Vec<usize>> {
    let same = same(seen);
    let mut scenes = Groups::new(seen.len());
    for group in same.iter().chain(&near(&firsts(&same), seen)) {
        group.iter().for_each(|&number| scenes.join(group[0], number));
    }
    scenes.of_several()
}

/// The photos that can be read, by their pixels.
fn same(seen: &[Seen]) -> Vec<Vec<usize>> {
    let mut same: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (number, seen) in seen.iter().enumerate() {
        if let Some(facts) = seen.ok() {
            same.entry(facts.hash).or_default().push(number);
        }
    }
    let mut groups: Vec<Vec<usize>> = same.into_values().collect();
    groups.sort_unstable();
    groups
}

/// One photo of each group.
fn firsts(groups: &[Vec<usize>]) -> Vec<usize> {
    groups.iter().map(|group| group[0]).collect()
}

/// Whether one of the groups leaks by itself, and was told of.
fn same_groups_leak(photos: &Photos, near: &[usize], by_first: &HashMap<usize, &Vec<usize>>) -> bool {
    near.iter().any(|first| leaks(photos, by_first[first]))
}

fn of_same(photos: &Photos, group: &[usize]) -> Fault {
    let count = group.len();
    if leaks(photos, group) {
        return fault(photos, Kind::Leak, group, format!("the same photo {count} times, in training and validation"));
    }
    let is_one_class = group.iter().all(|&number| photos.target(number) == photos.target(group[0]));
    if is_one_class {
        return fault(photos, Kind::Duplicate, group, format!("the same photo {count} times"));
    }
    let classes = classes(photos, group).join(" and as ");
    fault(photos, Kind::Contradiction, group, format!("the same photo {count} times, as {classes}"))
}

/// The names of the classes that the photos of a group have.
fn classes<'a>(photos: &'a Photos, group: &[usize]) -> Vec<&'a str> {
    let names = photos.splits.train.classes();
    let mut classes: Vec<&str> = Vec::new();
    for &label in group.iter().flat_map(|&number| photos.target(number).labels()) {
        if !classes.contains(&names[label as usize].as_str()) {
            classes.push(&names[label as usize]);
        }
    }
    classes
}

fn fault(photos: &Photos, kind: Kind, group: &[usize], what: String) -> Fault {
    Fault { kind, photos: group.iter().map(|&number| photos.name(number)).collect(), what }
}

fn leaks(photos: &Photos, group: &[usize]) -> bool {
    group.iter().any(|&number| photos.is_validation(number))
        && !group.iter().all(|&number| photos.is_validation(number))
}

/// Groups of two and more among these photos that are almost the same.
fn near(numbers: &[usize], seen: &[Seen]) -> Vec<Vec<usize>> {
    let facts = |number: usize| seen[number].ok().expect("only photos that were read are compared");
    let fingerprints: Vec<u64> = numbers.iter().map(|&number| fingerprint(&facts(number).small)).collect();
    let mut groups = Groups::new(numbers.len());
    for quarter in 0..4 {
        let mut alike: HashMap<u16, Vec<usize>> = HashMap::new();
        for (i, &number) in numbers.iter().enumerate() {
            let part = (fingerprints[i] >> (16 * quarter)) as u16;
            let others = alike.entry(part).or_default();
            for &other in others.iter().rev().take(MOST) {
                if !groups.are_one(i, other) && is_near(facts(number), facts(numbers[other])) {
                    groups.join(i, other);
                }
            }
            others.push(i);
        }
    }
    groups.of_several().into_iter().map(|group| group.into_iter().map(|i| numbers[i]).collect()).collect()
}

/// 64 bits, which of two neighbours in a row of 8×8 places is the brighter: two copies of a photo differ in few, so that
/// one of the quarters is nearly always the same.
fn fingerprint(small: &[u8]) -> u64 {
    const PLACE: usize = SMALL / 8;
    let light = |row: usize, column: usize| -> i32 {
        let levels = (0..PLACE * PLACE).flat_map(|i| {
            let at = ((row * PLACE + i / PLACE) * SMALL + column * PLACE + i % PLACE) * 3;
            small[at..at + 3].iter().map(|&level| i32::from(level))
        });
        levels.sum::<i32>() / (3 * PLACE * PLACE) as i32
    };
    (0..64).fold(0, |bits, i| {
        let (row, column) = (i / 8, i % 8);
        // The last place has the first of its row for a neighbour.
        let is_brighter = light(row, column) > light(row, (column + 1) % 8) + MARGIN;
        bits << 1 | u64::from(is_brighter)
    })
}

fn is_near(a: &Facts, b: &Facts) -> bool {
    let count = a.small.len() as f64;
    let apart = a.small.iter().zip(&b.small).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / count;
    let mean = a.small.iter().map(|&level| f64::from(level)).sum::<f64>() / count;
    let variance = a.small.iter().map(|&level| (f64::from(level) - mean).powi(2)).sum::<f64>() / count;
    apart <= NEAR && apart <= NEAR_PART * variance.sqrt()
}

/// Disjoint sets of numbers.
pub(crate) struct Groups(Vec<usize>);

impl Groups {
    /// Each number in a set of its own.
    pub fn new(count: usize) -> Groups {
        Groups((0..count).collect())
    }

    /// The least of the set that a number is in.
    pub fn root(&mut self, mut of: usize) -> usize {
        while self.0[of] != of {
            self.0[of] = self.0[self.0[of]];
            of = self.0[of];
        }
        of
    }

    fn are_one(&mut self, a: usize, b: usize) -> bool {
        self.root(a) == self.root(b)
    }

    /// Makes one set of two.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// The sets of two and more.
    pub fn of_several(mut self) -> Vec<Vec<usize>> {
        let mut sets: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for i in 0..self.0.len() {
            let root = self.root(i);
            sets.entry(root).or_default().push(i);
        }
        sets.into_values().filter(|set| set.len() > 1).collect()
    }
}
