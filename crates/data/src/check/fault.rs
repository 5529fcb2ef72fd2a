//! What can be wrong, and what to do about it.

use std::fmt;

/// How much a fault matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Training fails, or its figures are wrong.
    Error,
    /// Training goes on, and is worse for it.
    Warning,
    /// Good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// Kinds of faults, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One class or none: nothing to tell apart.
    OneClass,
    /// A class without photos.
    EmptyClass,
    /// A file of zero bytes.
    EmptyFile,
    /// A photo that cannot be read.
    Broken,
    /// A photo that is both learned from and checked with.
    Leak,
    /// The same photo in several classes.
    Contradiction,
    /// Almost the same photo, learned from and checked with.
    NearLeak,
    /// Almost the same photo in several classes.
    NearContradiction,
    /// A class with a single photo.
    SinglePhoto,
    /// Classes whose names differ only in letters' case, spaces and the like.
    AlikeNames,
    /// A class that is called as nobody calls what photos show.
    OddName,
    /// A photo under a name that is none of a photo.
    HiddenPhoto,
    /// A photo beside the class folders.
    LoosePhoto,
    /// A photo whose name says another format than it has.
    WrongEnding,
    /// The same photo several times.
    Duplicate,
    /// A photo of very few pixels.
    Tiny,
    /// Some classes have many times as many photos as others.
    Imbalance,
    /// Almost the same photo several times.
    NearDuplicate,
    /// A class that is never checked.
    Unchecked,
    /// Photos that lie on their side, and whose EXIF data says so.
    Sideways,
    /// Files that are no photos.
    Ignored,
}

impl Kind {
    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Kind::OneClass | Kind::EmptyClass | Kind::EmptyFile | Kind::Broken | Kind::Leak | Kind::Contradiction => {
                Severity::Error
            }
            Kind::NearLeak
            | Kind::NearContradiction
            | Kind::SinglePhoto
            | Kind::AlikeNames
            | Kind::OddName
            | Kind::HiddenPhoto
            | Kind::LoosePhoto
            | Kind::WrongEnding
            | Kind::Duplicate
            | Kind::Tiny
            | Kind::Imbalance => Severity::Warning,
            Kind::NearDuplicate | Kind::Unchecked | Kind::Sideways | Kind::Ignored => Severity::Note,
        }
    }

    /// Its name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::OneClass => "one_class",
            Kind::EmptyClass => "empty_class",
            Kind::EmptyFile => "empty_file",
            Kind::Broken => "broken",
            Kind::Leak => "leak",
            Kind::Contradiction => "contradiction",
            Kind::NearLeak => "near_leak",
            Kind::NearContradiction => "near_contradiction",
            Kind::SinglePhoto => "single_photo",
            Kind::AlikeNames => "alike_names",
            Kind::OddName => "odd_name",
            Kind::HiddenPhoto => "hidden_photo",
            Kind::LoosePhoto => "loose_photo",
            Kind::WrongEnding => "wrong_ending",
            Kind::Duplicate => "duplicate",
            Kind::Tiny => "tiny",
            Kind::Imbalance => "imbalance",
            Kind::NearDuplicate => "near_duplicate",
            Kind::Unchecked => "unchecked",
            Kind::Sideways => "sideways",
            Kind::Ignored => "ignored",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Kind::OneClass => "add photos of another class: something that looks alike and is not it",
            Kind::EmptyClass => "add photos, or remove the class",
            Kind::EmptyFile => "copy or download it again, or remove it",
            Kind::Broken => "copy or download it again, or remove it",
            Kind::Leak => "keep it in one part only: its accuracy is learned by heart",
            Kind::Contradiction => "keep it in the class that it shows",
            Kind::NearContradiction => "keep them in the class that they show, if it is one thing",
            Kind::NearLeak => "keep photos of one scene in one part",
            Kind::SinglePhoto => "add photos: from one, nothing can be learned and checked",
            Kind::AlikeNames => "move the photos into one of the folders, if they mean the same",
            Kind::OddName => "name the folder for what its photos show: answers will be called so",
            Kind::LoosePhoto => "move it into the folder of the class that it shows",
            Kind::HiddenPhoto => "rename it to the ending that is named, and it will be learned from",
            Kind::WrongEnding => "rename it: this program looks at the content, others do not",
            Kind::Duplicate => "keep one of them",
            Kind::Tiny => "take a larger photo, or remove it",
            Kind::Imbalance => "add photos to the small classes",
            Kind::NearDuplicate => "keep one of them, unless they are meant to be there",
            Kind::Unchecked => "add validation photos of the class",
            Kind::Sideways => "nothing to do: photos are turned as EXIF says, in training and afterwards",
            Kind::Ignored => "nothing to do, unless they should be learned from",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// The photos or files that it is about; none where it is about a class.
    pub photos: Vec<String>,
    /// What was seen, a sentence without a full stop.
    pub what: String,
}
