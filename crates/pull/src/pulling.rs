//! From a name to a checked file.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mobilenet_net::{Card, file};

use crate::client::{Client, Lost, Range};
use crate::config::{self, Config};
use crate::digest;
use crate::download::{Download, Fetched, Watch};
use crate::error::{Error, PUBLISHED};
use crate::name::{Name, Place, Repository};
use crate::store::{self, Store};

/// The variable that names a mirror; see [`Options::mirror`].
pub const MIRROR: &str = "MOBILENET_PULL_BASE";

/// How files are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A server in place of all others: `https://HOST/PATH` is asked for at `MIRROR/HOST/PATH`. The only one that may be
    /// an http address.
    pub mirror: Option<String>,
    /// How long to wait for the next byte.
    pub stall: Duration,
    /// Attempts after one that gained less than a mebibyte.
    pub retries: u32,
    /// The pause before the first of them; each further one is twice as long.
    pub backoff: Duration,
    /// Most bytes of a file.
    pub limit: u64,
}

impl Default for Options {
    /// 30 s for a byte, four further attempts after 1, 2, 4 and 8 s, one gibibyte.
    fn default() -> Options {
        let (stall, backoff) = (Duration::from_secs(30), Duration::from_secs(1));
        Options { mirror: None, stall, retries: 4, backoff, limit: 1 << 30 }
    }
}

impl Options {
    /// The default, with the mirror that [`MIRROR`] names.
    ///
    /// # Errors
    /// [`Error::Mirror`] where that is no text.
    pub fn from_env() -> Result<Options, Error> {
        let text = |base: std::ffi::OsString| {
            base.into_string().map_err(|base| Error::Mirror(base.to_string_lossy().into_owned()))
        };
        let mirror = std::env::var_os(MIRROR).filter(|base| !base.is_empty()).map(text).transpose()?;
        Ok(Options { mirror, ..Options::default() })
    }
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// So many bytes are there, of so many, where the server says how many there are.
    Bytes {
        /// Bytes that are there, those of earlier runs among them.
        done: u64,
        /// The file's size.
        total: Option<u64>,
    },
    /// The connection was lost; another attempt follows.
    Waiting {
        /// What happened.
        reason: &'a str,
        /// When the next attempt begins.
        pause: Duration,
    },
}

/// What a pull gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The file.
    pub path: PathBuf,
    /// What is known of it.
    pub card: Card,
    /// Whether it was fetched now; it was there already otherwise.
    pub is_new: bool,
}

/// Fetches the file of `name` into the store, or to `output`, with its [`Card`] beside it. What is there already is not
/// fetched again. `watch` may end the download, which the next call then goes on with.
///
/// # Errors
/// See [`Error`]. A file with its final name is always whole and, where its hash is published, the published one.
pub fn pull(
    name: &Name,
    store: &Store,
    output: Option<&Path>,
    options: &Options,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Pulled, Error> {
    let there = match output {
        Some(output) if output.exists() => return Err(Error::Exists(output.to_owned())),
        Some(output) => {
            file::check(output)?;
            None
        }
        None => store.find(name)?,
    };
    if let Some((path, card)) = there {
        check(&path, &card)?;
        return Ok(Pulled { path, card, is_new: false });
    }
    let client = Client::new(options.mirror.as_deref(), options.stall)?;
    let puller = Puller { name, client, options };
    let mut missing = None;
    for place in name.places() {
        let path = output.map_or_else(|| store.path(&place), Path::to_owned);
        match puller.fetch(&place, &path, watch) {
            Ok(fetched) => return puller.finish(&place, path, fetched, output.is_none()),
            // Another process was faster.
            Err(error @ Error::Exists(_)) => {
                let there = if output.is_none() { store.find(name)? } else { None };
                let (path, card) = there.ok_or(error)?;
                return Ok(Pulled { path, card, is_new: false });
            }
            // The next place may have it; if none has, the first one's error tells most.
            Err(error @ Error::NotFound { .. }) => _ = missing.get_or_insert(error),
            Err(error) => return Err(error),
        }
    }
    Err(missing.expect("every name has a place"))
}

struct Puller<'a> {
    name: &'a Name,
    client: Client,
    options: &'a Options,
}

impl Puller<'_> {
    fn fetch(&self, place: &Place, target: &Path, watch: Watch) -> Result<Fetched, Error> {
        let (client, options, address) = (&self.client, self.options, &*place.address);
        let digits = store::known_digits(place);
        Download { client, options, address, target, digits, is_connected: false }.run(watch)
    }

    /// Lays the card beside where the file will be, and then the file.
    fn finish(&self, place: &Place, path: PathBuf, fetched: Fetched, in_store: bool) -> Result<Pulled, Error> {
        let Fetched { part, sha256, published } = fetched;
        let mut card = store::card(self.name, place, part.len(), sha256, published.as_ref());
        if let Name::HuggingFace(repository) = self.name
            && let Some(json) = self.config(repository)?
        {
            let config = Config::parse(&json);
            card.metadata = config.metadata();
            card.licence = config.licence().map(str::to_owned);
            if in_store {
                file::write(path.with_file_name(config::FILE), &json)?;
            }
        }
        card.write(&path)?;
        part.finish()?;
        Ok(Pulled { path, card, is_new: true })
    }

    /// The repository's `config.json`, where it has one.
    fn config(&self, repository: &Repository) -> Result<Option<Vec<u8>>, Error> {
        let address = repository.place(config::FILE).address;
        let lost = |reason: String| Error::Interrupted { address: address.clone(), reason, kept: 0 };
        let mut answer = match self.client.get(&address, &Range::default()) {
            Ok(answer) => answer,
            Err(Lost::Offline(reason) | Lost::Passing(reason)) => return Err(lost(reason)),
            Err(Lost::For(error)) => return Err(error),
        };
        match answer.status {
            200 => {}
            404 | 410 => return Ok(None),
            status => return Err(Error::Status { address: self.client.asked(&address), status }),
        }
        let mut json = Vec::new();
        let read = answer.body().take(config::MAX_BYTES + 1).read_to_end(&mut json);
        read.map_err(|error| lost(error.to_string()))?;
        if json.len() as u64 > config::MAX_BYTES {
            return Err(Error::TooLarge { address, bytes: None, limit: config::MAX_BYTES });
        }
        Ok(Some(json))
    }
}

/// Hashes a fetched file anew.
///
/// # Errors
/// [`Error::Hash`] where it is not what was fetched, or not the published file; a file that cannot be read.
pub fn check(path: &Path, card: &Card) -> Result<(), Error> {
    let (_, found) = digest::of(path)?;
    let digits = [Some(&card.sha256), card.published_sha256.as_ref()];
    match digits.into_iter().flatten().find(|digits| !found.starts_with(digits.as_str())) {
        None => Ok(()),
        Some(expected) => Err(Error::Hash {
            what: path.display().to_string(),
            of: if card.published_sha256.is_some() { PUBLISHED } else { "that of the fetched file" },
            expected: expected.clone(),
            found,
            remedy: "remove it and fetch it anew",
        }),
    }
}
