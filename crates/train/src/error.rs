//! What can be wrong with training.

use std::path::{Path, PathBuf};

/// An error of this crate. Its text says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of the network or its weights.
    #[error(transparent)]
    Network(#[from] mobilenet_net::Error),
    /// A node that the trainer cannot differentiate.
    #[error("{node}: {what} cannot be trained")]
    Operator {
        /// The node.
        node: String,
        /// Its operator.
        what: String,
    },
    /// Of the photos.
    #[error(transparent)]
    Data(#[from] mobilenet_data::Error),
    /// Of a picture to be drawn.
    #[error(transparent)]
    Picture(#[from] mobilenet_run::image::Error),
    /// A run's folder that nothing can be written to.
    #[error("{}: no run can be kept here: {source}; give another folder with -o", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A folder in which another run is at work.
    #[error(
        "{}: another run is at work in this folder; wait for its end, or give another folder with -o", folder.display()
    )]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// Ranks of a group that would not compute the same.
    #[error(
        "rank {rank} has another {what} than rank 0: all ranks need the same program, command line, photos and files, and the \
         run's folder where all of them see it"
    )]
    Ranks {
        /// The first such rank.
        rank: usize,
        /// What differs.
        what: &'static str,
    },
    /// Features that memory has no place for.
    #[error(
        "the features of {photos} photos take {megabytes} MB, more than a quarter of the memory that is free: give fewer \
         photos, or train without head_first and --head-only"
    )]
    Features {
        /// Photos whose features are wanted.
        photos: usize,
        /// What they take.
        megabytes: u64,
    },
    /// A classifier that several processes are to learn first.
    #[error(
        "head_first = true and --head-only are learned by one process: leave out mpirun, or set head_first = false (--set \
         head_first=false), as for a run that goes on with its classifier learned"
    )]
    HeadOfRanks,
    /// Photos that cross-entropy cannot learn from.
    #[error(
        "{photo} has {} labels; loss = \"cross_entropy\" needs one a photo: set loss = \"binary\" for any number",
        if *labels == 0 { "no".to_owned() } else { labels.to_string() }
    )]
    Labels {
        /// The first such photo.
        photo: String,
        /// How many labels it has.
        labels: usize,
    },
    /// A confusion matrix of photos with any number of labels.
    #[error("photos with any number of labels have no confusion matrix: labels are not taken for one another")]
    NoConfusion,
    /// Training has run away.
    #[error(
        "at step {step} {layer} is not a number any more: lower the learning rate (--lr) or clip gradients (clip_norm); {}",
        kept(checkpoint.as_deref())
    )]
    NotANumber {
        /// Where it was seen first.
        layer: String,
        /// When.
        step: u64,
        /// The folder of the last good checkpoint, where there is one.
        checkpoint: Option<PathBuf>,
    },
}

fn kept(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(folder) => format!("the last good checkpoint is in {}", folder.display()),
        None => "there is no checkpoint yet".into(),
    }
}

impl Error {
    /// Whether every rank of a group meets it at once, so that one is enough to tell of it.
    pub fn is_of_all_ranks(&self) -> bool {
        matches!(self, Error::Ranks { .. } | Error::NotANumber { .. })
    }

    /// For `map_err`: the system's error about a run's folder.
    pub(crate) fn folder(folder: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Folder { folder: folder.to_owned(), source }
    }
}
