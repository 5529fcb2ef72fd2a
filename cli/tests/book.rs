//! The manual's commands do what they say: every `$` line of a block marked `console` in `docs/` and the README runs as it
//! stands, in a folder with the files that the manual speaks of. Blocks marked `console not-run` are for other machines:
//! they fetch, take hours, or wait for Ctrl-C.
#![cfg(unix)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, PROGRAM, photo};
use mobilenet::Image;
use mobilenet::arch::Spec;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every page of the manual, and the README.
fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "md");
    let mut pages: Vec<PathBuf> = entries.filter(is_page).chain([root().join("README.md")]).collect();
    pages.sort();
    pages
}

/// The commands of a page that are to run, lines that go on with `\` in one.
fn commands(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let (mut commands, mut block): (Vec<String>, Option<&str>) = (Vec::new(), None);
    let mut goes_on = false;
    for line in text.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(info)) => block = Some(info),
            (Some(_), Some(_)) => block = None,
            (Some("console"), None) if goes_on => *commands.last_mut().unwrap() += line,
            (Some("console"), None) => commands.extend(line.strip_prefix("$ ").map(str::to_owned)),
            _ => {}
        }
        goes_on = block == Some("console") && line.ends_with('\\');
        if let (true, Some(last)) = (goes_on, commands.last_mut()) {
            last.pop();
        }
    }
    commands
}

/// What the manual's commands find: photos in folders by class, weights under torchvision's names, a list of names.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.photos("photos", 4);
    folder.photos("other-photos", 1);
    for class in fs::read_dir(folder.path("photos")).unwrap().map(|entry| entry.unwrap().path()) {
        for photo in fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path()) {
            Image::open(&photo).unwrap().save(photo.with_extension("jpg")).unwrap();
            fs::remove_file(photo).unwrap();
        }
    }
    for name in ["photo.jpg", "new.jpg", "owl.jpg"] {
        folder.write(name, photo(96, 80, name.len()));
    }
    folder.write("unwanted.txt", "tench, Tinca tinca\n");
    let spec = Spec { width: 0.35, ..Spec::default() };
    for (file, model) in [("mobilenet_v2.pth", "mobilenet_v2"), ("mobilenet_v3_small.pth", "mobilenet_v3_small")] {
        folder.weights("fresh.safetensors", model, &spec);
        let rule = if model.contains("v3") { "timm" } else { "torchvision" };
        let ended = folder.run(&format!("convert fresh.safetensors named.safetensors --names {rule}"));
        assert_eq!(ended.code, 0, "{ended:?}");
        fs::rename(folder.path("named.safetensors"), folder.path(file)).unwrap();
    }
    fs::remove_file(folder.path("fresh.safetensors")).unwrap();
    std::os::unix::fs::symlink(root().join("recipes"), folder.path("recipes")).unwrap();
    folder
}

#[test]
fn the_manuals_commands_run() {
    let path = format!("{}:{}", Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for page in pages() {
        let folder = folder();
        for command in commands(&page) {
            let mut shell = Command::new("sh");
            shell.args(["-c", &command]).env("PATH", &path).env("MOBILENET_CACHE", folder.path("cache"));
            let ended = folder.end(shell, b"");
            assert_eq!(ended.code, 0, "{}: {command}: {ended:?}", page.display());
            ran += 1;
        }
    }
    assert!(ran > 15, "only {ran} commands were found");
}

#[test]
fn the_summary_has_every_page_and_no_other() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let linked: BTreeSet<&str> = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let pages = pages();
    let names = pages.iter().filter(|page| page.parent().unwrap().ends_with("docs"));
    let names: BTreeSet<&str> = names.map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(linked, names.into_iter().filter(|name| *name != "SUMMARY.md").collect());
}

#[test]
fn the_manuals_pages_are_written_one_a_command() {
    let folder = Folder::new();
    fs::create_dir(folder.path("man")).unwrap();
    let ended = folder.run("man man");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    let page = fs::read_to_string(folder.path("man/mobilenet-classify.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains(".TH mobilenet-classify 1"), "{page}");
    let pages = fs::read_dir(folder.path("man")).unwrap().count();
    assert_eq!(ended.out, format!("man: {pages} pages\n"));
    assert_eq!(folder.run("man nowhere").code, 2);
}
