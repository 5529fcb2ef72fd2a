//! `mobilenet pull` against a server on this machine, and its names where other commands take weights files.

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ended, Folder, PROGRAM, photo};
use mobilenet::arch::{self, Spec, WidthRule};
use mobilenet::net::names::Names;
use mobilenet::net::{Origin, weights};
use mobilenet::{Params, init};
use mobilenet_testing::server::{Reply, Server};
use serde_json::Value;

/// What torchvision calls V2's second weights, in full.
const V2: &str = "torchvision/mobilenet_v2.IMAGENET1K_V2";

/// Runs with the folder's `cache` as cache, and `server` for all servers.
#[track_caller]
fn run(folder: &Folder, server: &str, arguments: &str) -> Ended {
    let cache = folder.path("cache").display().to_string();
    folder.run_with(arguments, &[("MOBILENET_CACHE", &cache), ("MOBILENET_PULL_BASE", server)], b"")
}

/// A server that has nothing, and an address where none is.
fn nothing() -> Server {
    Server::new(|_| Reply::status(404))
}

/// V3-Small at half its width with fresh weights, as timm publishes them: nothing is said of padding, epsilon or photos.
fn timm_file() -> Vec<u8> {
    let spec = Spec { width: 0.5, width_rule: WidthRule::Timm, classes: 4, ..Spec::default() };
    let table = arch::find("mobilenet_v3_small").unwrap();
    let graph = table.graph(&spec).unwrap();
    let names = Names::new(Origin::Timm, &table, &graph).unwrap();
    let tensors = init::random(&graph, 1).tensors.into_iter();
    let tensors = tensors.map(|(name, tensor)| (names.get(&name).unwrap().to_owned(), tensor)).collect();
    let folder = Folder::new();
    weights::save(folder.path("w"), &Params { tensors, metadata: Default::default() }).unwrap();
    std::fs::read(folder.path("w")).unwrap()
}

#[test]
fn a_pulled_name_is_a_weights_file_for_every_command() {
    let file = timm_file();
    let server = Server::new(move |request| {
        let reply = Reply::file(request, &file, "v1");
        if request.number == 0 { reply.cut(100_000) } else { reply }
    });
    let folder = Folder::new();
    folder.write("photo.bmp", photo(40, 30, 1));
    let name = "timm/mobilenetv3_small_050";
    let ended = run(&folder, &server.address, &format!("pull {name} --json"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let path = folder.path("cache/timm/mobilenetv3_small_050.lamb_in1k.safetensors");
    assert_eq!((&report["path"], &report["is_new"]), (&path.display().to_string().into(), &true.into()));
    assert_eq!(report["licence"], "apache-2.0");
    assert!(ended.err.contains("none is published\nlicence: apache-2.0\n"), "{}", ended.err);
    assert_eq!(server.asked()[1].headers["range"], "bytes=100000-");

    let again = run(&folder, "http://127.0.0.1:1", &format!("pull {name}"));
    assert_eq!((again.code, again.out), (0, format!("{}\n", path.display())));
    assert!(again.err.starts_with("timm/mobilenetv3_small_050.lamb_in1k: there already, "), "{}", again.err);

    // The photo's answer is there, and nothing was guessed.
    let classified = run(&folder, "", &format!("classify photo.bmp --weights {name} --json"));
    assert_eq!((classified.code, classified.err.as_str()), (0, ""), "{classified:?}");
    for arguments in [
        format!("summary {name} --json"),
        format!("summary hf:{name}.lamb_in1k --json"),
        format!("bench {name} --seconds 0 --resolution 32 --threads 1"),
        format!("bench --weights {name} --seconds 0 --resolution 32 --threads 1"),
    ] {
        let ended = run(&folder, "", &arguments);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments}: {ended:?}");
    }
}

#[test]
fn what_was_not_pulled_says_how_to() {
    let (folder, server) = (Folder::new(), nothing());
    folder.write("photo.bmp", photo(40, 30, 1));
    let missing = |name: &str| format!("{name} is not on this machine yet: run `mobilenet pull {name}` first");
    for argument in ["torchvision/mobilenet_v2", "mobilenet_v2", "mobilenet_v2-7ebf99e0.pth"] {
        let ended = run(&folder, &server.address, &format!("classify photo.bmp --weights {argument}"));
        let text = format!("error: invalid value '{argument}' for '--weights <FILE>': {}\n", missing(V2));
        assert_eq!(ended.code, 2);
        assert!(ended.err.starts_with(&text), "{}", ended.err);
    }
    let ended = run(&folder, &server.address, "summary hf:a/b");
    assert_eq!((ended.code, ended.err), (2, format!("error: {}\n", missing("hf:a/b"))));
    let ended = run(&folder, &server.address, "classify photo.bmp --weights timm/mobilenetv2_10");
    assert!(ended.err.contains("timm/mobilenetv2_10 is no published weights file known here; did you mean timm/"));
    // A network's name stays one, and so does a file's.
    assert_eq!(run(&folder, &server.address, "summary mobilenet_v2 --json").code, 0);
    let ended = run(&folder, &server.address, "classify photo.bmp --weights nothing.pth");
    assert!(ended.err.starts_with("error: nothing.pth: "), "{}", ended.err);
    assert!(server.asked().is_empty(), "only pull asks a server");
    assert!(!folder.path("cache").exists());
}

#[test]
fn a_file_put_there_by_hand_is_taken() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("cache/timm")).unwrap();
    folder.write("cache/timm/mobilenetv3_small_050.lamb_in1k.safetensors", timm_file());
    let ended = run(&folder, "", "summary timm/mobilenetv3_small_050");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(folder.path("cache/timm/mobilenetv3_small_050.lamb_in1k.safetensors.card.json").exists());
    // torchvision's names have digits that nothing put there by hand can have by chance.
    std::fs::create_dir_all(folder.path("cache/torchvision")).unwrap();
    folder.write("cache/torchvision/mobilenet_v2-7ebf99e0.pth", "<html>");
    let ended = run(&folder, "", "summary torchvision/mobilenet_v2");
    assert_eq!(ended.code, 2);
    assert!(
        ended.err.contains("the published one begins with 7ebf99e0: it is damaged or was replaced"),
        "{}",
        ended.err
    );
}

#[test]
fn the_list_has_all_names_and_what_was_fetched() {
    let server = Server::new(|request| Reply::file(request, b"weights", "v1"));
    let folder = Folder::new();
    assert_eq!(run(&folder, &server.address, "pull hf:a/b timm/mobilenetv3_rw").code, 0);
    let ended = run(&folder, "", "pull --list --json");
    let list: Vec<Value> = serde_json::from_str(&ended.json_text()).unwrap();
    assert_eq!(list.len(), 36);
    let line = |name: &str| list.iter().find(|line| line["name"] == name).unwrap();
    let v2 = line(V2);
    assert_eq!((&v2["top1"], &v2["bytes"], &v2["licence"]), (&72.154.into(), &Value::Null, &Value::Null));
    assert_eq!(v2["address"], "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth");
    assert_eq!((&line("hf:a/b")["bytes"], &line("timm/mobilenetv3_rw.rmsp_in1k")["bytes"]), (&7.into(), &7.into()));

    let ended = run(&folder, "", "pull --list torchvision/*v3_small*");
    let text = "\
name                                          top-1  fetched  licence     opens as
────────────────────────────────────────────  ──────  ───────  ──────────  ──────────────────
torchvision/mobilenet_v3_small.IMAGENET1K_V1  67.668           not stated  mobilenet_v3_small
";
    assert_eq!(ended.out.replace(' ', ""), text.replace(' ', ""));
    let ended = run(&folder, "", "pull --list resnet");
    let text = "error: no published weights file is called \"resnet\"; --list shows all\n";
    assert_eq!((ended.code, ended.err.as_str()), (2, text));
}

trait JsonText {
    /// What was printed, of a call that said nothing else.
    fn json_text(&self) -> String;
}

impl JsonText for Ended {
    #[track_caller]
    fn json_text(&self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out.clone()
    }
}

#[test]
fn files_that_no_command_opens_yet_are_fetched_with_a_warning() {
    let server = Server::new(|request| Reply::file(request, b"weights", "v1"));
    let folder = Folder::new();
    let ended = run(&folder, &server.address, "pull timm/mobilenetv1_100h -o w.safetensors");
    assert_eq!((ended.code, ended.out.as_str()), (0, "w.safetensors\n"), "{ended:?}");
    let warning =
        "warning: no other command opens this file yet: a head with a convolution, which no registered network has\n";
    assert!(ended.err.ends_with(warning), "{}", ended.err);
    assert_eq!(folder.names(), ["w.safetensors", "w.safetensors.card.json"]);
    let ended = run(&folder, &server.address, "pull timm/mobilenetv1_100h -o w.safetensors");
    let text = "error: w.safetensors: exists already; remove it or give another name with -o\n";
    assert_eq!((ended.code, ended.err.as_str()), (2, text));
}

#[test]
fn one_of_two_that_fails_is_told_and_counted() {
    let server = Server::new(|request| {
        if request.path.contains("mobilenetv1_100.") { Reply::file(request, b"w", "1") } else { Reply::status(404) }
    });
    let folder = Folder::new();
    let ended = run(&folder, &server.address, "pull timm/mobilenetv1_100 timm/mobilenetv1_125");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("/model.safetensors: the server has no such file (HTTP 404)\n"), "{}", ended.err);
    assert_eq!(run(&folder, &server.address, "pull timm/mobilenetv1_125").code, 2);
    let misspelt = run(&folder, &server.address, "pull timm/mobilenetv1_100 timm/mobilenet");
    assert_eq!(misspelt.code, 2);
}

#[test]
fn a_check_names_the_damaged_file() {
    let server = Server::new(|request| Reply::file(request, b"weights", "v1"));
    let folder = Folder::new();
    let empty = run(&folder, "", "pull --check");
    let text = format!("nothing was fetched into {} yet\n", folder.path("cache").display());
    assert_eq!((empty.code, empty.err), (0, text));
    assert_eq!(run(&folder, &server.address, "pull timm/mobilenetv1_100 timm/mobilenetv1_125").code, 0);
    assert_eq!(run(&folder, "", "pull --check").code, 0);
    folder.write("cache/timm/mobilenetv1_125.ra4_e3600_r224_in1k.safetensors", "weighty");
    let ended = run(&folder, "", "pull --check");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("timm/mobilenetv1_100.ra4_e3600_r224_in1k: unchanged"), "{}", ended.err);
    assert!(ended.err.contains("it is damaged or was replaced; remove it and fetch it anew"), "{}", ended.err);
    assert_eq!(run(&folder, "", "pull --check timm/mobilenetv1_100").code, 0);
    assert_eq!(run(&folder, "", "pull --check timm/mobilenetv1_125").code, 2);
}

#[test]
fn offline_it_says_what_to_fetch_and_where_to_put_it() {
    let folder = Folder::new();
    // Nobody listens at the first port.
    let ended = run(&folder, "http://127.0.0.1:1", &format!("pull {V2}"));
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    let start = "error: https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth: no connection (";
    let path = folder.path("cache/torchvision/mobilenet_v2-7ebf99e0.pth");
    let end = format!("open that address elsewhere and put the file at {}\n", path.display());
    assert!(ended.err.starts_with(start) && ended.err.ends_with(&end), "{}", ended.err);
    let ended = run(&folder, "mirror.local", &format!("pull {V2}"));
    let text = "error: MOBILENET_PULL_BASE=mirror.local: give an address that begins with https:// or http://\n";
    assert_eq!((ended.code, ended.err.as_str()), (2, text));
}

#[test]
#[cfg(unix)]
fn ctrl_c_leaves_what_was_fetched() {
    let file: Vec<u8> = (0..300_000u32).map(|i| (i >> 3) as u8).collect();
    let sent = file.clone();
    let server = Server::new(move |request| {
        let reply = Reply::file(request, &sent, "v1");
        if request.number == 0 { Reply { stalls: true, ..reply.cut(200_000) } } else { reply }
    });
    let folder = Folder::new();
    let mut command = Command::new(PROGRAM);
    command.args(["pull", "timm/mobilenetv1_100"]).env("MOBILENET_CACHE", folder.path("cache"));
    command.env("MOBILENET_PULL_BASE", &server.address).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let part = folder.path("cache/timm/mobilenetv1_100.ra4_e3600_r224_in1k.safetensors.part");
    let start = Instant::now();
    while std::fs::metadata(&part).map_or(0, |part| part.len()) < 200_000 {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let ended = run(&folder, &server.address, "pull timm/mobilenetv1_100");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(server.asked()[1].headers["range"], "bytes=200000-");
    assert_eq!(std::fs::read(ended.out.trim_end()).unwrap(), file);
}
