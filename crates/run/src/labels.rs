//! Names of classes.

use std::path::{Path, PathBuf};

use mobilenet_net::{Origin, Recognised};

/// ImageNet's 1000 names in the usual order, one a line (google-coral/test_data@104342d2d348, Apache-2.0, without its
/// first line, the background).
const IMAGENET: &str = include_str!("labels/imagenet.txt");

/// The share of a name that may be mistyped; beyond that a guess at what was meant is noise.
const MISTYPED: f64 = 0.34;

/// Names are short, what is asked for may not be.
const MAX_ASKED: usize = 80;

/// A name for every class, in the order of a network's outputs, without a background class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Vec<String>);

/// Why a list of names cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read, or is not UTF-8.
    #[error("{path}: {source}")]
    Io {
        /// The list.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Another number of names than of classes.
    #[error(
        "{path}: {names} names for {classes} classes; one a line is needed, with or without a first line `background`"
    )]
    Count {
        /// The list.
        path: PathBuf,
        /// Names in it.
        names: usize,
        /// Classes of the network, without background.
        classes: usize,
    },
    /// Neither a class's name nor its number.
    #[error("there is no class {name:?}{}", hint(nearest.as_deref(), *classes))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The class that was perhaps meant.
        nearest: Option<String>,
        /// Classes of the network, without background.
        classes: usize,
    },
}

fn hint(nearest: Option<&str>, classes: usize) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None => format!("; give one of the {classes} names as it is written, or a number below {classes}"),
    }
}

impl Labels {
    /// ImageNet's 1000 classes.
    pub fn imagenet() -> Labels {
        Labels(IMAGENET.lines().map(str::to_owned).collect())
    }

    /// The names of the classes that a network answers with, a background class apart: those of `file`, the network's own,
    /// ImageNet's for a library's thousand classes, or numbers.
    ///
    /// # Errors
    /// As [`Labels::from_file`]; a network without such a class.
    pub fn of(network: &Recognised, file: Option<&Path>) -> Result<Labels, crate::Error> {
        let background = usize::from(network.preprocessing.background_class);
        let classes = network.spec.classes.checked_sub(background).filter(|&classes| classes > 0).ok_or_else(|| {
            let outputs = network.spec.classes;
            let text =
                format!("the network has {outputs} outputs, and no class to answer with (--background says otherwise)");
            mobilenet_net::Error::Config(text)
        })?;
        Ok(match (file, &network.labels) {
            (Some(file), _) => Labels::from_file(file, classes)?,
            (None, Some(names)) => Labels::new(names[background..].to_vec()),
            (None, None) => Labels::of_library(network).unwrap_or_else(|| Labels::numbered(classes)),
        })
    }

    /// ImageNet's names, where a library's network has so many classes: files of theirs do not name them.
    pub(crate) fn of_library(network: &Recognised) -> Option<Labels> {
        let classes = network.spec.classes.checked_sub(usize::from(network.preprocessing.background_class));
        (classes == Some(1000) && network.origin != Origin::Ours).then(Labels::imagenet)
    }

    /// The names of a network's outputs, a background class included: those of `file`, the network's own or ImageNet's;
    /// `None` where nobody knows any.
    ///
    /// # Errors
    /// As [`Labels::of`].
    pub fn of_outputs(network: &Recognised, file: Option<&Path>) -> Result<Option<Vec<String>>, crate::Error> {
        let known = match (file, &network.labels) {
            (Some(_), _) => Some(Labels::of(network, file)?),
            (None, Some(names)) => return Ok(Some(names.clone())),
            (None, None) => Labels::of_library(network),
        };
        let background = network.preprocessing.background_class.then(|| "background".to_owned());
        Ok(known.map(|labels| background.into_iter().chain(labels.0).collect()))
    }

    /// What to tell where a network's names are a guess.
    pub fn guess(network: &Recognised) -> Option<String> {
        let is_guessed = network.labels.is_none() && Labels::of_library(network).is_some();
        is_guessed.then(|| "labels: ImageNet's, for 1000 classes (the file has none; --labels otherwise)".into())
    }

    /// These names.
    pub fn new(names: Vec<String>) -> Labels {
        Labels(names)
    }

    /// `class 0`, `class 1` and so on, for networks whose classes have no known names.
    pub fn numbered(classes: usize) -> Labels {
        Labels((0..classes).map(|class| format!("class {class}")).collect())
    }

    /// A list with one name a line, for a network of `classes` classes (without background).
    ///
    /// One name more is understood if the first is `background`, as in TensorFlow's lists of 1001. Empty lines at the
    /// end do not count.
    ///
    /// # Errors
    /// A file that cannot be read or is not UTF-8; another number of names.
    pub fn from_file(path: impl AsRef<Path>, classes: usize) -> Result<Labels, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let text = text.trim_start_matches('\u{feff}').trim_end();
        let mut names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if names.len() == classes + 1 && names[0].eq_ignore_ascii_case("background") {
            names.remove(0);
        }
        if names.len() != classes {
            return Err(Error::Count { path: path.to_owned(), names: names.len(), classes });
        }
        Ok(Labels(names))
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no class at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a class, if there is such a class.
    pub fn get(&self, class: usize) -> Option<&str> {
        self.0.get(class).map(String::as_str)
    }

    /// The classes of this name, which several may share, or the class of this number where no name is that.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the closest name.
    pub fn find(&self, name: &str) -> Result<Vec<usize>, Error> {
        let classes: Vec<usize> = (0..self.len()).filter(|&class| self.0[class] == name).collect();
        if !classes.is_empty() {
            return Ok(classes);
        }
        match name.parse() {
            Ok(class) if class < self.len() => Ok(vec![class]),
            _ => {
                let name: String = name.chars().take(MAX_ASKED).collect();
                Err(Error::Unknown { nearest: self.nearest(&name).map(str::to_owned), name, classes: self.len() })
            }
        }
    }

    /// The name that `asked` is closest to, whole or by one of the synonyms between its commas, unless all are far off.
    fn nearest(&self, asked: &str) -> Option<&str> {
        let asked = asked.to_lowercase();
        let distance = |name: &str| {
            let name = name.to_lowercase();
            let synonyms = name.split(',').map(str::trim).chain([&*name]);
            synonyms.map(|synonym| 1.0 - strsim::normalized_damerau_levenshtein(&asked, synonym)).fold(1.0, f64::min)
        };
        let of_name = |name| (distance(name), name);
        let (distance, name) = self.iter().map(of_name).min_by(|a, b| a.0.total_cmp(&b.0))?;
        (distance <= MISTYPED).then_some(name)
    }

    /// All names, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str, classes: usize) -> Result<Labels, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.txt");
        std::fs::write(&path, text).unwrap();
        Labels::from_file(&path, classes)
            .map_err(|e| e.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn imagenet_has_1000_names_from_tench_to_toilet_tissue() {
        let labels = Labels::imagenet();
        assert_eq!(labels.len(), 1000);
        assert_eq!(labels.get(0), Some("tench, Tinca tinca"));
        assert_eq!(labels.get(999), Some("toilet tissue, toilet paper, bathroom tissue"));
        assert_eq!(labels.get(1000), None);
        assert!(labels.iter().all(|name| !name.is_empty()));
    }

    #[test]
    fn a_list_may_have_byte_order_mark_crlf_and_empty_lines_at_the_end() {
        assert_eq!(list("\u{feff}cat\r\nblack dog\r\n\r\n", 2), Ok(Labels(vec!["cat".into(), "black dog".into()])));
    }

    #[test]
    fn a_first_line_background_is_left_out_only_when_it_is_one_too_many() {
        assert_eq!(list("background\ncat\ndog", 2).unwrap().get(0), Some("cat"));
        assert_eq!(list("background\ncat\ndog", 3).unwrap().get(0), Some("background"));
    }

    #[test]
    fn another_number_of_names_is_an_error_with_both_numbers() {
        let text = "one a line is needed, with or without a first line `background`";
        assert_eq!(list("cat\ndog\n", 3), Err(format!("names.txt: 2 names for 3 classes; {text}")));
        assert_eq!(list("cat\ndog\nowl", 2), Err(format!("names.txt: 3 names for 2 classes; {text}")));
        assert_eq!(list("", 2), Err(format!("names.txt: 0 names for 2 classes; {text}")));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_named() {
        let error = Labels::from_file("no/such/names.txt", 2).unwrap_err();
        assert_eq!(error.to_string(), "no/such/names.txt: No such file or directory (os error 2)");
    }

    #[test]
    fn a_class_is_found_by_its_name_or_number() {
        let labels = Labels::new(["crane", "ox, bull", "crane", "7", "0"].map(str::to_owned).to_vec());
        assert_eq!(labels.find("crane").unwrap(), [0, 2]);
        assert_eq!(labels.find("ox, bull").unwrap(), [1]);
        assert_eq!(labels.find("2").unwrap(), [2]);
        // A name comes before a number.
        assert_eq!(labels.find("0").unwrap(), [4]);
    }

    #[test]
    fn an_unknown_class_is_answered_with_the_closest_name() {
        let error = |name: &str| Labels::imagenet().find(name).unwrap_err().to_string();
        for (asked, meant) in [
            ("tabby", "tabby, tabby cat"),
            ("Tench, Tinca tinca", "tench, Tinca tinca"),
            ("golden retreiver", "golden retriever"),
        ] {
            assert_eq!(error(asked), format!("there is no class {asked:?}; did you mean {meant:?}?"));
        }
        let far = "; give one of the 1000 names as it is written, or a number below 1000";
        assert_eq!(error("1000"), format!("there is no class \"1000\"{far}"));
        assert_eq!(error(""), format!("there is no class \"\"{far}"));
        assert_eq!(error(&"x".repeat(1 << 20)), format!("there is no class {:?}{far}", "x".repeat(80)));
    }

    #[test]
    fn numbered_classes_count_from_0() {
        assert_eq!(Labels::numbered(3).iter().collect::<Vec<_>>(), ["class 0", "class 1", "class 2"]);
    }
}
