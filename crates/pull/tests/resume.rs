//! Downloads that break off, from servers that cut, delay and change their minds.

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use common::{CACHED, NAME, Place, assert_kept, bytes, weights};
use mobilenet_pull::{Error, Progress};
use mobilenet_testing::server::Reply;

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
fn a_stalled_server_is_left_and_the_next_run_goes_on() {
    let file = bytes(40_000);
    let sent = file.clone();
    let mut place = Place::new(weights(move |request| {
        let reply = Reply::file(request, &sent, "v1");
        if request.number < 2 { Reply { stalls: true, ..reply.cut(10_000) } } else { reply }
    }));
    (place.options.retries, place.options.stall) = (1, Duration::from_millis(300));
    let start = Instant::now();
    let error = place.pull(NAME).unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let end = "no byte came for 0.3 s; 20000 bytes are kept: the same command goes on from there";
    assert!(error.ends_with(end), "{error}");
    assert_kept(&place, 20_000);
    place.options.stall = Duration::from_secs(20);
    assert_eq!(fs::read(place.pull(NAME).unwrap().path).unwrap(), file);
}

#[test]
fn a_server_that_never_answers_is_left() {
    let mut place = Place::new(|_| {
        std::thread::sleep(Duration::from_secs(5));
        Reply::status(200)
    });
    (place.options.retries, place.options.stall) = (0, Duration::from_millis(300));
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
