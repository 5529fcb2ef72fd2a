//! From names to checked files, with a server on this machine that corrupts, redirects and is not there.

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use common::{CACHED, NAME, Place, WEIGHTS, bytes, sha256, weights};
use mobilenet_net::arch::{self, Spec, WidthRule};
use mobilenet_net::names::Names;
use mobilenet_net::{Card, Origin, Padding, Params, init, weights as weights_file};
use mobilenet_pull::{Error, Name, Progress, Pulled, check, pull};
use mobilenet_testing::server::Reply;

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
    assert!(start.elapsed() < Duration::from_secs(10));
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
    let [(listed, of)] = &place.store().files().unwrap()[..] else { panic!("one file") };
    assert_eq!((listed, of.as_ref().unwrap()), (&path, &card));
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
