//! What the tests of downloads share: a cache, and a server on this machine that stands in for all others.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use mobilenet_pull::{Error, Name, Options, Progress, Pulled, Store, pull};
use mobilenet_testing::server::{Reply, Request, Server};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Bytes that look like noise.
pub fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A cache, and a server that stands in for all others.
pub struct Place {
    pub folder: TempDir,
    pub server: Server,
    pub options: Options,
}

impl Place {
    pub fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Place {
        let server = Server::new(answer);
        let options = Options {
            mirror: Some(server.address.clone()),
            stall: Duration::from_secs(20),
            backoff: Duration::from_millis(1),
            retries: 3,
            ..Options::default()
        };
        Place { folder: tempfile::tempdir().unwrap(), server, options }
    }

    pub fn store(&self) -> Store {
        Store::new(self.folder.path())
    }

    pub fn pull(&self, name: &str) -> Result<Pulled, Error> {
        self.pull_watched(name, &mut |_| ControlFlow::Continue(()))
    }

    pub fn pull_watched(
        &self,
        name: &str,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Pulled, Error> {
        pull(&name.parse::<Name>().unwrap(), &self.store(), None, &self.options, watch)
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// All files in the cache, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.file_name().unwrap().to_string_lossy().into_owned());
                }
            }
        }
        files.sort();
        files
    }

    /// First bytes that were asked for, in order.
    pub fn ranges(&self) -> Vec<Option<String>> {
        self.server.asked().iter().map(|request| request.headers.get("range").cloned()).collect()
    }
}

/// Where a plain Hugging Face repository has its weights, in the mirror.
pub const WEIGHTS: &str = "/huggingface.co/a/b/resolve/main/model.safetensors";

/// Where they lie in the cache.
pub const CACHED: &str = "hf/a/b/main/model.safetensors";

/// The name of one file alone: no question for a configuration behind it would be the last one asked.
pub const NAME: &str = "hf:a/b:model.safetensors";

/// Answers for weights by `answer`; there is nothing else.
pub fn weights(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> impl Fn(&Request) -> Reply + Send + Sync {
    move |request| if request.path == WEIGHTS { answer(request) } else { Reply::status(404) }
}

/// Asserts that nothing but a part to go on with is left.
pub fn assert_kept(place: &Place, kept: u64) {
    assert_eq!(place.files(), ["model.safetensors.part", "model.safetensors.part.json"]);
    assert_eq!(fs::metadata(place.file(&format!("{CACHED}.part"))).unwrap().len(), kept);
}
