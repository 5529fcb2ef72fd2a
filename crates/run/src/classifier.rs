//! Photo in, classes out: the five-line entry.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use mobilenet_kernels::{Isa, Pool, cpu};
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_net::recognise::{Outputs, Overrides, Recognised};
use mobilenet_net::{Loaded, Origin};

use crate::arena::Arena;
use crate::classify::{top_classes, top_labels};
use crate::error::Error;
use crate::image::Image;
use crate::labels::Labels;
use crate::preprocess::preprocess;
use crate::program::{Options, Precision, Program};

/// What a user knows better than the weights file. Everything left out is found out.
#[derive(Clone, Debug, Default)]
pub struct ClassifierOptions {
    /// Of the network.
    pub network: Overrides,
    /// Of the way from photo to tensor.
    pub preprocessing: PreprocessingOverrides,
    /// A file with one class name a line.
    pub labels: Option<PathBuf>,
    /// How weights are stored, and products computed.
    pub precision: Precision,
    /// Threads that share one photo's work; what quota, affinity and cores allow where left out.
    pub threads: Option<usize>,
}

/// Parts of a [`Preprocessing`] that replace the weights' own.
#[derive(Clone, Debug, Default)]
pub struct PreprocessingOverrides {
    /// See [`Preprocessing::resize`].
    pub resize: Option<mobilenet_net::preprocessing::Resize>,
    /// See [`Preprocessing::size`].
    pub size: Option<[usize; 2]>,
    /// See [`Preprocessing::filter`].
    pub filter: Option<mobilenet_net::preprocessing::Filter>,
    /// See [`Preprocessing::mean`].
    pub mean: Option<[f32; 3]>,
    /// See [`Preprocessing::std`].
    pub std: Option<[f32; 3]>,
    /// See [`Preprocessing::background_class`].
    pub background_class: Option<bool>,
}

impl PreprocessingOverrides {
    /// `own` with what was given.
    pub fn over(&self, own: Preprocessing) -> Preprocessing {
        Preprocessing {
            resize: self.resize.unwrap_or(own.resize),
            size: self.size.unwrap_or(own.size),
            filter: self.filter.unwrap_or(own.filter),
            mean: self.mean.unwrap_or(own.mean),
            std: self.std.unwrap_or(own.std),
            background_class: self.background_class.unwrap_or(own.background_class),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Index among the classes, a background class not counted.
    pub class: usize,
    /// The class's name.
    pub label: String,
    /// Between 0 and 1; all classes together, and the background where there is one, give 1. Where the weights' outputs are
    /// [independent](Outputs::Independent), each is a probability by itself.
    pub probability: f32,
}

/// A network with weights, ready for photos. It can be shared between threads: each uses memory of its own.
pub struct Classifier {
    program: Program,
    recognised: Recognised,
    preprocessing: Preprocessing,
    labels: Labels,
    pool: Arc<Pool>,
    /// Arenas that no thread uses right now.
    arenas: Mutex<Vec<Arena>>,
}

impl Classifier {
    /// Opens a weights file; network, preprocessing and labels follow from it.
    ///
    /// # Errors
    /// A file that cannot be read, is no weights file, fits no network or has no classifier.
    ///
    /// # Examples
    /// ```no_run
    /// use mobilenet_run::{Classifier, Image};
    ///
    /// let classifier = Classifier::open("mobilenet_v2.pth")?;
    /// for answer in classifier.classify(&Image::open("photo.jpg")?, 5) {
    ///     println!("{:5.1} %  {}", answer.probability * 100.0, answer.label);
    /// }
    /// # Ok::<(), mobilenet_run::Error>(())
    /// ```
    pub fn open(weights: impl AsRef<Path>) -> Result<Classifier, Error> {
        Classifier::open_with(weights, &ClassifierOptions::default())
    }

    /// As [`Classifier::open`], with what the caller knows better.
    ///
    /// # Errors
    /// As [`Classifier::open`]; a list of names of another length than the classes.
    pub fn open_with(weights: impl AsRef<Path>, options: &ClassifierOptions) -> Result<Classifier, Error> {
        let loaded = mobilenet_net::load(&weights, &options.network)?;
        loaded.expect_classifier(weights.as_ref())?;
        let Loaded { recognised, graph, params } = loaded;
        let channels = recognised.spec.input_channels;
        if channels != 3 {
            return Err(Error::Channels { network: recognised.table.name.clone(), channels });
        }
        let preprocessing =
            options.preprocessing.over(recognised.preprocessing).checked().ok_or(Error::Preprocessing)?;
        let classes = recognised.spec.classes - usize::from(preprocessing.background_class);
        let labels = match (&options.labels, &recognised.labels) {
            (Some(file), _) => Labels::from_file(file, classes)?,
            (None, Some(names)) => Labels::new(names[usize::from(preprocessing.background_class)..].to_vec()),
            (None, None) if classes == 1000 && recognised.origin != Origin::Ours => Labels::imagenet(),
            (None, None) => Labels::numbered(classes),
        };
        let program = Program::compile(
            &graph,
            params,
            &Options { isa: Isa::from_env()?, precision: options.precision, ..Options::default() },
        )?;
        let pool = Arc::new(Pool::new(options.threads.unwrap_or_else(cpu::default_threads)));
        let [h, w] = preprocessing.size;
        // The first arena at once: a size that does not fit is an error here, and never later.
        let arenas = Mutex::new(vec![program.arena(1, h, w, &pool)?]);
        Ok(Classifier { program, recognised, preprocessing, labels, pool, arenas })
    }

    /// What the file was found to be, and what had to be guessed.
    pub fn recognised(&self) -> &Recognised {
        &self.recognised
    }

    /// How photos become tensors.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Names of the classes.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The `top` likeliest classes, likeliest first.
    pub fn classify(&self, image: &Image, top: usize) -> Vec<Prediction> {
        self.named(&self.logits(image), top)
    }

    /// As [`classify`](Self::classify) for each of `photos` photos: each thread reads and classifies a photo of its own, so
    /// that none waits for another's decoding or for a share of one small layer. `answer` gets the photos' answers in their
    /// order, or what `read` said against one, and may break off. A thread holds one photo at a time, and a few answers.
    ///
    /// # Errors
    /// [`Error`] where the system has no memory for the threads' arenas.
    pub fn classify_each<E: Send>(
        &self,
        photos: usize,
        top: usize,
        read: impl Fn(usize) -> Result<Image, E> + Sync,
        mut answer: impl FnMut(usize, Result<Vec<Prediction>, E>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        /// Answers of a thread that wait for an earlier photo's.
        const AHEAD: usize = 4;
        let threads = self.pool.threads().min(photos);
        let [h, w] = self.preprocessing.size;
        let arena = |_| self.program.arena(1, h, w, &Arc::new(Pool::new(1)));
        let arenas = (0..threads).map(arena).collect::<Result<Vec<Arena>, _>>()?;
        thread::scope(|scope| {
            let begin = |(first, mut arena): (usize, Arena)| {
                let (sender, receiver) = mpsc::sync_channel(AHEAD);
                let read = &read;
                scope.spawn(move || {
                    for photo in (first..photos).step_by(threads) {
                        let answer = read(photo).map(|image| self.named(&self.logits_in(&mut arena, &image), top));
                        // Nobody listens any more.
                        if sender.send(answer).is_err() {
                            break;
                        }
                    }
                });
                receiver
            };
            let receivers: Vec<_> = arenas.into_iter().enumerate().map(begin).collect();
            for photo in 0..photos {
                // A thread that is gone has panicked, which ends the scope.
                let Ok(found) = receivers[photo % threads].recv() else { break };
                if answer(photo, found).is_break() {
                    break;
                }
            }
        });
        Ok(())
    }

    /// The `top` likeliest classes of some logits.
    fn named(&self, logits: &[f32], top: usize) -> Vec<Prediction> {
        let probabilities = match self.recognised.outputs {
            Outputs::Exclusive => top_classes,
            Outputs::Independent => top_labels,
        };
        let answers = probabilities(logits, top, self.preprocessing.background_class);
        let named = |(class, probability)| Prediction {
            class,
            label: self.labels.get(class).unwrap_or_default().to_owned(),
            probability,
        };
        answers.into_iter().map(named).collect()
    }

    /// The network's outputs, a background class included.
    pub fn logits(&self, image: &Image) -> Vec<f32> {
        let mut arena = self.take_arena();
        let logits = self.logits_in(&mut arena, image);
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
        logits
    }

    fn logits_in(&self, arena: &mut Arena, image: &Image) -> Vec<f32> {
        preprocess(image, &self.preprocessing, arena.input_mut());
        self.program.run(arena);
        arena.output("logits").expect("compiled for its logits").to_vec()
    }

    fn take_arena(&self) -> Arena {
        let free = self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| {
            let [h, w] = self.preprocessing.size;
            self.program.arena(1, h, w, &self.pool).expect("this size was accepted when the classifier was opened")
        })
    }
}
