//! Photos as vectors: the network's features before its classifier.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use mobilenet_kernels::{Isa, Pool, cpu};
use mobilenet_net::hash::Hash;
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_net::{Loaded, Params, Recognised};

use crate::arena::Arena;
use crate::classifier::ClassifierOptions;
use crate::embeddings::Embeddings;
use crate::error::Error;
use crate::image::Image;
use crate::ordered::in_order;
use crate::preprocess::preprocess;
use crate::program::{Options, Program};

/// Which of a network's two vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Features {
    /// The last feature map's mean over height and width: 1024 values of V1 and 1280 of V2 at width 1, 960 of V3-Large, 576
    /// of V3-Small. torchvision's `features` behind its pool; timm's `forward_features` behind its pool.
    #[default]
    Pooled,
    /// V3's hidden layer behind the pool, after its h-swish: 1280 values of V3-Large, 1024 of V3-Small at width 1. What
    /// timm's `forward_head(pre_logits=True)` and TensorFlow's embedders give.
    Hidden,
}

impl Features {
    /// Both.
    pub const ALL: [Features; 2] = [Features::Pooled, Features::Hidden];

    /// Its name, which is the tap's.
    pub fn name(self) -> &'static str {
        match self {
            Features::Pooled => "pooled",
            Features::Hidden => "hidden",
        }
    }
}

/// A network with weights whose features are taken. It can be shared between threads.
pub struct Embedder {
    program: Program,
    recognised: Recognised,
    preprocessing: Preprocessing,
    features: Features,
    len: usize,
    source: String,
    threads: usize,
}

impl Embedder {
    /// Opens a weights file. `options.labels` are not looked at.
    ///
    /// # Errors
    /// A file that cannot be read, is no weights file or fits no network; a network that takes other than photos or has no
    /// such features.
    pub fn open(weights: &Path, features: Features, options: &ClassifierOptions) -> Result<Embedder, Error> {
        let Loaded { recognised, graph, params } = mobilenet_net::load(weights, &options.network)?;
        let channels = recognised.spec.input_channels;
        if channels != 3 {
            return Err(Error::Channels { network: recognised.table.name, channels });
        }
        let preprocessing =
            options.preprocessing.over(recognised.preprocessing).checked().ok_or(Error::Preprocessing)?;
        let node = graph.find(features.name()).ok_or_else(|| {
            let network = &recognised.table.name;
            mobilenet_net::Error::Config(format!(
                "{network} has no hidden layer, only V3 has one: take pooled features"
            ))
        })?;
        let len = graph[node].channels;
        let source = source(&recognised, &params, &preprocessing, features);
        let outputs = vec![features.name().to_owned()];
        let options_of = Options { isa: Isa::from_env()?, precision: options.precision, outputs, ..Options::default() };
        let program = Program::compile(&graph, params, &options_of)?;
        let threads = options.threads.unwrap_or_else(cpu::default_threads);
        let embedder = Embedder { program, recognised, preprocessing, features, len, source, threads };
        // A size that does not fit is an error here, and never later.
        embedder.arena()?;
        Ok(embedder)
    }

    /// Values of an embedding.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a network has features.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// No embeddings yet, of this network: [`each`](Embedder::each) gives their vectors.
    pub fn embeddings(&self) -> Embeddings {
        Embeddings { len: self.len, source: self.source.clone(), ..Embeddings::default() }
    }

    /// What the file was found to be, and what had to be guessed.
    pub fn recognised(&self) -> &Recognised {
        &self.recognised
    }

    /// The embeddings of `photos`, which `read` opens, handed to `take` in their order; `take` may break off. Each thread
    /// reads and runs a photo of its own.
    ///
    /// # Errors
    /// [`Error`] where the system has no memory for the threads' arenas.
    pub fn each<P: Send, E: Send>(
        &self,
        photos: impl Iterator<Item = P> + Send,
        read: impl Fn(&P) -> Result<Image, E> + Sync,
        take: impl FnMut(P, Result<Vec<f32>, E>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let threads = self.threads.min(photos.size_hint().1.unwrap_or(usize::MAX));
        let arenas = (0..threads).map(|_| self.arena()).collect::<Result<Vec<_>, Error>>()?;
        let embed = |arena: &mut Arena, photo: &P| Ok(self.embed_in(arena, &read(photo)?));
        in_order(arenas, photos, embed, take);
        Ok(())
    }

    /// A photo's embedding.
    ///
    /// # Errors
    /// [`Error`] where the system has no memory for an arena.
    pub fn embed(&self, photo: &Image) -> Result<Vec<f32>, Error> {
        Ok(self.embed_in(&mut self.arena()?, photo))
    }

    fn embed_in(&self, arena: &mut Arena, photo: &Image) -> Vec<f32> {
        preprocess(photo, &self.preprocessing, arena.input_mut());
        self.program.run(arena);
        arena.output(self.features.name()).unwrap_or_default().to_vec()
    }

    fn arena(&self) -> Result<Arena, Error> {
        let [h, w] = self.preprocessing.size;
        Ok(self.program.arena(1, h, w, &Arc::new(Pool::new(1)))?)
    }
}

/// What tells vectors that can be compared from others: the network's name and features for people, and a number that
/// depends on all weights, on their network and on how photos become its input.
fn source(recognised: &Recognised, params: &Params, preprocessing: &Preprocessing, features: Features) -> String {
    let mut hash = Hash::default();
    hash.tensors(&params.tensors);
    hash.bytes(format!("{:?} {:?}", recognised.table, recognised.spec).as_bytes());
    hash.bytes(&serde_json::to_vec(preprocessing).expect("plain numbers"));
    let (network, width) = (&recognised.table.name, recognised.spec.width);
    format!("{} features of {network}, width {width}, fingerprint {:016x}", features.name(), hash.get())
}

/// The cosine of the angle between two vectors: 1 where they point the same way. 0 where one has no length.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn the_cosine_is_of_the_angle_alone() {
        assert!((cosine(&[1.0, 0.0], &[3.0, 3.0]) - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(cosine(&[1.0, 2.0], &[-2.0, -4.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), 0.0);
    }
}
