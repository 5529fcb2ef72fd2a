//! A trained network's classes changed without training it again: new ones added, others renamed or dropped. Everything
//! below the classifier stays, and so do the weights of the classes that stay.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mobilenet_data::{Dataset, Loader, LoaderOptions};
use mobilenet_net::exemplars::Exemplars;
use mobilenet_net::golden::Golden;
use mobilenet_net::model_file::Beside;
use mobilenet_net::recognise::Outputs;
use mobilenet_net::{About, Graph, Loaded, Params, Recognised, model_file};
use mobilenet_run::classify::{class_probabilities, label_probabilities};
use mobilenet_run::{Image, golden};
use serde_json::{Value, json};

use crate::assess::least_but;
use crate::calibrate::{exemplary, spread};
use crate::error::Error;
use crate::features::Features;
use crate::head::Head;
use crate::newcomers::{self, Newcomers};
use crate::objective::expect_one_label;
use crate::trainer::{Machine, SAMPLES};

/// Photos that are run at once.
const BATCH: usize = 16;
/// Of so many photos of a new class one is held out to check with.
const HELD_OUT: usize = 5;
/// Photos of the old classes whose features are computed where the file has none.
const OLD: usize = 512;
/// Photos of a new class that join the file's exemplars, at least.
const KEPT: usize = 16;

/// What is to be changed; names that it speaks of are those of the file.
#[derive(Default)]
pub struct Changes {
    /// Photos of new classes.
    pub add: Option<Arc<Dataset>>,
    /// Old and new names.
    pub rename: Vec<(String, String)>,
    /// Classes that go.
    pub drop: Vec<String>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Changed {
    /// The new file's classes.
    pub classes: Vec<String>,
    /// Photos of new classes that were held out.
    pub held_out: usize,
    /// Share of them that the new network names right; none without any.
    pub held_out_top1: Option<f64>,
    /// Share of the old classes' exemplars whose answer stays; none where nothing was added.
    pub kept: Option<f64>,
}

/// Writes the network of `from`, with its classes changed, as `to`.
///
/// New classes are told from the old ones by `old`, photos of the file's classes, or, without them, by the exemplars in the
/// file, which training leaves there. The threshold of 'unknown' refuses as many of them as before; without either it stays.
/// `watch` hears of how many photos the features are computed, of how many.
///
/// # Errors
/// A file that cannot be opened or has no names for its classes; names that it lacks or would have twice; fewer than two
/// classes left; new classes without exemplars and `old`, or for outputs that are independent of each other.
pub fn change(
    from: &Path,
    to: &Path,
    changes: Changes,
    old: Option<&Arc<Dataset>>,
    machine: &Machine,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Changed, Error> {
    let Loaded { mut recognised, graph, params } = mobilenet_net::load(from, &Default::default())?;
    let refuse = |reason: String| Error::from(mobilenet_net::Error::format(from, reason));
    let Some(labels) = recognised.labels.clone() else {
        return Err(refuse("it does not name its classes: `mobilenet convert --labels` writes names into it".into()));
    };
    let head = Head::of(&params).ok_or_else(|| refuse("it has no classifier".into()))?;
    let background = recognised.preprocessing.background_class.then(|| labels[0].clone());
    let exemplars = match old {
        Some(photos) => {
            expect_one_label(photos)?;
            let some = Arc::new(photos.only(&exemplary(photos, OLD)));
            Some(collect(&graph, &params, &recognised, &some, machine, watch)?)
        }
        None => Exemplars::read(from, labels.len(), head.features())?,
    };
    let photos = golden::photos(Golden::read(from)?)?;
    let outputs = recognised.outputs;
    let mut network = Network { path: from.to_owned(), labels, background, outputs, head, exemplars, photos };
    let refused = recognised.about.threshold.and_then(|threshold| network.refused(threshold));
    network.drop(&changes.drop)?;
    network.rename(&changes.rename)?;
    let added = match &changes.add {
        Some(photos) => {
            if recognised.outputs == Outputs::Independent {
                return Err(refuse("its classes are independent labels: train it anew with all photos".into()));
            }
            expect_one_label(photos)?;
            let features = collect(&graph, &params, &recognised, photos, machine, watch)?;
            network.prove_with(photos);
            Some(network.add(photos, &features, &recognised.about)?)
        }
        None => None,
    };
    let (held_out, held_out_top1, kept) = added.map_or((0, None, None), |added| {
        let share = (added.held_out > 0).then(|| added.right as f64 / added.held_out as f64);
        (added.held_out, share, Some(added.kept))
    });
    let classes = network.labels.clone();
    // Names alone change no probability, and without photos nothing tells another threshold.
    if changes.add.is_some() || !changes.drop.is_empty() {
        let threshold = refused.and_then(|share| network.threshold(share));
        recognised.about.threshold = threshold.or(recognised.about.threshold);
    }
    network.write(to, recognised, params, &changes, machine)?;
    Ok(Changed { classes, held_out, held_out_top1, kept })
}

/// What changes of a network.
struct Network {
    path: PathBuf,
    labels: Vec<String>,
    /// The class that is none, which is the first.
    background: Option<String>,
    outputs: Outputs,
    head: Head,
    exemplars: Option<Exemplars>,
    /// Photos that the new file is proved with.
    photos: Vec<Image>,
}

impl Network {
    fn refuse(&self, reason: String) -> Error {
        mobilenet_net::Error::format(&self.path, reason).into()
    }

    fn place(&self, class: &str) -> Result<usize, Error> {
        let place = self.labels.iter().position(|label| label == class);
        place.ok_or_else(|| self.refuse(format!("it has no class {class:?}; it has {}", self.labels.join(", "))))
    }

    fn expect_new(&self, class: &str) -> Result<(), Error> {
        match self.labels.iter().any(|label| label == class) {
            true => Err(self.refuse(format!("it has a class {class:?} already"))),
            false => Ok(()),
        }
    }

    fn drop(&mut self, classes: &[String]) -> Result<(), Error> {
        for class in classes {
            let place = self.place(class)?;
            self.expect_no_background(class)?;
            if self.labels.len() <= 2 {
                return Err(self.refuse(format!("without {class:?} it would have one class")));
            }
            self.labels.remove(place);
            let others: Vec<usize> = (0..=self.labels.len()).filter(|other| *other != place).collect();
            self.head = self.head.arranged(&others);
            if let Some(exemplars) = &mut self.exemplars {
                let mut left = Exemplars { len: exemplars.len, ..Exemplars::default() };
                let others = exemplars.iter().filter(|(_, class)| *class as usize != place);
                others.for_each(|(row, class)| left.push(row, class - u32::from(class as usize > place)));
                *exemplars = left;
            }
        }
        Ok(())
    }

    fn rename(&mut self, names: &[(String, String)]) -> Result<(), Error> {
        // All at once, so that two names may be swapped.
        let mut labels = self.labels.clone();
        let mut renamed = Vec::new();
        for (old, new) in names {
            let place = self.place(old)?;
            self.expect_no_background(old)?;
            if renamed.contains(&place) {
                return Err(self.refuse(format!("{old:?} is given two names")));
            }
            renamed.push(place);
            labels[place].clone_from(new);
        }
        for place in renamed {
            if labels.iter().filter(|label| **label == labels[place]).count() > 1 {
                return Err(self.refuse(format!("two classes would be called {:?}", labels[place])));
            }
        }
        self.labels = labels;
        Ok(())
    }

    /// The background is read by its place.
    fn expect_no_background(&self, class: &str) -> Result<(), Error> {
        match self.background.as_deref() == Some(class) {
            true => Err(self.refuse(format!("{class:?} is its background, which stays"))),
            false => Ok(()),
        }
    }

    /// Puts a new class's photo among those that prove the file.
    fn prove_with(&mut self, photos: &Dataset) {
        self.photos.truncate(SAMPLES - 1);
        let readable = (0..photos.len()).find_map(|photo| photos.read(photo).ok());
        self.photos.extend(readable.map(|photo| golden::small(&photo)));
    }

    /// The share of the exemplars that a threshold refuses; none where there are no exemplars.
    fn refused(&self, threshold: f32) -> Option<f64> {
        let sureness = self.sureness()?;
        let refused = sureness.iter().filter(|sureness| **sureness < f64::from(threshold)).count();
        Some(refused as f64 / sureness.len().max(1) as f64)
    }

    /// The probability below which this share of the exemplars is answered 'unknown'.
    fn threshold(&self, share: f64) -> Option<f32> {
        least_but(self.sureness()?.into_iter(), share).map(|least| least as f32)
    }

    /// The probability of each exemplar's likeliest class.
    fn sureness(&self) -> Option<Vec<f64>> {
        let probabilities = match self.outputs {
            Outputs::Exclusive => class_probabilities,
            Outputs::Independent => label_probabilities,
        };
        let largest = |logits: Vec<f32>| {
            probabilities(&logits, self.background.is_some()).into_iter().map(f64::from).fold(0.0, f64::max)
        };
        Some(self.exemplars.as_ref()?.iter().map(|(row, _)| largest(self.head.logits(row))).collect())
    }

    /// Adds the classes of `photos`, whose features are given, to what so far says `about` itself when it does not know.
    fn add(&mut self, photos: &Dataset, features: &Exemplars, about: &About) -> Result<Newcomers, Error> {
        photos.classes().iter().try_for_each(|class| self.expect_new(class))?;
        let Some(old) = self.exemplars.as_ref().filter(|old| !old.classes.is_empty()) else {
            let text = "it holds no features of photos to tell a new class from: give photos of its classes as \
                        DATA beside --add";
            return Err(self.refuse(text.into()));
        };
        let first = self.labels.len() as u32;
        let mut new = Exemplars { len: features.len, ..Exemplars::default() };
        features.iter().for_each(|(row, class)| new.push(row, first + class));
        for (class, name) in photos.classes().iter().enumerate() {
            if !features.classes.contains(&(class as u32)) {
                return Err(
                    mobilenet_net::Error::format(photos.path(), format!("no photo of {name:?} can be read")).into()
                );
            }
        }
        let newcomers = newcomers::learn(&mut self.head, old, &new, HELD_OUT, about);
        // As many as an old class has: photos of the new ones shall be as familiar.
        let most = (old.classes.len() / self.labels.len()).max(KEPT);
        self.labels.extend(photos.classes().iter().cloned());
        if let Some(exemplars) = &mut self.exemplars {
            for class in first..self.labels.len() as u32 {
                let rows: Vec<&[f32]> = new.iter().filter(|(_, of)| *of == class).map(|(row, _)| row).collect();
                spread(rows.len(), most).for_each(|place| exemplars.push(rows[place], class));
            }
        }
        Ok(newcomers)
    }

    fn write(
        self,
        to: &Path,
        mut recognised: Recognised,
        mut params: Params,
        changes: &Changes,
        machine: &Machine,
    ) -> Result<(), Error> {
        let Network { labels, head, exemplars, photos, .. } = self;
        recognised.spec.classes = labels.len();
        recognised.labels = Some(labels);
        note(&mut recognised, changes);
        let graph = recognised.table.graph(&recognised.spec)?;
        params.tensors.extend(head.tensors());
        let golden = golden::make(&graph, params.clone(), &recognised, &photos, machine.isa)?;
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).map_err(Error::folder(folder))?;
        }
        Ok(model_file::save(to, params, &graph, &recognised, Beside { golden, exemplars })?)
    }
}

/// Says in the file's training record what was changed.
fn note(recognised: &mut Recognised, Changes { add, rename, drop }: &Changes) {
    let added = add.as_ref().map(|photos| json!({"classes": photos.classes(), "photos": photos.len()}));
    let change = json!({"added": added, "renamed": rename, "dropped": drop});
    let record = recognised.about.training.get_or_insert_with(|| json!({}));
    if let Value::Object(record) = record {
        // Figures of the classes as they were.
        record.remove("validation");
        record.remove("calibration");
        let list = record.entry("changed_classes").or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(change);
        }
    }
}

/// The features of all photos that can be read.
pub(crate) fn collect(
    graph: &Graph,
    params: &Params,
    recognised: &Recognised,
    photos: &Arc<Dataset>,
    machine: &Machine,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Exemplars, Error> {
    if photos.is_empty() {
        return Ok(Exemplars::default());
    }
    let options = LoaderOptions {
        cache_bytes: 0,
        workers: machine.pool.threads(),
        ..LoaderOptions::evaluation(BATCH, recognised.preprocessing)
    };
    let loader = Loader::new(photos.clone(), options);
    let go_on = &mut |done: usize| {
        watch(done.min(photos.len()), photos.len());
        ControlFlow::Continue(())
    };
    let features = Features::of(graph, params.clone(), &loader, photos.len(), machine, go_on)?;
    let Features { len, rows, targets } = features.expect("nothing ends it");
    let classes = targets.iter().map(|target| target.labels()[0]).collect();
    Ok(Exemplars { len, rows, classes })
}
