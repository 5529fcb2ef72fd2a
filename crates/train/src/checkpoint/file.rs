//! A checkpoint as named tensors and metadata, and back.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use mobilenet_net::Error;
use mobilenet_net::hash::Hash;
use mobilenet_net::tensor::Params;

use super::{Best, Checkpoint, Network, Position};

const OPTIMIZER: &str = "optimizer.";
const AVERAGE: &str = "average.";
/// Before the names of [`Checkpoint::extra`].
const EXTRA: &str = "extra.";

/// The metadata key of the format's version.
const VERSION: &str = mobilenet_net::recognise::CHECKPOINT;
const CURRENT: &str = "1";
const CHECKSUM: &str = "checksum";
/// There where the classifier is still to be learned first.
const LACKS_CLASSIFIER: &str = "lacks_classifier";
/// The best evaluation: score, loss and epoch. Absent where there was none.
const BEST: &str = "best";

pub(super) fn write(checkpoint: Checkpoint) -> Params {
    let Position {
        epoch,
        step_in_epoch,
        step,
        optimizer_steps,
        average_updates,
        lacks_evaluation,
        lacks_classifier,
        best,
    } = checkpoint.position;
    let mut metadata: BTreeMap<String, String> = [
        (VERSION, CURRENT.to_owned()),
        ("network", checkpoint.network.to_json()),
        ("recipe", checkpoint.recipe),
        ("class_names", serde_json::to_string(&checkpoint.classes).expect("strings are JSON")),
        ("epoch", epoch.to_string()),
        ("step_in_epoch", step_in_epoch.to_string()),
        ("step", step.to_string()),
        ("optimizer_steps", optimizer_steps.to_string()),
        ("average_updates", average_updates.to_string()),
        ("lacks_evaluation", lacks_evaluation.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if lacks_classifier {
        metadata.insert(LACKS_CLASSIFIER.into(), lacks_classifier.to_string());
    }
    if let Some(Best { score, loss, epoch }) = best {
        metadata.insert(BEST.into(), format!("{score} {loss} {epoch}"));
    }
    metadata.extend(checkpoint.extra.into_iter().map(|(key, value)| (format!("{EXTRA}{key}"), value)));

    let mut tensors = checkpoint.weights;
    for (prefix, part) in [(OPTIMIZER, checkpoint.optimizer), (AVERAGE, checkpoint.average)] {
        tensors.extend(part.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
    }
    let mut params = Params { tensors, metadata };
    let checksum = checksum(&params).to_string();
    params.metadata.insert(CHECKSUM.into(), checksum);
    params
}

pub(super) fn read(path: &Path, mut params: Params) -> Result<Checkpoint, Error> {
    match params.metadata.get(VERSION).map(String::as_str) {
        Some(CURRENT) => {}
        None => return Err(Error::format(path, "a weights file, not a checkpoint; give it as --from")),
        Some(other) => {
            return Err(Error::format(
                path,
                format!("a checkpoint of version {other:?}; this program reads {CURRENT}"),
            ));
        }
    }
    let written = params.metadata.remove(CHECKSUM);
    if written != Some(checksum(&params).to_string()) {
        return Err(Error::format(path, "damaged: its content does not give its checksum"));
    }
    let says = Says { path, metadata: &params.metadata };
    let epoch = says.value("epoch")?;
    let position = Position {
        epoch,
        step_in_epoch: says.value("step_in_epoch")?,
        step: says.value("step")?,
        optimizer_steps: says.value("optimizer_steps")?,
        average_updates: says.value("average_updates")?,
        lacks_evaluation: says.value("lacks_evaluation")?,
        lacks_classifier: params.metadata.contains_key(LACKS_CLASSIFIER),
        best: says.best(epoch)?,
    };
    let network = Network::from_json(path, says.text("network")?)?;
    let classes = serde_json::from_str(says.text("class_names")?)
        .map_err(|e| Error::format(path, format!("its class_names: {e}")))?;
    let recipe = says.text("recipe")?.to_owned();
    let extra =
        params.metadata.iter().filter_map(|(key, value)| Some((key.strip_prefix(EXTRA)?.into(), value.clone())));
    let extra = extra.collect();

    let [mut weights, mut optimizer, mut average] = [const { BTreeMap::new() }; 3];
    for (name, tensor) in params.tensors {
        let (part, name) = if let Some(name) = name.strip_prefix(OPTIMIZER) {
            (&mut optimizer, name.to_owned())
        } else if let Some(name) = name.strip_prefix(AVERAGE) {
            (&mut average, name.to_owned())
        } else {
            (&mut weights, name)
        };
        part.insert(name, tensor);
    }
    Ok(Checkpoint { network, weights, optimizer, average, position, recipe, classes, extra })
}

/// The file's metadata.
struct Says<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, String>,
}

impl<'a> Says<'a> {
    fn text(&self, key: &str) -> Result<&'a str, Error> {
        let missing = || Error::format(self.path, format!("its metadata has no {key}"));
        self.metadata.get(key).map(String::as_str).ok_or_else(missing)
    }

    fn value<T: FromStr>(&self, key: &str) -> Result<T, Error> {
        let text = self.text(key)?;
        text.parse().map_err(|_| Error::format(self.path, format!("its metadata says {key} is {text:?}")))
    }

    /// The best evaluation, of one of so many epochs.
    fn best(&self, epochs: u64) -> Result<Option<Best>, Error> {
        let Some(text) = self.metadata.get(BEST) else { return Ok(None) };
        let mut words = text.split(' ');
        let best = (|| {
            let (score, loss) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Best { score, loss, epoch: words.next()?.parse().ok()? })
        })();
        let best = best.filter(|best: &Best| best.score.is_finite() && best.epoch <= epochs);
        let best = best.ok_or_else(|| Error::format(self.path, format!("its metadata says {BEST} is {text:?}")))?;
        Ok(Some(best))
    }
}

/// The hash of all names, shapes, elements and texts.
fn checksum(params: &Params) -> u64 {
    let mut hash = Hash::default();
    for (key, value) in &params.metadata {
        hash.bytes(key.as_bytes());
        hash.bytes(value.as_bytes());
    }
    hash.tensors(&params.tensors);
    hash.get()
}
