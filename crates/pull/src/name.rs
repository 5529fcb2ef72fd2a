//! What weights are called, and what a name stands for.

use std::fmt;
use std::str::FromStr;

use crate::catalogue::{self, Entry};
use crate::error::Error;

/// The name of a published weights file.
///
/// | written | stands for |
/// |---|---|
/// | `torchvision/mobilenet_v2.IMAGENET1K_V1` | an entry of the [catalogue] |
/// | `timm/mobilenetv2_100`, `mobilenetv2_100` | the source's default weights of that network |
/// | `mobilenet_v2-b0353104.pth` | the file that the source publishes under this name |
/// | `hf:OWNER/NAME@REVISION:FILE` | a file of a repository at huggingface.co |
///
/// Of the last, revision (`main`) and file (`model.safetensors`, else `pytorch_model.bin`) may be left out. Letters may
/// be large or small in all but the last.
#[derive(Clone, Debug)]
pub enum Name {
    /// A catalogue's entry.
    Entry(&'static Entry),
    /// The same weights as an older file, of timm's releases.
    Release(&'static Entry),
    /// A file at huggingface.co.
    HuggingFace(Repository),
}

/// A repository at huggingface.co, and which file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its owner.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The file; without it, the first of [`WEIGHTS`] that there is.
    pub file: Option<String>,
}

/// What weights files are called at huggingface.co.
pub const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Names that are suggested for a misspelt one.
const SUGGESTED: usize = 3;

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name, Error> {
        if let Some(rest) = text.strip_prefix("hf:") {
            let repository = Repository::parse(rest).map_err(|reason| Error::BadName { name: text.into(), reason })?;
            // What the catalogue knows better it should say.
            let known = repository.is_plain("timm").then(|| find(&format!("timm/{}", repository.name))).flatten();
            return Ok(known.unwrap_or(Name::HuggingFace(repository)));
        }
        find(text).ok_or_else(|| Error::UnknownName { name: text.into(), similar: similar(text) })
    }
}

/// A catalogue's name for `text`, with or without source and tag.
fn find(text: &str) -> Option<Name> {
    let is = |name: &str| name.eq_ignore_ascii_case(text);
    catalogue::entries().find_map(|entry| {
        let Entry { source, model, tag, .. } = entry;
        let is_named = is(&format!("{source}/{model}.{tag}"))
            || is(&format!("{model}.{tag}"))
            || entry.is_default && (is(model) || is(&format!("{source}/{model}")));
        let is_file = |address: Option<String>| address.is_some_and(|address| is(file_name(&address)));
        if is_named || entry.source == catalogue::Source::Torchvision && is_file(Some(entry.address())) {
            Some(Name::Entry(entry))
        } else {
            is_file(entry.release()).then_some(Name::Release(entry))
        }
    })
}

fn similar(text: &str) -> Vec<String> {
    let text = text.to_ascii_lowercase();
    let likeness = |entry: &Entry| {
        let name = entry.name().to_ascii_lowercase();
        let (_, model) = name.split_once('/').unwrap_or_default();
        strsim::jaro_winkler(&text, &name).max(strsim::jaro_winkler(&text, model))
    };
    let mut likely: Vec<_> = catalogue::entries().map(|entry| (likeness(entry), entry)).collect();
    likely.retain(|(likeness, _)| *likeness > 0.85);
    likely.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    likely.iter().take(SUGGESTED).map(|(_, entry)| entry.name()).collect()
}

/// What follows the last slash.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Entry(entry) => f.pad(&entry.name()),
            Name::Release(entry) => f.pad(file_name(entry.file.unwrap_or_default())),
            Name::HuggingFace(Repository { owner, name, revision, file }) => {
                let revision = if revision == MAIN { String::new() } else { format!("@{revision}") };
                let file = file.as_ref().map_or(String::new(), |file| format!(":{file}"));
                f.pad(&format!("hf:{owner}/{name}{revision}{file}"))
            }
        }
    }
}

impl Name {
    /// The catalogue's entry, where there is one.
    pub fn entry(&self) -> Option<&'static Entry> {
        match self {
            Name::Entry(entry) | Name::Release(entry) => Some(entry),
            Name::HuggingFace(_) => None,
        }
    }

    /// Where it may lie, the likely place first.
    pub fn places(&self) -> Vec<Place> {
        match self {
            Name::Entry(entry) => {
                let address = entry.address();
                let file = match entry.source {
                    catalogue::Source::Torchvision => file_name(&address).to_owned(),
                    catalogue::Source::Timm => format!("{}.{}.safetensors", entry.model, entry.tag),
                };
                vec![Place { path: [entry.source.to_string(), file].into(), address }]
            }
            Name::Release(entry) => {
                let address = entry.release().unwrap_or_default();
                let file = file_name(&address).to_owned();
                vec![Place { path: [entry.source.to_string(), file].into(), address }]
            }
            Name::HuggingFace(repository) => match &repository.file {
                Some(file) => vec![repository.place(file)],
                None => WEIGHTS.iter().map(|file| repository.place(file)).collect(),
            },
        }
    }
}

/// A place of a file: at its server, and in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folders and the file's name below the cache's folder.
    pub path: Vec<String>,
    /// Where it lies in the net.
    pub address: String,
}

/// The revision where none is given.
const MAIN: &str = "main";

impl Repository {
    /// `OWNER/NAME@REVISION:FILE`, the last two as wanted.
    fn parse(text: &str) -> Result<Repository, &'static str> {
        let (rest, file) = match text.split_once(':') {
            Some((rest, file)) => (rest, Some(file)),
            None => (text, None),
        };
        let (rest, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
        let (owner, name) = rest.split_once('/').ok_or("the owner or the name is missing")?;
        if !is_word(owner) || !is_word(name) {
            return Err("owner and name have letters, digits, dots, dashes and underscores");
        }
        if !revision.split('/').all(is_word) {
            return Err("the revision is no branch, tag or commit");
        }
        if file.is_some_and(|file| !file.split('/').all(is_word)) {
            return Err("the file is no path within a repository");
        }
        Ok(Repository {
            owner: owner.into(),
            name: name.into(),
            revision: revision.into(),
            file: file.map(str::to_owned),
        })
    }

    /// Whether it is `owner`'s, with nothing said of revision and file.
    fn is_plain(&self, owner: &str) -> bool {
        self.owner == owner && self.revision == MAIN && self.file.is_none()
    }

    /// Where `file` of this repository lies.
    pub(crate) fn place(&self, file: &str) -> Place {
        let Repository { owner, name, revision, .. } = self;
        // A slash in a revision must not look like one in a path (huggingface_hub@1.0 file_download.py quotes it, too).
        let revision = revision.replace('/', "%2F");
        let address = format!("https://huggingface.co/{owner}/{name}/resolve/{revision}/{file}");
        let folders = ["hf", owner, name, &revision].map(str::to_owned);
        Place { path: folders.into_iter().chain(file.split('/').map(str::to_owned)).collect(), address }
    }
}

/// Whether `text` is a part of a path that means itself on every system, and stays in its folder.
fn is_word(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=200).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('.') && !text.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Name>().unwrap().to_string()
    }

    #[test]
    fn short_names_are_the_sources_defaults() {
        for (short, name) in [
            ("torchvision/mobilenet_v2", "torchvision/mobilenet_v2.IMAGENET1K_V2"),
            ("mobilenet_v2", "torchvision/mobilenet_v2.IMAGENET1K_V2"),
            ("torchvision/mobilenet_v2.imagenet1k_v1", "torchvision/mobilenet_v2.IMAGENET1K_V1"),
            ("timm/mobilenetv3_large_100", "timm/mobilenetv3_large_100.ra_in1k"),
            ("mobilenetv3_large_100.miil_in21k", "timm/mobilenetv3_large_100.miil_in21k"),
            ("hf:timm/mobilenetv2_050.lamb_in1k", "timm/mobilenetv2_050.lamb_in1k"),
            ("mobilenet_v2-b0353104.pth", "torchvision/mobilenet_v2.IMAGENET1K_V1"),
            ("mobilenetv2_050-3d30d450.pth", "mobilenetv2_050-3d30d450.pth"),
            ("hf:google/mobilenet_v2_1.0_224", "hf:google/mobilenet_v2_1.0_224"),
            ("hf:timm/mobilenetv2_050.lamb_in1k@v1:a/b.bin", "hf:timm/mobilenetv2_050.lamb_in1k@v1:a/b.bin"),
        ] {
            assert_eq!(full(short), name, "{short}");
        }
    }

    #[test]
    fn every_name_of_the_catalogue_and_every_file_is_found() {
        for entry in catalogue::entries() {
            assert_eq!(full(&entry.name()), entry.name());
            if let Some(address) = entry.file.map(|_| entry.release().unwrap_or_else(|| entry.address())) {
                let found: Name = file_name(&address).parse().unwrap();
                assert_eq!(found.places()[0].address, address);
            }
        }
    }

    #[test]
    fn no_two_names_share_a_file_in_the_cache() {
        let names = catalogue::entries().flat_map(|entry| {
            [Some(Name::Entry(entry)), entry.release().map(|_| Name::Release(entry))].into_iter().flatten()
        });
        let mut paths: Vec<_> = names.map(|name| name.places().remove(0).path).collect();
        let count = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }

    #[test]
    fn misspelt_names_get_suggestions() {
        let error = "torchvision/mobilnet_v2".parse::<Name>().unwrap_err();
        let Error::UnknownName { similar, .. } = error else { panic!("{error}") };
        assert_eq!(similar[..2], ["torchvision/mobilenet_v2.IMAGENET1K_V1", "torchvision/mobilenet_v2.IMAGENET1K_V2"]);
        let error = "resnet50".parse::<Name>().unwrap_err().to_string();
        assert!(
            error.starts_with("resnet50 is no published weights file known here; `mobilenet pull --list`"),
            "{error}"
        );
    }

    #[test]
    fn names_that_would_leave_the_cache_are_refused() {
        for name in [
            "hf:",
            "hf:a",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@../c",
            "hf:a/b:../../c",
            "hf:a/b:/etc/passwd",
            "hf:a/b:c\\d",
            "hf:a/b@",
            "hf:a/b:",
            "hf:a/b/c",
            "hf:a/.b",
            "hf:a /b",
            "hf:a/b?c",
            "hf:a/b%2f",
        ] {
            assert!(matches!(name.parse::<Name>(), Err(Error::BadName { .. })), "{name}");
        }
    }

    #[test]
    fn revisions_with_a_slash_stay_one_part() {
        let name: Name = "hf:a/b@refs/pr/1".parse().unwrap();
        let place = &name.places()[0];
        assert_eq!(place.address, "https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/model.safetensors");
        assert_eq!(place.path, ["hf", "a", "b", "refs%2Fpr%2F1", "model.safetensors"]);
    }
}
