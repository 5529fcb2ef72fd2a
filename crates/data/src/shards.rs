//! Photos in tar shards as WebDataset writes them: members whose names are equal up to the first dot are a sample, a photo
//! with what it shows in `.cls` (a number), `.json` (`label`, `labels` or `class`) or `.txt` (a name).
//!
//! Headers are read once, bodies stay where they are.

mod classes;
mod find;
mod scan;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;

use mobilenet_run::ordered::in_order;

use crate::archive::Archive;
use crate::dataset::{Dataset, Item, Source, Target};
use crate::error::Error;
use classes::Classes;
pub(crate) use find::{are_in, expand, in_folder, is_class_list, parts};
use scan::{Sample, Shard};

/// Opens shards, `path` being what messages call them all.
pub(crate) fn open(path: &Path, files: &[PathBuf], known: Option<&[String]>) -> Result<Dataset, Error> {
    let shards = scan_all(files)?;
    let samples = || shards.iter().flat_map(|shard| &shard.samples);
    if samples().next().is_none() {
        return Err(Error::NoPhotos { path: path.to_owned() });
    }
    let many = samples().any(|sample| sample.said.are_many);
    let classes = Classes::new(path, files, samples().flat_map(|sample| &sample.said.labels), known)?;
    let mut items = Vec::with_capacity(shards.iter().map(|shard| shard.samples.len()).sum());
    for (archive, shard) in shards.into_iter().enumerate() {
        for Sample { name, offset, size, said } in shard.samples {
            let indices = said.labels.iter().map(|label| classes.index(label)).collect::<Result<BTreeSet<u32>, _>>()?;
            let target = match indices.first() {
                Some(&class) if !many => Target::Class(class),
                _ => Target::Labels(indices.into_iter().collect()),
            };
            items.push(Item { source: Source::Member { archive, name, offset, size }, target });
        }
    }
    let (classes, is_by_number) = classes.list();
    let archives = files.iter().map(|file| Archive::by_path(file)).collect();
    Ok(Dataset { path: path.to_owned(), classes, items, archives, ignored: Vec::new(), is_by_number, is_sharded: true })
}

/// What all shards hold, in their order.
fn scan_all(files: &[PathBuf]) -> Result<Vec<Shard>, Error> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(files.len().max(1));
    let mut shards = Ok(Vec::with_capacity(files.len()));
    let take = |_, shard: Result<Shard, Error>| match (shard, &mut shards) {
        (Ok(shard), Ok(all)) => {
            all.push(shard);
            ControlFlow::Continue(())
        }
        (Err(error), _) => {
            shards = Err(error);
            ControlFlow::Break(())
        }
        (Ok(_), Err(_)) => ControlFlow::Break(()),
    };
    in_order(vec![(); threads], files.iter(), |(), file| scan::scan(file), take);
    shards
}
