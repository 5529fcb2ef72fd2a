//! Photo in, classes out: the five-line entry.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mobilenet_kernels::{Isa, Pool, cpu};
use mobilenet_net::Loaded;
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_net::recognise::{Outputs, Overrides, Recognised};

use crate::arena::Arena;
use crate::classify::{class_probabilities, label_probabilities, top_k_among};
use crate::error::Error;
use crate::familiar::Familiar;
use crate::image::Image;
use crate::labels::Labels;
use crate::ordered::in_order;
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
    /// See [`Preprocessing::channel_order`].
    pub channel_order: Option<mobilenet_net::preprocessing::ChannelOrder>,
    /// See [`Preprocessing::background_class`].
    pub background_class: Option<bool>,
}

impl PreprocessingOverrides {
    /// Replaces every part.
    pub fn all(by: &Preprocessing) -> PreprocessingOverrides {
        PreprocessingOverrides {
            resize: Some(by.resize),
            size: Some(by.size),
            filter: Some(by.filter),
            mean: Some(by.mean),
            std: Some(by.std),
            channel_order: Some(by.channel_order),
            background_class: Some(by.background_class),
        }
    }

    /// `own` with what was given.
    pub fn over(&self, own: Preprocessing) -> Preprocessing {
        Preprocessing {
            resize: self.resize.unwrap_or(own.resize),
            size: self.size.unwrap_or(own.size),
            filter: self.filter.unwrap_or(own.filter),
            mean: self.mean.unwrap_or(own.mean),
            std: self.std.unwrap_or(own.std),
            channel_order: self.channel_order.unwrap_or(own.channel_order),
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

/// What a network says of a photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its likeliest classes, likeliest first.
    pub likeliest: Vec<Prediction>,
    /// Whether it does not know: none of these classes reaches the [threshold](mobilenet_net::About::threshold) of its
    /// file, or the photo is less similar to those that the network was checked with than the file's
    /// [familiarity](mobilenet_net::About::familiarity). Never where the file has neither.
    pub is_unknown: bool,
}

/// A network with weights, ready for photos. It can be shared between threads: each uses memory of its own.
pub struct Classifier {
    program: Program,
    recognised: Recognised,
    preprocessing: Preprocessing,
    labels: Labels,
    /// Which classes may be answers; all where there is none.
    answers: Option<Vec<bool>>,
    familiar: Option<Familiar>,
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

    /// The [network inside the program](mobilenet_net::built_in): 200 classes, 5 MB.
    ///
    /// # Errors
    /// Where the program was compiled without the feature `built-in`.
    pub fn built_in() -> Result<Classifier, Error> {
        Classifier::open(mobilenet_net::built_in::NAME)
    }

    /// As [`Classifier::open`], with what the caller knows better.
    ///
    /// # Errors
    /// As [`Classifier::open`]; a list of names of another length than the classes.
    pub fn open_with(weights: impl AsRef<Path>, options: &ClassifierOptions) -> Result<Classifier, Error> {
        let loaded = mobilenet_net::load(&weights, &options.network)?;
        loaded.expect_classifier(weights.as_ref())?;
        let Loaded { mut recognised, graph, params } = loaded;
        let channels = recognised.spec.input_channels;
        if channels != 3 {
            return Err(Error::Channels { network: recognised.table.name.clone(), channels });
        }
        let preprocessing =
            options.preprocessing.over(recognised.preprocessing).checked().ok_or(Error::Preprocessing)?;
        let described = Recognised { preprocessing, ..recognised.clone() };
        let labels = Labels::of(&described, options.labels.as_deref())?;
        recognised.guesses.extend(Labels::guess(&described).filter(|_| options.labels.is_none()));
        let familiar = Familiar::open(weights.as_ref(), &graph, &recognised)?;
        let mut compiled_for = Options { isa: Isa::from_env()?, precision: options.precision, ..Options::default() };
        compiled_for.outputs.extend(familiar.iter().map(|_| graph.features_tap().to_owned()));
        let program = Program::compile(&graph, params, &compiled_for)?;
        let pool = Arc::new(Pool::new(options.threads.unwrap_or_else(cpu::default_threads)));
        let [h, w] = preprocessing.size;
        // The first arena at once: a size that does not fit is an error here, and never later.
        let arenas = Mutex::new(vec![program.arena(1, h, w, &pool)?]);
        Ok(Classifier { program, recognised, preprocessing, labels, answers: None, familiar, pool, arenas })
    }

    /// Whether the file says when an answer is [unknown](Answer::is_unknown).
    pub fn may_not_know(&self) -> bool {
        self.recognised.about.threshold.is_some() || self.familiar.is_some()
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
        self.answer(image, top).likeliest
    }

    /// The `top` likeliest classes, and whether the network knows what the photo shows.
    pub fn answer(&self, image: &Image, top: usize) -> Answer {
        let mut arena = self.take_arena();
        let answer = self.answer_in(&mut arena, image, top);
        self.give_back(arena);
        answer
    }

    fn answer_in(&self, arena: &mut Arena, image: &Image, top: usize) -> Answer {
        let logits = self.logits_in(arena, image);
        let likeliest = self.named(&logits, top);
        let features = arena.output(self.program.graph().features_tap()).unwrap_or_default();
        let similarity = || self.familiar.as_ref().map(|familiar| familiar.similarity(features));
        let surest = likeliest.iter().map(|answer| f64::from(answer.probability)).fold(0.0, f64::max);
        let is_unknown = self.recognised.about.is_unknown(surest, similarity);
        Answer { likeliest, is_unknown }
    }

    /// Answers from now on only with classes that `is_answer`. Probabilities stay what they are among all classes, as
    /// MediaPipe's lists of categories have it: those of the answers need not give 1.
    pub fn answer_only(&mut self, is_answer: impl Fn(usize) -> bool) {
        self.answers = Some((0..self.labels.len()).map(is_answer).collect());
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
        answer: impl FnMut(usize, Result<Vec<Prediction>, E>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.work_through(0..photos, |worker, photo| read(*photo).map(|image| worker.classify(&image, top)), answer)
    }

    /// Any work on any number of photos, known or yet to come: each thread takes the next of `photos` when it is free and
    /// does its `work` with a [`Worker`] of its own; `take` gets the results in the order of the photos, and may break off.
    /// Photos are asked for no more than a few ahead, so that memory does not grow with their number.
    ///
    /// # Errors
    /// [`Error`] where the system has no memory for the threads' arenas.
    pub fn work_through<P: Send, R: Send>(
        &self,
        photos: impl Iterator<Item = P> + Send,
        work: impl Fn(&mut Worker, &P) -> R + Sync,
        take: impl FnMut(P, R) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let most = photos.size_hint().1.unwrap_or(usize::MAX);
        let [h, w] = self.preprocessing.size;
        let worker = |_| {
            let arena = self.program.arena(1, h, w, &Arc::new(Pool::new(1)))?;
            Ok(Worker { classifier: self, arena })
        };
        let workers = (0..self.pool.threads().min(most)).map(worker).collect::<Result<Vec<_>, Error>>()?;
        in_order(workers, photos, work, take);
        Ok(())
    }

    /// The `top` likeliest classes of some logits.
    fn named(&self, logits: &[f32], top: usize) -> Vec<Prediction> {
        let probabilities = match self.recognised.outputs {
            Outputs::Exclusive => class_probabilities,
            Outputs::Independent => label_probabilities,
        }(logits, self.preprocessing.background_class);
        let is_answer = |class: usize| self.answers.as_ref().is_none_or(|answers| answers[class]);
        let named = |(class, probability)| Prediction {
            class,
            label: self.labels.get(class).unwrap_or_default().to_owned(),
            probability,
        };
        top_k_among(&probabilities, top, is_answer).into_iter().map(named).collect()
    }

    /// The network's outputs, a background class included.
    pub fn logits(&self, image: &Image) -> Vec<f32> {
        let mut arena = self.take_arena();
        let logits = self.logits_in(&mut arena, image);
        self.give_back(arena);
        logits
    }

    fn give_back(&self, arena: Arena) {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
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

/// A thread's share of a [`Classifier`]: its network and memory of its own.
pub struct Worker<'a> {
    classifier: &'a Classifier,
    arena: Arena,
}

impl Worker<'_> {
    /// As [`Classifier::classify`], on this thread alone.
    pub fn classify(&mut self, image: &Image, top: usize) -> Vec<Prediction> {
        self.answer(image, top).likeliest
    }

    /// As [`Classifier::answer`], on this thread alone.
    pub fn answer(&mut self, image: &Image, top: usize) -> Answer {
        self.classifier.answer_in(&mut self.arena, image, top)
    }
}
