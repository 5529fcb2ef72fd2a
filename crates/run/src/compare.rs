//! Two weights files side by side: what they say otherwise, and the first layer whose result departs.

use std::path::Path;
use std::sync::Arc;

use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::{Loaded, Recognised};

use crate::arena::Arena;
use crate::classifier::ClassifierOptions;
use crate::classify::top_k;
use crate::differences::{self, Difference};
use crate::error::Error;
use crate::golden::relative_error;
use crate::image::Image;
use crate::labels::Labels;
use crate::preprocess::preprocess;
use crate::program::{Options, Program};

/// A layer of both networks over some photos.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// `input`, a tap such as `block3.expand`, or `logits`.
    pub layer: String,
    /// The largest difference on any photo, relative to the largest value of the first network's result; infinite where
    /// the shapes differ.
    pub error: f64,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What the files say otherwise.
    pub settings: Vec<Difference>,
    /// The layers in their order, the input first.
    pub layers: Vec<Compared>,
    /// Photos that were compared.
    pub photos: usize,
    /// Photos whose first class has the same name; `None` of networks without classes.
    pub same_class: Option<usize>,
}

impl Comparison {
    /// The first layer beyond `tolerance`.
    pub fn departs(&self, tolerance: f64) -> Option<&Compared> {
        self.layers.iter().find(|layer| layer.error > tolerance)
    }
}

/// Two networks, ready to be compared.
pub struct Pairing {
    files: [Open; 2],
    names: Vec<String>,
    comparison: Comparison,
}

struct Open {
    recognised: Recognised,
    program: Program,
    arena: Arena,
}

impl Pairing {
    /// Opens two files; `known` is what the user knows better than both. Layers that both networks have are compared.
    ///
    /// # Errors
    /// As [`mobilenet_net::load()`]; networks that take other than photos.
    pub fn open(paths: [&Path; 2], known: &ClassifierOptions) -> Result<Pairing, Error> {
        let load = |path: &Path| {
            let mut loaded = mobilenet_net::load(path, &known.network)?;
            let preprocessing = known.preprocessing.over(loaded.recognised.preprocessing).checked();
            loaded.recognised.preprocessing = preprocessing.ok_or(Error::Preprocessing)?;
            if loaded.recognised.spec.classes > 0 {
                loaded.recognised.labels = Labels::of_outputs(&loaded.recognised, known.labels.as_deref())?;
            }
            Ok::<_, Error>(loaded)
        };
        let [a, b] = [load(paths[0])?, load(paths[1])?];
        let all = a.graph.taps.iter().chain(&a.graph.outputs);
        // In the order in which they are computed.
        let mut names: Vec<(usize, String)> =
            all.filter(|(name, _)| b.graph.find(name).is_some()).map(|(name, id)| (id.0, name.clone())).collect();
        names.sort();
        names.dedup_by_key(|(node, _)| *node);
        let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
        let settings = differences::between(&a.recognised, &b.recognised);
        let same_class = names.iter().any(|name| name == "logits").then_some(0);
        let files = [open(a, &names)?, open(b, &names)?];
        let layer = |name: &str| Compared { layer: name.to_owned(), error: 0.0 };
        let layers = std::iter::once("input").chain(names.iter().map(String::as_str)).map(layer).collect();
        Ok(Pairing { files, names, comparison: Comparison { settings, layers, photos: 0, same_class } })
    }

    /// Runs both on a photo, each with its own preprocessing.
    pub fn compare(&mut self, photo: &Image) {
        for Open { recognised, arena, .. } in &mut self.files {
            preprocess(photo, &recognised.preprocessing, arena.input_mut());
        }
        let [a, b] = &mut self.files;
        let inputs = relative_error(b.arena.input_mut(), a.arena.input_mut());
        for Open { program, arena, .. } in [&mut *a, &mut *b] {
            program.run(arena);
        }
        let of = |file: &Open, name: &String| file.arena.output(name).unwrap_or_default().to_vec();
        let errors = self.names.iter().map(|name| relative_error(&of(b, name), &of(a, name)));
        for (layer, error) in self.comparison.layers.iter_mut().zip(std::iter::once(inputs).chain(errors)) {
            layer.error = layer.error.max(error);
        }
        let [first, second] = [a, b].map(|file| {
            let logits = file.arena.output("logits").unwrap_or_default();
            let background = usize::from(file.recognised.preprocessing.background_class).min(logits.len());
            let class = top_k(&logits[background..], 1).first().map_or(0, |&(class, _)| class);
            let name = file.recognised.labels.as_ref().and_then(|labels| labels.get(class + background));
            (class, name.cloned())
        });
        let is_same = match (first, second) {
            ((_, Some(a)), (_, Some(b))) => a == b,
            ((a, _), (b, _)) => a == b,
        };
        self.comparison.photos += 1;
        if let Some(same) = &mut self.comparison.same_class {
            *same += usize::from(is_same);
        }
    }

    /// What all photos so far showed.
    pub fn finish(self) -> Comparison {
        self.comparison
    }
}

fn open(Loaded { recognised, graph, params }: Loaded, names: &[String]) -> Result<Open, Error> {
    if recognised.spec.input_channels != 3 {
        let (network, channels) = (recognised.table.name, recognised.spec.input_channels);
        return Err(Error::Channels { network, channels });
    }
    let mut outputs = names.to_vec();
    if graph.find("logits").is_some() && !names.iter().any(|name| name == "logits") {
        outputs.push("logits".into());
    }
    let program = Program::compile(&graph, params, &Options { isa: Isa::from_env()?, outputs, ..Options::default() })?;
    let [h, w] = recognised.preprocessing.size;
    let arena = program.arena(1, h, w, &Arc::new(Pool::new(1)))?;
    Ok(Open { recognised, program, arena })
}
