//! `mobilenet pull`: published weights, by name.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use mobilenet::pull::{self, Card, Name, Options, Progress, Pulled, Reads, Store, catalogue};
use serde::Serialize;

use crate::failure::Failure;
use crate::models::is_match;
use crate::print;
use crate::text::{Grid, Side};

/// Fetch published weights by name
#[derive(Args)]
#[command(
    after_help = "A name is torchvision/NETWORK or timm/NETWORK, with .WEIGHTS behind it for others than the source's default, the \
name of the published file, or hf:OWNER/NAME[@REVISION][:FILE] at huggingface.co. Afterwards it stands for the file \
wherever a command takes a weights file. The network is used by this command alone.

MOBILENET_CACHE names the folder for fetched files, HTTPS_PROXY a proxy, SSL_CERT_FILE certificates to trust in place \
of the built-in ones, and MOBILENET_PULL_BASE a mirror that has https://HOST/PATH at BASE/HOST/PATH.

Examples:
  mobilenet pull torchvision/mobilenet_v2
  mobilenet classify photo.jpg --weights torchvision/mobilenet_v2
  mobilenet pull --list 'timm/*small*'
  mobilenet pull mobilenet_v3_small-047dcff4.pth -o v3.pth
  mobilenet pull hf:timm/mobilenetv2_100.ra_in1k
  mobilenet pull --check"
)]
pub struct Pull {
    /// What to fetch; with --check, which fetched files to hash anew, all where left out
    #[arg(required_unless_present_any = ["list", "check"], conflicts_with = "list")]
    names: Vec<String>,
    /// List what is known by name; with a pattern, only names that contain it or, with * and ?, match it
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["check", "output", "allow_large"])]
    list: Option<String>,
    /// Compare fetched files with their hashes
    #[arg(long, conflicts_with_all = ["output", "allow_large"])]
    check: bool,
    /// Where to put the file, in place of the cache folder
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Fetch files of more than 1 GiB, too
    #[arg(long)]
    allow_large: bool,
    /// Print JSON: an object a file, or with --list an array
    #[arg(long)]
    json: bool,
}

/// What is printed of a file.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_new: Option<bool>,
    #[serde(flatten)]
    card: &'a Card,
}

/// A line of the list.
#[derive(Serialize)]
struct Line {
    name: String,
    /// Of the catalogue; a file from elsewhere has none of these.
    top1: Option<f64>,
    licence: Option<String>,
    /// The registered network and its width, where this program opens the file.
    network: Option<&'static str>,
    width: Option<f64>,
    /// Why this program does not open the file.
    not_read: Option<&'static str>,
    address: String,
    /// Where it lies, and how large it is, once fetched.
    path: Option<PathBuf>,
    bytes: Option<u64>,
}

impl Pull {
    pub fn run(self) -> Result<(), Failure> {
        let store = Store::from_env()?;
        match &self.list {
            Some(pattern) => self.list(&store, pattern),
            None if self.check => self.check(&store),
            None => self.fetch(&store),
        }
    }

    fn fetch(&self, store: &Store) -> Result<(), Failure> {
        if self.output.is_some() && self.names.len() > 1 {
            return Err(Failure::bad("-o names one file: give one name with it"));
        }
        // What is misspelt should not wait for what is large.
        let names = self.names.iter().map(|name| name.parse()).collect::<Result<Vec<Name>, _>>()?;
        let mut options = Options::from_env()?;
        if self.allow_large {
            options.limit = u64::MAX;
        }
        ctrlc::set_handler(|| {
            note!("stopped; the same command goes on");
            std::process::exit(130);
        })?;
        self.each(names.iter(), |name| {
            let bar = bar();
            let mut watch = |progress: Progress| show(&bar, progress);
            let pulled = pull::pull(name, store, self.output.as_deref(), &options, &mut watch);
            bar.finish_and_clear();
            let Pulled { path, card, is_new } = pulled?;
            tell(name, &card, is_new);
            self.print(&Report { path: &path, is_new: Some(is_new), card: &card })
        })
    }

    fn check(&self, store: &Store) -> Result<(), Failure> {
        let files: Vec<pull::Stored> = match &*self.names {
            [] => {
                // What was put there by hand has no card yet: looking for it checks it, and writes one.
                let names = catalogue::entries().map(|entry| entry.name().parse::<Name>());
                let wrong = names.filter_map(|name| store.find(&name.ok()?).err());
                // What is wrong with a card comes with the files that have one.
                let wrong = wrong.filter(|error| matches!(error, pull::Error::Hash { .. }));
                let wrong: Vec<_> = wrong.map(|error| (store.folder().to_owned(), Err(error))).collect();
                wrong.into_iter().chain(store.files()?).collect()
            }
            names => {
                let fetched = |name: &String| fetched(store, name).map(|(path, card)| (path, Ok(card)));
                names.iter().map(fetched).collect::<Result<_, Failure>>()?
            }
        };
        if files.is_empty() {
            note!("nothing was fetched into {} yet", store.folder().display());
        }
        self.each(files.into_iter(), |(path, card)| {
            let (path, card) = (&path, &card?);
            pull::check(path, card)?;
            note!("{}: unchanged, {}", card.name, published(card));
            self.print(&Report { path, is_new: None, card })
        })
    }

    /// Does `one` for each item, and says what went wrong with some.
    fn each<T>(
        &self,
        items: impl ExactSizeIterator<Item = T>,
        mut one: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (count, mut failed) = (items.len(), 0);
        for item in items {
            match one(item) {
                Ok(()) => {}
                Err(Failure::Bad(reason)) => {
                    note!("error: {reason}");
                    failed += 1;
                }
                Err(other) => return Err(other),
            }
        }
        match failed {
            0 => Ok(()),
            _ if failed == count => Err(Failure::Reported),
            _ => Err(Failure::Some),
        }
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        if self.json { print::json(report) } else { print::line(report.path.display().to_string()) }
    }

    fn list(&self, store: &Store, pattern: &str) -> Result<(), Failure> {
        let mut files = Vec::new();
        let mut failed = false;
        for (path, card) in store.files()? {
            match card {
                Ok(card) => files.push((path, card)),
                Err(error) => {
                    note!("error: {error}");
                    failed = true;
                }
            }
        }
        let mut lines: Vec<Line> = catalogue::entries().map(|entry| Line::of(entry, &files)).collect();
        let is_listed = |card: &Card| lines.iter().any(|line| line.name == card.name);
        let others: Vec<_> = files.iter().filter(|(_, card)| !is_listed(card)).map(Line::elsewhere).collect();
        lines.extend(others);
        lines.retain(|line| is_match(pattern, &line.name));
        if lines.is_empty() {
            return Err(Failure::bad(format!("no published weights file is called {pattern:?}; --list shows all")));
        }
        if self.json {
            print::json(&lines)?
        } else {
            print::line(table(&lines).to_string())?
        }
        if failed { Err(Failure::Some) } else { Ok(()) }
    }
}

/// The fetched file that is called `name`.
fn fetched(store: &Store, name: &str) -> Result<(PathBuf, Card), Failure> {
    let name: Name = name.parse()?;
    Ok(store.find(&name)?.ok_or_else(|| pull::Error::Missing { name: name.to_string() })?)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    let template = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left {msg}";
    bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
    bar
}

fn show(bar: &ProgressBar, progress: Progress) -> ControlFlow<()> {
    match progress {
        Progress::Bytes { done, total } => {
            if bar.length() != total {
                total.map_or_else(|| bar.unset_length(), |total| bar.set_length(total));
                bar.set_position(done);
                // What an earlier run fetched is no speed of this one.
                bar.reset_eta();
            }
            bar.set_position(done);
        }
        Progress::Waiting { reason, pause } => bar.suspend(|| {
            note!("{reason}; trying again in {} s", pause.as_secs_f64());
        }),
    }
    ControlFlow::Continue(())
}

/// What there is to know of a file that was asked for.
fn tell(name: &Name, card: &Card, is_new: bool) {
    let what = if is_new { "fetched" } else { "there already" };
    note!("{name}: {what}, {}, {}", HumanBytes(card.bytes), published(card));
    match &card.licence {
        Some(licence) => note!("licence: {licence}"),
        None if name.entry().is_some() => note!("licence: not stated by the publisher"),
        None => note!("licence: see the page of the repository"),
    }
    if let Some(Reads::NotYet(what)) = name.entry().map(|entry| entry.reads) {
        note!("warning: no other command opens this file yet: {what}");
    }
}

/// What a file's hash was compared with.
fn published(card: &Card) -> String {
    match &card.published_sha256 {
        Some(digits) if digits.len() < card.sha256.len() => format!("SHA-256 begins with {digits}, as published"),
        Some(_) => format!("SHA-256 {}, as published", card.sha256),
        None => format!("SHA-256 {}; none is published", card.sha256),
    }
}

impl Line {
    fn of(entry: &catalogue::Entry, files: &[(PathBuf, Card)]) -> Line {
        let name = entry.name();
        let file = files.iter().find(|(_, card)| card.name == name);
        let (network, width, not_read) = match entry.reads {
            Reads::As(network, width) => (Some(network), Some(width), None),
            Reads::NotYet(what) => (None, None, Some(what)),
        };
        let (path, bytes) = file.map(|(path, card)| (path.clone(), card.bytes)).unzip();
        let (licence, address) = (entry.licence().map(str::to_owned), entry.address());
        Line { name, top1: entry.top1, licence, network, width, not_read, address, path, bytes }
    }

    /// A fetched file of which the catalogue knows nothing.
    fn elsewhere((path, card): &(PathBuf, Card)) -> Line {
        Line {
            name: card.name.clone(),
            top1: None,
            licence: card.licence.clone(),
            network: None,
            width: None,
            not_read: None,
            address: card.address.clone(),
            path: Some(path.clone()),
            bytes: Some(card.bytes),
        }
    }

    /// What this program makes of the file.
    fn opens(&self) -> String {
        match (self.network, self.width, self.not_read) {
            (Some(network), Some(1.0), _) => network.into(),
            (Some(network), Some(width), _) => format!("{network}, width {width}"),
            (_, _, Some(what)) => format!("not yet: {what}"),
            _ => String::new(),
        }
    }
}

fn table(lines: &[Line]) -> Grid<5> {
    let mut grid = Grid::new([
        ("name", Side::Left),
        ("top-1", Side::Right),
        ("fetched", Side::Right),
        ("licence", Side::Left),
        ("opens as", Side::Left),
    ]);
    for line in lines {
        grid.row([
            line.name.clone(),
            line.top1.map_or_else(String::new, |top1| format!("{top1:.3}")),
            line.bytes.map_or_else(String::new, |bytes| HumanBytes(bytes).to_string()),
            line.licence.clone().unwrap_or_else(|| "not stated".into()),
            line.opens(),
        ]);
    }
    grid
}
