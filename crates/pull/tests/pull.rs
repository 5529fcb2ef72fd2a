//! Downloads from a server on this machine that cuts, delays and corrupts.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mobilenet_net::arch::{self, Spec, WidthRule};
use mobilenet_net::names::Names;
use mobilenet_net::{Card, Origin, Padding, Params, init, weights as weights_file};
use mobilenet_pull::{Error, Name, Options, Progress, Pulled, Store, check, pull};
use mobilenet_testing::server::{Reply, Request, Server};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Bytes that look like noise.
fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A cache, and a server that stands in for all others.
struct Place {
    folder: TempDir,
    server: Server,
    options: Options,
}

impl Place {
    fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Place {
        let server = Server::new(answer);
        let options = Options {
            mirror: Some(server.address.clone()),
            stall: Duration::from_millis(300),
            backoff: Duration::from_millis(1),
            retries: 3,
            ..Options::default()
        };
        Place { folder: tempfile::tempdir().unwrap(), server, options }
    }

    fn store(&self) -> Store {
        Store::new(self.folder.path())
    }

    fn pull(&self, name: &str) -> Result<Pulled, Error> {
        self.pull_watched(name, &mut |_| ControlFlow::Continue(()))
    }

    fn pull_watched(&self, name: &str, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Pulled, Error> {
        pull(&name.parse::<Name>().unwrap(), &self.store(), None, &self.options, watch)
    }

    fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// All files in the cache, sorted.
    fn files(&self) -> Vec<String> {
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
    fn ranges(&self) -> Vec<Option<String>> {
        self.server.asked().iter().map(|request| request.headers.get("range").cloned()).collect()
    }
}

/// Where a plain Hugging Face repository has its weights, in the mirror.
const WEIGHTS: &str = "/huggingface.co/a/b/resolve/main/model.safetensors";

/// Where they lie in the cache.
const CACHED: &str = "hf/a/b/main/model.safetensors";

/// The name of one file alone: no question for a configuration behind it would be the last one asked.
const NAME: &str = "hf:a/b:model.safetensors";

/// Answers for weights by `answer`; there is nothing else.
fn weights(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> impl Fn(&Request) -> Reply + Send + Sync {
    move |request| if request.path == WEIGHTS { answer(request) } else { Reply::status(404) }
}

/// Asserts that nothing but a part to go on with is left.
fn assert_kept(place: &Place, kept: u64) {
    assert_eq!(place.files(), ["model.safetensors.part", "model.safetensors.part.json"]);
    assert_eq!(fs::metadata(place.file(&format!("{CACHED}.part"))).unwrap().len(), kept);
}

#[test]
fn a_file_is_fetched_once_with_its_card() {
    let file = bytes(300_000);
    let hash = sha256(&file);
    let (sent, etag) = (file.clone(), format!("\"{hash}\""));
    let place = Place::new(move |request| match request.path.as_str() {
        WEIGHTS => Reply::status(302)
            .with("Location", "/cdn/blob?signature=1")
            .with("X-Linked-ETag", etag.clone())
            .with("X-Linked-Size", "300000"),
        "/cdn/blob?signature=1" => Reply::file(request, &sent, "v1"),
        "/huggingface.co/a/b/resolve/main/config.json" => {
            Reply::whole(br#"{"architecture": "tf_mobilenetv3_small_100"}"#)
        }
        _ => Reply::status(404),
    });
    let mut seen = Vec::new();
    let pulled = place.pull_watched("hf:a/b", &mut |progress| {
        seen.push(format!("{progress:?}"));
        ControlFlow::Continue(())
    });
    let pulled = pulled.unwrap();
    assert_eq!((pulled.is_new, pulled.card.bytes, pulled.card.sha256.as_str()), (true, 300_000, hash.as_str()));
    assert_eq!(pulled.card.published_sha256.as_deref(), Some(hash.as_str()));
    assert_eq!(pulled.card.metadata["padding"], "same");
    assert_eq!(fs::read(&pulled.path).unwrap(), file);
    assert_eq!(pulled.path, place.file(CACHED));
    assert_eq!(Card::read(&pulled.path).unwrap(), Some(pulled.card.clone()));
    assert_eq!(place.files(), ["config.json", "model.safetensors", "model.safetensors.card.json"]);
    assert_eq!(seen.first().unwrap(), "Bytes { done: 0, total: Some(300000) }");
    assert_eq!(seen.last().unwrap(), "Bytes { done: 300000, total: Some(300000) }");

    let asked = place.server.asked().len();
    let again = place.pull("hf:a/b").unwrap();
    assert_eq!((again.is_new, &again.path, &again.card), (false, &pulled.path, &pulled.card));
    assert_eq!(place.server.asked().len(), asked);
}

#[test]
fn a_cut_download_goes_on_where_it_broke_off() {
    let file = bytes(200_000);
    let sent = file.clone();
    let place = Place::new(weights(move |request| {
        let reply = Reply::file(request, &sent, "v1");
        if request.number < 2 { reply.cut(70_000) } else { reply }
    }));
    let mut waits = Vec::new();
    let pulled = place.pull_watched(NAME, &mut |progress| {
        if let Progress::Waiting { reason, .. } = progress {
            waits.push(reason.to_owned());
        }
        ControlFlow::Continue(())
    });
    assert_eq!(fs::read(pulled.unwrap().path).unwrap(), file);
    let ranges = place.ranges();
    assert_eq!(ranges[..3], [None, Some("bytes=70000-".into()), Some("bytes=140000-".into())]);
    assert_eq!(place.server.asked()[1].headers["if-range"], "\"v1\"");
    assert_eq!(waits.len(), 2, "{waits:?}");
}

#[test]
fn a_server_that_always_cuts_is_given_up_and_the_next_run_goes_on() {
    let file = bytes(50_000);
    let sent = file.clone();
    // Four attempts of 1000 bytes, then a good server.
    let place = Place::new(weights(move |request| {
        let reply = Reply::file(request, &sent, "v1");
        if request.number < 4 { reply.cut(1000) } else { reply }
    }));
    let error = place.pull(NAME).unwrap_err().to_string();
    let end = "; 4000 bytes are kept: the same command goes on from there";
    assert!(error.starts_with("https://huggingface.co/a/b/resolve/main/model.safetensors: the connection"), "{error}");
    assert!(error.ends_with(end), "{error}");
    assert_kept(&place, 4000);
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), file);
    assert_eq!(place.ranges()[4], Some("bytes=4000-".into()));
    assert_eq!(place.files(), ["model.safetensors", "model.safetensors.card.json"]);
}

#[test]
fn a_server_that_ignores_ranges_sends_all_anew() {
    let file = bytes(90_000);
    let sent = file.clone();
    let place = Place::new(weights(move |request| {
        let reply = Reply::whole(&sent).with("ETag", "\"v1\"");
        if request.number == 0 { reply.cut(40_000) } else { reply }
    }));
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), file);
    assert_eq!(place.ranges()[..2], [None, Some("bytes=40000-".into())]);
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_from_its_beginning() {
    let (old, new) = (bytes(60_000), bytes(61_000)[1000..].to_vec());
    let expected = new.clone();
    let place = Place::new(weights(move |request| match request.number {
        0 => Reply::file(request, &old, "v1").cut(30_000),
        _ => Reply::file(request, &new, "v2"),
    }));
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), expected);
}

#[test]
fn a_server_that_changes_the_file_and_sends_a_part_of_it_is_not_believed() {
    let (old, new) = (bytes(60_000), bytes(61_000)[1000..].to_vec());
    let expected = new.clone();
    // A part although the tag is another one, which no server may do.
    let place = Place::new(weights(move |request| match request.number {
        0 => Reply::file(request, &old, "v1").cut(30_000),
        1 => Reply { status: 206, ..Reply::whole(&new[30_000..]) }
            .with("Content-Range", "bytes 30000-59999/60000")
            .with("ETag", "\"v2\""),
        _ => Reply::file(request, &new, "v2"),
    }));
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), expected);
    assert_eq!(place.ranges()[..3], [None, Some("bytes=30000-".into()), None]);
}

#[test]
fn without_a_tag_or_a_hash_nothing_is_gone_on_with() {
    let file = bytes(60_000);
    let sent = file.clone();
    let place = Place::new(weights(move |request| {
        let reply = Reply::whole(&sent);
        if request.number == 0 { reply.cut(30_000) } else { reply }
    }));
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), file);
    assert_eq!(place.ranges()[..2], [None, None]);
}

#[test]
fn a_part_larger_than_the_file_is_dropped() {
    let file = bytes(10_000);
    let sent = file.clone();
    let place = Place::new(weights(move |request| Reply::file(request, &sent, "v1")));
    let part = place.file(&format!("{CACHED}.part"));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    let address = "https://huggingface.co/a/b/resolve/main/model.safetensors";
    let note = format!(r#"{{"address": "{address}", "total": null, "validator": "\"v1\"", "sha256": null}}"#);
    for count in [10_001, 20_000] {
        fs::write(&part, bytes(count)).unwrap();
        fs::write(place.file(&format!("{CACHED}.part.json")), &note).unwrap();
        let pulled = place.pull(NAME).unwrap();
        assert_eq!(fs::read(&pulled.path).unwrap(), file);
        fs::remove_file(pulled.path).unwrap();
    }
    // A part of exactly the file's size is whole: the server has nothing to add.
    fs::write(&part, &file).unwrap();
    fs::write(place.file(&format!("{CACHED}.part.json")), &note).unwrap();
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), file);
    assert_eq!(place.ranges().iter().flatten().last().unwrap(), "bytes=10000-");
}

#[test]
fn corrupted_bytes_are_refused_with_both_hashes() {
    let (file, mut damaged) = (bytes(5000), bytes(5000));
    damaged[4000] ^= 1;
    let (expected, found) = (sha256(&file), sha256(&damaged));
    let tag = expected.clone();
    let place = Place::new(weights(move |request| {
        Reply::file(request, &damaged, "v1").with("X-Linked-ETag", format!("\"{tag}\"")).with("X-Linked-Size", "5000")
    }));
    let error = place.pull(NAME).unwrap_err().to_string();
    let address = "https://huggingface.co/a/b/resolve/main/model.safetensors";
    let text = format!(
        "{address}: its SHA-256 is {found}, and the published one is {expected}: it is damaged or was replaced; nothing \
         was kept"
    );
    assert_eq!(error, text);
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let page = b"<html>please log in</html>";
    let place = Place::new(|_| Reply::whole(page));
    let error = place.pull("mobilenet_v2-b0353104.pth").unwrap_err();
    assert!(matches!(&error, Error::Hash { expected, .. } if expected == "b0353104"), "{error}");
    assert!(error.to_string().contains("the published one begins with b0353104"), "{error}");
    assert_eq!(place.server.asked()[0].path, "/download.pytorch.org/models/mobilenet_v2-b0353104.pth");
    assert!(place.files().is_empty());
}

#[test]
fn a_wrong_size_is_refused_before_a_byte_is_taken() {
    let place = Place::new(weights(|_| Reply::whole(&bytes(5000)).with("X-Linked-Size", "6000")));
    let error = place.pull(NAME).unwrap_err();
    assert!(matches!(error, Error::Size { expected: 6000, found: 5000, .. }), "{error}");
    let error = error.to_string();
    assert!(error.ends_with("the server sends 5000 bytes, and the file has 6000; nothing was kept"), "{error}");
    assert!(place.files().is_empty());
}

#[test]
fn more_bytes_than_there_should_be_are_refused() {
    // No length: the end of the connection is the end of the file, and the linked size is the only one known.
    let reply = || Reply { length: None, ..Reply::whole(&bytes(5000)) }.with("X-Linked-Size", "4000");
    let place = Place::new(weights(move |_| reply()));
    let error = place.pull(NAME).unwrap_err();
    assert!(matches!(error, Error::Size { expected: 4000, .. }), "{error}");
    assert!(!place.file(CACHED).exists());
}

#[test]
fn a_stalled_server_is_left_and_the_next_run_goes_on() {
    let file = bytes(40_000);
    let sent = file.clone();
    let mut place = Place::new(weights(move |request| {
        let reply = Reply::file(request, &sent, "v1");
        if request.number < 2 { Reply { stalls: true, ..reply.cut(10_000) } } else { reply }
    }));
    place.options.retries = 1;
    let start = Instant::now();
    let error = place.pull(NAME).unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let end = "no byte came for 0.3 s; 20000 bytes are kept: the same command goes on from there";
    assert!(error.ends_with(end), "{error}");
    assert_kept(&place, 20_000);
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), file);
}

#[test]
fn a_server_that_never_answers_is_left() {
    let mut place = Place::new(|_| {
        std::thread::sleep(Duration::from_secs(5));
        Reply::status(200)
    });
    place.options.retries = 0;
    let start = Instant::now();
    let error = place.pull(NAME).unwrap_err();
    assert!(matches!(error, Error::Interrupted { kept: 0, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn an_overloaded_server_is_asked_again() {
    let place = Place::new(weights(|request| match request.number {
        0 => Reply::status(503),
        1 => Reply::status(429),
        _ => Reply::file(request, &bytes(100), "v1"),
    }));
    assert_eq!(place.pull(NAME).unwrap().card.bytes, 100);
}

#[test]
fn a_missing_file_is_named_and_the_other_usual_name_is_tried() {
    let place = Place::new(|request| {
        let is_old = request.path == "/huggingface.co/a/b/resolve/main/pytorch_model.bin";
        if is_old { Reply::file(request, &bytes(100), "v1") } else { Reply::status(404) }
    });
    let pulled = place.pull("hf:a/b").unwrap();
    assert_eq!(pulled.path, place.file("hf/a/b/main/pytorch_model.bin"));
    assert_eq!(place.store().get(&"hf:a/b".parse().unwrap()).unwrap(), pulled.path);

    let place = Place::new(|_| Reply::status(404));
    let error = place.pull("hf:a/b").unwrap_err().to_string();
    assert_eq!(error, format!("{}{WEIGHTS}: the server has no such file (HTTP 404)", place.server.address));
    assert!(place.files().is_empty());
    let place = Place::new(|_| Reply::status(401));
    let error = place.pull("hf:a/b").unwrap_err().to_string();
    assert!(error.ends_with("which this command does not do; fetch the file by hand"), "{error}");
}

#[test]
fn offline_the_error_says_what_to_fetch_and_where_to_put_it() {
    let mut place = Place::new(|_| Reply::status(404));
    // Nobody listens at this port any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    place.options.mirror = Some(format!("http://{}", listener.local_addr().unwrap()));
    drop(listener);
    let start = Instant::now();
    let error = place.pull("torchvision/mobilenet_v2").unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(5));
    let address = "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth";
    let path = place.file("torchvision/mobilenet_v2-7ebf99e0.pth");
    assert!(error.starts_with(&format!("{address}: no connection (")), "{error}");
    let end = format!("To fetch it by hand, open that address elsewhere and put the file at {}", path.display());
    assert!(error.ends_with(&end), "{error}");

    assert!(place.files().is_empty());

    place.options.mirror = Some("http://no-such-host.invalid".into());
    let error = place.pull("torchvision/mobilenet_v2").unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
}

#[test]
fn redirects_without_encryption_and_in_circles_are_refused() {
    for (location, reason) in [
        ("http://example.com/x", "http://example.com/x: is not https"),
        ("file:///etc/passwd", "file:///etc/passwd: is no address"),
        ("elsewhere", "the server redirects, and not to an address"),
        (WEIGHTS, "passed on more than 10 times"),
    ] {
        let place = Place::new(move |_| Reply::status(302).with("Location", location));
        let error = place.pull(NAME).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(place.server.asked().len() <= 10);
        assert!(!place.file(CACHED).exists());
    }
    let place = Place::new(|_| Reply::status(302));
    assert!(matches!(place.pull(NAME), Err(Error::Answer { .. })));
}

#[test]
fn large_files_are_refused_unless_allowed() {
    let mut place = Place::new(weights(|request| Reply::file(request, &bytes(5000), "v1")));
    place.options.limit = 4999;
    let error = place.pull(NAME).unwrap_err().to_string();
    assert!(error.ends_with("5000 bytes, and 4999 are allowed; --allow-large allows more"), "{error}");
    let mut place = Place::new(weights(|_| Reply { length: None, ..Reply::whole(&bytes(5000)) }));
    place.options.limit = 4999;
    let error = place.pull(NAME).unwrap_err();
    assert!(matches!(error, Error::TooLarge { bytes: None, .. }), "{error}");
    place.options.limit = 5000;
    assert_eq!(place.pull(NAME).unwrap().card.bytes, 5000);
}

#[test]
fn a_stopped_download_goes_on() {
    let place = Place::new(weights(|request| Reply::file(request, &bytes(500_000), "v1")));
    let mut at = 0;
    let error = place.pull_watched(NAME, &mut |progress| {
        if let Progress::Bytes { done, .. } = progress {
            at = done;
        }
        if at > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error, Err(Error::Stopped(_))));
    assert_kept(&place, at);
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), bytes(500_000));
    assert_eq!(place.ranges()[1], Some(format!("bytes={at}-")));
}

#[test]
fn two_pulls_of_one_file_do_not_disturb_each_other() {
    let place = Place::new(weights(|request| Reply::file(request, &bytes(200_000), "v1")));
    let mut other = None;
    let pulled = place.pull_watched(NAME, &mut |_| {
        // In the middle of the first one.
        other.get_or_insert_with(|| place.pull(NAME).unwrap_err().to_string());
        ControlFlow::Continue(())
    });
    let path = place.file(CACHED);
    let text = format!("{}: another process is fetching this file; wait for it", path.display());
    assert_eq!(other, Some(text));
    assert_eq!(fs::read(pulled.unwrap().path).unwrap(), bytes(200_000));
    assert!(!place.pull(NAME).unwrap().is_new);
}

#[test]
fn an_output_file_is_never_replaced() {
    let place = Place::new(weights(|request| Reply::file(request, &bytes(100), "v1")));
    let name = NAME.parse().unwrap();
    let path = place.file("mine.safetensors");
    let mut watch = |_: Progress| ControlFlow::Continue(());
    let pulled = pull(&name, &place.store(), Some(&path), &place.options, &mut watch).unwrap();
    assert_eq!(pulled.path, path);
    assert_eq!(place.files(), ["mine.safetensors", "mine.safetensors.card.json"]);
    let error = pull(&name, &place.store(), Some(&path), &place.options, &mut watch).unwrap_err();
    assert!(matches!(error, Error::Exists(_)), "{error}");
}

#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_written_is_named() {
    let place = Place::new(weights(|request| Reply::file(request, &bytes(100), "v1")));
    // A file in a folder's place cannot be written into by anyone, the system's administrator included.
    fs::write(place.file("hf"), "").unwrap();
    let error = place.pull(NAME).unwrap_err().to_string();
    let folder = place.file("hf/a/b/main");
    assert!(error.starts_with(&format!("{}: cannot be written: ", folder.display())), "{error}");
    assert!(error.ends_with("; MOBILENET_CACHE names another folder, and -o another file"), "{error}");
    assert!(place.server.asked().is_empty());
}

#[test]
fn a_check_finds_what_changed_on_the_disk() {
    let place = Place::new(weights(|request| Reply::file(request, &bytes(100), "v1")));
    let Pulled { path, card, .. } = place.pull(NAME).unwrap();
    assert_eq!(place.store().files().unwrap(), [(path.clone(), card.clone())]);
    check(&path, &card).unwrap();
    let mut damaged = bytes(100);
    damaged[50] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let error = check(&path, &card).unwrap_err();
    let Error::Hash { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((expected, found), (card.sha256, sha256(&damaged)));
}

/// A network's fresh weights as timm publishes them: its names, and nothing said of padding, epsilon or photos.
fn timm_file(network: &str, width: f64) -> Vec<u8> {
    let spec = Spec { width, width_rule: WidthRule::Timm, classes: 10, ..Spec::default() };
    let table = arch::find(network).unwrap();
    let graph = table.graph(&spec).unwrap();
    let names = Names::new(Origin::Timm, &table, &graph).unwrap();
    let tensors = init::random(&graph, 1).tensors.into_iter();
    let tensors = tensors.map(|(name, tensor)| (names.get(&name).unwrap().to_owned(), tensor)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    weights_file::save(&path, &Params { tensors, metadata: Default::default() }).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn what_a_pulled_file_does_not_say_is_not_guessed() {
    let file = timm_file("mobilenet_v3_small", 0.75);
    let place = Place::new(move |request| Reply::file(request, &file, "v1"));
    let pulled = place.pull("timm/tf_mobilenetv3_small_075").unwrap();
    let load = || mobilenet_net::load(&pulled.path, &Default::default()).unwrap().recognised;
    let known = load();
    assert_eq!(known.guesses, [""; 0]);
    assert_eq!((known.spec.padding, known.spec.bn_epsilon, known.spec.width), (Padding::Same, 0.001, 0.75));
    let entry = "timm/tf_mobilenetv3_small_075".parse::<Name>().unwrap().entry().unwrap();
    assert_eq!(Some(known.preprocessing), entry.photos);
    fs::remove_file(Card::path(&pulled.path)).unwrap();
    assert!(!load().guesses.is_empty());
}
